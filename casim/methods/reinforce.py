"""REINFORCE with a baseline: returns less something that does not depend on the own action.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    Baseline,
    Chain,
    LessDivergence,
    LessGreedy,
    OntoDecisions,
    ToGo,
    TokenBaseline,
    Whole,
)
from casim.methods import whitening
from casim.methods.method import Claim, Method
from casim.oracle.moments import Recursion, peer_baseline, reward_to_go, whole_return

__all__ = [
    "OPO",
    "OTB",
    "OTB_TIR",
    "REINFORCE",
    "REINFORCE_PP",
    "REINFORCE_PP_BASELINE",
    "REINFORCE_PP_BASELINE_OPENRLHF",
    "REINFORCE_PP_OPENRLHF",
    "REINFORCE_PP_VERL",
    "REINFORCE_PP_VERL_CARRIED",
    "REMAX",
    "REWARD_TO_GO",
    "RLOO",
    "RLOO_OPENRLHF",
    "RLOO_TRL",
    "RLOO_TRL_KL",
    "RLOO_TRL_NORMALIZED",
    "RLOO_VERL_VECTORIZED",
]

_SCORE = Whole(discount=1.0)
_OTHERS = Recursion(peer_baseline(discount=1.0))
_EXACT = (Claim("target", undiscounted=True), Claim("gradient", undiscounted=True))

REINFORCE = Method(
    name="REINFORCE",
    recipe=Chain(Whole()),
    reference="Williams 1992",
    claims=(Claim("gradient", undiscounted=True),),
    recursion=Recursion(whole_return()),
)
"""The whole return, on every step."""

REWARD_TO_GO = Method(
    name="reward-to-go",
    recipe=Chain(ToGo()),
    reference="Sutton et al. 1999",
    claims=(Claim("gradient"),),
    recursion=Recursion(reward_to_go),
)
"""The rewards from each step on."""

RLOO = Method(
    name="RLOO",
    recipe=Chain(Whole(), Baseline("group", own=False, single="raw")),
    reference="Kool et al. 2019; Ahmadian et al. 2024; verl 0.9.1, compute_rloo_outcome_advantage",
    arxiv="2402.14740",
    claims=(Claim("target"), Claim("gradient", undiscounted=True)),
    recursion=Recursion(peer_baseline()),
)
"""r_i - mean of the others of the group; a group of one gets r."""

RLOO_VERL_VECTORIZED = Method(
    name="RLOO, verl vectorized",
    recipe=Chain(_SCORE, Baseline("group", own=False)),
    reference="Ahmadian et al. 2024; verl 0.9.1, compute_rloo_vectorized_outcome_advantage",
    arxiv="2402.14740",
    claims=_EXACT,
    recursion=_OTHERS,
)
"""r_i - mean of the others; a group of one gets 0. SkyRL's rloo is the same."""

RLOO_TRL = Method(
    name="RLOO, TRL",
    recipe=Chain(_SCORE, Baseline("group", own=False)),
    reference="Ahmadian et al. 2024; TRL 1.16.0, RLOOTrainer with beta=0",
    arxiv="2402.14740",
    claims=_EXACT,
    recursion=_OTHERS,
)
"""r_i - mean of the others that can be scored; one without others gets 0."""

RLOO_TRL_KL = Method(
    name="RLOO, TRL with KL",
    recipe=Chain(_SCORE, LessDivergence(0.05), Baseline("group", own=False)),
    reference="Ahmadian et al. 2024; TRL 1.16.0, RLOOTrainer",
    arxiv="2402.14740",
)
"""The same of r_i - 0.05 sum_t log pi / pi_ref, the trainer's default."""

RLOO_TRL_NORMALIZED = Method(
    name="RLOO, TRL normalized",
    recipe=Chain(RLOO_TRL.recipe, Baseline("batch", scale=True, epsilon=1e-4)),
    reference="Ahmadian et al. 2024; TRL 1.16.0, RLOOTrainer with normalize_advantages and beta=0",
    arxiv="2402.14740",
)
"""RLOO, then (A - mean) / (std + 1e-4) over the rollouts of the batch."""

RLOO_OPENRLHF = Method(
    name="RLOO, OpenRLHF",
    recipe=Chain(_SCORE, Baseline("group", own=False)),
    reference="Ahmadian et al. 2024; OpenRLHF 0.11.2, rloo without KL",
    arxiv="2402.14740",
    claims=_EXACT,
    recursion=_OTHERS,
)
"""r_i - mean of the others, on every token; a group of one is not a number there, and here 0."""

