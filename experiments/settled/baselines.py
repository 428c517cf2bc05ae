"""Who is in the mean: turns, rows, runs that were cut off, steps or states."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from casim import methods
from casim.estimators import Baseline, Chain, ToGo, Whole
from casim.oracle.moments import by_reward, group_moments, precise_truth
from casim.tasks import ToolChain
from casim.types import Credit
from settled.found import (
    DIRECTION,
    SAME,
    Dispute,
    Found,
    Setting,
    direction,
    scores,
    settle,
)
from settled.worlds import STOP, built, constant, stopping

PAYS = (0.0, 2.0, 1.0, 3.0)
"""What stopping pays at each turn."""
GOING = 0.5
"""What a turn pays that is not the last."""
OTHERS = Baseline("turn", own=False, single="raw")
OTHERS_ENDED = Baseline("turn", own=False, single="raw", ended="zero")


def turn_baseline() -> Found:
    """Baselines per turn, on trajectories that end and on equally long ones."""
    rules = {
        "mean of who is alive, oneself included": Chain(ToGo(), Baseline("turn")),
        "mean of the others alive, raw return if alone": methods.TURN_LOO,
        "... 0 if alone": Chain(ToGo(), Baseline("turn", own=False)),
        "mean of all, who ended counts 0": Chain(ToGo(), Baseline("turn", ended="zero")),
        "mean of the others, who ended counts 0": Chain(ToGo(), OTHERS_ENDED),
        "reward of the turn less the others', then summed": Chain(OTHERS_ENDED, ToGo()),
    }
    ends, lasts = (stopping(*PAYS, going=GOING, ends=x) for x in (True, False))
    rows = {}
    for name, rule in rules.items():
        unequal, equal = (scores(x, rule, 3, by_reward) for x in (ends, lasts))
        excess = stop_excess(ends, rule)
        cells = [*direction(unequal)[:2], excess, *direction(equal)[:2]]
        rows[name] = cells
    own, loo, alone, padded, others, summed = (row for row in rows.values())
    numbers = {
        "own": own[1],
        "alone": alone[1],
        "padded": padded[0],
        "summed": summed[1],
        "excess": summed[2],
        "predicted": predicted_excess(),
        "equal": min(row[4] for row in rows.values()),
    }
    unbiased = max(abs(1 - loo[1]), abs(1 - others[1]), abs(1 - loo[0])) < SAME
    columns = ("slope", "cosine", "excess on STOP", "slope, equal lengths", "cosine, equal lengths")
    return Found(settle(yes=not unbiased, no=own[1] > 1 - SAME), numbers, columns, rows)


def stop_excess(setting: Setting, rule: Any) -> float:
    """What the expected gradient of the first turn's logit of stopping has too much."""
    found = group_moments(*setting, rule, 3, by_reward).gradient
    wanted = precise_truth(*setting).gradient
    # The episode is running where the gradient is not 0: of two observations one.
    return float(np.sum((found - wanted)[0, :, 0]))


def predicted_excess() -> float:
    """The mean rewards of later turns that going on must pay for and stopping must not.

    In maths, p (1 - p) sum_{k > 0} P(alive at k | went on) E[reward of turn k].
    """
    total = 0.0
    for turn in range(1, len(PAYS)):
        alive = (1 - STOP) ** turn
        mean = alive * (STOP * PAYS[turn] + (1 - STOP) * GOING)
        total += alive / (1 - STOP) * mean
    return STOP * (1 - STOP) * total


CORRELATIONS = (-0.8, -0.4, 0.0, 0.4, 0.8)


def correlated(correlation: float) -> Setting:
    """Outcomes with this correlation with the length, of mean 0 and deviation 1.

    The last turn pays the same for stopping and going on, so that the outcome is one of the length.
    """
    turn = np.arange(len(PAYS))
    chance = STOP * (1 - STOP) ** turn
    chance[-1] += (1 - STOP) ** len(PAYS)

    def standard(x: np.ndarray) -> np.ndarray:
        off = x - chance @ x
        return off / np.sqrt(chance @ off**2)

    length = standard(turn.astype(float))
    other = np.array(PAYS) - (chance @ (length * np.array(PAYS))) * length
    pays = correlation * length + np.sqrt(1 - correlation**2) * standard(other)
    return stopping(*pays, going=(0.0,) * (len(PAYS) - 1) + (pays[-1],))


