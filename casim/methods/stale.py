"""Methods for rollouts of an older policy: importance ratios as weights.

In maths, with rho_t = pi(a_t | o_t) / mu(a_t | o_t), pi the policy that is trained and mu who
acted: each gives a weight w(rho) on A grad log pi. Where both policies are one every weight is 1,
and only the advantage and the length are left. Only the product over the whole sequence, with the
return, is exact: ratios of tokens correct the actions and not the states they lead to, a geometric
mean is no ratio of probabilities, and what bounds cut off is missing, so that the result depends on
the baseline too. docs/staleness.md has the exact bias and variance of each.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Chain, Gae, OverLength, Ratio, Retrace, ToGo, VTrace
from casim.methods import whitening
from casim.methods.grpo import GRPO_VERL
from casim.methods.method import Claim, Method

__all__ = [
    "CISPO",
    "GSPO",
    "ICEPOP",
    "IMPORTANCE_SAMPLING",
    "PPO_CLIP",
    "RETRACE",
    "SEQUENCE_MASK_TIS",
    "SORL",
    "SORL_PRODUCT",
    "SORL_TOKEN",
    "SORL_UNCLIPPED",
    "TIS",
    "TURN_CLIP",
    "VTRACE",
    "VTRACE_UNBOUNDED",
]

IMPORTANCE_SAMPLING = Method(
    name="importance sampling",
    recipe=Chain(ToGo(), Ratio("sequence")),
    reference="Precup, Sutton and Singh 2000",
    claims=(Claim("gradient"),),
)
"""G_t prod_u rho_u, over all u of the trajectory: exact for any mu that does whatever pi does."""

PPO_CLIP = Method(
    name="PPO",
    recipe=Chain(Gae(), whitening.VERL, Ratio("token", bounds=(0.8, 1.2), kind="ppo")),
    reference="Schulman et al. 2017",
    arxiv="1707.06347",
)
"""min(rho A, clip(rho, 1 - e, 1 + e) A), e = .2, with A by GAE, whitened: rho where not clipped."""

GSPO = Method(
    name="GSPO",
    recipe=Chain(
        GRPO_VERL.recipe,
        OverLength("own"),
        Ratio("sequence", "geometric", bounds=(1 - 3e-4, 1 + 4e-4), kind="ppo"),
    ),
    reference="Zheng et al. 2025; verl, SkyRL, OpenRLHF",
    arxiv="2507.18071",
)
"""s_i = (prod_t rho_t)^(1 / L), clipped, times A_i / L on every token: the gradient of s_i A_i.

The bounds are those of the paper, 3e-4 below and 4e-4 above. The variant per token has the same
gradient where all tokens of a trajectory have one advantage.
"""

CISPO = Method(
    name="CISPO",
    recipe=Chain(GRPO_VERL.recipe, Ratio("token", bounds=(0.8, 1.28))),
    reference="MiniMax 2025; verl, SkyRL",
    arxiv="2506.13585",
)
"""clip(rho, 1 - e_low, 1 + e_high) A grad log pi: never 0, so that no token is lost.

The e are settings: .2 and .28 here; the paper tunes only the upper one.
"""

TIS = Method(
    name="truncated importance sampling",
    recipe=Chain(GRPO_VERL.recipe, Ratio("token", bounds=(0.5, 5.0))),
    reference="OpenRLHF 0.11.2, token ratios, clipped",
)
"""clip(rho, low, high) A grad log pi, of each token."""

ICEPOP = Method(
    name="IcePop",
    recipe=Chain(
        GRPO_VERL.recipe,
        Ratio("token"),
        Ratio("token", bounds=(0.5, 5.0), kind="gate"),
    ),
    reference="OpenRLHF 0.11.2, token ratios, masked",
)
"""rho 1{low <= rho <= high} A grad log pi, low .5 and high 5 by default."""

SEQUENCE_MASK_TIS = Method(
    name="sequence-masked importance sampling",
    recipe=Chain(
        GRPO_VERL.recipe,
        Ratio("token"),
        Ratio("sequence", "geometric", bounds=(0.5, 5.0), kind="gate"),
    ),
    reference="OpenRLHF 0.11.2, sequence ratios, masked",
)
"""rho 1{low <= (prod_t rho_t)^(1 / L) <= high} A grad log pi; rho itself is not clamped."""

TURN_CLIP = Method(
    name="PPO, ratio of turns",
    recipe=Chain(Gae(), whitening.VERL, Ratio("turn", bounds=(0.8, 1.2), kind="ppo")),
    reference="Li et al. 2025",
    arxiv="2512.17008",
    status="second-hand",
)
"""PPO's clip on one ratio for each turn, the product over its tokens."""

