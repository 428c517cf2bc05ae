"""Which tokens of a group's credit train, and how much: masks and traces.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Baseline, Chain, OverLength, TopEntropy, Traces, Whole
from casim.methods.grpo import GRPO, GRPO_TRL, GRPO_VERL
from casim.methods.method import Method

__all__ = [
    "ENTROPY_80_20",
    "ENTROPY_80_20_TRL",
    "ENTROPY_80_20_VERL",
    "GRPO_LAMBDA",
    "GRPO_LAMBDA_BOTH",
    "GRPO_LAMBDA_LATE",
]

_Z_SCORE = Chain(Whole(discount=1.0), Baseline("group", scale=True, ddof=0, epsilon=1e-8))

ENTROPY_80_20 = Method(
    name="80/20 entropy mask",
    recipe=Chain(GRPO.recipe, TopEntropy(0.2)),
    reference="Wang et al. 2025",
    arxiv="2506.01939",
)
"""GRPO on the 20% of the decisions that have the highest entropy.

The mask depends on the state only: the gradient is exactly that of GRPO where it is kept.
"""

ENTROPY_80_20_VERL = Method(
    name="80/20 entropy mask, authors' code",
    recipe=Chain(GRPO_VERL.recipe, TopEntropy(0.2, "count"), OverLength("mean")),
    reference="Wang et al. 2025; its code, dp_actor.py",
    arxiv="2506.01939",
)
"""The k = max(1, int(0.2 n + .9999)) tokens of highest entropy; the loss is a mean over those kept.

Its n are the tokens of a micro-batch, here of the batch.
"""

ENTROPY_80_20_TRL = Method(
    name="80/20 entropy mask, TRL",
    recipe=Chain(GRPO_TRL.recipe, OverLength("mean"), TopEntropy(0.2, "quantile")),
    reference="Wang et al. 2025; TRL 1.16.0, top_entropy_quantile=0.2",
    arxiv="2506.01939",
)
"""Tokens whose entropy is at least the .8 quantile; the loss divides by all tokens."""

GRPO_LAMBDA = Method(
    name="GRPO-lambda, recent",
    recipe=Chain(_Z_SCORE, Traces("recent", 0.99), OverLength("own")),
    reference="Parthasarathi et al. 2025",
    arxiv="2510.00194",
    granularity="token",
    status="second-hand",
)
"""On policy decision j weighs (1 - (gamma lambda)^(L - j)) / (1 - gamma lambda), early ones most.

It is A_i on e^(sum_{j <= t} (gamma lambda)^(t - j) log ratio_j); lambda 0 is GRPO. A_i is GRPO's
with G in the deviation, as in the two codes that cite the paper; their clamp of negative A_i is
left out.
"""

GRPO_LAMBDA_BOTH = Method(
    name="GRPO-lambda, both",
    recipe=Chain(_Z_SCORE, Traces("both", 0.99), OverLength("own")),
    reference="Parthasarathi et al. 2025",
    arxiv="2510.00194",
    granularity="token",
    status="second-hand",
)
"""The same with max((gamma lambda)^(t - j), (gamma lambda)^j): the first decision weighs L."""

GRPO_LAMBDA_LATE = Method(
    name="GRPO-lambda, late",
    recipe=Chain(_Z_SCORE, Traces("late", 0.99), OverLength("own")),
    reference="Parthasarathi et al. 2025",
    arxiv="2510.00194",
    granularity="token",
    status="second-hand",
)
"""A_i (gamma lambda)^(L - 1 - j): another public reading, with the opposite profile."""