def votes() -> Found:
    """Rows or rollouts in the mean of a group, along the correlation of length and outcome."""
    whole = Whole(discount=1.0)
    rules = {
        "rollouts, N = 4": (methods.DR_GRPO, 4),
        "rows, N = 2": (Chain(whole, Baseline("group", votes="step")), 2),
        "rows, N = 4": (Chain(whole, Baseline("group", votes="step")), 4),
        "rows of the others, N = 4": (
            Chain(whole, Baseline("group", votes="step", own=False)),
            4,
        ),
    }
    settings = [correlated(x) for x in CORRELATIONS]
    rows = {
        name: [scores(setting, rule, num, by_reward)["gradient_cosine"] for setting in settings]
        for name, (rule, num) in rules.items()
    }
    middle = CORRELATIONS.index(0.0)
    two, four = rows["rows, N = 2"], rows["rows, N = 4"]
    numbers = {
        "rollouts": min(rows["rollouts, N = 4"]),
        "others": min(rows["rows of the others, N = 4"]),
        "least_2": min(two),
        "least_4": min(four),
        "zero_2": two[middle],
        "zero_4": four[middle],
        "worst": CORRELATIONS[int(np.argmin(four))],
    }
    unlike = max(four) < 1 - SAME
    all_unlike = max(rows["rows of the others, N = 4"]) < 1 - SAME
    columns = [f"cosine at correlation {x:g}" for x in CORRELATIONS]
    return Found(settle(yes=unlike and all_unlike, no=not unlike), numbers, columns, rows)


@dataclasses.dataclass(frozen=True)
class CutOff:
    """The outcome less the mean of the others, for a group in which some were cut off.

    Attributes:
        masked: whether who was cut off trains nothing.
        counted: whether they are in the mean of the others.
    """

    masked: bool
    counted: bool

    def credit(self, key: Any, world: Any, batch: Any) -> Credit:
        given = Chain(Whole(discount=1.0)).credit(key, world, batch)
        # Who stops at the last turn was not cut off.
        cut = batch.live[..., -1] & (batch.action[..., -1] != 0)
        vote = jnp.ones(cut.shape) if self.counted else 1.0 - cut
        outcome = jnp.sum(batch.reward, axis=-1)
        others = jnp.sum(vote, axis=-1, keepdims=True) - vote
        total = jnp.sum(vote * outcome, axis=-1, keepdims=True) - vote * outcome
        worth = outcome - total / jnp.maximum(others, 1.0)
        weight = given.weight * (1.0 - cut * self.masked)[..., None]
        value = jnp.where(batch.live, worth[..., None], 0.0)
        return given._replace(value=value, weight=weight, whole=None)


def truncated() -> Found:
    """Masking who was cut off, and keeping them in the mean, at two chances of a cut."""
    often = stopping(1.0, 0.5, 2.0)
    seldom = stopping(1.0, 0.5, 2.0, chance=0.8)
    rows = {}
    for masked in (False, True):
        for counted in (True, False):
            rule = CutOff(masked, counted)
            name = f"{'masked' if masked else 'trained'}, {'in' if counted else 'not in'} the mean"
            found = [scores(x, rule, 4) for x in (often, seldom)]
            finished = _credit_of_finished(often, rule)
            rows[name] = [*direction(found[0])[:2], finished, *direction(found[1])[:2]]
    kept, dropped = rows["masked, in the mean"], rows["masked, not in the mean"]
    plain = rows["trained, in the mean"]
    numbers = {
        "chance": (1 - STOP) ** 3,
        "seldom": 0.2**3,
        "kept": kept[1],
        "dropped": dropped[1],
        "kept_seldom": kept[4],
        "dropped_seldom": dropped[4],
        "finished_kept": kept[2],
        "finished_dropped": dropped[2],
    }
    exact = min(plain[1], rows["trained, not in the mean"][1]) > 1 - SAME
    columns = (
        "slope",
        "cosine",
        "mean credit if finished",
        "slope, few cuts",
        "cosine, few cuts",
    )
    biased = max(kept[1], dropped[1]) < 1 - SAME
    return Found(settle(yes=exact and biased, no=not biased), numbers, columns, rows)


