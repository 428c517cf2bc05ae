"""Methods with something fitted: implicit rewards, redistributions, process reward models.

All are fitted anew in every call, on fresh groups that are charged, see `casim.estimators.sources`.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    AllCoalitions,
    AllDecisions,
    Baseline,
    Chain,
    Completions,
    Contrast,
    Distilled,
    Extremes,
    Gae,
    ImplicitReward,
    Increments,
    Judged,
    LogRatio,
    Once,
    Only,
    OutcomeShares,
    OverLargest,
    OverUnit,
    PairWeight,
    Plus,
    PrefixReward,
    RankedPair,
    Redistributed,
    Shapley,
    Sum,
    Times,
    TimesLeft,
    ToGo,
    Unshrunk,
    Whole,
    WithoutLast,
)
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.models import Network, Tabular
from casim.estimators.sources.objectives import Labels, Outcome, Preference, Return
from casim.estimators.sources.sights import Abstract, Latent
from casim.methods import whitening
from casim.methods.method import Method
from casim.targets import Redistribution, Soft, TrajectoryAdvantage

__all__ = [
    "DPO",
    "ISTAR",
    "ISTAR_FROZEN",
    "ITPO",
    "ITPO_NORM",
    "LARE",
    "LARE_RRD",
    "MATH_SHEPHERD_PRM",
    "MATH_SHEPHERD_PRM_HARD",
    "PRIME",
    "PRIME_NETWORK",
    "PROGRESS_ADVANTAGE",
    "RED",
    "RED_FITTED",
    "RED_IMMEDIATE",
    "RED_RLOO",
    "R_TO_Q",
    "R_TO_Q_FITTED",
    "SCAR_FEATURE",
    "SCAR_FEATURE_EXACT",
    "SCAR_FEATURE_REWARD",
    "SPA_RL",
    "SPA_RL_GROUNDED",
    "SPA_RL_PROGRESS",
    "SPA_RL_RELEASED",
    "SPA_RL_TO_GO",
    "SWEET_RL",
    "SWEET_RL_RANKED",
    "T_REG",
    "T_REG_TOKENS",
]

_OTHERS = Baseline("group", own=False, single="raw")
_MASKED_RLOO = Chain(Baseline("group", weighted=True, single="raw"), Unshrunk())
"""x n / (n - 1) - sum_j mean(x_j) / (n - 1), means over the decisions of a row with a weight."""
_OUTCOME = Chain(Whole(1.0), _OTHERS, Only("last", "episode"), AllDecisions(product=True))
"""The outcome less that of the others, earned on the last decision."""
_PROCESS = (WithoutLast(), OverLargest(), _MASKED_RLOO, Times(5.0))
_OF_UNIT_ENDS = (Only("last", "segment"), AllDecisions(product=True), OverUnit("segment"))
"""What the last decision of a segment has, on all steps of it."""
_STEP_BASELINE = (
    OverUnit("turn"),
    OverLargest("value"),
    Only("first", "episode"),
    _MASKED_RLOO,
    AllDecisions(),
)
_LEAST_SQUARES = Fit(num_updates=300, learning_rate=0.05)
_TO_GO = Chain(ToGo(1.0, gaps="skipped"), whitening.VERL)

PRIME = Method(
    name="PRIME",
    recipe=Chain(
        Sum(
            Chain(ImplicitReward(0.05, Outcome(0.05)), *_PROCESS),
            Chain(_OUTCOME, Times(5.0)),
        ),
        _TO_GO,
    ),
    reference="Cui et al. 2025; verl's recipe, prime_core_algos.py and prime_dp_rm.py",
    arxiv="2502.01456",
    target=TrajectoryAdvantage(),
    stands_for="a table of logits tilts the reference; its log-ratio is the reward model",
)
"""r_t = beta log pi_phi / pi_ref, phi by cross-entropy of sigma(beta sum q) and the outcome; RLOO.

