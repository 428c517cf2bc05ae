"""What is divided by, and what groups are dropped: deviations, lengths, filters, two rewards."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from casim import methods
from casim.estimators import Chain, Plus, Whole
from casim.oracle.closed_forms import binary_group_scale
from casim.oracle.moments import by_reward, enumerate_trajectories, group_moments, precise_truth
from casim.oracle.moments.group import multisets
from casim.types import Batch
from settled.found import SAME, Dispute, Found, Setting, cosine, direction, scores, settle
from settled.worlds import prompts, stopping

SUCCESS = (0.05, 0.3, 0.9)
"""Of each prompt: hard, middle, easy."""


def factors(setting: Setting, rule: Any, num: int, **more: Any) -> tuple[list[float], float]:
    """What each prompt's gradient is scaled by, hardest first, and the cosine of the whole."""
    found = group_moments(*setting, rule, num, by_reward, **more).gradient[0, :, 0]
    wanted = precise_truth(*setting).gradient[0, :, 0]
    starts = np.flatnonzero(setting.mdp.start)
    seen = np.asarray(setting.mdp.emission)[0].argmax(axis=1)[starts]
    order = seen[np.argsort(setting.policy[0, seen, 0])]
    each = found[order] / wanted[order]
    return each.tolist(), cosine(found[order], wanted[order])


def deviation() -> Found:
    """Group, batch or no deviation, by the factor that each prompt gets."""
    setting = prompts(*SUCCESS)
    rows = {}
    for num in (4, 8):
        for name, rule in {"none": methods.DR_GRPO, "group": methods.GRPO_VERL}.items():
            each, same = factors(setting, rule, num)
            rows[f"{name}, N = {num}"] = [*each, each[0] / each[1], same]
    each, same = factors(setting, methods.GRPO_TRL_BATCH, 4, num_prompts=3)
    rows["batch of 3 prompts, N = 4"] = [*each, each[0] / each[1], same]
    none, group, none_8, group_8, batch = rows.values()
    numbers = {
        "none": none[4],
        "group": group[4],
        "group_8": group_8[4],
        "batch": batch[4],
        "hard": group[0],
        "middle": group[1],
        "ratio": group[3],
        "ratio_8": group_8[3],
        "batch_ratio": batch[3],
        "hard_8": group_8[0],
        "middle_8": group_8[1],
        "even": none_8[3],
    }
    columns = [f"factor at p = {p:g}" for p in SUCCESS] + ["hard / middle", "cosine"]
    biased = group[4] < 1 - SAME and batch[4] < 1 - SAME
    return Found(settle(yes=none[4] > 1 - SAME and biased, no=not biased), numbers, columns, rows)


LOW, HIGH = 0.35, 0.95
LIKELY = 0.9
"""Of the high reward."""
GROUP = 8


def left_out_deviation() -> Found:
    """A deviation without oneself: what the credit of a group of two rewards can become."""
    rows = {
        "deviation with oneself": _credit_spread(_with_own),
        "without, float64": _credit_spread(_without_own),
        "without, float32 from squares": _credit_spread(_without_own_single),
        "without, 0 if the others are equal": _credit_spread(_without_own_skipped),
    }
    rows = {name: list(map(float, row)) for name, row in rows.items()}
    own, exact, single, skipped = rows.values()
    alone = GROUP * LIKELY ** (GROUP - 1) * (1 - LIKELY)
    alone += GROUP * (1 - LIKELY) ** (GROUP - 1) * LIKELY
    numbers = {
        "alone": alone,
        "own": own[0],
        "exact": exact[0],
        "single": single[0],
        "skipped": skipped[0],
        "skipped_slope": skipped[2],
        "own_slope": own[2],
        "own_variance": own[1],
        "skipped_variance": skipped[1],
        "exact_variance": exact[1],
    }
    columns = ("largest credit", "variance of the credit", "difference of mean credits / 0.6")
    explodes = exact[0] > 1e3 * own[0]
    return Found(settle(yes=explodes, no=not explodes), numbers, columns, rows)


def _with_own(reward: float, others: np.ndarray) -> float:
    return (reward - others.mean()) / (np.append(others, reward).std(ddof=1) + 1e-6)


def _without_own(reward: float, others: np.ndarray) -> float:
    return (reward - others.mean()) / (others.std(ddof=1) + 1e-6)


def _without_own_single(reward: float, others: np.ndarray) -> float:
    """The variance in single precision, as the mean square less the squared mean."""
    single = others.astype(np.float32)
    size = np.float32(len(single))
    # One after the other, so that the rounding is the same on every machine.
    mean = np.add.accumulate(single)[-1] / size
    square = np.add.accumulate(single * single)[-1] / size
    rest = size / (size - np.float32(1.0))
    variance = np.maximum(square - mean * mean, np.float32(0.0)) * rest
    return (reward - float(mean)) / (math.sqrt(variance) + 1e-6)


