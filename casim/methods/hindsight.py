"""Methods that ask what an action had to do with what came of it.

What is exact here is a judge that knows the coefficients or the posterior
(`casim.contributions.Contributed`, `casim.graders.Posterior`), by name, with the error that the
study gives it; what is learned is counted on fresh rollouts, which are charged.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import Answers, Contribution, OnTaken, ReturnHindsight, Sum
from casim.methods.method import Method
from casim.targets import Advantage

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