The last token's reward is dropped; the others are divided by the largest |sum to go| + 1e-6 of the
batch, so that beta matters to the fit only. Token rewards get x n / (n - 1) - sum_j m_j / (n - 1),
m_j the mean over the tokens of row j, the own row too, outcomes the exact leave-one-out; both times
5, summed from each token on and whitened. A group of one is not defined there: no baseline here.
"""

PRIME_NETWORK = Method(
    name="PRIME, network",
    recipe=Chain(
        ImplicitReward(0.05, Outcome(0.05), Fit(Network())),
        *_PROCESS,
        _TO_GO,
    ),
    reference="Cui et al. 2025",
    arxiv="2502.01456",
    stands_for="a network's logits tilt the reference; its log-ratio is the reward model",
    status="analogue",
)
"""The process reward alone, by a network: observations it has not met get what like ones have."""

RED = Method(
    name="RED",
    recipe=Chain(PrefixReward(), ToGo(1.0)),
    reference="Li et al. 2024",
    arxiv="2411.08302",
    number=2,
    stands_for="a judge of values is the reward model that reads prefixes",
    status="second-hand",
)
"""r~_t = R_phi(x, y_<=t) - R_phi(x, y_<t), summed from each token on: PPO's lambda 1, no critic.

The sum is R - R_phi(x, y_<t): a baseline that knows the prefix, whose gradient is exact for any
R_phi. The paper mixes beta_c r~_t + (1 - beta_c) 1{t = T} R, beta_c = 1 by default, and takes the
divergence off, which here is the loss's.
"""

RED_IMMEDIATE = Method(
    name="RED, immediate",
    recipe=PrefixReward(),
    reference="Li et al. 2024",
    arxiv="2411.08302",
    stands_for="a judge of values is the reward model that reads prefixes",
    status="second-hand",
)
"""r~_t as the credit of its own token: A where R_phi is the value, biased where it is not."""

RED_RLOO = Method(
    name="RED, RLOO",
    recipe=Chain(PrefixReward(), Whole(1.0), _OTHERS),
    reference="Li et al. 2024",
    arxiv="2411.08302",
    stands_for="a judge of values is the reward model that reads prefixes",
    status="second-hand",
)
"""Sums of r~ less those of the others: they differ from the outcomes by the score of the prompt.

Where the members of a group have one score of it, that is RLOO.
"""

RED_FITTED = Method(
    name="RED, fitted",
    recipe=Chain(Gae(lambda_=0.0, gaps="count"), ToGo(1.0)),
    reference="Li et al. 2024",
    arxiv="2411.08302",
    stands_for="a table of what followed each observation is the reward model of prefixes",
    status="analogue",
)
"""The same with R_phi(x, y_<t) fitted to returns of fresh rollouts by step and observation."""

T_REG = Method(
    name="T-REG",
    recipe=Sum(
        Chain(Extremes(), PairWeight(0.1)),
        Chain(Contrast(judge="actions"), PairWeight(0.1), Times(0.25)),
    ),
    reference="Zhou et al. 2024",
    arxiv="2412.02685",
    number=3,
    granularity="token",
    stands_for="two policies tilted by a judge of actions are the model under two prompts",
    status="second-hand",
)
"""beta w (+-1 + alpha r^_t) on the best and the worst of a group: the gradient of its loss.

r^_t = sigma(log pi_+ / pi_-) - 1/2, w = sigma(r_DPO(y_l) - r_DPO(y_w)), alpha of .1, .25, .5 in the
paper. The judge named "actions" scores every action. Alpha 0 is DPO.
"""

DPO = Method(
    name="DPO",
    recipe=Chain(Extremes(), PairWeight(0.1)),
    reference="Rafailov et al. 2023",
    arxiv="2305.18290",
)
"""+-beta sigma(d_l - d_w), d = beta sum log pi / pi_ref: the gradient of -log sigma(d_w - d_l)."""

T_REG_TOKENS = Method(
    name="T-REG, token rewards",
    recipe=Contrast(judge="actions"),
    reference="Zhou et al. 2024",
    arxiv="2412.02685",
    stands_for="two policies tilted by a judge of actions are the model under two prompts",
    status="second-hand",
)
"""r^_t = sigma(log pi_+(a_t) / pi_-(a_t)) - 1/2 alone, in [-.5, .5]."""

R_TO_Q = Method(
    name="From r to Q*",
    recipe=Chain(LogRatio(0.1)),
    reference="Rafailov et al. 2024",
    arxiv="2404.12358",
    number=4,
    granularity="token",
    target=Soft(0.1),
)
"""q_t = beta log pi(a_t) / pi_ref(a_t) of the policy: Q*_soft - V*_soft where that is pi*_beta.