def _without_own_skipped(reward: float, others: np.ndarray) -> float:
    return 0.0 if np.ptp(others) == 0 else _without_own(reward, others)


def _credit_spread(rule: Any) -> list[float]:
    """Largest credit of any group, variance, and how mean credit rises with one's own reward.

    Where all are equal every rule gives 0.
    """
    mean = {LOW: 0.0, HIGH: 0.0}
    square = 0.0
    largest = 0.0
    for wins in range(GROUP):
        others = np.array([HIGH] * wins + [LOW] * (GROUP - 1 - wins))
        losses = GROUP - 1 - wins
        chance = math.comb(GROUP - 1, wins) * LIKELY**wins * (1 - LIKELY) ** losses
        for reward, own in ((LOW, 1 - LIKELY), (HIGH, LIKELY)):
            equal = np.all(others == reward)
            credit = 0.0 if equal else rule(reward, others)
            mean[reward] += chance * credit
            square += chance * own * credit**2
            largest = max(largest, abs(credit))
    average = LIKELY * mean[HIGH] + (1 - LIKELY) * mean[LOW]
    return [largest, square - average**2, (mean[HIGH] - mean[LOW]) / (HIGH - LOW)]


PAYS = (0.0, 2.0, 1.0, 3.0)


def optimal_baseline(setting: Setting) -> float:
    """The constant of least variance: E[|z|^2 R] / E[|z|^2], z the score of a trajectory."""
    paths = enumerate_trajectories(*setting)
    stop = paths.trajectory.action == 0
    chance = setting.policy.reshape(-1, 2)[0]
    # Each turn has logits of its own: (e(a) - pi)^2 adds up over the turns.
    each = np.where(stop, 2 * chance[1] ** 2, 2 * chance[0] ** 2) * paths.trajectory.live
    norm = paths.probability * each.sum(axis=1)
    outcome = paths.trajectory.reward.sum(axis=1)
    return float(norm @ outcome / norm.sum())


def length_weighted() -> Found:
    """Baselines weighted by length, where that is and is not the squared norm of the score."""
    rows: dict[str, list[float]] = {}
    for chance in (0.5, 0.15):
        setting = stopping(*PAYS, chance=chance)
        rules = {
            "mean": methods.DR_GRPO,
            "mean of the others": methods.RLOO,
            "length-weighted (OPO)": methods.OPO,
            "best constant": Chain(Whole(discount=1.0), Plus(-optimal_baseline(setting))),
        }
        for name, rule in rules.items():
            found = scores(setting, rule, 4, by_reward)
            values = [*direction(found), float(found["snr_aligned"])]
            rows[name] = rows.get(name, []) + values
    mean, others, opo, best = rows.values()
    numbers = {
        "opo": opo[3],
        "mean": mean[3],
        "best": best[3],
        "opo_cosine": opo[1],
        "opo_uneven": opo[7],
        "mean_uneven": mean[7],
        "best_uneven": best[7],
        "opo_cosine_uneven": opo[5],
        "others": others[2],
        "best_variance": best[2],
    }
    names = ("slope", "cosine", "variance", "aligned SNR")
    columns = [f"{name}, pi(STOP) = {chance}" for chance in ("0.5", "0.15") for name in names]
    better, also = opo[3] > mean[3], opo[7] > mean[7]
    return Found(settle(yes=better and also, no=not (better or also)), numbers, columns, rows)


REWARDS = {
    "right, in form": (1.0, 1.0),
    "right, out of form": (1.0, 0.0),
    "wrong, in form": (0.0, 1.0),
    "wrong, out of form": (0.0, 0.0),
}
EVEN = (0.3, 0.2, 0.3, 0.2)
SURE = (0.27, 0.03, 0.63, 0.07)
"""Two policies over these answers; the second is nearly always in form."""
TENTH = 0.1
"""What being in form pays, beside 1, in the third case."""
CASES = {"even": (EVEN, 1.0), "0.9 in form": (SURE, 1.0), "form pays 0.1": (EVEN, TENTH)}


