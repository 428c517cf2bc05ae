"""How the replicates of a row are cut up: blocks for intervals, chunks for memory.

Everything here follows from shapes, so that it is known before anything is solved.

A block is what an interval is made over; a chunk is what a device scores at once. A chunk is always
a number of whole groups, because a group is what a method normalises over.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from casim.devices import GIGABYTE
from casim.platforms import numbers
from casim.scores import BYTES_PER_CELL

MAX_BLOCKS = 10
"""Most blocks of replicates, over which intervals are computed."""
BYTES_PER_ENTRY = 256
"""A first guess of the memory of an entry; a method that needs more gets smaller chunks."""
ROUNDS_AHEAD = 2
"""Chunks that wait on a device."""


class Groups(NamedTuple):
    """What a batch is made of."""

    num_prompts: int
    """P."""
    num: int
    """N."""
    share: Literal["prompt", "state"]
    """What the trajectories of a group have in common."""

    @property
    def trajectories(self) -> int:
        """Of a batch."""
        return self.num_prompts * self.num


class Plan(NamedTuple):
    """How the replicates of a row are cut up."""

    num_blocks: int
    per_block: int
    """Groups in a block."""
    chunk: int
    """Groups scored at once on a device, at most."""
    memory: int
    """Bytes of a device that chunks may use."""

    @classmethod
    def make(cls, replicates: int, num: int, num_steps: int, num_cells: int, memory: int) -> Plan:
        """The plan for one task.

        Args:
            replicates: number of groups.
            num: trajectories in a group, N.
            num_steps: T.
            num_cells: T S A.
            memory: bytes of each device.

        Raises:
            ValueError: the sums of the cells alone do not fit the memory.
        """
        num_blocks = blocks_of(replicates)
        per_block = replicates // num_blocks
        # The sums of all blocks in double precision and what is made of them, and those of the
        # chunks on their way, in single precision.
        whole = (num_blocks + 1) * BYTES_PER_CELL
        passing = (ROUNDS_AHEAD + 1) * BYTES_PER_CELL // 2
        fixed = num_cells * (whole + passing)
        left = memory - fixed
        if left <= 0:
            raise ValueError(
                f"memory must exceed {gigabytes(fixed)} for the sums of {num_cells:,} cells "
                f"(t, s, a) in {num_blocks} blocks, got {gigabytes(memory)}"
            )
        entries = min(numbers().chunk, left // BYTES_PER_ENTRY)
        groups = entries // (num * num_steps)
        return cls(num_blocks, per_block, largest_divisor(per_block, groups), left)


def blocks_of(replicates: int) -> int:
    """The number of blocks of so many replicates; 1 if there is no such number."""
    return largest_divisor(replicates, MAX_BLOCKS)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that does not exceed the limit, at least 1."""
    most = max(limit, 1)
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    return max(d for d in divisors if d <= most)


def gigabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / GIGABYTE:.3g} GB"
