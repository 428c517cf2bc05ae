"""GRPO and its kin: the outcome beside those of the group, on every token.

In maths, with r_i the outcome of rollout i of a group of G: the undiscounted sum of its rewards
where a trainer's convention is meant. Trainers differ in the deviation, in epsilon, and in what a
group of one gets.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    Baseline,
    Best,
    Chain,
    DynamicSampling,
    OverConstant,
    OverLength,
    Overlong,
    OverMean,
    PerComponent,
    PerNonzero,
    Whole,
)
from casim.methods import whitening
from casim.methods.method import Method
from casim.oracle.moments import (
    Normalised,
    OnlyWin,
    OutcomeGroup,
    OverWins,
    Recursion,
    peer_baseline,
    share_of_others,
)

__all__ = [
    "DAPO",
    "DAPO_OVERLONG",
    "DR_GRPO",
    "DR_GRPO_CONSTANT",
    "DR_GRPO_TRL",
    "DR_GRPO_TRL_UNSCALED",
    "DR_GRPO_VERL",
    "GDPO",
    "GDPO_REVERSED",
    "GDPO_TRL",
    "GPG",
    "GRPO",
    "GRPO_DR",
    "GRPO_OPENRLHF",
    "GRPO_SPO",
    "GRPO_TRL",
    "GRPO_TRL_BATCH",
    "GRPO_VERL",
    "GRPO_VERL_VECTORIZED",
    "MAXRL",
    "MAXRL_SKYRL",
    "PASS_AT_K",
]

_SCORE = Whole(discount=1.0)
_VERL = Baseline("group", scale=True, single="raw")
_TRL = Baseline("group", scale=True, epsilon=1e-4)

GRPO = Method(
    name="GRPO",
    recipe=Chain(Whole(), Baseline("group", scale=True)),
    reference="Shao et al. 2024",
    arxiv="2402.03300",
    recursion=OutcomeGroup(Normalised()),
)
"""(R - mean) / (std + 1e-6) over the group, with N - 1 in the variance, as in verl."""

GRPO_VERL = Method(
    name="GRPO, verl",
    recipe=Chain(_SCORE, _VERL),
    reference="Shao et al. 2024; verl 0.9.1, compute_grpo_outcome_advantage",
    arxiv="2402.03300",
    recursion=OutcomeGroup(Normalised(raw=True)),
)
"""A_i = (r_i - mean r) / (std r + 1e-6), std with G - 1; a group of one gets r / (1 + 1e-6).

SkyRL's grpo is the same. The target is the trajectory's advantage; with binary outcomes the credit
is c_p (Q - V(prompt)) on average, where c_p = (G - 1) / G E[std] / (p (1 - p)), the mean over
Binomial(G, p) groups.
"""

GRPO_VERL_VECTORIZED = Method(
    name="GRPO, verl vectorized",
    recipe=Chain(_SCORE, Baseline("group", scale=True, floor=1e-3, single="raw")),
    reference="Shao et al. 2024; verl, compute_grpo_vectorized_outcome_advantage",
    arxiv="2402.03300",
    recursion=OutcomeGroup(Normalised(floor=1e-3, raw=True)),
)
"""A_i = (r_i - mean r) / (sqrt(max(var r, 1e-6)) + 1e-6): another number only below a std of 1e-3.

In verl 0.9.1 the floor is 0, and the method that of `GRPO_VERL`.
"""

GRPO_TRL = Method(
    name="GRPO, TRL",
    recipe=Chain(_SCORE, _TRL),
    reference="Shao et al. 2024; TRL 1.16.0, GRPOTrainer",
    arxiv="2402.03300",
    recursion=OutcomeGroup(Normalised(1e-4)),
)
"""A_i = (r_i - mean r) / (std r + 1e-4), std with G - 1; a group of one gets 0.

Rollouts that cannot be scored are left out of mean and std, and get 0.
"""

GRPO_TRL_BATCH = Method(
    name="GRPO, TRL batch scale",
    recipe=Chain(_SCORE, Baseline("group", scale=True, scale_over="batch", epsilon=1e-4)),
    reference="Shao et al. 2024; TRL 1.16.0, scale_rewards='batch'",
    arxiv="2402.03300",
)
"""A_i = (r_i - mean r) / (std of all outcomes of the batch + 1e-4): the group's mean stays."""

