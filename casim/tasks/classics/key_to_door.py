"""KeyToDoor: a key taken at the start opens the treasure at the end, with apples in between.

In maths: a corridor of L cells, one a step whatever is done; the state is the keys held, or open.
Actions: 0 takes the key, 1 picks on the left, 2 picks on the right, 3 opens the door; one that does
not fit the cell does nothing. Cell 0 holds the key, cell L - 2 the door, which opens with the key;
in the last cell any action pays treasure c if the door is open. A cell with an apple pays low c or
high c, half each, to the pick on its side. Each cell between that has no key also pays or costs
distractor c, half each, whatever is done. c = `scale`.

Optimum: treasure c + num_apples c (low + high) / 2 (discount 1). Under the uniform policy
A(take) = 3/16 treasure c at step 0, whatever the apples.

What it separates: credit for the key from the apples' noise. The second moment of the return grows
with the square of the number of apples while the advantage of the key stays, and no apple depends
on the key. Distractors depend on no action at all: each adds (distractor c)^2 to the variance of
every return before it.

References:
    Meulemans et al. 2023 (COCOA, arXiv:2306.16803), linear key-to-door: c = 23 / L, treasure 0.2,
    apples 0.1 or 0.9; without `num_apples` the layout is that of the released code, 0, 6, 16, 27,
    77 apples at L = 3, 13, 23, 43, 103, and is repeated beyond 100 cells. Its 2 L + 3 states are
    the pairs of time and state here, with those after the last step. Cells alike share a kernel and
    a row of the policy; `casim.dynamics.untie` gives each its own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

KEY, EMPTY, LEFT, RIGHT, DOOR, TREASURE = range(6)
TAKE, PICK_LEFT, PICK_RIGHT, OPEN = range(4)
NOTHING = (0,)
"""No key; else how many, and one more than all of them once the door is open."""
# The released code draws it with NumPy's default_rng(2022), empty 0.2, left and right 0.4 each.
RELEASED = (
    "L.R.RR..LRRLLLLRRRRRL.RRL.L..L.L.L.L..RLLLRLLRL.RR"
    ".LLRR.RRRL.LLLRLLL.L..LLRLLL.RRR.RLRLRRR.RRRRRLLRR"
)  # fmt: skip


@final
@dataclasses.dataclass(frozen=True)
class KeyToDoor(RuleTask):
    """Key, apples, door, treasure; fully observed. The horizon is `length`.

    Attributes:
        length: L, at least 3, the number of steps.
        num_apples: cells with an apple, in [0, length - 3], in the middles of equal parts of the
            corridor, left and right in turn; None is the source's layout.
        scale: c, at least 0; None is the source's 23 / length.
        treasure: at least 0, in units of c.
        apple: low and high, finite, in units of c.
        num_keys: in [1, length - 2]; the door opens with all of them. They lie at the starts of
            equal parts of the corridor, in the place of what the layout has there.
        distractor: at least 0, in units of c; 0 is the source's.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    length: int = 23
    num_apples: int | None = None
    scale: float | None = None
    treasure: float = 0.2
    apple: tuple[float, float] = (0.1, 0.9)
    num_keys: int = 1
    distractor: float = 0.0
    discount: float = 1.0
    num_actions: ClassVar[int] = 4
    knob: ClassVar[str] = "length"
    kinds: ClassVar = dict.fromkeys(range(6), Kind.TOOL)

    def __post_init__(self) -> None:
        check_integer("length", self.length, 3)
        if self.num_apples is not None:
            check_integer("num_apples", self.num_apples, 0, self.length - 3)
        if self.scale is not None:
            check_range("scale", self.scale, 0.0, math.inf)
        check_range("treasure", self.treasure, 0.0, math.inf)
        check_integer("number of apple", len(self.apple), 2, 2)
        for reward in self.apple:
            check_range("apple (an entry)", reward, -math.inf, math.inf)
        check_integer("num_keys", self.num_keys, 1, self.length - 2)
        check_range("distractor", self.distractor, 0.0, math.inf)
        check_range("discount", self.discount, 0.0, 1.0)

    @property
    def unit(self) -> float:
        """The size c of all rewards."""
        return 23 / self.length if self.scale is None else self.scale

    def layout(self) -> Layout:
        between = self.length - 3
        if self.num_apples is None:
            cells = np.array([{".": EMPTY, "L": LEFT, "R": RIGHT}[x] for x in RELEASED])[
                np.arange(between) % 100
            ]
        else:
            number = np.arange(self.num_apples)
            cells = np.full(between, EMPTY)
            places = (2 * number + 1) * between // max(2 * self.num_apples, 1)
            cells[places] = np.where(number % 2 == 0, LEFT, RIGHT)
        code = np.concatenate([[KEY], cells, [DOOR, TREASURE]])
        code[np.arange(self.num_keys) * (self.length - 2) // self.num_keys] = KEY
        step = np.arange(self.length)
        last = self.length - 2
        after = (step >= last) * (between > 0)
        return Layout(code, segment=np.minimum(step, 1) + after)

    def start(self) -> dict:
        return {NOTHING: 1.0}

    def moves(
        self,
        code: int,
        state: tuple[int],
        action: int,
    ) -> list:
        outcomes = self._without_distractor(code, state, action)
        between = code in (EMPTY, LEFT, RIGHT)
        if not (between and self.distractor):
            return outcomes
        size = self.distractor * self.unit
        return [
            (after, chance / 2, reward + change)
            for after, chance, reward in outcomes
            for change in (size, -size)
        ]

    def _without_distractor(
        self,
        code: int,
        state: tuple[int],
        action: int,
    ) -> list:
        if (code, action) in ((LEFT, PICK_LEFT), (RIGHT, PICK_RIGHT)):
            return [(state, 0.5, size * self.unit) for size in self.apple]
        (held,) = state
        opened = self.num_keys + 1
        if (code, action) == (KEY, TAKE):
            return [((held + 1,), 1.0, 0.0)]
        if (code, action, held) == (DOOR, OPEN, self.num_keys):
            return [((opened,), 1.0, 0.0)]
        paid = code == TREASURE and held == opened
        return [(state, 1.0, self.treasure * self.unit * paid)]
