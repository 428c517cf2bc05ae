"""Methods of turns: critics of turns and of the tokens in them, and rewards of turns.

In maths, a turn is L tokens w_1 .. w_L of the policy between two observations; V(h) is the value of
the history before a turn and V(h, w_<j) that before its token j. Critics are tables over (step,
observation), fitted to fresh rollouts; `JudgedValues` around a recipe puts a judge in their place,
which is exact if the judge is.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    Baseline,
    BilevelGae,
    Chain,
    Completions,
    FittedValues,
    Gae,
    JudgedComponents,
    LessOwnMean,
    OntoDecisions,
    OverUnitLength,
    PerComponent,
    Place,
    Promise,
    Ratio,
    Rewarded,
    Split,
    Sum,
    Times,
    TopGroups,
    TwinCritics,
    UnitGae,
    Whole,
)
from casim.methods import whitening
from casim.methods.grpo import GRPO_VERL
from casim.methods.method import Claim, Method

__all__ = [
    "AGENTPRM",
    "AGENTPRM_MONTE_CARLO",
    "AGENTPRM_PROMISE",
    "ARCHER",
    "ARCHER_TPPO",
    "FACTOR",
    "FACTOR_SUM",
    "HYGAE",
    "MT_GRPO",
    "MT_GRPO_CUMULATIVE",
    "MT_GRPO_JUDGED",
    "MT_PPO",
    "MT_PPO_JUDGED",
    "NTPO",
    "POAD",
    "RAGEN",
    "RAGEN_ANSWERS",
    "RAGEN_TURNS",
    "STARPO",
    "STARPO_S",
    "TURN_GAE",
    "TURN_PPO",
    "TURN_PPO_CLIP",
    "VETTA",
]

TURN_PPO = Method(
    name="Turn-PPO",
    recipe=Chain(UnitGae(), whitening.VERL),
    reference="Li et al. 2025",
    arxiv="2512.17008",
    number=19,
    status="second-hand",
)
"""delta_k = r_k + gamma V(h_{k+1}) - V(h_k), GAE over turns, the same on every token of a turn.

