"""Methods that ask what would have come of something else: replays, baselines that know the future.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    Alternatives,
    Answers,
    Baseline,
    BesideSolo,
    Chain,
    DirectAdvantage,
    Foresight,
    LessAverage,
    ReturnDifferences,
    Sum,
    SyntheticReturns,
    Times,
    ToGo,
    Without,
)
from casim.methods.method import Claim, Method

__all__ = [
    "C3",
    "C3_AGENTS",
    "C3_FULL_MEAN",
    "C3_REWARD",
    "C3_STEP",
    "C3_SURVEY",
    "C3_VALUE",
    "C3_VALUE_ASSISTED",
    "CCA",
    "CCA_ALL_ACTIONS",
    "CCA_EXACT",
    "CCPO",
    "CCPO_AGENTS",
    "CCPO_DIFFERENCE",
    "CCPO_HELPED",
    "CCPO_MARGIN",
    "DAE",
    "DAE_LUCK",
    "DIFFERENCE_TURN",
    "RUDDER",
    "RUDDER_EXACT",
    "SYNTHETIC_RETURNS",
]

_GRADIENT = (Claim("gradient", undiscounted=True),)

C3 = Method(
    name="C3",
    recipe=Alternatives(4, leaves=2, signal="assisted", judge="value", scale=True),
    reference="Chen et al. 2026; EIT-EAST-Lab/C3, provider.py (value_assisted, alpha 1)",
    arxiv="2603.06859",
    number=24,
    stands_for="a judge of values stands for the Q critic of a prefix",
)
"""A_i = r_i - [(1 - alpha) mean_{j != i} r_j + alpha mean_{j != i} q_j], over their deviation.

Siblings i = 1..n are drawn from one restored context, r_i is the mean outcome of its subtree, q_i a
critic of the context and what sibling i did; alpha = 1 is the code's default, as is dividing
(`normalize_adv`). Its K = 8 leaves a prompt are fan-outs of 2 and 4 for two agents; here n = 4
siblings of 2 leaves at every turn. The subtree of the trajectory itself holds its own outcome.
Every replay is charged. The divisor's n - 1 and epsilon are GRPO's. The mean is unbiased before the
division, whatever the critic; after it A times a number of the state.
"""

C3_REWARD = Method(
    name="C3, rewards",
    recipe=Alternatives(4),
    reference="Chen et al. 2026; EIT-EAST-Lab/C3, provider.py (reward_only)",
    arxiv="2603.06859",
    claims=_GRADIENT,
)
"""A_i = r_i - mean_{j != i} r_j, not divided: its mean for a single step is A."""

C3_STEP = Method(
    name="C3, rewards by step",
    recipe=Alternatives(4, unit="step"),
    reference="Chen et al. 2026",
    arxiv="2603.06859",
    claims=(Claim("gradient"),),
)
"""The same at every step."""

C3_AGENTS = Method(
    name="C3, rewards by agent",
    recipe=Alternatives(4, unit="agent"),
    reference="Chen et al. 2026; EIT-EAST-Lab/C3, provider.py (reward_only)",
    arxiv="2603.06859",
    granularity="multi_agent",
    claims=_GRADIENT,
)
"""The same at the level of agents: what each did beside siblings from the context it was given.

An agent whose actions count for nothing gets 0 on average, and the noise of replays each time.
"""

C3_VALUE_ASSISTED = Method(
    name="C3, value-assisted, not divided",
    recipe=Alternatives(4, leaves=2, signal="assisted", judge="value"),
    reference="Chen et al. 2026; EIT-EAST-Lab/C3, provider.py",
    arxiv="2603.06859",
    stands_for="a judge of values stands for the Q critic of a prefix",
)
"""r_i less what the critic makes of the others."""

C3_VALUE = Method(
    name="C3, values",
    recipe=Alternatives(4, signal="value", judge="value"),
    reference="Chen et al. 2026; EIT-EAST-Lab/C3, provider.py (value_only)",
    arxiv="2603.06859",
    stands_for="a judge of values stands for the Q critic of a prefix",
)
"""q_i - mean_{j != i} q_j: the outcome is not read, and the critic's bias stays."""

C3_FULL_MEAN = Method(
    name="C3, mean of all",
    recipe=Alternatives(4, own=True),
    reference="Chen et al. 2026; EIT-EAST-Lab/C3, provider.py (full_mean)",
    arxiv="2603.06859",
)
"""r_i - mean_j r_j over all siblings: (n - 1) / n of the credit of `C3_REWARD`."""

