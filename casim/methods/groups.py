"""Methods without a critic: returns beside those of others.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Baseline, Chain, Sum, ToGo, TopEntropy, Whole
from casim.methods.method import Claim, Method

REINFORCE = Method(
    name="REINFORCE",
    recipe=Chain(Whole()),
    reference="Williams 1992",
    claims=(Claim("gradient", undiscounted=True),),
)
"""The whole return, on every step."""

REWARD_TO_GO = Method(
    name="reward-to-go",
    recipe=Chain(ToGo()),
    reference="Sutton et al. 1999",
    claims=(Claim("gradient"),),
)
"""The rewards from each step on."""

GRPO = Method(
    name="GRPO",
    recipe=Chain(Whole(), Baseline("group", scale=True)),
    reference="Shao et al. 2024",
    arxiv="2402.03300",
)
"""(R - mean) / (std + 1e-6) over the group, with N - 1 in the variance, as in verl."""

DR_GRPO = Method(
    name="Dr. GRPO",
    recipe=Chain(Whole(), Baseline("group")),
    reference="Liu et al. 2025",
    arxiv="2503.20783",
)
"""R - mean over the group."""

RLOO = Method(
    name="RLOO",
    recipe=Chain(Whole(), Baseline("group", own=False, single="raw")),
    reference="Kool et al. 2019; Ahmadian et al. 2024",
    arxiv="2402.14740",
    claims=(Claim("target"), Claim("gradient", undiscounted=True)),
)
"""R - mean of the others of the group."""

REINFORCE_PP = Method(
    name="REINFORCE++",
    recipe=Chain(
        ToGo(),
        Baseline("batch", votes="step", scale=True, epsilon=1e-8, epsilon_at="inside"),
    ),
    reference="Hu 2025",
    arxiv="2501.03262",
)
"""Rewards from each step on, whitened over all decisions of the batch."""

GIGPO = Method(
    name="GiGPO",
    recipe=Sum(
        Chain(Whole(), Baseline("group", votes="step")),
        Chain(ToGo(0.95), Baseline("anchor", votes="step")),
    ),
    reference="Feng et al. 2025",
    arxiv="2505.10978",
    number=27,
    granularity="step",
)
"""Group baseline of episodes, plus that of steps with the same observation; a step has a vote.

Without deviations; discount 0.95 and weight 1 of the steps' part are the defaults of its code.
"""

ENTROPY_80_20 = Method(
    name="80/20 entropy mask",
    recipe=Chain(GRPO.recipe, TopEntropy(0.2)),
    reference="Wang et al. 2025",
    arxiv="2506.01939",
)
"""GRPO on the 20% of the decisions that have the highest entropy."""