With a reward at the end and certain transitions sum_{u <= t} q_u = V_soft(s_{t+1}) - V_soft(s_0).
"""

R_TO_Q_FITTED = Method(
    name="From r to Q*, fitted",
    recipe=ImplicitReward(0.1, Preference(0.1, by="drawn")),
    reference="Rafailov et al. 2024",
    arxiv="2404.12358",
    status="analogue",
    stands_for="a table of logits, fitted to preferences between fresh rollouts, is the DPO policy",
)
"""The same of a policy fitted by DPO to preferences with log-odds R_i - R_j, beta 0.1."""

MATH_SHEPHERD_PRM = Method(
    name="Math-Shepherd, PRM",
    recipe=Chain(
        Distilled(
            Chain(Completions(8), Only("last", "segment")),
            Labels("cross_entropy"),
        ),
        *_OF_UNIT_ENDS,
    ),
    reference="Wang et al. 2024",
    arxiv="2312.08935",
    stands_for="a table by step, observation and action is the process reward model",
)
"""What a model says that was fitted by cross-entropy to soft labels of the ends of steps.

Labels are those of `MATH_SHEPHERD`, on fresh rollouts, whose completions are charged too.
"""

MATH_SHEPHERD_PRM_HARD = Method(
    name="Math-Shepherd, PRM of hard labels",
    recipe=Chain(
        Distilled(
            Chain(Completions(8, "hard"), Only("last", "segment")),
            Labels("cross_entropy"),
        ),
        *_OF_UNIT_ENDS,
    ),
    reference="Wang et al. 2024",
    arxiv="2312.08935",
    stands_for="a table by step, observation and action is the process reward model",
)
"""The same of hard labels: it learns 1 - (1 - V)^8."""

SCAR_FEATURE = Method(
    name="SCAR, feature game",
    recipe=Shapley(reader="reader"),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    stands_for="a judge named 'reader' says what is expected of a text with blanks",
    status="second-hand",
)
"""phi_i over 4 random orders, v(S) = r_phi(x, y_S) with the other segments blank: its own game.

Cost: as many readings as segments and orders, and no rollout.
"""

SCAR_FEATURE_EXACT = Method(
    name="SCAR, feature game, all coalitions",
    recipe=AllCoalitions(reader="reader"),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    stands_for="a judge named 'reader' says what is expected of a text with blanks",
    status="analogue",
)
"""The same from a reading of each of the 2^n coalitions, up to 12 segments."""

SCAR_FEATURE_REWARD = Method(
    name="SCAR, feature game, rewards of PPO",
    recipe=Chain(Sum(Chain(Shapley(reader="reader"), Once(), Times(0.5)), Times(0.5)), ToGo()),
    reference="Cao et al. 2025",
    arxiv="2505.20417",
    stands_for="a judge named 'reader' says what is expected of a text with blanks",
    status="second-hand",
)
"""R_t = alpha SV_t + (1 - alpha) 1{t = T} r, as `SCAR_REWARD`, in the paper's own game."""

_ITPO = ImplicitReward(0.05, Outcome(0.05))

ITPO = Method(
    name="ITPO",
    recipe=Chain(
        _ITPO,
        WithoutLast(),
        OverLargest(),
        OverUnit("stretch"),
        Only("last", "stretch"),
        _MASKED_RLOO,
        AllDecisions(product=True),
        Times(5.0),
        _TO_GO,
    ),
    reference="Wang et al. 2026; its code, itpo_core_algos.py, rloo_itpo",
    arxiv="2603.23550",
    number=22,
    granularity="turn",
    stands_for="a table of logits tilts the reference; its log-ratio is the reward model",
)
"""s_k = sum_{l in turn k} beta q_l at turn ends, x n / (n - 1) - sum_j m_j / (n - 1), to go, white.

q as in PRIME, last token dropped, over the largest |sum to go| + 1e-6. m_j is the mean over row j's
turns, the own row too; times 5. Turns are runs of decisions. The outcome's own coefficient is 0 in
most of its scripts, and so here.
"""