C3_SURVEY = Method(
    name="C3, without the turn",
    recipe=Without("turn", null=None, rest="kept"),
    reference="Zhang 2026",
    arxiv="2604.09459",
    stands_for="a replay in which the policy fills the turn stands for an LLM that imagines it",
    claims=(Claim("target"),),
    status="second-hand",
)
"""R(tau) - R(tau without t), the survey's reading: the turn redrawn, all else as it was."""

CCPO = Method(
    name="CCPO",
    recipe=Chain(BesideSolo("gated"), Baseline("turn", scale=True)),
    reference="Li et al. 2026; bhai114/ccpo, CCPO-v1, leave_one_out_rema.py",
    arxiv="2603.21563",
    number=25,
    stands_for="a replay whose first turn is a default action stands for the solo run",
)
"""First turn tanh(alpha (D - mu) / (sigma + 1e-6)), D = R_joint - R_solo; others g z_joint + (1 -
g) z_solo, g = sigmoid(eta mu_D / (sigma_D + eps)); then GRPO over the same turn of the group.

alpha = eta = 1, averages of decay .99. Before ten samples are known the raw numbers are handed on,
so a study, whose replicates start anew, shows that; `casim.learn`'s state carries the averages. The
paper is about two agents, see `CCPO_AGENTS`. Cost: one solo replay a trajectory. D is unbiased for
what the first turn changed; after tanh, averages and gate it is monotone in it at most.
"""

CCPO_AGENTS = Method(
    name="CCPO, agents",
    recipe=Chain(BesideSolo("gated", unit="agent"), Baseline("step", scale=True)),
    reference="Li et al. 2026; bhai114/ccpo, CCPO-v1, leave_one_out_rema.py",
    arxiv="2603.21563",
    granularity="multi_agent",
    stands_for="a replay whose first agent takes a default action stands for the solo run",
)
"""The same for agents: the first to act by what it changed, the others by joint and solo outcomes.

The paper has two; of more all but the first share one credit.
"""

CCPO_HELPED = Method(
    name="CCPO, v2",
    recipe=Chain(BesideSolo("helped"), Baseline("turn", scale=True)),
    reference="Li et al. 2026; bhai114/ccpo, two_model_trainer.py",
    arxiv="2603.21563",
    stands_for="a replay whose first turn is a default action stands for the solo run",
)
"""Outcomes +-1: r_thinker = R_joint + .2 (helped - hurt), r_solver = R_joint.

The thinker helped where the joint run succeeds and the mean of the group's R_solo is below 0, and
hurt the other way round: its code compares with that mean, not with the solo run beside it.
"""

CCPO_MARGIN = Method(
    name="CCPO, v2 with a margin",
    recipe=Chain(BesideSolo("margin"), Baseline("turn", scale=True)),
    reference="Li et al. 2026; bhai114/ccpo, two_model_trainer.py",
    arxiv="2603.21563",
    stands_for="a replay whose first turn is a default action stands for the solo run",
)
"""r_thinker = R_joint + .2 x .5 (R_joint - mean of the group's R_solo): the code's other bonus."""

CCPO_DIFFERENCE = Method(
    name="CCPO, difference",
    recipe=Without("step", null=0),
    reference="Li et al. 2026; survey",
    arxiv="2603.21563",
    stands_for="a replay with a default action stands for the solo run",
    claims=(Claim("target"), Claim("gradient")),
    status="analogue",
)
"""D_t = R - R_solo at every step, each against a replay in which it takes the default action.

Its mean is Q(s, a) - Q(s, null). Of another default action the same state has another number, which
no action of its own can change: the gradient is exact.
"""

DIFFERENCE_TURN = Method(
    name="difference reward by turn",
    recipe=Without("turn", null=0, rest="kept"),
    reference="Wolpert and Tumer 2002",
    claims=(Claim("target"),),
)
"""D_i = G(z) - G(z without i, a default action c_i in its place), all other turns as they were.

Any c_i has the exact gradient where later turns do not react to turn i; else a baseline that they
make depend on it. Of two turns either of which is enough both get 0.
"""