_TOKEN_GAE = Gae()

SORL = Method(
    name="SORL",
    recipe=Chain(_TOKEN_GAE, Ratio("turn", "geometric", bounds=(0.8, 1.2), kind="ppo")),
    reference="Li et al. 2025",
    arxiv="2511.20718",
    number=20,
    granularity="turn",
    status="second-hand",
)
"""w_k = (prod_{l in turn k} rho_l)^(1 / L_k), clipped at .2, times A by GAE over tokens.

A geometric mean is no importance ratio: biased for the gradient, with lower variance. What the two
versions of the paper add is left out, since it is not known for sure: the first divides the
gradient by the norm of the part that clipping takes, the second by it where clipping is triggered.
"""

SORL_UNCLIPPED = Method(
    name="SORL, unclipped",
    recipe=Chain(_TOKEN_GAE, Ratio("turn", "geometric")),
    reference="Li et al. 2025",
    arxiv="2511.20718",
    granularity="turn",
    status="second-hand",
)
"""The geometric mean alone."""

SORL_PRODUCT = Method(
    name="SORL, product",
    recipe=Chain(_TOKEN_GAE, Ratio("turn")),
    reference="Li et al. 2025",
    arxiv="2511.20718",
    granularity="turn",
    status="second-hand",
)
"""What SORL is compared with: the product over the turn, its importance ratio."""

SORL_TOKEN = Method(
    name="SORL, per token",
    recipe=Chain(_TOKEN_GAE, Ratio("token", bounds=(0.8, 1.2), kind="ppo")),
    reference="Li et al. 2025",
    arxiv="2511.20718",
    status="second-hand",
)
"""What SORL is compared with: PPO's clip of every token; without any ratio it is GAE."""

VTRACE = Method(
    name="V-trace",
    recipe=Chain(VTrace(), Ratio("token", bounds=(0.0, 1.0))),
    reference="Espeholt et al. 2018",
    arxiv="1802.01561",
)
"""min(1, rho_t) (r_t + gamma v_{t+1} - V(x_t)), v_t = V_t + sum of gamma^k (prod c) rho delta.

rho_bar = c_bar = 1: the values are those of a policy between both, proportional to min(mu, pi).
"""

VTRACE_UNBOUNDED = Method(
    name="V-trace, unbounded",
    recipe=Chain(VTrace(rho_bar=None, c_bar=None), Ratio("prefix")),
    reference="Espeholt et al. 2018",
    arxiv="1802.01561",
    claims=(Claim("gradient"),),
    status="analogue",
)
"""No bounds, and the ratios of states in the weight as well: exact for any mu and any values."""

RETRACE = Method(
    name="Retrace",
    recipe=Chain(Retrace(), Ratio("token")),
    reference="Munos et al. 2016",
    arxiv="1606.02647",
    status="analogue",
)
"""Q_t + sum of gamma^k (prod min(1, rho)) (r + gamma E_pi Q - Q), less E_pi Q, lambda = 1.

The paper learns Q and has no policy gradient: its target less the value is casim's credit for it,
weighed by the ratio of the action. The fixed point is Q of the policy for any mu.
"""
