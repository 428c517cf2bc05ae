"""Methods that ask a judge, in reasoning and in turns; whom they ask is in `casim.panel.PANEL`.

What replaces the LLM is a judge by name, with a stated error. With `casim.graders.Shuffled` around
it a method gets the same words at the wrong places: the control of every one of them.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    Agreeing,
    Apportion,
    Average,
    Baseline,
    ByValue,
    Chain,
    Emphasis,
    First,
    InformationGain,
    Intervention,
    Judged,
    Once,
    Overlong,
    Plus,
    PoolByChange,
    PoolByEntropy,
    ProcessReward,
    Sum,
    Times,
    TimesOther,
    ToGo,
    Whole,
)
from casim.methods.grpo import GRPO_VERL
from casim.methods.mechanisms import PURE_OPENRLHF
from casim.methods.method import Claim, Method
from casim.targets import (
    EntropyGain,
    FirstError,
    HistoryAdvantage,
    Redistribution,
    Soft,
    Subgoal,
    TdError,
    TrajectoryAdvantage,
)

__all__ = [
    "ACPO",
    "ADAPTSEG",
    "AGENT_LIGHTNING",
    "AGENT_LIGHTNING_ROLLOUT",
    "CAPO",
    "CLAIRVOYANT",
    "CRITICSEARCH",
    "FINEPO",
    "HICRA",
    "INT",
    "INT_UNCHECKED",
    "PILOTRL",
    "PILOTRL_ADHERENCE",
    "PILOTRL_PLAN",
    "PRS",
    "PURE_HARD",
    "PURE_VERIFIABLE",
    "SCRIBE",
    "STEPAGENT",
    "STEPAGENT_INVERSE",
    "SWEET_RL_Z",
    "SWEET_RL_ZH",
    "TARL",
    "TARL_GRPO",
    "VPR",
    "VSPO",
]

_SCORE = Whole(discount=1.0)
_REWARD = Times(1.0)
_Z_SCORE = Baseline("group", scale=True, single="raw")
_SUCCESS_OR_FAILURE = Chain(_SCORE, Plus(-0.5))
"""1/2 for outcome 1, -1/2 for outcome 0: its sign is that of R - V(s_0)."""

PURE_HARD = Method(
    name="PURE, hard minimum",
    recipe=ProcessReward("hard", baseline="per_token"),
    reference="Cheng et al. 2025",
    arxiv="2504.15275",
    stands_for="a judge of set fidelity scores the steps",
    status="second-hand",
)
"""G_t = min(r_t, ..., r_n) for t <= w, 0 after, w = argmin r: what the soft minimum stands for.

The baseline is that of `PURE_OPENRLHF`. Of equal lowest scores the first is w.
"""

PURE_VERIFIABLE = Method(
    name="PURE, with verifiable reward",
    recipe=Sum(
        PURE_OPENRLHF.recipe,
        Chain(_SCORE, Plus(-1.0), Baseline("group", own=False, single="raw")),
    ),
    reference="Cheng et al. 2025; its code, OpenRLHF branch",
    arxiv="2504.15275",
    stands_for="a judge of set fidelity scores the steps",
)
"""PURE plus the outcome R - 1 in {-1, 0} less the mean of the others', from the last token on.

In the paper one prompt in ten has a verifiable reward, here all. Its penalty for KL is left out.
"""

CAPO = Method(
    name="CAPO",
    recipe=Chain(
        Sum(
            Chain(_SCORE, Times(2.0)),
            Chain(Judged("mistakes", "trajectory", votes=4, rule="majority"), Times(-1.0)),
        ),
        Baseline("group", votes="step"),
    ),
    reference="Xie et al. 2025",
    arxiv="2508.02298",
    number=10,
    granularity="step",
    methodology="model_based",
    target=TrajectoryAdvantage(),
    stands_for="the judge 'mistakes' marks wrong steps, k = 4 votes with misses and false alarms",
    status="second-hand",
)
"""R_it = 2 r_i - 1{t in T_err,i}, less the mean over all tokens of all rollouts of the group.

T_err by a majority, at least k/2 of the votes; `rule` has intersection, union and average as well.
Without errors it is a group baseline that counts tokens. That nothing is divided by a deviation is
unverified. Votes are correlated by `systematic` of the judge; a judge of the latent state has seen
the answer. Cost: k calls for each rollout.
"""

ACPO = Method(
    name="ACPO, an analogue",
    recipe=Chain(
        InformationGain("entropy"),
        PoolByEntropy(0.2),
        TimesOther(_SUCCESS_OR_FAILURE, by="sign"),
    ),
    reference="Yin et al. 2025",
    arxiv="2510.08899",
    number=11,
    granularity="step",
    target=EntropyGain(),
    stands_for="a judge's score is the probability of success",
    status="analogue",
)
"""sign(R - V(s_0)) I_k on segment k, I_k = H(R | its start) - H(R | its end).

