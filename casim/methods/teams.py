"""Methods for several agents that share one outcome.

What is true of the null agent, redundancy and synergy in `casim.Team`, and what each method gives
there, is in docs/teams.md.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    AdditiveMixing,
    Aligned,
    AllCoalitions,
    AllDecisions,
    Answers,
    Baseline,
    ByLeader,
    Chain,
    FormReward,
    Judged,
    LessAverage,
    Marginal,
    MonotoneMixing,
    Only,
    OverUnit,
    Shapley,
    Sum,
    Whole,
)
from casim.methods.method import Claim, Method
from casim.targets import Advantage, Difference
from casim.targets import Shapley as ShapleyValue

__all__ = [
    "ARISTOCRAT",
    "COMA",
    "DIFFERENCE_REWARDS",
    "DR_MAS",
    "DR_MAS_GLOBAL",
    "LLM_MCA",
    "MAPPA",
    "M_GRPO",
    "QLLM",
    "QMIX",
    "SHAPLEY_AGENTS",
    "SHAPLEY_AGENTS_EXACT",
    "SHARP",
    "SHARP_MARGINAL",
    "VDN",
]

_OUTCOME = Whole(discount=1.0)
_Z_OF_AGENT = Baseline("agent", scale=True)

M_GRPO = Method(
    name="M-GRPO",
    recipe=Chain(
        _OUTCOME,
        FormReward(0.1),
        ByLeader(
            leader=_Z_OF_AGENT,
            others=Chain(Baseline("agent", votes="turn", scale=True), Aligned(8)),
        ),
    ),
    reference="Hong et al. 2025; AQ-MedAI/MrlX, main_agent_reward.py, sub_agent_reward.py",
    arxiv="2511.13288",
    number=42,
    granularity="multi_agent",
    status="second-hand",
)
"""A_M,k = (R_M,k - mean_k R_M) / std; A_S,(k,i) the same over all calls of the group, pooled.

The leader is the main agent, a turn of another is a call of a sub-agent. As in its code R_M is 1 if
right in the right form, 0.1 for the form alone, 0 in a wrong form, and R_S is 1 if R_M is 1, else
0.1, and 0 in a wrong form of its own: the outcome, gated, with no quality of the call. Worlds have
no forms. Alignment to D = 8 calls of each rollout is a weight, the share of a call in them; that it
duplicates or drops at random is not from its code. A broadcast: a useful and a useless call of one
rollout get the same. Calls are pooled over rollouts; those of several sub-agents stand apart here.
"""

LLM_MCA = Method(
    name="LLM-MCA",
    recipe=Judged("shares", "trajectory"),
    reference="Nagpal et al. 2025",
    arxiv="2502.16863",
    number=43,
    granularity="multi_agent",
    methodology="model_based",
    target=ShapleyValue("agent"),
    stands_for="a judge of shares, `casim.graders.Shares`, decomposes the outcome",
    status="second-hand",
)
"""r_i = LLM(description, trajectories)_i, and each policy is updated with its own reward.

No formula is public, nor which decomposition is meant: shares are noisy Shapley values here, or
what is lost without the agent (`Shares("difference")`). That they add up is asked for and not
enforced. LLM-TACA, which also assigns tasks, is left out.
"""

QLLM = Method(
    name="QLLM",
    recipe=AdditiveMixing(judge="judge"),
    reference="Jiang et al. 2025; MaoMaoLYJ/pymarl-qllm, TFCAF functions",
    arxiv="2504.12961",
    number=44,
    methodology="model_based",
    stands_for="a judge's scores are the hand-written scores of the agents; returns are fitted",
    status="analogue",
)
"""Q_tot = sum_i n w_i(s) Q_i, w = softmax_i(score_i(s)), a function that an LLM wrote.

The weights are never learned, depend on the state and not on the reward: dQ_tot / dQ_i = n w_i. In
its code Q is fitted by temporal differences. Hand-written constants are `AdditiveMixing(shares=)`:
an agent with weight 0 gets no credit by decree.
"""

SHARP = Method(
    name="SHARP",
    recipe=Chain(
        Sum(_OUTCOME, Marginal("agent", null=1, whole="observed")),
        _Z_OF_AGENT,
    ),
    reference="Li et al. 2026",
    arxiv="2602.08335",
    number=45,
    granularity="multi_agent",
    methodology="game_theoretic",
    target=Difference("agent", 1),
    stands_for="a masked output is action 1, which is wrong in a team",
    status="second-hand",
)
"""R_i = a R + b (v(N) - v(N without i)) + c R_tool; (R_i - mean) / std of agent i in the group.