def two_rewards() -> Found:
    """Sum then normalise, or normalise then sum, of being right and of being in form."""
    rows = {}
    for called, (chance, form) in CASES.items():
        for name, recipe in {
            "sum, then normalise": methods.GDPO_REVERSED,
            "normalise, then sum": methods.GDPO_TRL,
        }.items():
            rows[f"{name}, {called}"] = _implied(recipe, np.array(chance), form)
    sum_even, first_even, sum_sure, first_sure, sum_tenth, first_tenth = rows.values()
    numbers = {
        "sum_even": sum_even[0],
        "first_even": first_even[0],
        "sum_sure": sum_sure[0],
        "first_sure": first_sure[0],
        "sum_tenth": sum_tenth[0],
        "first_tenth": first_tenth[0],
        "weight_sum": sum_tenth[1],
        "weight_first": first_tenth[1],
        "weight_sure": first_sure[1],
        "weight_sum_sure": sum_sure[1],
    }
    columns = ("cosine with the stated sum", "weight of form / weight of right")
    pairs = ((sum_even, first_even), (sum_sure, first_sure), (sum_tenth, first_tenth))
    ahead = [summed[0] > first[0] for summed, first in pairs]
    return Found(settle(yes=all(ahead), no=not any(ahead)), numbers, columns, rows)


def _implied(recipe: Any, chance: Float[np.ndarray, " A"], form: float) -> list[float]:
    """Of one answer of four in groups of 4: the cosine with the sum's gradient, and weights.

    The weights are of the two rewards' gradients, by least squares.
    """
    component = np.array(list(REWARDS.values())) * (1.0, form)
    groups, share = multisets(chance, 4, 1000)
    credit = _credits(recipe, component[groups])
    score = np.eye(len(chance))[groups] - chance
    mean = np.einsum("b,bn,bna->a", share, credit, score) / groups.shape[1]
    parts = np.array([chance * (x - chance @ x) for x in component.T])
    weight = np.linalg.lstsq(parts.T, mean, rcond=None)[0]
    return [cosine(mean, parts.sum(axis=0)), float(form * weight[1] / weight[0])]


def _credits(recipe: Any, component: Float[np.ndarray, "B N C"]) -> Float[np.ndarray, "B N"]:
    """What a recipe gives to each member of each group of one-step trajectories."""
    num = component.shape[1]
    with jax.enable_x64(True):
        ones = np.ones((num, 1))
        empty = Batch.from_arrays(
            ones, ones, np.zeros(num, np.int32), component=component[0][:, None]
        )

        def one(parts: Any) -> Any:
            reward = jnp.sum(parts, axis=-1)[None, :, None]
            batch = empty._replace(reward=reward, component=parts[None, :, None])
            given = recipe.credit(jax.random.key(0), None, batch)
            return (given.value * given.weight)[0, :, 0]

        return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(component)))


def filters() -> Found:
    """Groups that a filter keeps: by outcomes, by shaped rewards, and redrawn until mixed."""
    rows = {}
    for success in SUCCESS:
        wrong = (1 - success) ** GROUP
        mixed = 1 - wrong - success**GROUP
        plain = binary_group_scale(success, GROUP)
        # All short or all long: the only groups without a deviation.
        tied = 2 * 0.5**GROUP
        shaped = wrong * (1 - tied)
        rows[f"p = {success:g}"] = [wrong, shaped, mixed, plain, plain / mixed]
    hard, middle, easy = rows.values()
    numbers = {
        "wrong": hard[0],
        "share": hard[1] / hard[0],
        "kept": hard[3] / middle[3],
        "redrawn": hard[4] / middle[4],
        "easy": easy[4] / middle[4],
        "easy_kept": easy[3] / middle[3],
    }
    columns = (
        "all wrong",
        "... and kept by the deviation of a reward with a length term",
        "mixed",
        "factor of the prompt, dropped",
        "factor, redrawn until mixed",
    )
    kept = numbers["share"]
    return Found(settle(yes=kept > 0.5, no=kept < SAME), numbers, columns, rows)