No equation of the paper could be confirmed: this is casim's. Segments begin at the 20% of decisions
of highest entropy; H are binary entropies of a judge's value. Outcomes are 0 or 1, so the sign is
that of R - 1/2. The paper's curriculum is left out.
"""

HICRA = Method(
    name="HICRA",
    recipe=Chain(GRPO_VERL.recipe, Emphasis(0.2)),
    reference="Wang et al. 2025",
    arxiv="2509.03646",
    number=12,
    granularity="token",
    stands_for="the lexicon 'planning' is the critical states, with a recall and false alarms",
    status="second-hand",
)
"""A_it + alpha |A_i| on planning tokens, A_i elsewhere: x 1.2 if A_i > 0, x 0.8 if not; alpha .2.

A_i is GRPO's of verl. Where the lexicon depends on the state only and outcomes are 0 or 1, planning
states have (1 + alpha (1 - 2 p)) times the credit of others in large groups, p = V(s_0): harmless
at p = 1/2. `Lexicon(words=...)` depends on the action, and pushes towards it whatever comes of it.
"""

INT = Method(
    name="InT",
    recipe=Intervention(),
    reference="Yang et al. 2026",
    arxiv="2601.14209",
    number=14,
    target=FirstError(),
    stands_for="'first_mistake' finds the first error, 'best' proposes an action, both with errors",
    status="second-hand",
)
"""E[grad log pi(y~_t*) + sum_{t < t*} grad log pi(y_t)] on failed rollouts; the rest is discarded.

The paper's first stage, fine-tuning on the intervention at the first wrong step t*; credit is of
all actions. Kept if one of 32 continuations succeeds: charged. The second stage is `DR_GRPO`.
"""

INT_UNCHECKED = Method(
    name="InT, unchecked",
    recipe=Intervention(num_checks=0),
    reference="Yang et al. 2026",
    arxiv="2601.14209",
    target=FirstError(),
    stands_for="'first_mistake' finds the first error, 'best' proposes an action, both with errors",
    status="analogue",
)
"""Every intervention is kept: what the filter is worth."""

FINEPO = Method(
    name="FinePO",
    recipe=Chain(_SCORE, Baseline("group"), Apportion(alpha=0.5, beta=2.0)),
    reference="Huang et al. 2026",
    arxiv="2601.05688",
    number=15,
    granularity="step",
    methodology="model_based",
    target=Redistribution(),
    stands_for="the judge 'levels' scores steps on four levels",
    status="second-hand",
)
"""A'_j = A + alpha k D_j, k = |A| / (max_j max(0, D_j) + e), held in [0, beta A]; A = R_i - mean R.

D_j are scores of steps less their mean weighted by length; steps are segments. The paper adds a
term of how unlikely an action is, `divergence`, off here; the values of alpha, beta, e are ours.
With alpha = 0 and beta >= 1 it is Dr. GRPO.
"""

TARL = Method(
    name="TARL",
    recipe=Chain(
        Sum(_REWARD, Chain(Judged("verdicts", "turn"), Once("turn"), Times(0.2))),
        ToGo(1.0),
        Baseline("turn", own=False),
    ),
    reference="Tan et al. 2025",
    arxiv="2509.14480",
    number=21,
    granularity="turn",
    methodology="model_based",
    stands_for="the judge 'verdicts' says -1, 0 or 1 of each turn",
    status="second-hand",
)
"""r_t = w y_t + 1{t = T} R, y_t in {-1, 0, 1} at the end of turn t; summed from t on.

Less the others' mean at the same turn, where the paper has PPO's critic. How scores and outcome are
put together is unverified, and w = .2 is ours; w = 0 is the outcome alone. A judge with a leak
copies the outcome on every turn. Cost: a call for each turn.
"""

TARL_GRPO = Method(
    name="TARL, GRPO",
    recipe=Chain(
        Sum(_REWARD, Chain(Judged("verdicts", "turn"), Once("turn"), Times(0.2))),
        _SCORE,
        _Z_SCORE,
    ),
    reference="Tan et al. 2025",
    arxiv="2509.14480",
    granularity="trajectory",
    methodology="model_based",
    target=TrajectoryAdvantage(),
    stands_for="the judge 'verdicts' says -1, 0 or 1 of each turn",
    status="second-hand",
)
"""The same rewards in GRPO, which adds them up: no credit for single turns."""

CRITICSEARCH = Method(
    name="CriticSearch",
    recipe=Sum(
        GRPO_VERL.recipe,
        Chain(Judged("hindsight", "trajectory"), Times(0.25)),
    ),
    reference="Zhang et al. 2025",
    arxiv="2511.12159",
    number=26,
    granularity="turn",
    methodology="model_based",
    target=TdError(),
    stands_for="the judge 'hindsight' says good or bad of each turn, knowing what came of it",
    status="second-hand",
)
"""A_i + alpha y_t, alpha = .25, A_i GRPO's, y_t good or bad of each turn in hindsight.