a = b = 1 here: weights and masking are not known to us, and teams have no tools (c = 0). What it
calls a Shapley term is what is lost without the agent: for three that are redundant 0, not 1/3; for
three that are all needed 1, not 1/3.
"""

SHARP_MARGINAL = Method(
    name="SHARP, marginal only",
    recipe=Marginal("agent", null=1, whole="observed"),
    reference="Li et al. 2026",
    arxiv="2602.08335",
    granularity="multi_agent",
    stands_for="a masked output is action 1, which is wrong in a team",
    status="second-hand",
)
"""v(N) - v(N without i) alone, before it is normalised."""

MAPPA = Method(
    name="MAPPA",
    recipe=Chain(
        Answers("coach"),
        Only("last", "turn"),
        AllDecisions(product=True),
        OverUnit("turn"),
        Baseline(
            "batch_agent",
            votes="step",
            scale=True,
            ddof=0,
            epsilon=1e-4,
            epsilon_at="floor",
        ),
    ),
    reference="Li et al. 2026; ltjed/multiagent-coaching, experience_maker.py",
    arxiv="2601.23228",
    number=46,
    granularity="multi_agent",
    methodology="model_based",
    target=Advantage(),
    stands_for="a judge with 11 levels is the coach",
)
"""x = score / 10 on all tokens of an action, then (x - mean) / std over the agent's tokens.

Each agent is trained by itself; its batch is not split by prompt, and the batch mean leaves V(s) in
the credit: easy inputs get positive credit whatever the action. No later score flows back. With
`LessDivergence` after the coach it has the penalty of its code, beta times the KL to the reference.
"""

DR_MAS = Method(
    name="Dr. MAS",
    recipe=Chain(
        _OUTCOME,
        Baseline("agent", votes="turn", scale=True, single="raw"),
    ),
    reference="Feng et al. 2026; langfengQ/DrMAS, core_algos.py",
    arxiv="2602.08847",
    number=47,
    granularity="multi_agent",
)
"""(R - mu_k) / (sigma_k + 1e-6), over the turns of agent k in the group, with n - 1 in sigma_k.

Every turn votes: an agent that is called three times counts three times. One turn alone keeps its
raw reward. It differs from the mean of the group only through which rollouts an agent is active in.
"""

DR_MAS_GLOBAL = Method(
    name="Dr. MAS, global",
    recipe=Chain(_OUTCOME, Baseline("group", votes="turn", scale=True, single="raw")),
    reference="Feng et al. 2026",
    arxiv="2602.08847",
    granularity="multi_agent",
)
"""(R - mu) / sigma over the turns of all agents: what agent-wise normalisation is compared with.

Of agent k the mean square of the credit is (sigma_k^2 + (mu_k - mu)^2) / sigma^2, in place of 1.
"""

COMA = Method(
    name="COMA",
    recipe=Chain(Answers("joint"), LessAverage()),
    reference="Foerster et al. 2018",
    arxiv="1705.08926",
    granularity="multi_agent",
    target=Difference("agent"),
    stands_for="a judge of joint actions, `casim.graders.JointCritic`, is the central critic",
)
"""A_i = Q(s, u) - sum_b pi_i(b) Q(s, (u_-i, b)), the actions of all others as they were.

Where agents act at the same time it is the difference that agent i makes, and the gradient is
exact; where later ones react to it, what comes of that is left out.
"""

DIFFERENCE_REWARDS = Method(
    name="difference rewards",
    recipe=Marginal("agent", null=1),
    reference="Wolpert and Tumer 2002",
    granularity="multi_agent",
    claims=(Claim("target"),),
)
"""D_i = G(z) - G(z_-i, c_i), c_i a default action: 1, which is wrong in a team."""

ARISTOCRAT = Method(
    name="aristocrat utility",
    recipe=Marginal("agent"),
    reference="Wolpert and Tumer 2002",
    granularity="multi_agent",
    claims=(Claim("target"),),
)
"""The same with c_i drawn from the policy: on average what COMA's exact critic says."""

VDN = Method(
    name="VDN",
    recipe=AdditiveMixing(),
    reference="Sunehag et al. 2018",
    arxiv="1706.05296",
    status="analogue",
)
"""Q_tot = sum_i Q_i: the additive fit to the returns of rollouts, with temporal differences there.

For [[0, 1], [1, 8]] under uniform play [[-1.5, 2.5], [2.5, 6.5]]: synergy is lost.
"""

QMIX = Method(
    name="QMIX",
    recipe=MonotoneMixing(),
    reference="Rashid et al. 2018",
    arxiv="1803.11485",
    status="analogue",
)
"""Q_tot = f(Q_1, ..., Q_n) with dQ_tot / dQ_i >= 0, fitted to the returns of rollouts.

Its mixing weights depend on the state there, and are constants here. It holds synergy, but nothing
where the sign of what an agent does depends on the others.
"""

SHAPLEY_AGENTS = Method(
    name="Shapley, agents",
    recipe=Shapley(4, unit="agent"),
    reference="Castro, Gomez and Tejada 2009",
    granularity="multi_agent",
    claims=(Claim("target"),),
)
"""phi_i, the mean marginal over 4 random orders of joining; each order adds up to v(N) - v(0)."""

SHAPLEY_AGENTS_EXACT = Method(
    name="Shapley, agents, all coalitions",
    recipe=AllCoalitions(unit="agent"),
    reference="Shapley 1953",
    granularity="multi_agent",
    claims=(Claim("target"),),
)
"""phi_i from a rerun of each of the 2^n coalitions, which share their noise."""
