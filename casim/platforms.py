"""The numbers that depend on the device: a table with a row for each platform.

Each was measured or follows from what the device has; docs/performance.md has the measurements.
Numbers that are the same everywhere stand where they are used.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax


class Numbers(NamedTuple):
    """Of one platform; `math.inf` where there is no limit."""

    lanes: int
    """Lanes (episodes, or blocks of one) from which more do not raise the steps per second."""
    block: int
    """Steps of a block of an episode, at least.

    On a GPU with 16 states, episodes of up to 2,000 steps then run whole, which is as fast there.
    """
    scanned: int
    """Steps of a recurrence that is scanned step by step instead of in blocks, at most.

    A CPU loses little by each step of a loop, others much.
    """
    filtered: float
    """Steps along which a belief is filtered step by step, at most: the same reason."""
    solved: float
    """Steps along which values are solved step by step, below: the same reason."""
    piece: float
    """Entries [row, step] of a recurrence that are worked on at once: what a CPU's cache holds."""
    slab: int
    """Cells (t, s, a) that scores read at once: the same on a CPU, else what fills a device."""
    chunk: int
    """Entries [replicate, trajectory, step] that a device scores at once, at most: the same."""
    compiler: dict[str, Any]
    """Options of XLA. On a CPU they halve the time that compiling takes; programs run as fast."""


ELSEWHERE = Numbers(
    lanes=2**14,
    block=32,
    scanned=64,
    filtered=1024,
    solved=10_000,
    piece=math.inf,
    slab=2**19,
    chunk=2**24,
    compiler={},
)
"""Of accelerators that were not measured."""

TABLE: dict[str, Numbers] = {
    "cpu": Numbers(
        lanes=128,
        block=32,
        scanned=512,
        filtered=math.inf,
        solved=math.inf,
        piece=2**17,
        slab=2**13,
        chunk=2**16,
        compiler={
            "xla_backend_optimization_level": 1,
            "xla_cpu_use_fusion_emitters": False,
        },
    ),
    "gpu": ELSEWHERE._replace(
        lanes=2**17,
        block=128,
    ),
}


def numbers(platform: str | None = None) -> Numbers:
    """Those of "cpu", "gpu", "tpu", ...; None is JAX's default backend."""
    if platform is None:
        platform = jax.default_backend()
    return TABLE.get(platform, ELSEWHERE)