The analogue's label is the sign of the turn's TD errors, with a leak of the outcome. The critic
reads the whole trajectory: with a leak what it says of an action depends on what comes after. How
the two parts are normalised is unverified. alpha = 0 is GRPO. Cost: a call for each rollout.
"""

_ADHERENCE = Chain(Judged("best"), Average())
_PLAN = Chain(Judged(unit="trajectory"), First())

PILOTRL_ADHERENCE = Method(
    name="PilotRL, stage 1",
    recipe=Chain(_ADHERENCE, _Z_SCORE),
    reference="Lu et al. 2025; its code, agent_stage1.sh",
    arxiv="2508.00344",
    granularity="trajectory",
    target=Subgoal(),
    stands_for="the judge 'best' is the plan, and marks what follows it",
    status="analogue",
)
"""GRPO of the share of decisions that follow the plan: the first stage of the curriculum."""

PILOTRL_PLAN = Method(
    name="PilotRL, stage 2",
    recipe=Chain(_PLAN, _Z_SCORE),
    reference="Lu et al. 2025; its code, agent_stage2.sh",
    arxiv="2508.00344",
    granularity="trajectory",
    target=Subgoal(),
    stands_for="a judge's value after the first decision is the quality of the plan",
    status="analogue",
)
"""GRPO of V(g), what the first decision is worth: the plan that an episode begins with."""

PILOTRL = Method(
    name="PilotRL",
    recipe=Chain(Overlong(), Sum(_ADHERENCE, _PLAN, _SCORE), _Z_SCORE),
    reference="Lu et al. 2025; its code, agent_stage3.sh",
    arxiv="2508.00344",
    number=30,
    granularity="trajectory",
    methodology="monte_carlo",
    target=TrajectoryAdvantage(),
    stands_for="the judge 'best' is the plan, a judge's value after the first decision its quality",
    status="analogue",
)
"""GRPO of adherence + V(g) + R with a penalty for long episodes: the third, joint stage.

Each stage is GRPO by trajectory without KL, as in its code; the formulas of the rewards are
unverified and casim's. There is no credit for single steps: the stages are a curriculum.
"""

STEPAGENT = Method(
    name="StepAgent, implicit",
    recipe=Chain(Judged("expert"), Times(0.1)),
    reference="Deng et al. 2024",
    arxiv="2411.03817",
    number=34,
    granularity="step",
    target=Soft(0.1),
    stands_for="the expert is soft-optimal at temperature .1, and as the reference in its errors",
    status="analogue",
)
"""c_t = tau log pi_E(a_t) / pi_ref(a_t): A_soft of an expert that makes no errors, tau = .1.

The paper's loss, of the DPO kind at the states of an expert, is unverified; this is the reward that
it carries in itself. Where the expert is the reference it is 0.
"""

STEPAGENT_INVERSE = Method(
    name="StepAgent, inverse",
    recipe=Chain(Judged("discriminator"), ToGo(), Baseline("step", own=False)),
    reference="Deng et al. 2024",
    arxiv="2411.03817",
    granularity="step",
    target=Soft(0.1),
    stands_for="the best discriminator between the expert's steps and the policy's",
    status="analogue",
)
"""-log(1 - D(s_t, a_t)), summed from t on, less the others' mean, where the paper has PPO.

D is the best discriminator, exact, not trained; the form "log_d" of the judge has log D. Which of
the two the paper takes is unverified.
"""

AGENT_LIGHTNING = Method(
    name="Agent Lightning",
    recipe=Chain(_SCORE, Baseline("group", votes="step", scale=True, single="raw")),
    reference="Luo et al. 2025; its code, v0.1, agentlightning/verl/daemon.py",
    arxiv="2508.03680",
    number=35,
)
"""(R_i - mean) / (std + 1e-6) over all rows of the task: a decision is a row, and has a vote.

