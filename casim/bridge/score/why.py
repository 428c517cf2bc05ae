"""Why credit is not that of a method: which small change of it would make the numbers agree.

Every hypothesis is tried on all batches: the method on a changed batch (no mask, other groups,
rewards elsewhere), its credit changed (another sign, one token later), or another recipe. What
agrees on every batch where the two differ is told; where nothing does, the first token is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from casim.bridge.score.asked import OfFunction, OfMethod
from casim.bridge.score.rules import NEARLY, same
from casim.bridge.score.samples import Fields, Sample, last_token
from casim.bridge.score.verdicts import number
from casim.estimators import Baseline, Chain, Gae, ToGo
from casim.estimators.chain import parts_of
from casim.methods import (
    DR_GRPO_VERL,
    GAE_OPENRLHF,
    GAE_SKYRL,
    GAE_VERL,
    GRPO_OPENRLHF,
    GRPO_SPO,
    GRPO_TRL,
    GRPO_TRL_BATCH,
    GRPO_VERL,
    OPO,
    REINFORCE,
    REINFORCE_PP_BASELINE,
    REINFORCE_PP_OPENRLHF,
    REINFORCE_PP_VERL,
    REINFORCE_PP_VERL_CARRIED,
    REWARD_TO_GO,
    RLOO,
    RLOO_VERL_VECTORIZED,
    Method,
)

AGREE = 1e-5
"""Credits that differ by less than this share of the largest agree."""
RIVALS: tuple[Method, ...] = (
    GRPO_VERL,
    GRPO_TRL,
    GRPO_TRL_BATCH,
    GRPO_OPENRLHF,
    GRPO_SPO,
    DR_GRPO_VERL,
    RLOO,
    RLOO_VERL_VECTORIZED,
    OPO,
    REINFORCE,
    REWARD_TO_GO,
    REINFORCE_PP_VERL,
    REINFORCE_PP_VERL_CARRIED,
    REINFORCE_PP_OPENRLHF,
    REINFORCE_PP_BASELINE,
    GAE_VERL,
    GAE_OPENRLHF,
    GAE_SKYRL,
)
"""Methods that a function may be instead of the one that it claims to be."""

Credits = Float[np.ndarray, "R T"]
Change = Callable[[Fields], Fields]


def _without_mask(fields: Fields) -> Fields:
    """Every token of the rollout is the policy's."""
    return {"decision": fields["live"]}


def _padding_counts(fields: Fields) -> Fields:
    """Padding is tokens of the policy too."""
    there = ~fields["absent"][..., None]
    every = np.broadcast_to(there, fields["live"].shape)
    return {"live": every, "decision": every}


def _masked_rewards_lost(fields: Fields) -> Fields:
    """Rewards on tokens outside the mask are dropped."""
    return {"reward": fields["reward"] * fields["decision"]}


def _one_later(fields: Fields) -> Fields:
    """A token's own reward is not its own: each is earned one token of the policy earlier."""
    return {"reward": _moved(fields, -1)}


def _one_earlier(fields: Fields) -> Fields:
    """The opposite."""
    return {"reward": _moved(fields, 1)}


def _last_column(fields: Fields) -> Fields:
    """The outcome is read in the last column."""
    reward = np.zeros_like(fields["reward"])
    last = fields["reward"][..., -1:]
    return {"reward": np.where(last_token(fields), last, reward)}


def _last_column_lost(fields: Fields) -> Fields:
    """What is earned in the last column is dropped."""
    reward = fields["reward"].copy()
    reward[..., -1] = 0.0
    return {"reward": reward}


def _not_reset(fields: Fields) -> Fields:
    """What later rows of the batch earn is earned by the last token of each row as well."""
    outcome = (fields["reward"] * fields["decision"]).sum(axis=-1)
    flat = outcome.ravel()
    later = flat[::-1].cumsum()[::-1] - flat
    more = later.reshape(outcome.shape)[..., None] * _last_decision(fields)
    return {"reward": fields["reward"] + more}


