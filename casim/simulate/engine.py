"""Which engine rolls out, and the one function that calls it.

All engines give the same trajectories, bit for bit.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from typing import Literal, final, get_args

import jax

from casim.blocks import ceil
from casim.checks import check_choice, check_integer
from casim.platforms import numbers
from casim.simulate.fused import MAX_ENTRIES, MAX_STATES, fused_paths, padded, request_size
from casim.simulate.parallel import parallel_paths
from casim.simulate.scan import Request, scan_paths
from casim.simulate.tables import Path, Sizes, record
from casim.types import Trajectory

Name = Literal["scan", "parallel", "fused"]
HAS_ROUTINES = importlib.util.find_spec("jax.experimental.pallas.triton") is not None
"""Whether this JAX compiles the routines; without, the other engines run.

JAX deprecates Pallas on Triton since 0.11.
"""


@final
@dataclasses.dataclass(frozen=True)
class Engine:
    """How trajectories are rolled out; `Engine.make` checks one that is asked for."""

    name: Name
    blocks: int = 1
    """Parts of equal length in which the steps are cut, to run side by side."""
    reason: str = dataclasses.field(default="asked for", compare=False)

    @classmethod
    def make(cls, name: Name, blocks: int = 1) -> Engine:
        """An engine to force.

        Raises:
            ValueError: an unknown name, fewer than 1 block, or several blocks for the scan.
        """
        check_choice("engine", name, get_args(Name))
        check_integer("blocks", blocks, 1, 1 if name == "scan" else math.inf)
        return cls(name, blocks)


def choose_engine(
    num_episodes: int, num_steps: int, sizes: Sizes, platform: str | None = None
) -> Engine:
    """The engine for a shape and a device, and why.

    A device is full from a number of lanes on. With fewer episodes than that, steps can be cut in
    blocks that run side by side; but every block is run from every state first, up to 1 + S
    rollouts in all, so steps are cut where there is room for more than 1 + S blocks.

    Args:
        num_episodes: N.
        num_steps: T.
        sizes: of the world, `world.tables.sizes`.
        platform: "cpu", "gpu", "tpu"; None is JAX's default backend.
    """
    platform = jax.default_backend() if platform is None else platform
    number = numbers(platform)
    full, work = number.lanes, 1 + sizes.states
    wanted = ceil(full, max(num_episodes, 1))
    blocks = max(1, min(wanted, num_steps // number.block))
    fused = (
        platform == "gpu"
        and HAS_ROUTINES
        and 0 < padded(num_episodes, num_steps, blocks) <= MAX_ENTRIES
    )
    shape = f"{num_episodes} x {num_steps} steps on {platform}"
    room = f"{full} lanes fill the device, room for {blocks} blocks at up to {work} times the work"
    if blocks <= work or (fused and sizes.states > MAX_STATES):
        routine = "one routine, a thread to an episode" if fused else "all episodes side by side"
        return Engine(
            "fused" if fused else "scan",
            1,
            f"{shape}: {routine}, as cutting the steps does not pay ({room})",
        )
    return Engine(
        "fused" if fused else "parallel", blocks, f"{shape}: the steps are cut in blocks ({room})"
    )


def roll(engine: Engine | None, request: Request, noisy_emission: bool) -> Trajectory:
    """N episodes of T steps; the arguments are those of `draw_paths`."""
    return record(request.tables, request.schedule, draw_paths(engine, request, noisy_emission))


def draw_paths(engine: Engine | None, request: Request, noisy_emission: bool) -> Path:
    """What an engine draws, `[N, T]`, before it is completed to a trajectory.

    Args:
        engine: what rolls out; None chooses, as does a request of nothing or one that the fused
            engine has no indices for, which an estimator can make by many copies of a branch. The
            fused engine runs interpreted, and slowly, where there is no GPU.
        request: what is asked for.
        noisy_emission: False promises that every emission row is one-hot, which saves draws.
    """
    num, steps = request_size(request)
    if engine is not None and engine.name == "fused":
        entries = padded(num, steps, engine.blocks)
        if not 0 < entries <= MAX_ENTRIES:
            engine = None
    if engine is None:
        engine = choose_engine(num, steps, request.tables.sizes)
    if engine.name == "fused":
        interpret = jax.default_backend() != "gpu"
        return fused_paths(request, noisy_emission, engine.blocks, interpret=interpret)
    if engine.name == "parallel":
        return parallel_paths(request, noisy_emission, engine.blocks)
    return scan_paths(request, noisy_emission)