def _credit_of_finished(setting: Setting, rule: CutOff) -> float:
    """The mean credit of trajectories that stopped, by their last step."""
    moments = group_moments(*setting, rule, 4)
    chance = moments.probability[:, :, 0]
    mean = np.where(chance > 0, moments.expectation[:, :, 0], 0.0)
    return float(np.sum(chance * mean) / np.sum(chance))


GAMMA = 0.9


def order() -> Found:
    """Normalising the rewards of turns before they are discounted and summed, or after."""
    first = Chain(OTHERS, ToGo(GAMMA))
    last = Chain(ToGo(GAMMA), OTHERS)
    ends, lasts = (_discounted(stopping(*PAYS, going=GOING, ends=x)) for x in (True, False))
    rows = {}
    for name, rule in {"normalise, then discount": first, "discount, then normalise": last}.items():
        unequal, equal = (scores(x, rule, 3, by_reward) for x in (ends, lasts))
        rows[name] = direction(unequal) + direction(equal)
    before, after = rows.values()
    numbers = {
        "before": before[1],
        "after": after[1],
        "before_equal": before[4],
        "variance": before[5],
        "variance_after": after[5],
    }
    columns = (*DIRECTION, *(f"{name}, equal lengths" for name in DIRECTION))
    exact = after[1] > 1 - SAME and before[4] > 1 - SAME
    return Found(settle(yes=before[1] > 1 - SAME, no=not exact), numbers, columns, rows)


def _discounted(setting: Setting) -> Setting:
    """The same world at a discount of `GAMMA`, which is then that of the objective too."""
    discount = np.full_like(setting.mdp.discount, GAMMA)
    return Setting(setting.mdp._replace(discount=discount), setting.policy)


def peers() -> Found:
    """Peers of the same step, observation, state or prefix, with and without oneself."""
    task = ToolChain(num_turns=2, tokens_per_turn=1, output_tokens=1, observation_noise=0.2)
    setting = constant(built(task), 0.8, 0.2)
    rows = {}
    for kind in ("step", "anchor", "state", "prefix"):
        for own in (False, True):
            recipe = Chain(ToGo(), Baseline(kind, own=own, single="raw" if not own else "zero"))
            found = scores(setting, recipe, 2)
            rows[f"same {kind}, {'oneself too' if own else 'others only'}"] = direction(found)
    others = [row for name, row in rows.items() if "others" in name]
    own = [row for name, row in rows.items() if "too" in name]
    numbers = {
        "others": min(row[1] for row in others),
        "own_step": rows["same step, oneself too"][1],
        "own_anchor": rows["same anchor, oneself too"][1],
        "own_state": rows["same state, oneself too"][1],
        "own_prefix": rows["same prefix, oneself too"][1],
        "step": rows["same step, others only"][2],
        "anchor": rows["same anchor, others only"][2],
        "state": rows["same state, others only"][2],
        "prefix": rows["same prefix, others only"][2],
    }
    unbiased = numbers["others"] > 1 - SAME
    biased = min(row[1] for row in own) < 1 - SAME
    return Found(settle(yes=not unbiased, no=not biased), numbers, DIRECTION, rows)


