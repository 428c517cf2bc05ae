"""Methods that go back to a point of a trajectory and play on from there, or play it again.

References:
    See each method.
"""

from __future__ import annotations

import dataclasses

from casim.estimators import (
    AllCoalitions,
    Chain,
    Completions,
    CutVine,
    DeadEnd,
    Lowest,
    Nonzero,
    Once,
    OverLength,
    Shapley,
    Sum,
    Times,
    ToGo,
    TreeVine,
    Unlikely,
    Vine,
)
from casim.methods import whitening
from casim.methods.method import Claim, Method
from casim.oracle.moments import StepBranches

__all__ = [
    "MATH_SHEPHERD",
    "MATH_SHEPHERD_HARD",
    "MATH_SHEPHERD_SCORE",
    "OMEGA_PRM",
    "OMEGA_PRM_BLAME",
    "SCAR",
    "SCAR_EXACT",
    "SCAR_OWEN",
    "SCAR_REWARD",
    "SPO_CHAIN",
    "SPO_CHAIN_FIXED",
    "SPO_CHAIN_UNMASKED",
    "SPO_CHAIN_WHITENED",
    "SPO_TREE",
    "SPO_TREE_GRPO",
    "SPO_TREE_OTHERS",
    "VINEPPO",
    "VINEPPO_CAPPED",
    "VINEPPO_SHARED",
    "VINEPPO_STEP",
    "VINEPPO_WHITENED",
]

VINEPPO = Method(
    name="VinePPO",
    recipe=Vine(9),
    reference="Kazemnejad et al. 2024",
    arxiv="2410.01679",
    number=1,
    granularity="step",
    claims=(Claim("target"), Claim("gradient", undiscounted=True)),
)
"""A_j = r_j + Vhat(s_{j+1}) - Vhat(s_j) on the tokens of step j, Vhat the mean of K = 9 rollouts.

Steps are segments; Vhat is 0 after the end, and discount 1 in the paper. Cost: K rollouts from the
start of every step, half an episode each on average.
"""

VINEPPO_STEP = Method(
    name="VinePPO by step",
    recipe=Vine(9, unit="step"),
    reference="Kazemnejad et al. 2024",
    arxiv="2410.01679",
    claims=(Claim("target"), Claim("gradient")),
    recursion=StepBranches(9),
)
"""The same from step to step."""

VINEPPO_SHARED = Method(
    name="VinePPO, shared prefixes",
    recipe=Vine(9, shared=True),
    reference="Kazemnejad et al. 2024; its code",
    arxiv="2410.01679",
    granularity="step",
    claims=(Claim("gradient", undiscounted=True),),
)
"""Equal prefixes of a group are estimated once, as in the code: cheaper, with correlated errors.

All responses share the value of the prompt.
"""

VINEPPO_CAPPED = Method(
    name="VinePPO, 20 estimated steps",
    recipe=Vine(9, shared=True, max_units=20),
    reference="Kazemnejad et al. 2024; its code, max_step_for_value_estimation",
    arxiv="2410.01679",
    granularity="step",
)
"""After 20 steps V_i = r_i + V_{i+1}: step 21 gets all that is left, R - Vhat, and the others 0.

The code has 20, 25 for GSM8K, and no limit for MATH.
"""

VINEPPO_WHITENED = Method(
    name="VinePPO, whitened",
    recipe=Chain(VINEPPO_SHARED.recipe, whitening.VERL),
    reference="Kazemnejad et al. 2024; its code",
    arxiv="2410.01679",
    granularity="step",
)
"""(A - mean) / sqrt(var + 1e-8) over all tokens of the batch, with n - 1: its code trains on it."""

SPO_CHAIN = Method(
    name="SPO-chain",
    recipe=Chain(CutVine(9, "unlikely", interval=5, threshold=0.9), Unlikely(0.9)),
    reference="Guo et al. 2025; its code",
    arxiv="2505.23564",
    number=5,
)
"""U = {t: pi_old(y_t) < .9}, a cut before every 5th of U: Vhat(end) - Vhat(start) between cuts.

Vhat is the mean of K = 9 rollouts, the realised score at the end; 0 before the first cut, and
tokens with pi_old > .9 weigh nothing. Biased even with exact values, with the mask and without: a
segment ends where the *next* token is unlikely.
"""

SPO_CHAIN_UNMASKED = Method(
    name="SPO-chain, no mask",
    recipe=CutVine(9, "unlikely", interval=5, threshold=0.9),
    reference="Guo et al. 2025",
    arxiv="2505.23564",
)
"""The same, likely tokens too."""

SPO_CHAIN_FIXED = Method(
    name="SPO-chain, fixed length",
    recipe=CutVine(9, "count", interval=5),
    reference="Guo et al. 2025",
    arxiv="2505.23564",
    claims=(Claim("gradient", undiscounted=True),),
)
"""A cut before every 5th token, likely or not: with exact values the gradient is exact."""

SPO_CHAIN_WHITENED = Method(
    name="SPO-chain, whitened",
    recipe=Chain(
        SPO_CHAIN.recipe,
        dataclasses.replace(whitening.VERL, weighted=True),
        OverLength("mean"),
    ),
    reference="Guo et al. 2025; its code",
    arxiv="2505.23564",
)
"""Whitened over the tokens that the mask leaves; the loss is a mean over them."""