def _last_decision(fields: Fields) -> np.ndarray:
    decided = fields["live"] & fields["decision"]
    from_here = decided[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return decided & (from_here == 1)


def _moved(
    fields: Fields,
    by: int,
) -> np.ndarray:
    """Rewards of the policy's tokens moved along them; what is moved out of the row is lost."""
    decided = fields["live"] & fields["decision"]
    reward = fields["reward"].copy()
    for place in np.ndindex(decided.shape[:2]):
        (where,) = np.nonzero(decided[place])
        own = reward[place][where]
        after = np.zeros_like(own)
        if by > 0:
            after[by:] = own[:-by]
        else:
            after[:by] = own[-by:]
        reward[(*place, where)] = after
    return reward


def _bootstrapped(fields: Fields) -> Fields:
    """What the critic says of the first place after the row is earned at its end."""
    after = np.zeros_like(fields["value"])
    after[..., :-1] = fields["value"][..., 1:]
    return {"reward": fields["reward"] + after * last_token(fields)}


CHANGES: dict[str, Change] = {
    "the mask is ignored: tokens of tools count as the policy's": _without_mask,
    "the mask is ignored: padding counts as the policy's tokens": _padding_counts,
    "rewards on tokens outside the mask are lost": _masked_rewards_lost,
    "off by one: a token's own reward is not in its return": _one_later,
    "off by one: rewards are read one token late": _one_earlier,
    "the outcome is read in the last column, where padding may be": _last_column,
    "the reward in the last column is lost": _last_column_lost,
    "the running return is not reset between rows": _not_reset,
    "the critic's value of padding is bootstrapped from": _bootstrapped,
}
"""What a function may do to its batch, by the line that says so."""


def told(
    asked: OfFunction,
    claimed: OfMethod,
    works: list[Sample],
    first: Sample,
) -> str:
    """The reason, in a line.

    Args:
        asked: the function.
        claimed: the method that it is not.
        works: the batches on which it gives credit.
        first: the smallest on which it differs.
    """
    name = claimed.method.name
    came = {sample.name: asked(sample) for sample in works}

    def explains(guess: Callable[[Sample], Credits]) -> bool:
        """Whether a guess gives what came on every batch of several rows a group."""
        company = [sample for sample in works if min(sample.sizes) > 1]
        chosen = company or works
        return all(_agree(guess(sample), came[sample.name], sample) for sample in chosen)

    if explains(claimed):
        return f"only groups of one differ: {_first_token(claimed, came[first.name], first)}"
    if explains(lambda sample: -claimed(sample)):
        return f"the sign is wrong: the numbers are those of {name}, negative"
    for line, change in CHANGES.items():
        if explains(lambda sample, change=change: claimed(sample.mistaken(change))):
            return f"{line}: so changed, the batch gives these numbers by {name}"
    factor = _factor(claimed, came, works)
    if factor is not None:
        return f"the credit is {number(factor)} times that of {name}"
    for line, recipe in _variants(claimed).items():

        def guess(
            sample: Sample,
            recipe: Chain = recipe,
        ) -> Credits:
            return OfMethod.of_recipe(recipe, sample)

        if explains(guess):
            return line
        for also, change in CHANGES.items():
            if explains(lambda sample, change=change, guess=guess: guess(sample.mistaken(change))):
                return f"{line}; and {also}"
    said = _first_token(claimed, came[first.name], first)
    return f"{said}; no known mistake gives these numbers"


def _agree(
    guess: Credits,
    came: Credits,
    sample: Sample,
) -> bool:
    mask = sample.rows.mask
    # As where the function is compared with the method itself.
    share = AGREE if guess[mask].any() else NEARLY
    return same(guess[mask], came[mask], share)


def _factor(
    claimed: OfMethod,
    came: dict[str, Credits],
    works: list[Sample],
) -> float | None:
    """The one number that the credit of the method is multiplied by on all batches, if any."""
    right = np.concatenate([claimed(sample)[sample.rows.mask] for sample in works])
    found = np.concatenate([came[sample.name][sample.rows.mask] for sample in works])
    square = float((right**2).sum())
    if square == 0 or not np.isfinite(found).all():
        return None
    factor = float((found * right).sum()) / square
    return factor if factor != 0 and same(found, factor * right, AGREE) else None


def _variants(claimed: OfMethod) -> dict[str, Chain]:
    """Other recipes, by the line that says that the function is one."""
    name = claimed.method.name
    parts = parts_of(claimed.method.recipe)
    found: dict[str, Chain] = {}
    for index, part in enumerate(parts):
        before, after = parts[:index], parts[index + 1 :]
        for line, changes in _SETTINGS.get(type(part), {}).items():
            other = _with(part, **changes)
            if other is not None:
                found[f"{line}, and else it is {name}"] = Chain(*before, other, *after)
        if isinstance(part, Baseline):
            found[f"a step of {name} is missing: {part!r}"] = Chain(*before, *after)
    for rival in RIVALS:
        kin = rival.methodology == claimed.method.methodology
        if kin and rival is not claimed.method:
            found[f"it is {rival.name}, not {name}"] = Chain(rival.recipe)
    return found


_BASELINES: dict[str, dict[str, Any]] = {
    "the labels of prompts are ignored: the whole batch is one group": {"peers": "batch"},
    "the deviation is the batch's": {"scale": True, "scale_over": "batch"},
    "the deviation is of the population, not of a sample": {"ddof": 0},
    "the deviation is of a sample, not of the population": {"ddof": 1},
    "it does not divide by the deviation": {"scale": False},
    "it divides by the deviation": {"scale": True},
    "a rollout is its own peer": {"own": True},
    "a rollout is left out of its own baseline": {"own": False},
    "the mean is not taken off": {"centre": False},
    "tokens have votes, not rollouts": {"votes": "step"},
    "rollouts have votes, not tokens": {"votes": "trajectory"},
}
"""What may be another setting of a baseline, by the line that says so."""
_GAPS = {
    "tokens of tools are steps with values of their own": {"gaps": "count"},
    "tokens of tools are no steps": {"gaps": "skipped"},
    "tokens of tools are steps of value 0": {"gaps": "zeroed"},
}
_GAES: dict[str, dict[str, Any]] = {
    **_GAPS,
    "lambda is 0.95": {"lambda_": 0.95},
    "lambda is 0": {"lambda_": 0.0},
}
_TO_GO: dict[str, dict[str, Any]] = {
    **{line: changes for line, changes in _GAPS.items() if changes["gaps"] != "zeroed"},
    "the return starts anew at tokens of tools": {"gaps": "reset"},
}
_SETTINGS: dict[type, dict[str, dict[str, Any]]] = {
    Baseline: _BASELINES,
    Gae: _GAES,
    ToGo: _TO_GO,
}


def _with(
    part: Any,
    **changes: Any,
) -> Any:
    """The part with other settings, None where it has them already or they do not fit."""
    if all(getattr(part, name) == value for name, value in changes.items()):
        return None
    try:
        return dataclasses.replace(part, **changes)
    except ValueError:
        return None


def _first_token(
    claimed: OfMethod,
    came: Credits,
    sample: Sample,
) -> str:
    """Where the credit is another first."""
    right = claimed(sample)
    size = max(1.0, np.abs(right).max())
    # What is no number agrees with nothing.
    agree = np.abs(came - right) <= AGREE * size
    wrong = sample.rows.mask & ~agree
    rows, steps = np.nonzero(wrong)
    row, step = int(rows[0]), int(steps[0])
    got, wanted = number(came[row, step]), number(right[row, step])
    return f"row {row}, token {step}: {got} came, {wanted} is right"
