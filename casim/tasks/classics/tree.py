"""Tree: rewards on every branch, and branches that meet again.

In maths: D steps with b actions; at depth d the state is a position p in {0, ..., w_d - 1}. With
f = b - overlap, w_0 = 1 and w_{d+1} = f w_d + overlap, the next position is
(p f + a - floor(f / 2)) mod w_{d+1}; after the last step one state is left. A step pays
((i + 9973 a + offset) mod 5) - 2, where i = w_0 + ... + w_{d-1} + p numbers the states in order of
depth.

Optimum: no closed form; `casim.oracle.optimal` computes it. Only offset mod 5 matters: five trees.

What it separates: hindsight by the state from whole returns. Without overlap a state names every
action before it, and knowing it is knowing them; with overlap = b the next position depends on the
last action alone, and under the uniform policy a state says nothing about any other.

References:
    Meulemans et al. 2023 (COCOA, arXiv:2306.16803), tree: depth 4, branching 6; with the state
    after the last step it has 260, 195, 140, 95, 60, 35, 20 states for overlap 0, ..., 6. That i
    runs over all depths is casim's reading. The number of states grows as (b - overlap)^D: long
    horizons need overlap >= b - 1, and few kernels overlap = b. There, depths that are alike share
    a kernel and a row of the policy; `casim.dynamics.untie` gives each its own.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind


@final
@dataclasses.dataclass(frozen=True)
class Tree(RuleTask):
    """A tree of rewards whose branches may overlap; fully observed. The horizon is `depth`.

    Attributes:
        depth: D, at least 1, the number of steps.
        branching: b, at least 2, the number of actions.
        overlap: in [0, branching]; 0 is a tree, `branching` is layers of b states.
        offset: which of the trees, at least 0.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    depth: int = 4
    branching: int = 6
    overlap: int = 0
    offset: int = 0
    discount: float = 1.0
    knob: ClassVar[str] = "depth"

    def __post_init__(self) -> None:
        check_integer("depth", self.depth, 1)
        check_integer("branching", self.branching, 2)
        check_integer("overlap", self.overlap, 0, self.branching)
        check_integer("offset", self.offset, 0)
        check_range("discount", self.discount, 0.0, 1.0)

    @property
    def num_actions(self) -> int:
        return self.branching

    @functools.cached_property
    def levels(self) -> list[tuple[int, int]]:
        """For each depth: the number (mod 5) of its first state, and how many states follow."""
        levels, first, width = [], 0, 1
        for depth in range(self.depth):
            wider = (self.branching - self.overlap) * width + self.overlap
            levels.append((first, 1 if depth == self.depth - 1 else wider))
            first, width = (first + width) % 5, wider
        return levels

    @property
    def kinds(self) -> dict[int, Kind]:
        return dict.fromkeys(range(self.depth), Kind.THINK)

    def layout(self) -> Layout:
        alike: dict[tuple[int, int], int] = {}
        first = [alike.setdefault(level, depth) for depth, level in enumerate(self.levels)]
        code = np.array(first)
        return Layout(code, segment=np.zeros(self.depth, int))

    def start(self) -> dict:
        return {(0,): 1.0}

    def moves(
        self,
        code: int,
        state: tuple[int],
        action: int,
    ) -> list:
        first, after = self.levels[code]
        fork = self.branching - self.overlap
        position = (state[0] * fork + action - fork // 2) % after
        number = first + state[0] + 9973 * action + self.offset
        reward = number % 5 - 2.0
        return [((position,), 1.0, reward)]
