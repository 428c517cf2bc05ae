"""Credit from the policy's own log-ratios to a reference.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Baseline, Chain, FromEnds, FromStart, LogRatio, Sum, ToGo, Whole
from casim.methods.grpo import GRPO_VERL
from casim.methods.method import Method
from casim.targets import Regularised

__all__ = [
    "PRL",
    "PRL_SEGMENT",
    "PRL_TOKEN",
    "SPRO",
]

_DIVERGENCE_TO_GO = Chain(LogRatio(-1 / 100), ToGo(1.0, gaps="skipped"))

PRL = Method(
    name="PRL",
    recipe=Chain(Sum(GRPO_VERL.recipe, _DIVERGENCE_TO_GO), FromEnds(64)),
    reference="Yao et al. 2026; its code, ray_trainer.py",
    arxiv="2601.10201",
    number=13,
    granularity="step",
    target=Regularised(1 / 100),
)
"""c_t = A_i - sum_{u >= t} log pi / pi_ref / eta at the ends of steps, and before each what it has.

A step ends every 64 tokens, and with the answer. A_i is GRPO's of verl, eta 100.
"""

PRL_SEGMENT = Method(
    name="PRL by segment",
    recipe=Chain(Sum(GRPO_VERL.recipe, _DIVERGENCE_TO_GO), FromEnds()),
    reference="Yao et al. 2026",
    arxiv="2601.10201",
    granularity="step",
    target=Regularised(1 / 100),
    status="analogue",
)
"""The same, with the world's segments where the code cuts at newlines."""

PRL_TOKEN = Method(
    name="PRL, token form",
    recipe=Sum(Chain(Whole(discount=1.0)), _DIVERGENCE_TO_GO),
    reference="Yao et al. 2026",
    arxiv="2601.10201",
    granularity="token",
    target=Regularised(1 / 100),
    status="analogue",
)
"""c_t = r - sum_{u >= t} log pi / pi_ref / eta, with r not normalised.

It is exactly the gradient of E[r] - KL(pi || pi_ref) / eta.
"""

SPRO = Method(
    name="SPRO",
    recipe=Sum(
        GRPO_VERL.recipe,
        Chain(LogRatio(1.0), FromStart(), Baseline("step")),
    ),
    reference="Fei et al. 2025",
    arxiv="2507.01551",
    number=9,
    granularity="step",
    methodology="temporal_difference",
    status="second-hand",
)
"""A_it = (r_i - mean r) / std r + R_it - mean R_kt, R_it = sum_{j <= t} beta log pi / pi_ref.

The second mean is over the k that still write at t, i included. Beta 1, G - 1 and 1e-6 are casim's.
"""
