"""Which part of a method does the work: the gain of a score, shared out among its parts.

In maths: the parts of a method are the players of a game, and a coalition S is worth v(S), the
score of the method without the other parts. Each part has its null: where what makes credit is
absent, every step gets the whole return; any other part that is absent does nothing. A baseline's
mean and its deviation are two parts; without the mean, the deviation leaves out groups whose
members are equal, which have none to divide by. So the empty coalition is REINFORCE, the grand one
is the method, and part i earns its Shapley value

    phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)),

which sum to the method's gain over REINFORCE.

References:
    Shapley 1953; that a method's parts are the players is casim's own.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from casim.checks import check_integer
from casim.compare.student import MISSING, Estimate, mean
from casim.estimators import Baseline, Chain, DynamicSampling, Estimator, Sum, ToGo, Whole
from casim.methods import Method, recipe_of
from casim.oracle.moments import exact_scores, group_moments
from casim.report import Row, describe
from casim.scores.numbers import Quantity
from casim.types import MDP

MOST = 6
"""Players of which all coalitions are scored."""


class Player(NamedTuple):
    """A part of a method that can be left out."""

    name: str
    part: Estimator
    makes: bool
    """Whether it makes credit; else it changes it."""


def players(method: Method | Estimator) -> tuple[Player, ...]:
    """The parts of a method, in the order in which they run; the whole return is none.

    The arms of a sum are players each, as are a baseline's mean ("baseline") and its deviation
    ("scale"). What adds up after a source belongs to it.

    Raises:
        ValueError: no part, or more than `MOST`.
    """
    source, rest = _source(recipe_of(method))
    arms = source.parts if isinstance(source, Sum) else (source,)
    makers = [Player(_name(arm), arm, True) for arm in arms if not isinstance(arm, Whole)]
    changers = [Player(_name(part), part, False) for whole in rest for part in _split(whole)]
    found = _distinct([*makers, *changers])
    check_integer("number of parts", len(found), 1, MOST)
    return found


def coalitions(method: Method | Estimator) -> dict[frozenset[str], Estimator]:
    """What a method is with some of its parts, by the names of those that are there."""
    everyone = players(method)
    source, _ = _source(recipe_of(method))
    null = source if isinstance(source, Whole) else Whole()
    found = {}
    for size in range(len(everyone) + 1):
        for some in itertools.combinations(everyone, size):
            found[frozenset(player.name for player in some)] = _made_of(some, null)
    return found


def without_parts(methods: Iterable[Method]) -> tuple[Method, ...]:
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


def shares(worth: Mapping[frozenset[str], np.ndarray]) -> dict[str, np.ndarray]:
    """The Shapley value of each player, element by element of what coalitions are worth.

    Raises:
        ValueError: a coalition is missing.
    """
    everyone = max(worth, key=len)
    if len(worth) != 2 ** len(everyone):
        raise ValueError(f"worth must hold {2 ** len(everyone)} coalitions, got {len(worth)}")
    found = {}
    for player in everyone:
        total = np.zeros_like(worth[everyone])
        for others in worth:
            if player not in others:
                gain = worth[others | {player}] - worth[others]
                total = total + _chance(len(others), len(everyone)) * gain
        found[player] = total
    return found


def anatomy(method: Method, rows: Iterable[Row], score: str = "snr_aligned") -> dict[str, Estimate]:
    """How much of a score's gain is due to each part of a method, with 95% intervals.

    Differences are paired: coalitions of one task and seed see the same groups, so the jackknife
    leaves a block out of all of them at once.

    Args:
        method: the method.
        rows: of one task, those of `without_parts([method])` among them; others are passed over.
        score: which.

    Returns:
        By part, in the order in which they run; missing where the score of any coalition is.

    Raises:
        ValueError: a coalition has no row, or rows are of several settings.
    """
    wanted = {_text(describe(recipe)): some for some, recipe in coalitions(method).items()}
    by_seed: dict[int, dict[frozenset[str], Quantity]] = {}
    settings = set()
    for row in rows:
        present = wanted.get(_text(row.estimator))
        if present is None:
            continue
        sizes = (row.num_prompts, row.num_trajectories, row.share)
        settings.add(_text([row.task, row.policy, row.judge, row.behaviour, sizes]))
        value = row.scores[score].value if score in row.scores else np.nan
        left_out = row.left_out.get(score, [])
        by_seed.setdefault(row.seed, {})[present] = np.array([value, *left_out], float)
    if len(settings) != 1:
        raise ValueError(f"rows must be of one task, policy and size, got {len(settings)} of them")
    each = [_complete(method, worth, len(wanted)) for worth in by_seed.values()]
    return {player.name: _estimate([s[player.name] for s in each]) for player in players(method)}


def exact_anatomy(
    method: Method | Estimator,
    mdp: MDP,
    policy: Any,
    num: int,
    score: str = "snr_aligned",
    **settings: Any,
) -> dict[str, float]:
    """`anatomy` without sampling, where every coalition can be enumerated.

    Args:
        method: the method; all of its parts draw nothing.
        mdp: a world whose trajectories can be listed.
        policy: the table `[M, O, A]`.
        num: N, the group size.
        score: which, of `casim.oracle.moments.exact_scores`.
        **settings: of `casim.oracle.moments.group_moments`: `sees`, `num_prompts`, ...

    Raises:
        ValueError: as `group_moments`.
    """
    worth = {}
    for present, recipe in coalitions(method).items():
        moments = group_moments(mdp, policy, recipe, num, **settings)
        worth[present] = np.array(exact_scores(mdp, policy, moments)[score])
    found = shares(worth)
    return {player.name: float(found[player.name]) for player in players(method)}


def _complete(
    method: Method, worth: Mapping[frozenset[str], Quantity], number: int
) -> dict[str, Quantity]:
    """The shares of one seed; all missing where one is."""
    if len(worth) != number:
        wanted = f"one for each of the {number} coalitions of {method.name}"
        raise ValueError(f"rows must hold {wanted}, got {len(worth)}")
    if not all(np.isfinite(value).all() for value in worth.values()):
        return {player.name: np.full(2, np.nan) for player in players(method)}
    return shares(worth)


def _text(described: Any) -> str:
    """A described recipe as one string."""
    return json.dumps(described, sort_keys=True)


def _estimate(independent: Sequence[Quantity]) -> Estimate:
    if not all(np.isfinite(value).all() for value in independent):
        return MISSING
    return mean(independent)


def _chance(size: int, number: int) -> float:
    """That a coalition of so many comes before a player in a random order of all."""
    return math.factorial(size) * math.factorial(number - size - 1) / math.factorial(number)


def _made_of(some: Sequence[Player], null: Estimator) -> Estimator:
    """The method with these parts alone."""
    makers = [player.part for player in some if player.makes] or [null]
    source = Sum(*makers) if len(makers) > 1 else makers[0]
    parts: list[Estimator] = [source]
    changers = [player.part for player in some if not player.makes]
    for part, after in itertools.zip_longest(changers, changers[1:]):
        parts.append(part)
        if _scales_alone(part, after):
            parts.append(DynamicSampling(max_batches=1))
    return Chain(*parts)


def _scales_alone(part: Estimator, after: Estimator | None) -> bool:
    """Whether this is a deviation whose mean is not there: it is the next part where it is."""
    if not isinstance(part, Baseline) or part.centre:
        return False
    return not isinstance(after, Baseline)


def _source(recipe: Estimator) -> tuple[Estimator, list[Estimator]]:
    """What makes credit, and the parts after it."""
    first, *rest = _flat(recipe)
    while rest and isinstance(rest[0], ToGo | Whole):
        first = Chain(first, rest.pop(0))
    return first, rest


def _flat(recipe: Estimator) -> list[Estimator]:
    """The parts of a chain, those of chains in it among them."""
    if not isinstance(recipe, Chain):
        return [recipe]
    return [part for member in recipe.parts for part in _flat(member)]


def _split(part: Estimator) -> list[Estimator]:
    """A baseline's deviation, then its mean.

    In this order, the deviation is that of the same values as in the whole.
    """
    if isinstance(part, Baseline) and part.centre and part.scale:
        scale = dataclasses.replace(part, centre=False)
        return [scale, dataclasses.replace(part, scale=False)]
    return [part]


def _name(part: Estimator) -> str:
    if isinstance(part, Baseline):
        return "scale" if part.scale else "baseline"
    if isinstance(part, Chain):
        return " ".join(_name(member) for member in part.parts)
    return type(part).__name__


def _distinct(found: Sequence[Player]) -> tuple[Player, ...]:
    """Players whose names differ: the second of a name is called so."""
    names = [player.name for player in found]
    out = []
    for place, player in enumerate(found):
        before = names[:place].count(player.name)
        out.append(player._replace(name=f"{player.name} {before + 1}" if before else player.name))
    return tuple(out)