ITPO_NORM = Method(
    name="ITPO, norm",
    recipe=Chain(
        _ITPO,
        WithoutLast(),
        OverLargest(),
        OutcomeShares(0.7, "stretch"),
        Only("last", "stretch"),
        _MASKED_RLOO,
        AllDecisions(product=True),
        Times(5.0),
        _TO_GO,
    ),
    reference="Wang et al. 2026; its code, itpo_core_algos.py, rloo_itponorm",
    arxiv="2603.23550",
    granularity="turn",
    target=Redistribution(),
    stands_for="a table of logits tilts the reference; its log-ratio is the reward model",
)
"""Turn rewards R p_k, p_k = softmax_k(mean_l r_l Lbar / temp), sum_k p_k = 1; then as `ITPO`.

Lbar is the mean length of the turns of the whole batch; temp .7 in the code, .4 for maths. R = 0
carries no information.
"""

ISTAR = Method(
    name="iStar",
    recipe=Sum(
        Chain(Whole(1.0), _OTHERS),
        Chain(
            ImplicitReward(0.05, Preference(0.05, over="turns"), start="behaviour"),
            *_STEP_BASELINE,
        ),
    ),
    reference="Liu et al. 2025; its code, core_istar.py",
    arxiv="2509.19199",
    number=33,
    granularity="step",
    methodology="temporal_difference",
    target=Soft(0.05),
    stands_for="a table of logits tilts the acting policy; its log-ratio is the reward model",
)
"""A = A^E + A^S: RLOO of outcomes, and r_t = beta sum_l log pi_phi / pi_old of each turn, centred.

pi_phi is fitted to all pairs of the group by -log sigma(beta (qbar_+ - qbar_-)), qbar the mean over
turns; r is divided by the largest |r_t| + 1e-6 of the batch. The step baseline of the code is
x n / (n - 1) - mean_j x_j1 n / (n - 1) over the *first* turn of each trajectory, n of them, where
its docstring says all. No reward to go. A group of one keeps its scores.
"""

ISTAR_FROZEN = Method(
    name="iStar, frozen PRM",
    recipe=Sum(
        Chain(Whole(1.0), _OTHERS),
        Chain(LogRatio(-0.05, of="behaviour"), *_STEP_BASELINE),
    ),
    reference="Liu et al. 2025; its code, update_rm_eto",
    arxiv="2509.19199",
    granularity="step",
    methodology="temporal_difference",
    stands_for="the reference is the model that the policy and the reward model began as",
)
"""As its scripts run it: the fit's gradient is cut, so the reward model stays what it began as.

Then r_t = beta log pi_init / pi_old, with mean -beta KL(pi_old || pi_init): it knows no outcome.
"""

SPA_RL = Method(
    name="SPA-RL",
    recipe=Redistributed(fit=_LEAST_SQUARES),
    reference="Wang et al. 2025; its code, train_our_progress_model.py",
    arxiv="2505.20732",
    number=37,
    stands_for="a table by step, observation and action is the progress model",
)
"""c_t by least squares, min E[(sum_t c_t - R)^2]: the reward of each step, and here its credit.

Its trainer adds .5 where an action can be executed, see `SPA_RL_GROUNDED`. In a log c_t are the
rewards.
"""

SPA_RL_GROUNDED = Method(
    name="SPA-RL, grounding bonus",
    recipe=Sum(
        SPA_RL.recipe,
        Chain(
            Judged("format", "turn", charged=False),
            Only("last", "turn"),
            AllDecisions(product=True),
            WithoutLast(),
            Times(0.5),
        ),
        Chain(
            Times(0.0),
            Plus(0.5),
            Only("last", "episode"),
            AllDecisions(product=True),
        ),
    ),
    reference="Wang et al. 2025; its code, rl_data_org.py",
    arxiv="2505.20732",
    granularity="step",
    methodology="model_based",
    target=Redistribution(),
    stands_for="a lexicon of well-formed actions says which ones can be executed",
)
"""c_t + grounding_t: .5 at the end of a turn whose action can be executed, and of the last always.

The judge named "format" marks what can be executed; the environment says so, for nothing. The bonus
is of the action alone: it is earned whatever comes of it.
"""

SPA_RL_TO_GO = Method(
    name="SPA-RL, to go",
    recipe=Chain(SPA_RL.recipe, ToGo(1.0)),
    reference="Wang et al. 2025",
    arxiv="2505.20732",
    stands_for="a table by step, observation and action is the progress model",
    status="second-hand",
)
"""sum_{u >= t} c_u: what PPO makes of those rewards with lambda 1 and no critic."""