GRPO_OPENRLHF = Method(
    name="GRPO, OpenRLHF",
    recipe=Chain(_SCORE, Baseline("group", scale=True, epsilon=1e-9)),
    reference="Shao et al. 2024; OpenRLHF 0.11.2, group_norm",
    arxiv="2402.03300",
    recursion=OutcomeGroup(Normalised(1e-9)),
)
"""A_i = (r_i - mean r) / (std r + 1e-9), std with G - 1, without a penalty for KL.

A group of one is not a number there, and its command line refuses it; here it gets 0.
"""

GRPO_SPO = Method(
    name="GRPO, SPO repository",
    recipe=Chain(_SCORE, Baseline("group", scale=True, ddof=0, epsilon=1e-8)),
    reference="Shao et al. 2024; the code of Guo et al. 2025 (SPO), option 'grpo'",
    arxiv="2402.03300",
    recursion=OutcomeGroup(Normalised(1e-8, ddof=0)),
)
"""A_i = (r_i - mean r) / (std r + 1e-8), std with G."""

GRPO_DR = Method(
    name="GRPO, Dr. GRPO repository",
    recipe=Chain(_SCORE, Baseline("group", scale=True, epsilon=1e-8), OverLength("own")),
    reference="Shao et al. 2024; the code of Liu et al. 2025 (Dr. GRPO), option 'grpo'",
    arxiv="2402.03300",
)
"""A_i = (r_i - mean r) / (std r + 1e-8), std with G - 1; the loss is a mean over own tokens."""

DR_GRPO = Method(
    name="Dr. GRPO",
    recipe=Chain(Whole(), Baseline("group")),
    reference="Liu et al. 2025",
    arxiv="2503.20783",
    recursion=Recursion(peer_baseline(), share_of_others),
)
"""R - mean over the group: (G - 1) / G (Q - V(prompt)) on average, for any outcomes."""

DR_GRPO_CONSTANT = Method(
    name="Dr. GRPO, constant length",
    recipe=Chain(_SCORE, Baseline("group"), OverConstant(3000.0)),
    reference="Liu et al. 2025; its code, train_zero_math.py",
    arxiv="2503.20783",
)
"""A_i = r_i - mean r; the loss of a rollout is its sum over tokens, over a constant.

The constant is the longest answer allowed, 3000 in the scripts: a number that scales all alike.
"""

DR_GRPO_VERL = Method(
    name="Dr. GRPO, verl",
    recipe=Chain(_SCORE, Baseline("group", single="raw"), OverLength("padded")),
    reference="Liu et al. 2025; verl, norm_adv_by_std_in_grpo=False with seq-mean-token-sum-norm",
    arxiv="2503.20783",
)
"""A_i = r_i - mean r, a group of one its outcome; the loss over the padded length of the batch.

The length is `loss_scale_factor` where that is set (`OverConstant`). Old versions of verl sum over
rollouts, verl 0.9.1 takes the mean: a number that scales all alike.
"""

DR_GRPO_TRL = Method(
    name="Dr. GRPO, TRL",
    recipe=Chain(_SCORE, _TRL, OverConstant(512.0)),
    reference="Liu et al. 2025; TRL 1.16.0, loss_type='dr_grpo'",
    arxiv="2503.20783",
)
"""A_i = (r_i - mean r) / (std r + 1e-4) still: only the length is Dr. GRPO's.

Over rollouts x `max_completion_length`, 512 by default.
"""

DR_GRPO_TRL_UNSCALED = Method(
    name="Dr. GRPO, TRL unscaled",
    recipe=Chain(_SCORE, Baseline("group"), OverConstant(512.0)),
    reference="Liu et al. 2025; TRL 1.16.0, loss_type='dr_grpo' with scale_rewards='none'",
    arxiv="2503.20783",
)
"""A_i = r_i - mean r, over rollouts x `max_completion_length`."""

