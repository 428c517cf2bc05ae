"""Which part of a method does the work: the gain of a score, shared out among its parts.

In maths: the parts of a method are the players of a game, and a coalition S is worth v(S), the
score of the method without the other parts, see `casim.compare.parts`. The empty coalition is
REINFORCE, the grand one is the method, and part i earns its Shapley value

    phi_i = sum_{S without i} |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)),

which sum to the method's gain over REINFORCE.

References:
    Shapley 1953; that a method's parts are the players is casim's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from casim.compare.parts import coalitions, players
from casim.compare.student import MISSING, Estimate, mean
from casim.estimators import Estimator
from casim.methods import Method
from casim.oracle.moments import exact_scores, group_moments
from casim.report import Row, describe
from casim.scores.numbers import Quantity
from casim.types import MDP

Worth = dict[frozenset[str], Quantity]
"""A score of every coalition, then without each block."""


def shares(worth: Mapping[frozenset[str], np.ndarray]) -> dict[str, np.ndarray]:
    """The Shapley value of each player, element by element of what coalitions are worth.

    Raises:
        ValueError: a coalition is missing.
    """
    everyone = max(worth, key=len)
    number = len(everyone)
    if len(worth) != 2**number:
        raise ValueError(f"worth must hold {2**number} coalitions, got {len(worth)}")
    found = {}
    for player in everyone:
        total = np.zeros_like(worth[everyone])
        for others in worth:
            if player not in others:
                gain = worth[others | {player}] - worth[others]
                chance = _chance(len(others), number)
                total = total + chance * gain
        found[player] = total
    return found


def anatomy(
    method: Method,
    rows: Iterable[Row],
    score: str = "snr_aligned",
) -> dict[str, Estimate]:
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
    by_seed = _worths(method, rows, score)
    number = len(coalitions(method))
    worths = by_seed.values()
    each = [_complete(method, worth, number) for worth in worths]
    found = {}
    for player in players(method):
        own = [share[player.name] for share in each]
        found[player.name] = _estimate(own)
    return found


def _worths(
    method: Method,
    rows: Iterable[Row],
    score: str,
) -> dict[int, Worth]:
    """What the coalitions that have rows are worth, by seed."""
    wanted = {}
    for present, recipe in coalitions(method).items():
        described = _text(describe(recipe))
        wanted[described] = present
    by_seed: dict[int, Worth] = {}
    settings = set()
    for row in rows:
        present = wanted.get(_text(row.estimator))
        if present is None:
            continue
        settings.add(_setting(row))
        worth = by_seed.setdefault(row.seed, {})
        worth[present] = _quantity(row, score)
    if len(settings) != 1:
        wanted_setting = "one task, policy and size"
        raise ValueError(f"rows must be of {wanted_setting}, got {len(settings)} of them")
    return by_seed


def _setting(row: Row) -> str:
    """What coalitions must share to be compared."""
    recipes = [row.task, row.policy, row.judge, row.behaviour]
    sizes = [row.num_prompts, row.num_trajectories, row.share]
    return _text([*recipes, sizes])


def _quantity(row: Row, score: str) -> Quantity:
    """A score of a row, then without each block; NaN where it is missing."""
    if score not in row.scores:
        return np.array([np.nan])
    value = row.scores[score].value
    left_out = row.left_out.get(score, [])
    return np.array([value, *left_out], float)


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
        scores = exact_scores(mdp, policy, moments)
        worth[present] = np.array([scores[score]])
    found = shares(worth)
    names = [player.name for player in players(method)]
    return {name: found[name].item() for name in names}


def _complete(
    method: Method,
    worth: Mapping[frozenset[str], np.ndarray],
    number: int,
) -> dict[str, np.ndarray]:
    """The shares of one seed; all missing where one is.

    What is missing was not measured without each block, so lengths may differ.
    """
    if len(worth) != number:
        wanted = f"one for each of the {number} coalitions of {method.name}"
        raise ValueError(f"rows must hold {wanted}, got {len(worth)}")
    missing = [not np.isfinite(value).all() for value in worth.values()]
    if any(missing):
        names = [player.name for player in players(method)]
        return {name: np.full(2, np.nan) for name in names}
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
    before = math.factorial(size)
    after = math.factorial(number - size - 1)
    return before * after / math.factorial(number)