REINFORCE_PP = Method(
    name="REINFORCE++",
    recipe=Chain(ToGo(), whitening.VERL),
    reference="Hu 2025",
    arxiv="2501.03262",
)
"""Rewards from each step on, whitened over all decisions of the batch."""

REINFORCE_PP_VERL = Method(
    name="REINFORCE++, verl",
    recipe=Chain(ToGo(gaps="reset"), whitening.VERL),
    reference="Hu 2025; verl before August 2026, compute_reinforce_plus_plus_outcome_advantage",
    arxiv="2501.03262",
)
"""G_t = r_t + gamma m_{t+1} G_{t+1}, whitened with n - 1 and 1e-8 over the tokens of the batch.

The mask m resets the return at tokens of the environment: decisions before them get nothing of the
reward after. SkyRL has the same formula, but counts those tokens in its mask.
"""

REINFORCE_PP_VERL_CARRIED = Method(
    name="REINFORCE++, verl 0.9.1",
    recipe=Chain(ToGo(gaps="skipped"), whitening.VERL),
    reference="Hu 2025; verl 0.9.1, compute_reinforce_plus_plus_outcome_advantage",
    arxiv="2501.03262",
)
"""The same since it was mended: the return is carried over those tokens, without a discount."""

REINFORCE_PP_OPENRLHF = Method(
    name="REINFORCE++, OpenRLHF",
    recipe=Chain(OntoDecisions(), ToGo(), whitening.OPENRLHF),
    reference="Hu 2025; OpenRLHF 0.11.2, reinforce without KL",
    arxiv="2501.03262",
)
"""G_t = r_t + gamma G_{t+1} over all tokens, each of which discounts, whitened with n and a floor.

The environment's tokens earn nothing: the score stands on the last token of the policy.
"""

REINFORCE_PP_BASELINE = Method(
    name="REINFORCE++-baseline, verl",
    recipe=Chain(_SCORE, Baseline("group", single="raw"), whitening.VERL),
    reference="Hu 2025; verl 0.9.1, compute_reinforce_plus_plus_baseline_outcome_advantage",
    arxiv="2501.03262",
)
"""r_i - mean of the group (0 for a group of one), whitened over the tokens of the batch."""

REINFORCE_PP_BASELINE_OPENRLHF = Method(
    name="REINFORCE++-baseline, OpenRLHF",
    recipe=Chain(_SCORE, Baseline("group"), whitening.OPENRLHF),
    reference="Hu 2025; OpenRLHF 0.11.2, reinforce_baseline without KL",
    arxiv="2501.03262",
)
"""r_i - mean of the group, on every token, whitened with n and a floor of 1e-8 in the variance."""

REMAX = Method(
    name="ReMax",
    recipe=Chain(ToGo(1.0, gaps="skipped"), LessGreedy()),
    reference="Li et al. 2023; verl 0.9.1, compute_remax_outcome_advantage",
    arxiv="2310.10505",
)
"""sum_{u >= t} r_u over the policy's tokens - b, b the score of the greedy answer to the prompt.

The gradient is exact at discount 1, where the environment's tokens earn nothing.
"""

OPO = Method(
    name="OPO",
    recipe=Chain(_SCORE, Baseline("group", votes="length", single="raw")),
    reference="Hao et al. 2025; verl 0.9.1, compute_opo_outcome_advantage",
    arxiv="2505.23585",
)
"""r_i - sum_j L_j r_j / sum_j L_j, L the policy's tokens; a group of one gets r.

With equal lengths it is Dr. GRPO; where the length depends on the action it is biased at finite G.
"""

OTB = Method(
    name="OTB",
    recipe=Chain(ToGo(1.0, gaps="skipped"), TokenBaseline("step")),
    reference="verl 0.9.1, compute_optimal_token_baseline_advantage",
)
"""G_it - sum_j G_jt W_jt / (sum_j W_jt + 1e-8), W the squared scores of the path up to t.

Its own sample is in it: biased at finite G.
"""

OTB_TIR = Method(
    name="OTB, tools",
    recipe=Chain(ToGo(1.0, gaps="skipped"), TokenBaseline("decisions")),
    reference="verl 0.9.1, compute_multi_turn_optimal_token_baseline_advantage",
)
"""The same, with positions counted over the policy's own tokens."""
