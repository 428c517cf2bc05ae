"""Estimators made of estimators: one after the other, or side by side.

In maths: `Chain(f, g)` gives g(f(r)), with r the reward, of weight 1 where the policy decides.
`Sum(f, g)` gives the values f(r) + g(r), and what both cost.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterable
from typing import Any, final

import jax

from casim.estimators.base import Estimator, add_costs
from casim.targets import Target
from casim.types import Credit


class _Compound(Estimator):
    """What is made of parts: their needs together, and the taxonomy of the first."""

    parts: tuple[Estimator, ...]

    @property
    def _first(self) -> Estimator:
        return self.parts[0]

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset().union(*(part.needs for part in self.parts))

    @property
    def granularity(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._first.granularity

    @property
    def methodology(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._first.methodology

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._first.target

    @property
    def judges(self) -> frozenset[str]:
        return frozenset().union(*(part.judges for part in self.parts))

    @property
    def ratio_weighted(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(part.ratio_weighted for part in self.parts)

    @property
    def stateful(self) -> bool:
        return any(part.stateful for part in self.parts)

    def init(self, key, world) -> tuple:
        keys = jax.random.split(key, len(self.parts))
        pairs = zip(self.parts, keys, strict=True)
        return tuple(part.init(key, world) for part, key in pairs)

    def _states(
        self,
        state: Any,
    ) -> Iterable[Any]:
        """One for each part; what learns nothing may have been given nothing."""
        return state if state else ((),) * len(self.parts)


def _check_parts(
    parts: Any,
) -> tuple[Estimator, ...]:
    """The parts of a compound.

    Raises:
        ValueError: none, or one that is no estimator.
    """
    if not parts:
        raise ValueError("parts must hold at least one estimator, got none")
    for part in parts:
        if not isinstance(part, Estimator):
            raise ValueError(f"parts must hold estimators, got {part!r}")
    return tuple(parts)


@final
@dataclasses.dataclass(frozen=True, init=False)
class Chain(_Compound):
    """Parts one after the other: each is handed the credit of the one before.

    `Chain(Whole(), Baseline())` is Dr. GRPO. Its taxonomy is that of the first part.

    Attributes:
        parts: estimators, at least one.

    Raises:
        ValueError: no parts, or one that is no estimator.
    """

    parts: tuple[Estimator, ...]

    def __init__(
        self,
        *members: Estimator,
        parts: tuple[Estimator, ...] = (),
    ) -> None:
        # By name too, as `dataclasses.replace` and rows give them.
        object.__setattr__(self, "parts", _check_parts((*members, *parts)))

    def __call__(self, key, world, batch, credit, state):
        keys = _keys(key, len(self.parts))
        after = []
        for part, own, before in zip(self.parts, keys, self._states(state), strict=True):
            given, now = part(own, world, batch, credit, before)
            credit = _known(credit, given)
            after.append(now)
        return credit, tuple(after)


@final
@dataclasses.dataclass(frozen=True, init=False)
class Sum(_Compound):
    """Parts side by side: each is handed the same credit, and their values and costs add up.

    The weights must agree, since one step has one weight: they are those of the first part.

    Attributes:
        parts: estimators, at least one.

    Raises:
        ValueError: no parts, or one that is no estimator.
    """

    parts: tuple[Estimator, ...]

    def __init__(
        self,
        *members: Estimator,
        parts: tuple[Estimator, ...] = (),
    ) -> None:
        object.__setattr__(self, "parts", _check_parts((*members, *parts)))

    def __call__(self, key, world, batch, credit, state):
        keys = _keys(key, len(self.parts))
        each, after = [], []
        for part, own, before in zip(self.parts, keys, self._states(state), strict=True):
            given, now = part(own, world, batch, credit, before)
            each.append(given)
            after.append(now)
        value = functools.reduce(operator.add, [given.value for given in each])
        # What was handed in was paid for once.
        extra = [jax.tree.map(operator.sub, given.cost, credit.cost) for given in each]
        total = add_costs(credit.cost, *extra)
        return Credit(value, each[0].weight, total), tuple(after)


def _known(
    before: Credit,
    after: Credit,
) -> Credit:
    """What a part gave, without what it did not say anew of another value."""
    changed = after.value is not before.value
    if changed and after.whole is before.whole:
        return after._replace(whole=None)
    return after


def parts_of(
    estimator: Estimator,
) -> tuple[Estimator, ...]:
    """What an estimator is made of, however deep, in order; a part is made of itself."""
    if not isinstance(estimator, Chain | Sum):
        return (estimator,)
    return tuple(itertools.chain.from_iterable(map(parts_of, estimator.parts)))


def _keys(
    key,
    num: int,
):
    """A key for each part; that of a single one is the key itself, as if it stood alone."""
    return [key] if num == 1 else list(jax.random.split(key, num))
