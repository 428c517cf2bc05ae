"""Bifurcation: a token chain in which a few pivotal steps decide, and all others do not matter.

In maths: the latent state is (g, w), g in {good, bad} and w the last filler symbol. At a pivot the
right action (0) keeps g = good and lifts g = bad with probability `recovery`; any other action
makes g = bad; then g flips with probability `noise`. At every other step g stays and w is redrawn,
whatever the action. The last step pays 1 with probability `base + gap / 2` if g = good and with
probability `base - gap / 2` if g = bad.

One pivot without noise: A(right) - A(wrong) = gap at the pivot, and A = 0 everywhere else.

References:
    The controlled bifurcation tasks asked for by Zhang 2026, arXiv:2604.09459. With horizon 16, the
    pivot at step 0 and gap 0.6 this is the delayed-effect world of AgentCreditBench (success 0.8
    against 0.2).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
import numpy as np

from casim.checks import check_choice, check_distinct, check_integer, check_range
from casim.ops import rest_of_entropy
from casim.tasks.base import Task, table
from casim.types import MDP, Kind

GOOD, BAD = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class Bifurcation(Task):
    """A chain of `horizon` tokens with pivots; fully observed.

    Attributes:
        horizon: number of steps, at least 1.
        pivots: how many pivots, or their positions.
        placement: where counted pivots go: "even" (the middles of equal parts) or "random" (by
            `seed`).
        gap: how much g moves the success probability, in [0, 1].
        base: success probability midway between good and bad, in [gap / 2, 1 - gap / 2].
        recovery: probability that the right action at a pivot turns bad into good, in [0, 1].
        noise: probability that g flips after a pivot, in [0, 1].
        num_actions: actions at every step, at least 2.
        filler_entropy: entropy, in nats, of the symbol that the environment shows after each filler
            step, in [0, ln num_actions]. It is noise that a state-indexed estimator must average
            over; 0 is none.
        num_segments: reasoning steps that the chain is cut into, at most one per token.
        discount: in [0, 1].
        seed: draws the positions if `placement` is "random".

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 32
    pivots: int | tuple[int, ...] = 1
    placement: Literal["even", "random"] = "even"
    gap: float = 0.6
    base: float = 0.5
    recovery: float = 0.0
    noise: float = 0.0
    num_actions: int = 2
    filler_entropy: float = 0.0
    num_segments: int = 8
    discount: float = 1.0
    seed: int = 0
    knob: ClassVar[str] = "horizon"

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 1)
        check_integer("num_actions", self.num_actions, 2)
        check_integer("num_segments", self.num_segments, 1)
        check_integer("seed", self.seed, 0)
        check_choice("placement", self.placement, ("even", "random"))
        for field in ("gap", "recovery", "noise", "discount"):
            check_range(field, getattr(self, field), 0.0, 1.0)
        half = self.gap / 2
        check_range("base", self.base, half, 1 - half)
        largest = math.log(self.num_actions)
        check_range("filler_entropy", self.filler_entropy, 0.0, largest)
        if isinstance(self.pivots, tuple):
            for position in self.pivots:
                check_integer("pivots (a position)", position, 0, self.horizon - 1)
            check_distinct("pivots", self.pivots)
        else:
            check_integer("pivots", self.pivots, 0, self.horizon)

    @property
    def positions(self) -> tuple[int, ...]:
        """The steps of the pivots, in order."""
        if isinstance(self.pivots, tuple):
            return tuple(sorted(self.pivots))
        if self.placement == "random":
            generator = np.random.default_rng(self.seed)
            drawn = generator.choice(self.horizon, self.pivots, replace=False)
            return tuple(sorted(drawn.tolist()))
        parts = 2 * self.pivots
        odd = range(1, parts, 2)
        return tuple(middle * self.horizon // parts for middle in odd)

    def build(self) -> MDP:
        steps = np.arange(self.horizon)
        pivot = np.isin(steps, self.positions)
        last = steps == self.horizon - 1
        code = pivot + 2 * last
        used, schedule = np.unique(code, return_inverse=True)
        rules = [self._kernel(bool(c & 1), bool(c & 2)) for c in used]
        kernels = len(used)
        states = 2 * len(self._symbols())
        segments = min(self.num_segments, self.horizon)
        identity = np.eye(states)
        nowhere = np.zeros(self.horizon, int)
        arrays = {
            "start": identity[0],
            "schedule": schedule,
            "emission": np.tile(identity, (kernels, 1, 1)),
            "terminal": np.zeros(states, bool),
            "decision": np.ones(kernels, bool),
            "kind": np.full(kernels, int(Kind.THINK)),
            "segment": steps * segments // self.horizon,
            "turn": nowhere,
            "agent": nowhere,
            "discount": np.full(kernels, float(self.discount)),
            "prompt": np.zeros(states, int),
        }
        # By NumPy, since each operation of JAX would be compiled for every horizon.
        given = {name: jnp.asarray(x) for name, x in arrays.items()}
        return MDP(**given, **table(rules))

    def _kernel(
        self,
        pivot: bool,
        pays: bool,
    ) -> dict:
        symbols = self._symbols()
        number = len(symbols)
        rows = {}
        places = itertools.product((GOOD, BAD), range(number), range(self.num_actions))
        for level, symbol, action in places:
            good = self._good_after(level, action) if pivot else float(level == GOOD)
            levels = ((GOOD, good), (BAD, 1 - good))
            shown = [(symbol, 1.0)] if pivot else list(enumerate(symbols))
            row = rows[level * number + symbol, action] = []
            for (after, p), (seen, q) in itertools.product(levels, shown):
                for reward, r in self._pay(after, pays):
                    outcome = (after * number + seen, p * q * r, reward)
                    row.append(outcome)
        return rows

    def _pay(
        self,
        level: int,
        pays: bool,
    ) -> list[tuple[float, float]]:
        """Rewards and their probabilities, by the level after the step."""
        if not pays:
            return [(0.0, 1.0)]
        half = self.gap / 2
        success = self.base + half if level == GOOD else self.base - half
        return [(1.0, success), (0.0, 1 - success)]

    def _good_after(
        self,
        level: int,
        action: int,
    ) -> float:
        if action != 0:
            good = 0.0
        elif level == GOOD:
            good = 1.0
        else:
            good = self.recovery
        stays = good * (1 - self.noise)
        turns = (1 - good) * self.noise
        return stays + turns

    def _symbols(self) -> list[float]:
        """Distribution of the filler symbol: one likely symbol, the others alike.

        It has the entropy asked for.
        """
        if self.filler_entropy == 0:
            return [1.0]
        others = rest_of_entropy(self.filler_entropy, self.num_actions)
        each = others / (self.num_actions - 1)
        return [1 - others] + [each] * (self.num_actions - 1)
