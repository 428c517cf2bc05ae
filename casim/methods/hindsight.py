"""Methods that ask what an action had to do with what came of it.

What is exact here is a judge that knows the coefficients or the posterior
(`casim.contributions.Contributed`, `casim.graders.Posterior`), by name, with the error that the
study gives it; what is learned is counted on fresh rollouts, which are charged.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    AllDecisions,
    Answers,
    Baseline,
    Blend,
    ByHindsight,
    Chain,
    Clipped,
    Contribution,
    FadeUnits,
    NoHarm,
    Only,
    OnTaken,
    ReturnHindsight,
    Sum,
    Times,
    Whole,
)
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.models import Network
from casim.methods.method import Method
from casim.targets import Advantage

__all__ = [
    "COCOA_FEATURE",
    "COCOA_FEATURE_EXACT",
    "COCOA_FEATURE_NETWORK",
    "COCOA_RETURN",
    "COCOA_REWARD",
    "COCOA_REWARD_EXACT",
    "COCOA_REWARD_NETWORK",
    "COCOA_STATE",
    "HCAPO",
    "HCAPO_AGENTIC_RL_CA",
    "HCAPO_SMOOTH",
    "HCAPO_STEP",
    "HCAPO_TAKEN",
    "HCA_RETURN",
    "HCA_RETURN_ALL",
    "HCA_RETURN_EXACT",
    "HCA_RETURN_NETWORK",
    "HCA_STATE",
    "HCA_STATE_EXACT",
    "HCA_STATE_NETWORK",
]

_OUTCOME = Whole(discount=1.0)
_SUCCESS = Chain(_OUTCOME, Times(10.0))
_MACRO = Chain(_SUCCESS, Baseline("group", scale=True))
_REFINED = Chain(_SUCCESS, FadeUnits(0.95), ByHindsight("posterior"))
_A_TURN = Only("last", "turn")
_CLASSIFIER = Fit(Network(), num_updates=200, learning_rate=0.02)
"""Of actions, given what is seen and what came of them; its rollouts are the recipe's."""