DAPO = Method(
    name="DAPO",
    recipe=Chain(_SCORE, _VERL, DynamicSampling(), OverLength("mean")),
    reference="Yu et al. 2025; verl's recipe",
    arxiv="2503.14476",
)
"""GRPO of verl; groups of equal outcomes are dropped and redrawn, and every token has one vote.

Those groups have no credit anyway: what changes is the weight of prompts, and the cost.
"""

DAPO_OVERLONG = Method(
    name="DAPO, overlong shaping",
    recipe=Chain(Overlong(), DAPO.recipe),
    reference="Yu et al. 2025; verl's recipe",
    arxiv="2503.14476",
)
"""DAPO with r += min(-(len - (L - B)) / B, 0), B = L / 5, before the baseline: another objective.

The outcomes that decide which groups are dropped are without it.
"""

MAXRL = Method(
    name="MaxRL",
    recipe=Chain(_SCORE, OverMean(), Baseline("group")),
    reference="Tajwar et al. 2026; prime-rl, algo/max_rl.py",
    arxiv="2602.02710",
    recursion=OutcomeGroup(OverWins()),
)
"""A_i = (r_i - mean r) / mean r, 0 where the mean is not above 0.

With binary outcomes ((1 - (1 - p)^(G - 1)) / p) (Q - V(prompt)) on average.
"""

MAXRL_SKYRL = Method(
    name="MaxRL, SkyRL",
    recipe=Chain(
        _SCORE,
        OverMean(epsilon=1e-6, nonpositive="divided", single="raw"),
        Baseline("group", single="raw"),
    ),
    reference="Tajwar et al. 2026; SkyRL 0.3.0, maxrl",
    arxiv="2602.02710",
    recursion=OutcomeGroup(OverWins(1e-6, raw=True)),
)
"""A_i = (r_i - mean r) / (mean r + 1e-6), also below 0; a group of one gets r."""

GPG = Method(
    name="GPG",
    recipe=Chain(_SCORE, PerNonzero(), Baseline("group", single="raw")),
    reference="Chu et al. 2025; verl 0.9.1, compute_gpg_outcome_advantage",
    arxiv="2504.02546",
)
"""A_i = alpha (r_i - mean r), alpha the rollouts of the batch over those whose outcome is not 0."""

PASS_AT_K = Method(
    name="GRPO pass@k",
    recipe=Chain(_SCORE, Baseline("group", centre=False, scale=True), Best()),
    reference="Tang et al. 2025; verl 0.9.1, compute_grpo_passk_outcome_advantage",
    arxiv="2503.19595",
    recursion=OutcomeGroup(OnlyWin()),
)
"""A_i = (largest r - second largest) / (std r + 1e-6) on the best rollout, 0 on the others.

A group of one is an error there; here it gets 0.
"""

GDPO = Method(
    name="GDPO",
    recipe=Chain(PerComponent(GRPO_VERL.recipe), whitening.VERL),
    reference="Liu et al. 2026; verl 0.9.1, compute_gdpo_outcome_advantage",
    arxiv="2601.05242",
    enumerable=False,
)
"""sum_k w_k (r_ik - mean r_k) / (std r_k + 1e-6), w = 1, whitened over the tokens of the batch.

Normalises, then sums: with binary components the direction is sum_k w_k c_{p_k} grad J_k, not that
of the stated objective. Needs the components of the reward.
"""

GDPO_TRL = Method(
    name="GDPO, TRL",
    recipe=Chain(
        PerComponent(Chain(_SCORE, _TRL)),
        Baseline("batch", scale=True, epsilon=1e-4),
    ),
    reference="Liu et al. 2026; TRL 1.16.0, normalize_then_sum",
    arxiv="2601.05242",
    enumerable=False,
)
"""As GDPO with 1e-4; whitened over rollouts, (A - mean) / (std + 1e-4), not over tokens."""

GDPO_REVERSED = Method(
    name="GRPO of components, TRL",
    recipe=Chain(PerComponent(_SCORE), _TRL),
    reference="Liu et al. 2026; TRL 1.16.0, sum_then_normalize",
    arxiv="2601.05242",
    enumerable=False,
)
"""Sums the components, then normalises: what GDPO is compared with, and TRL's default."""
