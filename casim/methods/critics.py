"""Methods with a critic: errors of its values, added up.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Chain, Gae, GaeNetwork, OntoDecisions, Rewarded
from casim.methods import whitening
from casim.methods.method import Method

__all__ = [
    "GAE",
    "GAE_NETWORK",
    "GAE_OPENRLHF",
    "GAE_SKYRL",
    "GAE_TD",
    "GAE_VERL",
    "GAE_VERL_ANSWERS",
    "TD_LAMBDA",
    "TD_N_STEP",
]

GAE = Method(
    name="GAE",
    recipe=Gae(),
    reference="Schulman et al. 2016",
    arxiv="1506.02438",
)
"""Over a table of values, fitted to fresh rollouts."""

GAE_TD = Method(
    name="GAE, TD critic",
    recipe=Gae(fit="td"),
    reference="Schulman et al. 2016; Sutton 1988",
    arxiv="1506.02438",
)
"""The same, the table fitted by TD(lambda)."""

GAE_NETWORK = Method(
    name="GAE, network critic",
    recipe=GaeNetwork(),
    reference="Schulman et al. 2016",
    arxiv="1506.02438",
)
"""Over a network."""

GAE_VERL = Method(
    name="GAE, verl",
    recipe=Chain(Gae(lambda_=1.0, gaps="skipped"), whitening.VERL),
    reference="Schulman et al. 2016; verl 0.9.1, compute_gae_advantage_return",
    arxiv="1506.02438",
)
"""delta = r + gamma V' - V, A = delta + gamma lambda A', whitened with n - 1 and 1e-8.

Tokens of the environment are no steps: V' and A' are those of the next token of the policy, and a
reward on them is lost. Gamma and lambda are 1 by default, as in all three trainers.
"""

GAE_VERL_ANSWERS = Method(
    name="GAE, verl, answers' rewards kept",
    recipe=Chain(OntoDecisions("before"), Rewarded(GAE_VERL.recipe)),
    reference="Schulman et al. 2016; verl 0.9.1, compute_gae_advantage_return",
    arxiv="1506.02438",
    granularity="token",
    methodology="temporal_difference",
    status="analogue",
)
"""The same where what the environment's tokens earn is first given to the decision before them.

So worlds that pay in their answers can be trained on: no reward is lost.
"""

GAE_OPENRLHF = Method(
    name="GAE, OpenRLHF",
    recipe=Chain(Gae(lambda_=1.0, gaps="zeroed"), whitening.OPENRLHF),
    reference="Schulman et al. 2016; OpenRLHF 0.11.2, gae without KL",
    arxiv="1506.02438",
)
"""The same where the environment's tokens are steps of value 0, each of which discounts.

Whitened with n and a floor of 1e-8 in the variance.
"""

GAE_SKYRL = Method(
    name="GAE, SkyRL",
    recipe=Chain(Gae(lambda_=1.0, gaps="count"), whitening.SKYRL),
    reference="Schulman et al. 2016; SkyRL 0.3.0, gae",
    arxiv="1506.02438",
)
"""The same where the environment's tokens are steps like any other, with the critic's values.

They have votes in the whitening too. The recursion of slime is the same.
"""

TD_N_STEP = Method(
    name="n-step TD",
    recipe=Gae(lambda_=1.0, steps=3),
    reference="Sutton 1988; Sutton & Barto 2018, chapter 7",
    status="analogue",
)
"""r_t + ... + gamma^2 r_{t+2} + gamma^3 V_{t+3} - V_t, over a table of values: n = 3."""

TD_LAMBDA = Method(
    name="TD(lambda), traces",
    recipe=Gae(lambda_=0.0, fit="traces"),
    reference="Sutton 1988",
    status="analogue",
)
"""r_t + gamma V_{t+1} - V_t over a table learned online, by traces that decay by gamma lambda.

That the table is learned on rollouts of its own, before the batch is scored, is casim's.
"""