HCA_STATE = Method(
    name="HCA, state",
    recipe=Contribution("state", centred=False, immediate=True),
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""Q(x, a) = r(x, a) + sum_{k>t} gamma^(k-t) h(a | x, X_k) / pi(a | x) R_k, for all a.

The mean immediate reward r(x, a) and h are counted. h is pooled over k, weighed by the discount:
the paper's time-independent h_beta with beta the discount, apart for each kernel, so that rewards
may depend on it. It also has an h_k for every delay. Consistent where what is seen is the state.
The authors' published file sums k from t on, where h(a | x, x) = pi(a | x): the immediate reward
earns no credit there.
"""

HCA_STATE_EXACT = Method(
    name="HCA, state, exact",
    recipe=Answers("state_contribution"),
    methodology="model_based",
    target=Advantage(),
    stands_for="a judge of set trust stands for the learned coefficients",
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""The same from a judge `Contributed("state", centred=False, immediate=True)`: the mean is Q."""

HCA_RETURN = Method(
    name="HCA, return",
    recipe=ReturnHindsight("inverse", "taken"),
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""A(x, a) = (1 - pi(a | x) / h(a | x, Z)) Z on the action taken, Z the return from there on.

h is counted in two classes of Z. So the paper has it: its theorem on returns is about the action
taken. It is the recipe of `HINDSIGHT_RETURN`, in parts.
"""

HCA_RETURN_EXACT = Method(
    name="HCA, return, exact",
    recipe=ReturnHindsight("inverse", "taken", judge="posterior"),
    stands_for="a judge of set trust gives the posterior",
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""With the exact h the mean is A, if every return that x allows is possible after a."""

HCA_RETURN_ALL = Method(
    name="HCA, return, all actions",
    recipe=ReturnHindsight("ratio", "all", judge="posterior"),
    stands_for="a judge of set trust gives the posterior",
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""h(a | x, Z) / pi(a | x) Z for all a: with the exact h the mean is Q, from any trajectory."""

COCOA_RETURN = Method(
    name="COCOA, return",
    recipe=ReturnHindsight("gain", "all"),
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""(h(a | s, Z) / pi(a | s) - 1) Z for all a, counted."""

COCOA_REWARD = Method(
    name="COCOA, reward",
    recipe=Sum(OnTaken(), Contribution("reward")),
    granularity="step",
    methodology="model_based",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""1{a = a_t} r_t / pi(a_t | s_t) + sum_{k>t} w(s_t, a, r_k) r_k, w = h(a | s, r) / pi(a | s) - 1.

h is pooled over k > t and counted. The reward always says all of itself: with the exact w the mean
is A, also where what is seen is not the state. Rewards that are equal by chance share their credit,
which brings variance back, not bias.
"""

COCOA_REWARD_EXACT = Method(
    name="COCOA, reward, exact",
    recipe=Sum(OnTaken(), Answers("reward_contribution")),
    granularity="step",
    methodology="model_based",
    stands_for="a judge of set trust stands for the learned coefficients",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""The same from a judge `Contributed("reward", support)`, the support all rewards."""

COCOA_FEATURE = Method(
    name="COCOA, feature",
    recipe=Sum(OnTaken(), Contribution("prediction")),
    granularity="step",
    methodology="model_based",
    stands_for="classes of a counted mean reward stand for the features of a reward network",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""The same with u_k a class of the predicted reward of (s_k, a_k): its noise is no part of u.

With the exact w the mean is A where all (s, a) of a class have one mean reward, and else off by
what differs within classes.
"""

COCOA_FEATURE_EXACT = Method(
    name="COCOA, feature, exact",
    recipe=Sum(OnTaken(), Answers("feature_contribution")),
    granularity="step",
    methodology="model_based",
    stands_for="a judge of set trust stands for the learned coefficients",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""The same from a judge `Contributed("prediction", support)`, the support all mean rewards."""

COCOA_STATE = Method(
    name="COCOA, state (HCA+)",
    recipe=Sum(OnTaken(), Contribution("state")),
    granularity="step",
    methodology="model_based",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""The same with u_k the state: HCA with the immediate reward on the action taken."""

HCA_STATE_NETWORK = Method(
    name="HCA, state, network",
    recipe=Contribution("state", centred=False, immediate=True, fit=_CLASSIFIER),
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""As `HCA_STATE`, with h a network of what is seen, what came and the time, by cross-entropy."""

HCA_RETURN_NETWORK = Method(
    name="HCA, return, network",
    recipe=ReturnHindsight("inverse", "taken", fit=_CLASSIFIER),
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""As `HCA_RETURN`, with h a network of what is seen, the class of the return and the time."""

COCOA_REWARD_NETWORK = Method(
    name="COCOA, reward, network",
    recipe=Sum(OnTaken(), Contribution("reward", fit=_CLASSIFIER)),
    granularity="step",
    methodology="model_based",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""As `COCOA_REWARD`, with h a network of what is seen, the later reward and the time.

All pairs of steps of the rollouts are in its cross-entropy; the paper draws them.
"""

COCOA_FEATURE_NETWORK = Method(
    name="COCOA, feature, network",
    recipe=Sum(OnTaken(), Contribution("prediction", fit=_CLASSIFIER)),
    granularity="step",
    methodology="model_based",
    stands_for="classes of a counted mean reward stand for the features of a reward network",
    reference="Meulemans et al. 2023",
    arxiv="2306.16803",
)
"""As `COCOA_FEATURE`, with h a network; the features are still counted."""

HCAPO = Method(
    name="HCAPO",
    recipe=Sum(
        _MACRO,
        Chain(
            _REFINED,
            _A_TURN,
            Baseline("group", votes="step", scale=True, weighted=True),
            AllDecisions(),
            NoHarm(),
        ),
    ),
    reference="Tan et al. 2026",
    arxiv="2603.08754",
    number=23,
    granularity="turn",
    methodology="model_based",
    stands_for="a judge of set trust gives the posterior, which the model reads off itself",
    status="second-hand",
)
"""A_t = (R - mu_R) / sigma_R + omega (Q^H_t - mu_H) / sigma_H, omega = 1.

Q^H_t = rho_t gamma^(T - t) R with R = 10 of a success and gamma = .95; rho_t = clip(pi_hind(a_t) /
mean_k pi_hind(a_k), .8, 1.2), the mean over the turns of the same trajectory, and pi_hind(a) =
exp((1 / 5) mean_j log h(y_j | ..)). Statistics of Q^H are over all turns of the group, one vote a
turn, as the paper's pseudocode says; the text beside its equation says "at time step t"
(`HCAPO_STEP`). "Do no harm": on a success a negative second term is 0. A turn without a choice has
pi_hind = 1 and so the largest ratio of its trajectory: what it should get is 0. The paper's divisor
(n or n - 1) and epsilon are not known to us: those of GRPO.
"""

HCAPO_STEP = Method(
    name="HCAPO, statistics by turn",
    recipe=Sum(_MACRO, Chain(_REFINED, Baseline("turn", scale=True), NoHarm())),
    reference="Tan et al. 2026",
    arxiv="2603.08754",
    granularity="turn",
    methodology="model_based",
    stands_for="a judge of set trust gives the posterior, which the model reads off itself",
    status="second-hand",
)
"""mu_H and sigma_H over the same turn of the group."""

HCAPO_SMOOTH = Method(
    name="HCAPO, smoothed",
    recipe=Sum(
        _MACRO,
        Chain(
            _REFINED,
            Blend(0.5, "next"),
            _A_TURN,
            Baseline("group", votes="step", scale=True, weighted=True),
            AllDecisions(),
            NoHarm(),
        ),
    ),
    reference="Tan et al. 2026",
    arxiv="2603.08754",
    granularity="turn",
    methodology="model_based",
    stands_for="a judge of set trust gives the posterior, which the model reads off itself",
    status="second-hand",
)
"""Q^H_t becomes .5 Q^H_t + .5 Q^H_{t+1}; the last turn keeps its own."""

HCAPO_AGENTIC_RL_CA = Method(
    name="HCAPO, Agentic-RL-CA",
    recipe=Chain(
        Sum(
            Chain(
                _OUTCOME,
                _A_TURN,
                Baseline("group", votes="step", scale=True, ddof=0, epsilon=1e-3, weighted=True),
                AllDecisions(),
            ),
            Chain(
                _OUTCOME,
                FadeUnits(0.95),
                ByHindsight("posterior", beside="policy"),
                Blend(0.5, "both"),
                _A_TURN,
                Baseline("group", votes="step", scale=True, ddof=0, epsilon=1e-3, weighted=True),
                AllDecisions(),
            ),
        ),
        Clipped((-5.0, 5.0)),
    ),
    reference="RainyFields/Agentic-RL-CA, gigpo/core_hcapo.py",
    arxiv="2603.08754",
    granularity="turn",
    methodology="model_based",
    stands_for="a judge of set trust gives the posterior, which the model reads off itself",
)
"""A third party's: rho beside the policy's own probability, both neighbours, n in the variance.

Every turn is a row, also in the statistics of R; epsilon is 1e-3, the sum is clipped at 5, and
nothing is spared on successes. Its authors found that it is not the paper's ratio. Where the
deviation is below 1e-3 the code centres without dividing; here it divides.
"""

HCAPO_TAKEN = Method(
    name="HCAPO, ratio on the action taken",
    recipe=ReturnHindsight("ratio", "taken", judge="posterior"),
    reference="Tan et al. 2026",
    arxiv="2603.08754",
    stands_for="a judge of set trust gives the posterior",
    status="analogue",
)
"""rho_t G_t with the exact ratio h(a_t | s_t, z) / pi(a_t | s_t), as its derivation begins.

E[rho z | s, a] = Q^2 / V of an outcome 0 or 1 and not Q, which `HCA_RETURN_ALL` has.
"""
