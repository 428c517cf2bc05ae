"""The parts of a method as players: which there are, and what the method is without some of them.

Each part has its null: where what makes credit is absent, every step gets the whole return; any
other part that is absent does nothing. A baseline's mean and its deviation are two parts; without
the mean, the deviation leaves out groups whose members are equal, which have none to divide by. So
the empty coalition is REINFORCE, and the grand one is the method.

References:
    That a method's parts are players is casim's own.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from casim.checks import check_integer
from casim.estimators import Baseline, Chain, DynamicSampling, Estimator, Sum, ToGo, Whole
from casim.methods import Method, recipe_of

MOST = 6
"""Players of which all coalitions are scored."""


class Player(NamedTuple):
    """A part of a method that can be left out."""

    name: str
    part: Estimator
    makes: bool
    """Whether it makes credit; else it changes it."""


def players(
    method: Method | Estimator,
) -> tuple[Player, ...]:
    """The parts of a method, in the order in which they run; the whole return is none.

    The arms of a sum are players each, as are a baseline's mean ("baseline") and its deviation
    ("scale"). What adds up after a source belongs to it.

    Raises:
        ValueError: no part, or more than `MOST`.
    """
    source, rest = _source(recipe_of(method))
    arms = source.parts if isinstance(source, Sum) else (source,)
    made = [arm for arm in arms if not isinstance(arm, Whole)]
    changed = [part for whole in rest for part in _split(whole)]
    makers = [Player(_name(arm), arm, makes=True) for arm in made]
    changers = [Player(_name(part), part, makes=False) for part in changed]
    named = _distinct([*makers, *changers])
    check_integer("number of parts", len(named), 1, MOST)
    return named


def coalitions(
    method: Method | Estimator,
) -> dict[frozenset[str], Estimator]:
    """What a method is with some of its parts, by the names of those that are there."""
    everyone = players(method)
    source, _ = _source(recipe_of(method))
    null = source if isinstance(source, Whole) else Whole()
    found = {}
    for size in range(len(everyone) + 1):
        for some in itertools.combinations(everyone, size):
            present = frozenset(player.name for player in some)
            found[present] = _made_of(some, null)
    return found


def without_parts(
    methods: Iterable[Method],
) -> tuple[Method, ...]:
    """What a study must score for the `anatomy` of these methods: each coalition once.

    They are named after the first method that has them, and the parts that are there.
    """
    named: dict[Estimator, Method] = {}
    for method in methods:
        order = [player.name for player in players(method)]
        for present, recipe in coalitions(method).items():
            parts = " + ".join(name for name in order if name in present)
            name = f"{method.name}: {parts or 'no part'}"
            named.setdefault(recipe, Method(name, recipe, method.reference))
    return tuple(named.values())


def _made_of(
    some: Sequence[Player],
    null: Estimator,
) -> Estimator:
    """The method with these parts alone."""
    makers = [player.part for player in some if player.makes] or [null]
    source = Sum(*makers) if len(makers) > 1 else makers[0]
    changers = [player.part for player in some if not player.makes]
    parts: list[Estimator] = [source]
    for part, after in itertools.zip_longest(changers, changers[1:]):
        parts.append(part)
        if _scales_alone(part, after):
            parts.append(DynamicSampling(max_batches=1))
    return Chain(*parts)


def _scales_alone(
    part: Estimator,
    after: Estimator | None,
) -> bool:
    """Whether this is a deviation whose mean is not there: it is the next part where it is."""
    if not isinstance(part, Baseline) or part.centre:
        return False
    return not isinstance(after, Baseline)


def _source(
    recipe: Estimator,
) -> tuple[Estimator, list[Estimator]]:
    """What makes credit, and the parts after it."""
    first, *rest = _flat(recipe)
    while rest and isinstance(rest[0], ToGo | Whole):
        first = Chain(first, rest.pop(0))
    return first, rest


def _flat(
    recipe: Estimator,
) -> list[Estimator]:
    """The parts of a chain, those of chains in it among them."""
    if not isinstance(recipe, Chain):
        return [recipe]
    return [part for member in recipe.parts for part in _flat(member)]


def _split(
    part: Estimator,
) -> list[Estimator]:
    """A baseline's deviation, then its mean.

    In this order, the deviation is that of the same values as in the whole.
    """
    if isinstance(part, Baseline) and part.centre and part.scale:
        scale = dataclasses.replace(part, centre=False)
        return [scale, dataclasses.replace(part, scale=False)]
    return [part]


def _name(
    part: Estimator,
) -> str:
    if isinstance(part, Baseline):
        return "scale" if part.scale else "baseline"
    if isinstance(part, Chain):
        return " ".join(_name(member) for member in part.parts)
    return type(part).__name__


def _distinct(
    found: Sequence[Player],
) -> tuple[Player, ...]:
    """Players whose names differ: the second of a name is called so."""
    met: dict[str, int] = {}
    named = []
    for player in found:
        met[player.name] = met.get(player.name, 0) + 1
        number = met[player.name]
        name = f"{player.name} {number}" if number > 1 else player.name
        named.append(player._replace(name=name))
    return tuple(named)