SPA_RL_PROGRESS = Method(
    name="SPA-RL, progress difference",
    recipe=Chain(Distilled(Whole(1.0), fit=_LEAST_SQUARES), Increments()),
    reference="Wang et al. 2025",
    arxiv="2505.20732",
    granularity="step",
    methodology="model_based",
    target=Redistribution(),
    stands_for="a table by step, observation and action predicts the outcome",
    status="analogue",
)
"""p_t - p_{t-1}, p_t the predicted outcome after step t, and what is missing on the last one."""

SPA_RL_RELEASED = Method(
    name="SPA-RL, released weights",
    recipe=Chain(
        SPA_RL.recipe,
        OverUnit("turn"),
        TimesLeft("turn"),
        Only("last", "turn"),
        AllDecisions(product=True),
    ),
    reference="Wang et al. 2025; its code, step_ppotrainer.py",
    arxiv="2505.20732",
    granularity="turn",
    stands_for="a table by step, observation and action is the progress model",
)
"""The score of turn k times T - 1 - k on its last token: weights (T - 1, ..., 1, 0)."""

LARE = Method(
    name="LaRe",
    recipe=Redistributed(Return(averaged=True), Fit(Tabular(by_step=False), Abstract())),
    reference="Qu et al. 2024; its code, LLMrd",
    arxiv="2412.11120",
    number=38,
    stands_for="a class of the observation is the feature that the LLM's code computes",
)
"""min E[((1/T) sum_t f(phi(s_t, a_t)) - R / T)^2], phi of 4 classes; the credit is f(phi).

It is the true reward where that is a function of phi and visits tell the classes apart, otherwise a
projection.
"""

LARE_RRD = Method(
    name="LaRe, RRD",
    recipe=Redistributed(
        Return(averaged=True, subset=4, corrected=True),
        Fit(Tabular(by_step=False), Abstract()),
    ),
    reference="Qu et al. 2024; its code, rrd",
    arxiv="2412.11120",
    stands_for="a class of the observation is the feature that the LLM's code computes",
)
"""The same on random subsets of steps, less the variance that the draw adds to the error."""

SWEET_RL = Method(
    name="SWEET-RL",
    recipe=Chain(
        ImplicitReward(1.0, Preference(0.1), Fit(sight=Latent(), ridge=1e-3)),
        OverUnit("turn", mean=True),
    ),
    reference="Zhou et al. 2025; its code, evaluate_code.py",
    arxiv="2503.15478",
    number=17,
    granularity="turn",
    target=Soft(1.0),
    stands_for="the latent state is the information of training time, a table the critic",
)
"""A = (1 / L) sum_l log pi_theta(a_l | o, c) / pi_ref(a_l | o, c), by Bradley-Terry, beta .1.

-log sigma(beta [sum_t A(chosen) - sum_t A(rejected)]) over all pairs of unequal reward, sums over
tokens. Such labels can be told apart without error, so a ridge keeps theta finite. The authors rank
16 candidates by A and train on pairs of them (`SWEET_RL_RANKED`); here A is the credit of the turn.
"""

SWEET_RL_RANKED = Method(
    name="SWEET-RL, ranked candidates",
    recipe=Chain(
        ImplicitReward(
            1.0,
            Preference(0.1),
            Fit(sight=Latent(), ridge=1e-3),
            actions="all",
        ),
        RankedPair(16, beta=0.1),
    ),
    reference="Zhou et al. 2025; its code, rank_best_of_n.py, generate_random_pairs_from_ranks.py",
    arxiv="2503.15478",
    granularity="step",
    target=Soft(1.0),
    stands_for="the latent state is the information of training time, a table the critic",
    status="analogue",
)
"""What the critic trains: 16 candidates in order of A, DPO between one of either half, beta .1.

Candidates are drawn at every decision; the authors', whole turns, are the same where a turn is one
decision. Its likelihood term (weight .01) is left out. The policy is moved where it decided, not at
the candidates' own futures: A alone says which is better.
"""

PROGRESS_ADVANTAGE = Method(
    name="Progress Advantage",
    recipe=Chain(LogRatio(1.0)),
    reference="Oh et al. 2026",
    arxiv="2606.26080",
    granularity="step",
    target=Soft(1.0),
    status="second-hand",
)
"""c = log pi(a | h) - log pi_ref(a | h): the soft advantage where pi is soft-optimal.

That holds with chance in the transitions too. After one natural-gradient step of size eta from
pi_ref it is eta A - log Z(s), A of pi_ref.
"""