Whitened over tokens, so that long turns weigh more, as in third-party code; an episode that was cut
off ends with value 0 there, and here. Lambda is .95, a setting. `TURN_CLIP` is its ratio.
"""

TURN_PPO_CLIP = Method(
    name="Turn-PPO, clipped",
    recipe=Chain(TURN_PPO.recipe, Ratio("turn", bounds=(0.8, 1.2), kind="ppo")),
    reference="Li et al. 2025",
    arxiv="2512.17008",
    status="second-hand",
)
"""The same with one clipped ratio for each turn; that it is the product is not known for sure."""

TURN_GAE = Method(
    name="GAE of turns, lambda 1",
    recipe=UnitGae(lambda_=1.0),
    reference="Li et al. 2025",
    arxiv="2512.17008",
    claims=(Claim("gradient", undiscounted=True),),
    status="second-hand",
)
"""G_k - V(h_k) on every token of turn k, not whitened: the gradient is exact at discount 1."""

_ADRL = Baseline("batch", votes="step", scale=True, ddof=0, epsilon=1e-8)
"""(A - mean) / (std + 1e-8) over the tokens; the code leaves out those whose A is exactly 0."""

POAD = Method(
    name="POAD",
    recipe=Chain(UnitGae(discount=0.95, unit="step", clock="turn"), _ADRL),
    reference="Wen et al. 2024; its code, batch_process_tppo",
    arxiv="2405.15821",
    number=28,
    granularity="token",
)
"""Inside a turn delta_j = V(o, w_<=j) - V(o, w_<j); its last token r + gamma V(o') - V(o, w_<L).

GAE with lambda inside a turn and gamma lambda across, gamma = lambda = .95. With lambda 0 and exact
values the tokens of a turn add up to the advantage of the turn, whatever its wording. Updates are
skipped in the code if the divergence exceeds .02, which is not credit.
"""

NTPO = Method(
    name="NTPO",
    recipe=Chain(UnitGae(discount=0.95, unit="step", clock="decision"), _ADRL),
    reference="Wen et al. 2024; its code, batch_process_tppo",
    arxiv="2405.15821",
    granularity="token",
)
"""What POAD is compared with: every token discounts, so that longer wording shrinks what is ahead.

With one token in every turn it is POAD.
"""

ARCHER_TPPO = Method(
    name="ArCHer-TPPO",
    recipe=Chain(
        UnitGae(discount=0.95, unit="step", clock="turn", bootstrap="last"),
        _ADRL,
    ),
    reference="Wen et al. 2024; its code",
    arxiv="2405.15821",
    granularity="token",
)
"""As POAD, but a turn is followed by the value before the *last* token of the next one."""

RAGEN = Method(
    name="RAGEN, bi-level GAE",
    recipe=Chain(BilevelGae(lambda_=1.0, turn_discount=0.95), whitening.VERL),
    reference="Wang et al. 2025; RAGEN, compute_bi_level_gae_advantage_return",
    arxiv="2504.20073",
    number=36,
    granularity="token",
)
"""A^H_i = delta_i + gamma_H lambda A^H_{i+1} over the ends of turns, then GAE inside each turn.

delta_i = r_i + gamma_H v_{i+1} - v_i, and the reward of the lower level is A^H_i + v_i at the end
of turn i. gamma_H is .95, gamma and lambda are 1; whitened over the tokens. The code sees no end in
a turn that earns exactly 0, so that with one reward at the end it is GAE of tokens. Rewards on
tokens of the environment are lost: where a world pays there, see `RAGEN_ANSWERS`, `RAGEN_TURNS`.
"""

RAGEN_TURNS = Method(
    name="RAGEN, bi-level GAE of all turns",
    recipe=Chain(BilevelGae(lambda_=1.0, turn_discount=0.95, ends="turn"), whitening.VERL),
    reference="Wang et al. 2025",
    arxiv="2504.20073",
    granularity="token",
)
"""The same where every turn has an end, whatever it earns: what the text says.

With exact values it is right for turns of a set length that are paid at their ends. A turn that may
be cut short, or earns on the way, biases it at lambda < 1: what is bootstrapped from is the value
before the last token of the next turn.
"""

RAGEN_ANSWERS = Method(
    name="RAGEN, answers' rewards kept",
    recipe=Chain(OntoDecisions("before"), Rewarded(RAGEN.recipe)),
    reference="Wang et al. 2025; RAGEN, compute_bi_level_gae_advantage_return",
    arxiv="2504.20073",
    granularity="token",
    methodology="temporal_difference",
    status="analogue",
)
"""`RAGEN` where what the environment's tokens earn is first given to the decision before them.

That decision then ends a turn, as the code sees ends: where a reward is not 0.
"""

STARPO = Method(
    name="StarPO",
    recipe=GRPO_VERL.recipe,
    reference="Wang et al. 2025",
    arxiv="2504.20073",
)
"""GRPO of whole trajectories of turns."""

STARPO_S = Method(
    name="StarPO-S",
    recipe=Chain(GRPO_VERL.recipe, TopGroups(0.25)),
    reference="Wang et al. 2025; RAGEN",
    arxiv="2504.20073",
)
"""Only the quarter of the groups with the largest deviation of outcomes is trained on.

For every trajectory that is used four are paid for: all are in the steps of the batch. Of binary
outcomes it prefers prompts whose p (1 - p) is large: the objective changes.
"""

_SCORE = Whole(discount=1.0)
_STREAM = Chain(_SCORE, Baseline("group", scale=True, epsilon=1e-4))
_OUTCOME = PerComponent(_STREAM, (0.0, 1.0))
_TRL = Baseline("group", scale=True, epsilon=1e-4)

MT_GRPO = Method(
    name="MT-GRPO",
    recipe=Sum(
        Chain(PerComponent(_STREAM, (1.0, 0.0)), Place("answered"), Place("before")),
        Chain(_OUTCOME, Place("answered")),
        Chain(PerComponent(_SCORE), _TRL, Place("unanswered")),
    ),
    reference="Wei et al. 2025; Multi-Turn-RL-Agent, MTGRPOEnvTrainer",
    arxiv="2505.11821",
    number=18,
    granularity="turn",
    enumerable=False,
)
"""A^O + alpha A^T before the tool's first answer and A^O after it; A^C where there is none.

A^X = (r^X - mean) / (std + 1e-4) over the group, with n - 1, of the rewards of the turn (the first
component), of the outcome (the second) and of both. alpha = 1 is the weight in the first part.
Equal turn rewards give nothing; what either stream weighs follows its deviation in the group, not
alpha. Needs the components of the reward.
"""

MT_GRPO_CUMULATIVE = Method(
    name="MT-GRPO, cumulative",
    recipe=Sum(
        Chain(PerComponent(_SCORE), _TRL, Place("before")),
        Chain(_OUTCOME, Place("after")),
    ),
    reference="Wei et al. 2025; Multi-Turn-RL-Agent, advantage_est cae",
    arxiv="2505.11821",
    granularity="turn",
    enumerable=False,
)
"""The advantage of r^T + gamma r^O, gamma = 1, before the first answer, and A^O after it."""

MT_GRPO_JUDGED = Method(
    name="MT-GRPO, judged turns",
    recipe=JudgedComponents(MT_GRPO.recipe),
    reference="Wei et al. 2025",
    arxiv="2505.11821",
    granularity="turn",
    stands_for="a judge's score of a turn is the reward of the verifier of turns",
    status="analogue",
)
"""In worlds, whose rewards are outcomes: the turns' rewards are a judge's scores of their ends."""

MT_PPO = Method(
    name="MT-PPO",
    recipe=Chain(
        PerComponent(Times(1.0)),
        Rewarded(Gae(lambda_=1.0, gaps="skipped")),
        whitening.VERL,
    ),
    reference="Wei et al. 2025",
    arxiv="2505.11821",
    granularity="token",
    enumerable=False,
    status="second-hand",
)
"""GAE over tokens of r^T + r^O, each where it is earned: a turn's reward is that of its end.

Needs the components of the reward; a table is fitted to the world's own rewards, a baseline.
"""

MT_PPO_JUDGED = Method(
    name="MT-PPO, judged turns",
    recipe=JudgedComponents(MT_PPO.recipe),
    reference="Wei et al. 2025",
    arxiv="2505.11821",
    granularity="token",
    stands_for="a judge's score of a turn is the reward of the verifier of turns",
    status="analogue",
)
"""The same in worlds, with a judge's scores of turns."""

VETTA = Method(
    name="VETTA",
    recipe=Sum(
        UnitGae(discount=0.95, clock="turn"),
        Chain(UnitGae(1.0, discount=1.0, unit="step"), LessOwnMean("turn")),
    ),
    reference="Chen et al. 2026",
    arxiv="2610.08402",
    granularity="token",
    status="second-hand",
)
"""A_j = A^turn + alpha (A^tok_j - mean_i A^tok_i), alpha = 1: the mean over a turn is A^turn.

GAE of turns at (.95, .95) and of tokens at (1, 1), each with a table of its own. Biased even with
exact values: at discount 1 and lambda 1, c_j = (1 + alpha (L - j) / L) A_j of tokens j = 1 .. L,
since the mean holds values after token j.
"""

FACTOR = Method(
    name="FACTOR",
    recipe=Chain(
        UnitGae(lambda_=0.0, start="others"),
        Split("posterior"),
        OverUnitLength("turn"),
    ),
    reference="Ma et al. 2026",
    arxiv="2608.07118",
    granularity="token",
    stands_for="a table of values for the value head; a judge's posterior for the teacher",
    status="second-hand",
)
"""A*_t = r_t + V(x_{t+1}) - V(x_t), V(x_0) the group's baseline, V = 0 at the end; L rho_j A*_t.

So the A*_t of a trajectory add up to G - b at discount 1, whatever V is. rho mixes an even split
(.7; its decay is left out) with softmax_j(sgn(A*) clip(Delta_j, -3, 3)), Delta the teacher's
log-probability less the student's. The paper's teacher sees the feedback of the turn, here the
outcome, and its values come from 4 continuations of 2 checkpoints. Which mean b is is not known to
us: that of the others. The loss is a mean over the tokens of a turn, so each turn's score counts
1 / L of itself: short wordings are favoured.
"""

FACTOR_SUM = Method(
    name="FACTOR, even split, summed",
    recipe=UnitGae(lambda_=0.0, start="others"),
    reference="Ma et al. 2026",
    arxiv="2608.07118",
    stands_for="a table of values for the value head",
    status="second-hand",
)
"""The same with rho even and tokens added up: with exact values the gradient is exact."""

HYGAE = Method(
    name="HyGAE",
    recipe=FittedValues(
        Sum(
            Chain(UnitGae(), Times(0.5)),
            Chain(UnitGae(unit="step"), Times(0.5)),
        ),
        critic=UnitGae(),
    ),
    reference="Zhang et al. 2026",
    arxiv="2607.23605",
    granularity="token",
    status="second-hand",
)
"""w A^turn + (1 - w) A^tok, w = 1/2, by one critic: the weights of the paper are not known to us.

With exact values, or lambda 1, any w is right but for a function of the state.
"""

AGENTPRM = Method(
    name="AgentPRM",
    recipe=Promise(),
    reference="Xi et al. 2025",
    arxiv="2511.08325",
    number=16,
    stands_for="a table of the last decision of turns is the reward model",
    status="second-hand",
)
"""Progress Q(h_k, a_k) - Q(h_{k-1}, a_{k-1}) by a table fitted to A_k + V(h_k), and to A_k.

A_k is GAE over turns, lambda .95; with lambda 1 the first target is the return and A_k is
G_k - V(h_k), the credit of `TURN_GAE`. Not the AgentPRM of arXiv:2502.10325.
"""

AGENTPRM_PROMISE = Method(
    name="AgentPRM, promise",
    recipe=Promise(gives="promise"),
    reference="Xi et al. 2025",
    arxiv="2511.08325",
    stands_for="a table of the last decision of turns is the reward model",
    status="second-hand",
)
"""The promise Q(h_k, a_k) itself: a value, as the credit of its turn."""

AGENTPRM_MONTE_CARLO = Method(
    name="Monte Carlo PRM of turns",
    recipe=Completions(8, unit="turn"),
    reference="Choudhury 2025",
    arxiv="2502.10325",
    granularity="turn",
    claims=(Claim("gradient", undiscounted=True),),
    status="analogue",
)
"""What AgentPRM is compared with: the mean outcome of 8 completions from the end of each turn."""

ARCHER = Method(
    name="ArCHer",
    recipe=TwinCritics(discount=0.95),
    reference="Zhou et al. 2024; its code",
    arxiv="2402.19446",
    number=29,
    stands_for="tables of turns are the critics",
)
"""A = min(Q_1, Q_2) - min(V_1, V_2) of a turn, on its tokens; critics fitted off policy.

Q -> r + gamma Vbar(h'), V -> Qbar(h, a' ~ pi); gamma .95 a turn, Polyak .1, 50 epochs, as in the
code.
That acts on turns that are sampled anew, here on those of the batch: the same in expectation.
"""
