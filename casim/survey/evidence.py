"""What kind of evidence a recipe's credit is: the tier of its claims, from the parts that make it.

A contrast is as good as the worst part that makes it. Parts that only rearrange what others earned
add nothing of their own.

References:
    Zhang 2026, arXiv:2604.09459 (the four tiers; which part of casim is in which is casim's).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from casim import estimators as parts
from casim.estimators import Estimator
from casim.survey.tiers import TIERS
from casim.types import Replay

MODELS = (
    parts.Hindsight,
    parts.Contribution,
    parts.ReturnHindsight,
    parts.ByHindsight,
    parts.Pointwise,
    parts.Redistributed,
    parts.Distilled,
    parts.ReturnDifferences,
    parts.AdditiveMixing,
    parts.MonotoneMixing,
    parts.Foresight,
    parts.SyntheticReturns,
)
"""What scores again in hindsight, or shares a return out by a fit: a model of what is missing."""
HINDSIGHT = ("posterior", "state_contribution", "reward_contribution", "feature_contribution")
"""Names of judges that look back from the outcome: a model of it, no score."""
WHOLE = (parts.LessGreedy, parts.TwinCritics)
"""What goes back, but to the prompt, or to fit a critic by temporal differences."""
PROXIES = (
    parts.ImplicitReward,
    parts.LogRatio,
    parts.Contrast,
    parts.PairWeight,
    parts.TopEntropy,
    parts.Surprised,
    parts.BySurprisal,
    parts.PoolByEntropy,
    parts.Unlikely,
)
"""Log-ratios, and weights by how likely or uncertain a step was."""
OBSERVED = (
    parts.Gae,
    parts.GaeNetwork,
    parts.UnitGae,
    parts.BilevelGae,
    parts.VTrace,
    parts.Retrace,
    parts.Promise,
    parts.TwinCritics,
    parts.DirectAdvantage,
    parts.Extremes,
)
"""Values and advantages that are learned from the log, and pairs in it."""
MATCHED = (
    parts.PrefixGain,
    parts.ShortestPath,
    parts.NodeGain,
    parts.ActionValues,
)
"""What compares those who came to the same place."""
SAME_PLACE = ("anchor", "state", "prefix")
"""Peers of `Baseline` who came to the same place."""
MASKS = (
    parts.NotLastTurn,
    parts.DynamicSampling,
    parts.ByValue,
    parts.TopGroups,
    parts.TopEntropy,
    parts.Unlikely,
    parts.Nonzero,
    parts.Agreeing,
    parts.Only,
)
"""What keeps some steps in the loss and leaves others out."""
WEIGHTS = (
    parts.OverLength,
    parts.OverConstant,
    parts.OverUnitLength,
    parts.Ratio,
    parts.Traces,
    parts.Surprised,
    parts.Aligned,
    parts.AllDecisions,
    parts.Forks,
)
"""What weighs steps in the loss."""


def members(recipe: Any) -> Iterator[Estimator]:
    """A recipe and every estimator in its settings, however deep."""
    if isinstance(recipe, tuple):
        for item in recipe:
            yield from members(item)
    elif dataclasses.is_dataclass(recipe) and not isinstance(recipe, type):
        if isinstance(recipe, Estimator):
            yield recipe
        for field in dataclasses.fields(recipe):
            yield from members(getattr(recipe, field.name))


def tier_of(recipe: Estimator, replay: Replay | None = None) -> str:
    """The tier of a recipe's claims: the weakest of its parts'.

    Args:
        recipe: parts.
        replay: how well the world goes back to a step; None restores exactly.
    """
    found = [_tier(part, replay or Replay()) for part in members(recipe)]
    weakest = max(filter(None, found), default=2)
    return TIERS[weakest - 1]


def _tier(part: Estimator, replay: Replay) -> int | None:
    """1 to 4; None of a part that only rearranges, or is made of parts."""
    if isinstance(part, MODELS):
        return 3
    if isinstance(part, PROXIES):
        return 4
    if _asks(part):
        return 3 if part.judges <= set(HINDSIGHT) else 4
    if _restores(part):
        # What is hidden and not restored is only matched, by what was seen.
        return 1 if replay.noise == 0 else 2
    return None


def _restores(part: Estimator) -> bool:
    """Whether it goes back to the state before a decision and plays another branch from there."""
    return "reset" in _own(part) and not isinstance(part, WHOLE)


def _own(part: Estimator) -> frozenset[str]:
    """What a part needs itself; of one that is made of parts, nothing."""
    made = [inner for inner in members(part) if inner is not part]
    return frozenset() if made else part.needs


def _asks(part: Estimator) -> bool:
    """Whether its credit is a judge's word.

    A judge that chooses where to fork, or is a baseline that cannot bias, is not.
    """
    if isinstance(part, parts.Forks):
        return False
    if isinstance(part, parts.Alternatives):
        return part.signal == "value"
    if isinstance(part, parts.JudgedValues | parts.JudgedComponents | parts.Apportion):
        return True
    return "judge" in _own(part)


def state_of(recipe: Estimator) -> str:
    """How the state before the decision is had, one of `casim.survey.tiers.STATES`."""
    found = list(members(recipe))
    if "privileged" in recipe.needs:
        return "latent"
    if goes_back(recipe):
        return "restored"
    return "matched" if any(map(_matches, found)) else "observed"


def goes_back(recipe: Estimator) -> bool:
    """Whether any part restores the state before a decision."""
    return any(map(_restores, members(recipe)))


def _matches(part: Estimator) -> bool:
    if isinstance(part, parts.Baseline):
        return part.peers in SAME_PLACE
    return isinstance(part, MATCHED)


def source_of(recipe: Estimator) -> str:
    """How the alternative branch is made, one of `casim.survey.tiers.SOURCES`."""
    if tier_of(recipe) in TIERS[2:]:
        return "model proxy"
    if state_of(recipe) == "restored":
        return "environment restore"
    if recipe.needs & {"group", "critic"}:
        return "log matching"
    return "none"


def interface_of(recipe: Estimator) -> tuple[str, ...]:
    """Where the credit enters training: always the advantage, and what else its parts set."""
    found = list(members(recipe))
    doors = ["advantage"]
    if any(isinstance(part, MASKS) for part in found):
        doors.append("mask")
    if any(isinstance(part, WEIGHTS) for part in found):
        doors.append("loss weight")
    return tuple(doors)