SPO_TREE = Method(
    name="SPO-tree",
    recipe=Chain(TreeVine((6, 6)), Nonzero(), OverLength("mean")),
    reference="Guo et al. 2025; its code",
    arxiv="2505.23564",
)
"""V(node) = mean of its children, an edge gets V(child) - V(parent); edges of 0 are dropped.

6-6-6 where groups are of 6: they are the prompt's children. The mean includes the child, which its
code calls "rloo": (1 - 1/6) times the child less the mean of its siblings. The loss is a mean over
what is kept. The code also adds a prover's advantage (best of 4) before it drops edges: left out.
"""

SPO_TREE_GRPO = Method(
    name="SPO-tree, grpo",
    recipe=Chain(TreeVine((6, 6), baseline="scaled"), Nonzero(), OverLength("mean")),
    reference="Guo et al. 2025; its code",
    arxiv="2505.23564",
)
"""The same over the deviation of the children + 1e-8, n in the variance."""

SPO_TREE_OTHERS = Method(
    name="SPO-tree, leave one out",
    recipe=TreeVine((6, 6), baseline="others"),
    reference="Guo et al. 2025",
    arxiv="2505.23564",
    claims=(Claim("gradient", undiscounted=True),),
    status="analogue",
)
"""V(child) less the mean of its siblings, no edge dropped: what "rloo" says."""

SCAR = Method(
    name="SCAR",
    recipe=Shapley(),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    number=6,
    claims=(Claim("target"),),
)
"""phi_i over 4 random orders, v(S) = E[R | a_t as taken for t in S, else a_t ~ pi], of segments.

The interventional game. Efficient: with certain transitions the values of a trajectory sum to
R - V(s_0). The marginal in the order of time alone is the advantage; phi, over all orders, is not.
Cost: a rerun for every segment and order. The paper's own game, a reward model on text with the
other units blank, is `SCAR_FEATURE`.
"""

SCAR_EXACT = Method(
    name="SCAR, all coalitions",
    recipe=AllCoalitions(),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    claims=(Claim("target"),),
    status="analogue",
)
"""The same from a rerun of each of the 2^n coalitions, up to 12 segments."""

SCAR_OWEN = Method(
    name="SCAR, Owen values",
    recipe=Shapley(unions=True),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    status="second-hand",
)
"""Over orders that keep the segments of a turn together: for units of text in a hierarchy."""

SCAR_REWARD = Method(
    name="SCAR, rewards of PPO",
    recipe=Chain(Sum(Chain(Shapley(), Once(), Times(0.5)), Times(0.5)), ToGo()),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    status="second-hand",
)
"""R_t = alpha SV_t + (1 - alpha) 1{t = T} r, SV_t at the end of a segment; summed from t on.

The paper hands R_t to PPO with a critic, here to the sum that lambda 1 and no critic make of it;
alpha is not known to us: 1/2. As rewards to go Shapley values are biased, since those of the past
depend on the actions that follow; summed over the whole trajectory they are exact.
"""

MATH_SHEPHERD = Method(
    name="Math-Shepherd",
    recipe=Completions(8),
    reference="Wang et al. 2024",
    arxiv="2312.08935",
    claims=(Claim("gradient", undiscounted=True),),
)
"""y_SE = (number correct) / N, of N = 8 completions from the end of a step: its mean is V(s_{t+1}).

A label of its step, to train a process reward model with; here it is the credit of the step, with
mean Q = A + V. Steps are segments. Cost: N completions for every step but the last.
"""

MATH_SHEPHERD_HARD = Method(
    name="Math-Shepherd, hard labels",
    recipe=Completions(8, "hard"),
    reference="Wang et al. 2024",
    arxiv="2312.08935",
)
"""y_HE = 1 if any completion is correct: its mean is 1 - (1 - V)^N, which saturates."""

MATH_SHEPHERD_SCORE = Method(
    name="Math-Shepherd, score of a solution",
    recipe=Chain(Completions(8, "hard"), Lowest()),
    reference="Wang et al. 2024",
    arxiv="2312.08935",
    granularity="trajectory",
)
"""A solution is as good as its worst step: min over the labels, on every step."""

OMEGA_PRM = Method(
    name="OmegaPRM",
    recipe=DeadEnd(16),
    reference="Luo et al. 2024; openreasoner/openr, omegaprm.py (k = 16)",
    arxiv="2406.06592",
    status="second-hand",
)
"""1 on the first step with MC = 0 of k = 16 completions, by binary search, on failed rollouts.

Cost: O(k log S) completions instead of k S. A state of value V is called hopeless with probability
(1 - V)^k. That a wrong step is never corrected is assumed: with recovery it marks another step.
"""

OMEGA_PRM_BLAME = Method(
    name="OmegaPRM, blame",
    recipe=Chain(OMEGA_PRM.recipe, Times(-1.0)),
    reference="Luo et al. 2024",
    arxiv="2406.06592",
    status="analogue",
)
"""-1 on the step that OmegaPRM marks: what a policy could be trained on at once."""