DISPUTES = (
    Dispute(
        name="turn_baseline",
        question="Is a baseline per turn index biased when runs choose when to stop?",
        asked="verl#7244",
        world="Four turns; stopping (probability 0.3) pays 0, 2, 1, 3 and going on 0.5; N = 3. "
        "Equal lengths are the same rewards where stopping does not end. Excess: d/d logit of "
        "STOP at turn 0, E g less the true one; a slope below 1 makes for some of it too.",
        answer="A per-turn baseline of the other runs is exactly unbiased when runs stop at will, "
        "as is one over all runs in which ended ones count 0 (factor {padded:.3f} if oneself is "
        "in it). A mean over who is alive that includes oneself has cosine {own:.4f}, and 0 for a "
        "step that is alone {alone:.4f}. Taking each turn's mean from its reward and summing "
        "afterwards favours stopping: cosine {summed:.4f}, excess {excess:.4f} on STOP, which is "
        "the accumulated mean reward of the turns that stopping skips ({predicted:.4f}).",
        flips="whether the run itself is in the mean, and whether the mean is taken before or "
        "after the sum over turns; with equal lengths all six have cosine {equal:.4f}",
        measure=turn_baseline,
    ),
    Dispute(
        name="votes",
        question="Should the group mean count rollouts, not rows?",
        asked="radixark/miles#2378, fixed by #2368 and #2369; microsoft/agent-lightning#489",
        world="Four turns, stop probability 0.3; the outcome is a function of the length with "
        "mean 0, deviation 1 and the given correlation with it.",
        answer="Count rollouts: the expected gradient then has the exact direction at any "
        "correlation of length and outcome. A mean over rows with the run's own rows in it has "
        "cosines down to {least_2:.4f} in groups of 2 and {least_4:.4f} in groups of 4, and "
        "{zero_2:.4f} and {zero_4:.4f} even at correlation 0, as a run's share of the mean grows "
        "with its length.",
        flips="whether the run's own rows are in the mean: rows of the other runs only have "
        "cosine {others:.4f} at any correlation. The worst of those tried is {worst:g} in groups "
        "of 4",
        measure=votes,
    ),
    Dispute(
        name="truncated",
        question="Does masking truncated runs bias the gradient, in the baseline or out of it?",
        asked="huggingface/trl#3248, #6369; allenai/open-instruct#1794; radixark/miles#3200",
        world="Three turns; stopping pays 1, 0.5, 2, being cut off 0; N = 4, mean of the others. "
        "Stop probability 0.3, and 0.8 for few cuts.",
        answer="What biases is the mask, not the mean: with truncated runs trained on, the "
        "gradient that counts a cut as 0 is exact whether or not they vote. Masked, it loses the "
        "push away from the cut: cosine {kept:.4f} if they vote and {dropped:.4f} if they don't. "
        "Masked runs that vote raise the mean credit of finished ones from {finished_dropped:.3f} "
        "to {finished_kept:.3f}, which here makes up for a part of what the mask loses.",
        flips="the share of cuts: {chance:.3f} above, and at {seldom:.3f} the cosines are "
        "{kept_seldom:.4f} and {dropped_seldom:.4f}",
        measure=truncated,
    ),
    Dispute(
        name="order",
        question="Normalise the rewards of turns before discounting them?",
        asked="GuoqingWang1/IGPO#5",
        world="The world of `turn_baseline` at discount 0.9, N = 3, the mean of the others alive "
        "at the turn, raw if alone.",
        answer="Discount first: the discounted return less the mean of the others is exactly "
        "unbiased (cosine {after:.4f}). Centring each turn's reward first and summing afterwards "
        "subtracts more from runs with more turns left: cosine {before:.4f} where runs may stop.",
        flips="unequal lengths: with equal ones both are unbiased (cosine {before_equal:.4f}) and "
        "have the same variance ({variance:.4g} and {variance_after:.4g})",
        measure=order,
    ),
    Dispute(
        name="peers",
        question="Is it biased to compare steps with unlike prefixes?",
        asked="wangyu-ustc/Mem-alpha#14; agentscope-ai/Trinity-RFT#551",
        world="Two turns of a tool whose output names its mode wrongly in a fifth of the cases, "
        "policy 0.8 to 0.2, N = 2, returns to go; raw return if alone, or 0 with oneself in.",
        answer="No choice of peers biases if they are other runs: step, observation, state and "
        "prefix all have cosine {others:.6f}, and differ in variance ({step:.1f}, {anchor:.1f}, "
        "{state:.1f}, {prefix:.1f} times |g*|^2). With oneself among the peers finer classes "
        "change the direction: cosine {own_step:.4f} by step, {own_anchor:.4f} by observation, "
        "{own_state:.4f} by state, {own_prefix:.4f} by prefix.",
        flips="whether oneself is a peer; by step all runs are peers here, as they are equally "
        "long, so that oneself is only a scale (compare `turn_baseline`)",
        measure=peers,
    ),
)