The outcome is the reward of every transition. Where lengths differ the baseline is that of long
rollouts. The deviation, with n - 1 of the rows, is another than that of rollouts even if lengths
are equal.
"""

AGENT_LIGHTNING_ROLLOUT = Method(
    name="Agent Lightning, by rollout",
    recipe=Chain(_SCORE, Baseline("group", scale=True, single="raw")),
    reference="Luo et al. 2025; its code, v1.0, agentlightning/verl/rollout_level_advantage.py",
    arxiv="2508.03680",
)
"""One row for each rollout in mean and deviation, then broadcast: GRPO."""

SCRIBE = Method(
    name="SCRIBE, an analogue",
    recipe=Chain(
        Sum(_REWARD, Chain(Judged("skills"), Times(0.2))),
        ToGo(1.0),
        Baseline("step", own=False),
    ),
    reference="Jiang and Ferraro 2026",
    arxiv="2601.03555",
    number=39,
    granularity="step",
    methodology="model_based",
    target=Subgoal(),
    stands_for="the judge 'skills' marks subgoals reached, worse where the skill does not match",
    status="analogue",
)
"""R plus w for each subgoal reached, by the rubric of the skill that a router chose; w = .2.

The formula is unverified: that scores are added to the reward and summed from t on is ours.
"""

PRS = Method(
    name="PRS",
    recipe=Chain(
        _SCORE,
        Times(0.8),
        Plus(0.2),
        TimesOther(Chain(Judged("format", "trajectory"), First())),
        _Z_SCORE,
    ),
    reference="Su et al. 2025",
    arxiv="2512.07478",
    granularity="trajectory",
    target=TrajectoryAdvantage(),
    stands_for="the judge 'format' checks the first decision",
    status="analogue",
)
"""r = w_1 1{format} + 1{format} w_2 R, in GRPO: format first, then correctness; w = .2 and .8.

The formula is unverified. It is another objective than R.
"""

VSPO = Method(
    name="PRS and VSPO",
    recipe=Chain(PRS.recipe, ByValue(0.05)),
    reference="Su et al. 2025",
    arxiv="2512.07478",
    number=40,
    granularity="trajectory",
    target=TrajectoryAdvantage(),
    stands_for="the judge 'format' checks the first decision",
    status="analogue",
)
"""PRS, with prompts without any advantage replaced by prompts drawn by p (1 - p), at least .05.

The formula is unverified. What changes is the weight of prompts, and the cost.
"""

ADAPTSEG = Method(
    name="adaptive segment-level reward",
    recipe=Chain(InformationGain(), PoolByChange(0.05), Agreeing(_SUCCESS_OR_FAILURE)),
    reference="Li et al. 2024",
    arxiv="2411.00809",
    number=41,
    granularity="segment",
    methodology="model_based",
    stands_for="changes of a judge's value are the rewards of tokens",
    status="analogue",
)
"""Token rewards r_l = V(w_<=l) - V(w_<l), summed between cuts at |r_l - r_{l-1}| > tau = .05.

Only segments whose sign is that of the outcome are trained. The formula is unverified. Without the
mask and with a judge that is right the segments add up to R - V(s_0); the mask keeps survivors, and
biases.
"""

SWEET_RL_ZH = Method(
    name="privileged critic of latent and history",
    recipe=Judged("critic"),
    reference="Zhou et al. 2025; Baisero and Amato 2022",
    arxiv="2503.15478",
    granularity="turn",
    methodology="temporal_difference",
    target=HistoryAdvantage(),
    claims=(Claim("gradient"),),
    stands_for="an exact critic that knows the latent state and the history",
    status="analogue",
)
"""A(z, h, a), whose mean over z given h is A(h, a): what is hidden averages out."""

SWEET_RL_Z = Method(
    name="privileged critic of the latent",
    recipe=Judged("latent_critic"),
    reference="Zhou et al. 2025; Baisero and Amato 2022",
    arxiv="2503.15478",
    granularity="turn",
    methodology="temporal_difference",
    target=HistoryAdvantage(),
    stands_for="an exact critic that knows the latent alone",
    status="analogue",
)
"""A_t(z, a) = E[G | z, a] - E[G | z]: no function of what the policy knows, and so biased.

If z is the whole state only by a number that does not depend on the action; `Critic("latent",
classes)` of coarser classes mixes histories, and then the gradient is wrong too.
"""

CLAIRVOYANT = Method(
    name="clairvoyant critic",
    recipe=Judged("clairvoyant"),
    reference="casim",
    granularity="turn",
    methodology="temporal_difference",
    target=HistoryAdvantage(),
    stands_for="the values of the best policy that sees the latent state",
    status="analogue",
)
"""Q*(z, a) - V*(z): to who sees what is hidden, a question is worth minus its cost."""

VPR = Method(
    name="VPR",
    recipe=Chain(Judged("verifier", "turn"), Baseline("turn", votes="step", scale=True)),
    reference="Tsinghua 2026",
    arxiv="2605.10325",
    granularity="turn",
    methodology="model_based",
    target=Subgoal(),
    stands_for="the judge 'verifier' marks actions of the best policy of the latent process",
    status="second-hand",
)
"""1{a_t in argmax Q*}, z-scored at each turn over the rollouts still running.

A policy that is always right gets 0 everywhere. In turns of several decisions each is z-scored.
"""