RUDDER = Method(
    name="RUDDER",
    recipe=ReturnDifferences(),
    reference="Arjona-Medina et al. 2019",
    arxiv="1806.07857",
    stands_for="means of what is seen and done at a step stand for an LSTM over the prefix",
)
"""r'_t = g_t - g_{t-1}, g_t the return predicted from s_0, a_0, ..., s_t, a_t; the rest at the end.

The r' add up to the return whatever the predictor says, whose error is credit error. Learnt from
fresh rollouts, which are charged.
"""

RUDDER_EXACT = Method(
    name="RUDDER, exact",
    recipe=ReturnDifferences(judge="q_value"),
    reference="Arjona-Medina et al. 2019",
    arxiv="1806.07857",
    stands_for="a judge of set fidelity predicts the return",
)
"""With the exact Q: the target itself; its mean at a step is A and the luck of coming there."""

CCA = Method(
    name="CCA",
    recipe=Foresight(),
    reference="Mesnard et al. 2021",
    arxiv="2011.09464",
    stands_for="numbers of what is seen, done and earned, added up, stand for a network's Phi",
    status="analogue",
)
"""c_t = G_t - V(s_t, Phi_t), Phi_t of what comes after t and independent of a_t given s_t.

Phi adds up a fitted number of every later step; the penalty on what its mean tells of the action
stands for KL(pi || P(a | s, Phi)) by a hindsight classifier. What the mean still tells is bias. The
sight's rewards, 0 and 1, are a setting.
"""

CCA_EXACT = Method(
    name="CCA, exact",
    recipe=Chain(Answers("counterfactual"), LessAverage()),
    methodology="model_based",
    reference="Mesnard et al. 2021",
    arxiv="2011.09464",
    stands_for="a judge of set trust knows the luck, the rank of the return after the action",
    status="analogue",
)
"""The same with Phi the rank of G_t among the returns after (s_t, a_t): independent of a_t.

G_t - sum_b pi(b | s) Q(s, Phi, b), Q(s, Phi, b) what b would have earned at that rank. With a judge
`Counterfactual()` the mean is A, and its mean square in a state at most that of G_t - V(s_t).
"""

CCA_ALL_ACTIONS = Method(
    name="CCA, exact, all actions",
    recipe=Answers("counterfactual"),
    methodology="model_based",
    reference="Mesnard et al. 2021",
    arxiv="2011.09464",
    stands_for="a judge of set trust knows the luck, the rank of the return after the action",
    status="analogue",
)
"""sum_a grad pi(a | s_t) Q(s_t, Phi_t, a): what each action would have earned by the same luck.

The mean is Q of every action, from any trajectory.
"""

DAE = Method(
    name="DAE",
    recipe=DirectAdvantage(),
    reference="Pan et al. 2022",
    arxiv="2109.06093",
    stands_for="a table by step, observation and action is the network of advantages",
)
"""min E[(sum_{k>=t} gamma^(k-t) (r_k - A(s_k, a_k)) - V(s_t))^2], sum_a pi(a | s) A(s, a) = 0.

To the end of the episode: the paper's n steps with the rest bootstrapped are not here. In the limit
A is the advantage.
"""

DAE_LUCK = Method(
    name="DAE, skill and luck",
    recipe=DirectAdvantage(luck=True),
    reference="Pan and Schoelkopf 2024",
    arxiv="2402.12874",
    stands_for="a number of each passage between observations is the sum of skill and luck",
    status="analogue",
)
"""The sum loses B(s_k, a_k, s_{k+1}) too, sum_s' P(s' | s, a) B = 0: what the transition brought.

The credit is A alone. The paper's B is centred by a model of the transitions, here by the rollouts
that are fitted to; its use is data of another policy, here it takes luck off the regression.
"""

SYNTHETIC_RETURNS = Method(
    name="Synthetic returns",
    recipe=Chain(Sum(SyntheticReturns(), Times(1.0)), ToGo()),
    reference="Raposo et al. 2021",
    arxiv="2102.12425",
    stands_for="tables by step and observation are the networks c, g and b",
    status="second-hand",
)
"""r_t = g(s_t) sum_{k<t} c(s_k) + b(s_t) is fitted; trained on is alpha c(s_t) + beta r_t.

Here what comes of those rewards is added up from each step on. alpha = beta = 1; the paper's, one
for each task, are not known to us. c adds up and is of states alone: states that come together
share the credit, and two events of which exactly one is needed get none.
"""