DISPUTES = (
    Dispute(
        name="deviation",
        question="Should advantages be centred only, without dividing by a standard deviation?",
        asked="thinking-machines-lab/tinker-cookbook#579; trl#3991; prime-rl#1047, #1304",
        world="One fork on each of three prompts of success 0.05, 0.3, 0.9, reward 0 or 1; GRPO "
        "of verl, Dr. GRPO, TRL's batch scale.",
        answer="Centre only, if the objective is mean success: each prompt is then scaled by (N - "
        "1) / N (cosine {none:.4f}). The group's deviation scales prompts by {hard:.3f} (p = "
        "0.05) and {middle:.3f} (p = 0.3) in groups of 4, {hard_8:.3f} and {middle_8:.3f} in "
        "groups of 8: another objective, of cosine {group:.4f} and {group_8:.4f}. The batch's "
        "deviation is no constant either in a batch of 3 groups: cosine {batch:.5f}.",
        flips="the spread of difficulty and the group size: hard prompts weigh {ratio:.3f} times "
        "the middle one's factor at N = 4, {ratio_8:.3f} at N = 8 and {batch_ratio:.3f} under the "
        "batch's; with prompts of one difficulty all are a scale",
        measure=deviation,
    ),
    Dispute(
        name="left_out_deviation",
        question="Does a leave-one-out deviation explode where the others are equal?",
        asked="NVIDIA-NeMo/RL#1518, fixed by #1519 and #4158",
        world="Rewards 0.35 and 0.95 (probability 0.9), N = 8, epsilon 1e-6; groups of equal "
        "rewards get 0.",
        answer="Yes: {alone:.3f} of the groups have one run unlike the seven others, whose "
        "deviation without it is 0: its credit is {exact:,.0f} (variance {exact_variance:.2e}), "
        "with the deviation of all eight {own:.2f}. In float32, as mean square less squared mean, "
        "rounding leaves a deviation that is not 0 and the credit is {single:,.0f}. Skipping if "
        "the *others* are equal caps it at {skipped:.2f}, at the price of the signal: mean credit "
        "rises by {skipped_slope:.2f} per unit of reward instead of {own_slope:.2f}.",
        flips="how sure the policy is: one against seven is the commonest mixed group at p = 0.9. "
        "A deviation with the run itself in it cannot be 0 in a mixed group",
        measure=left_out_deviation,
    ),
    Dispute(
        name="length_weighted",
        question="Is a length-weighted baseline (OPO) better than the mean?",
        asked="huggingface/trl#6620, #3540; prime-rl#3528",
        world="Four turns, STOP pays 0, 2, 1, 3; N = 4. With pi(STOP) = 0.5 the squared norm of a "
        "trajectory's score is proportional to its length, with 0.15 it is not.",
        answer="By aligned SNR OPO has {opo:.4f} and the plain mean {mean:.4f} where squared "
        "score norms are proportional to length, {opo_uneven:.4f} and {mean_uneven:.4f} where "
        "they are not; the best constant baseline has {best:.4f} and {best_uneven:.4f}. With its "
        "own sample in the weighted mean OPO's direction is off as well: cosine {opo_cosine:.4f} "
        "and {opo_cosine_uneven:.4f}.",
        flips="whether length stands for the squared score norm, and how outcomes go with length",
        measure=length_weighted,
    ),
    Dispute(
        name="two_rewards",
        question="Two rewards: is it truer to their sum to sum before normalising?",
        asked="NVlabs/GDPO#3; huggingface/trl#4841, #4785",
        world="One answer of four, right or wrong and in form or not, N = 4, one group a batch; "
        "TRL's two orders. Even: half right, 0.6 in form. Weights are of the gradients of the two "
        "rewards taken as 0 or 1.",
        answer="Sum first if the rewards' sizes are meant: with 1 for being right and 0.1 for the "
        "form the cosine with the gradient of that sum is {sum_tenth:.4f}, and {first_tenth:.4f} "
        "normalised first, which weighs form {weight_first:.3f} times as much as being right "
        "instead of 0.1. With rewards of one size the orders hardly differ: {sum_even:.4f} and "
        "{first_even:.4f} where both are open, {sum_sure:.4f} and {first_sure:.4f} where the form "
        "is won 9 times in 10.",
        flips="the sizes of the rewards: normalising first forgets them. Both orders shift the "
        "weight where variances differ (form counts {weight_sum_sure:.3f} and {weight_sure:.3f} "
        "instead of 1 at 0.9 in form)",
        measure=two_rewards,
    ),
    Dispute(
        name="filters",
        question="Does filtering on the deviation of a shaped reward keep all-wrong groups?",
        asked="verl-project/verl#7792; NVIDIA-NeMo/RL#2431; OpenRLHF/OpenRLHF#1270",
        world="Success 0.05, 0.3, 0.9, N = 8; the shaped reward has a term of the length, which "
        "is short or long at even chances whatever the outcome. Factors are those of GRPO without "
        "epsilon.",
        answer="Filter on the outcome: at p = 0.05 {wrong:.3f} of the groups are all wrong, and a "
        "filter on the deviation of a reward with a length term keeps {share:.1%} of those, which "
        "train on length alone. Dropping groups of equal outcomes changes no expectation, since "
        "they have no credit; redrawing until a group is mixed divides its prompt's factor by "
        "P(mixed).",
        flips="whether groups are dropped or redrawn: the hard prompt weighs {kept:.3f} times the "
        "middle one if dropped, {redrawn:.3f} if redrawn (the easy one {easy_kept:.3f} and "
        "{easy:.3f})",
        measure=filters,
    ),
)
