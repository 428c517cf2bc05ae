"""Groups read as trees of prefixes.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Baseline, Chain, PrefixGain, Sum, Whole
from casim.methods.method import Method

__all__ = [
    "TEMPO",
    "TEMPO_HISTORY",
    "TEMPO_STATE",
]

_OVER_DEVIATION = Chain(Whole(discount=1.0), Baseline("group", centre=False, scale=True))

TEMPO = Method(
    name="TEMPO",
    recipe=Chain(_OVER_DEVIATION, Sum(Baseline("group"), PrefixGain("history", holes="stop"))),
    reference="Tran et al. 2025; its code, compute_tidepo_outcome_advantage",
    arxiv="2509.18314",
    number=7,
    granularity="token",
)
"""A_ij = [(r_i - mean r) + V(B_{j+1}) - V(B_j)] / (std r + 1e-6), std with G - 1.

B_j are the rollouts that share the tokens before j, i included, V the mean of their outcomes. The
code stops at the first token of the environment: after it, it is GRPO. A group of one is not a
number there; here it gets 0.
"""

TEMPO_HISTORY = Method(
    name="TEMPO, across tools",
    recipe=Chain(_OVER_DEVIATION, Sum(Baseline("group"), PrefixGain("history"))),
    reference="Tran et al. 2025",
    arxiv="2509.18314",
    granularity="token",
    status="analogue",
)
"""The same beyond the environment's tokens, which are part of the history that is shared."""

TEMPO_STATE = Method(
    name="TEMPO by state",
    recipe=Chain(_OVER_DEVIATION, Sum(Baseline("group"), PrefixGain("state"))),
    reference="Tran et al. 2025",
    arxiv="2509.18314",
    granularity="token",
    status="analogue",
)
"""The same with B_j the rollouts in the same latent state at step j, whatever came before."""
