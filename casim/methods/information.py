"""Information as credit: what a step changed in the probability of the answer, or in a belief.

A judge stands for the model that is asked how probable the gold answer is: one of values for the
probability of success, `casim.graders.Belief` for that of a hidden truth. In a log the rewards are
the gains, with the outcome on the last turn, as trainers write them; the gains are no outcome.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    Baseline,
    ByDivergence,
    BySaliency,
    Chain,
    GainsAside,
    Gathered,
    InformationGain,
    NearEnd,
    NotLastTurn,
    Pointwise,
    Positive,
    Sum,
    Surprised,
    Times,
    ToGo,
    Turns,
    TurnsToGo,
    TurnWindow,
    Whole,
)
from casim.methods.grpo import GRPO, GRPO_VERL
from casim.methods.method import Method
from casim.targets import TrajectoryAdvantage

__all__ = [
    "A2TGPO",
    "DELTA_BELIEF",
    "DELTA_BELIEF_GAIN",
    "GRAIL",
    "IGPO",
    "IGPO_GAIN",
    "IGPO_KEPT",
    "IGPO_LOCAL",
    "IGPO_LOG",
    "IGPO_REVERSED",
    "IGPO_TOKEN",
    "MUTUAL_INFORMATION",
    "OAR",
    "SR_PPO",
    "STARE",
    "STARE_BOTH",
    "TRACE",
]

_ASKED = "a judge's score is the model's probability of the answer"
_OUTCOME = Chain(GainsAside(), Whole(discount=1.0))
"""What the trajectory earned in all; in a log, what its last turn did."""
_GAIN_OR_OUTCOME = InformationGain(ends="outcome")
_JOINT = Baseline("group", votes="turn", scale=True, ddof=0)

IGPO = Method(
    name="IGPO",
    recipe=Chain(_GAIN_OR_OUTCOME, Gathered(), _JOINT, TurnsToGo()),
    reference="Wang et al. 2025; its later code, core_algos.py (joint)",
    arxiv="2510.14967",
    number=32,
    granularity="turn",
    stands_for=_ASKED,
)
"""A_t = sum_{k >= t} gamma^(k - t) r~_k, r~ the z-score of the rewards of all turns of the group.

r_t = p_t - p_{t-1}, the probability and not its logarithm; the last turn has the outcome instead.
Every turn has one vote; n in the variance, + 1e-6; gamma is 1 in the code, which also passes over
turns whose gain is exactly 0. Without the normalisation, at discount 1, G_t has mean 2 Q(h, a) -
V(h) on all turns but the last, which has Q; on that too if its gain is kept (`IGPO_KEPT`).
"""

IGPO_REVERSED = Method(
    name="IGPO, accumulated first",
    recipe=Chain(_GAIN_OR_OUTCOME, Gathered(), TurnsToGo(), _JOINT),
    reference="Wang et al. 2025",
    arxiv="2510.14967",
    granularity="turn",
    stands_for=_ASKED,
    status="analogue",
)
"""The reverse order: the sums are normalised, not the rewards."""

IGPO_TOKEN = Method(
    name="IGPO, first code",
    recipe=Chain(_GAIN_OR_OUTCOME, ToGo(1.0), Baseline("step", votes="live", ended="zero")),
    reference="Wang et al. 2025; its first code, core_algos.py, with the attention mask",
    arxiv="2510.14967",
    granularity="turn",
    stands_for=_ASKED,
)
"""Rewards to go less the mean of the group at the same token, those that have ended as 0; no std.

So turns are compared with whatever turn the others are in at that token. With the attention mask
sums run over the environment's tokens; which mask was run is not known to us.
"""

IGPO_LOCAL = Method(
    name="IGPO, first code, turn-local",
    recipe=Chain(
        _GAIN_OR_OUTCOME,
        ToGo(1.0, gaps="reset"),
        Baseline("step", votes="live", ended="zero"),
    ),
    reference="Wang et al. 2025; its first code, core_algos.py, with the response mask",
    arxiv="2510.14967",
    granularity="turn",
    stands_for=_ASKED,
)
"""With the mask of the response the sum ends at the environment's tokens.

Neither later gains nor the outcome reach the turns before.
"""

IGPO_KEPT = Method(
    name="IGPO, last gain kept",
    recipe=Chain(InformationGain(ends="both"), ToGo(1.0)),
    reference="Wang et al. 2025",
    arxiv="2510.14967",
    granularity="turn",
    stands_for=_ASKED,
    status="analogue",
)
"""Gains of all turns and the outcome, summed from each step on and not normalised.

With an exact judge at discount 1 its mean is 2 Q - V: the gradient times 2.
"""

IGPO_GAIN = Method(
    name="IGPO, gain alone",
    recipe=InformationGain(),
    reference="Wang et al. 2025",
    arxiv="2510.14967",
    granularity="turn",
    stands_for=_ASKED,
    status="analogue",
)
"""Change of the probability of success, as the credit of the step itself."""

IGPO_LOG = Method(
    name="IGPO, log form",
    recipe=InformationGain("log"),
    reference="Zhang 2026",
    arxiv="2604.09459",
    granularity="turn",
    stands_for=_ASKED,
    status="second-hand",
)
"""Change of its logarithm: the survey's reading. Its mean under the policy is below 0."""

_BELIEF = InformationGain("log", floor=1e-6, judge="belief", of="belief", ends="nothing")
_BELIEF_REWARD = Chain(_BELIEF, Gathered(), Positive(), Times(0.1))
_BY_TURN = Baseline("turn", scale=True, single="raw", ended="zero")

DELTA_BELIEF = Method(
    name="DeltaBelief-RL",
    recipe=Chain(
        Sum(_BELIEF_REWARD, Chain(_OUTCOME, Times(2.0)), Turns(-0.05)),
        _BY_TURN,
    ),
    reference="Auzina et al. 2026; its code, grpo_turn",
    arxiv="2602.12342",
    granularity="turn",
    stands_for="a judge named 'belief' says how probable the hidden truth is to the agent",
)
"""z-score by turn of r_t = E + .1 relu(b_{t+1} - b_t), E = 2 1{win} - .05 turns on every turn.

b_t = log p(y* | h_t). No reward to go; n - 1, + 1e-6; a group of one keeps its reward. Rollouts
that have ended are in the statistics of later turns, as zeros. Rewards for invalid and repeated
questions are left out. Without the relu the mean gain is the mutual information of what is hidden
and what is seen next; with it it is more, and noise is paid.
"""

DELTA_BELIEF_GAIN = Method(
    name="DeltaBelief-RL, gain alone",
    recipe=_BELIEF,
    reference="Auzina et al. 2026",
    arxiv="2602.12342",
    granularity="turn",
    stands_for="a judge named 'belief' says how probable the hidden truth is to the agent",
    status="analogue",
)
"""b_{t+1} - b_t as the credit of the step itself, without the relu."""

_OUTCOME_SCORE = Chain(_OUTCOME, Baseline("group", scale=True, ddof=0, epsilon=1e-12))

TRACE = Method(
    name="TRACE",
    recipe=Sum(
        _OUTCOME_SCORE,
        Chain(
            InformationGain("gap", floor=1e-6, ends="nothing"),
            Gathered(),
            NotLastTurn(),
            TurnWindow(3, 0.8),
            Times(0.2),
        ),
        Chain(_OUTCOME_SCORE, NotLastTurn(), NearEnd(3, 0.8), Times(0.4)),
    ),
    reference="Tao et al. 2026",
    arxiv="2607.13988",
    granularity="turn",
    methodology="information_theoretic",
    target=TrajectoryAdvantage(),
    stands_for="a judge's score is the frozen reference model's probability of the answer",
    status="second-hand",
)
"""A^O + .2 r_k on tool turns, A^O on the last; A^O the z-score of the outcome, n in the variance.

r_k = sum_{j < 3} g^j delta_{k+j} / sum g^j, + 2 g^(T - k) A^O if the window reaches the end, g =
.8; delta the change of V_k = log(d_0 / d_k), d_k = -log p(y* | h_k) + .1. r is not normalised.
Probabilities below 1e-6 count as that.
"""

A2TGPO = Method(
    name="A2TGPO",
    recipe=Sum(
        Chain(_OUTCOME, Baseline("group", scale=True)),
        Chain(
            InformationGain(ends="nothing"),
            Gathered(),
            NotLastTurn(),
            Baseline("turn", scale=True, weighted=True),
            NotLastTurn(),
            TurnsToGo(1.0, over="root"),
            Times(0.3),
        ),
    ),
    reference="Chen et al. 2026",
    arxiv="2605.06200",
    granularity="turn",
    methodology="information_theoretic",
    target=TrajectoryAdvantage(),
    stands_for=_ASKED,
    status="second-hand",
)
"""A_t = .3 sum_{j >= t} ig~_j / sqrt(n_t) + A^O, n_t the turns left with a gain; the last has A^O.

ig~ is the z-score of the gain by turn, over those that are not at their last. Its ratio of turns
and its clip, wider where ig~ is high, are left out: on policy they change nothing.
"""

SR_PPO = Method(
    name="SR-PPO",
    recipe=InformationGain("attempts", attempts=4),
    reference="Che et al. 2026",
    arxiv="2606.25451",
    granularity="token",
    methodology="temporal_difference",
    stands_for="a judge's score is the critic's",
    status="second-hand",
)
"""c_t = P_k(s') - P_k(s), P_k = 1 - (1 - V)^k, the probability that one of k = 4 attempts succeeds.

k is casim's, and so is to take the increment without GAE. Its mean under the policy is at most 0
for k above 1, its slope k (1 - V)^(k - 1) to first order; k = 1 is the TD error.
"""

MUTUAL_INFORMATION = Method(
    name="mutual information",
    recipe=Pointwise("posterior"),
    reference="Arumugam et al. 2021",
    arxiv="2103.06224",
    stands_for="a judge named 'posterior' says how probable each action is given the outcome",
    status="analogue",
)
"""log h(a | s, z) / pi(a | s): its mean is I(a; z | s), bits of the outcome in one action.

No policy gradient: a state can carry information without any difference in value.
"""

OAR = Method(
    name="OAR",
    recipe=Chain(GRPO_VERL.recipe, ByDivergence()),
    reference="Li et al. 2026; authors' README",
    arxiv="2601.07408",
    granularity="token",
    stands_for="KL of a judge's odds before and after a step is that of the answer with it masked",
    status="analogue",
)
"""A_i times n_t / .25, at least .1, below n_t = .25, and 1 + (n_t - .25) / .75 above; mean 1.

n_t is the influence I_t between the least and the most of the rollout.
"""

GRAIL = Method(
    name="GRAIL",
    recipe=Chain(GRPO.recipe, BySaliency(judge="saliency")),
    reference="GRAIL 2026",
    arxiv="2606.04889",
    granularity="token",
    stands_for="a judge of advantages named 'saliency' is gradient times activation of the answer",
    status="analogue",
)
"""A_i times clip(1 + .5 z_t, .5, 5), z_t the standard score of log |saliency| in the rollout.

Texts on it disagree: another has 1 + .5 z_t without the logarithm or the clip.
"""

STARE = Method(
    name="STARE",
    recipe=Chain(GRPO_VERL.recipe, Surprised()),
    reference="Luo et al. 2026; its code, core_algos.py (O1)",
    arxiv="2606.19236",
    granularity="token",
)
"""The tenth of the tokens with A > 0 that has the largest -log pi weighs 1.1, while H < .3.

Of the batch where the code has micro-batches; dynamic sampling and the dual clip are left out.
"""

STARE_BOTH = Method(
    name="STARE, both signs",
    recipe=Chain(GRPO_VERL.recipe, Surprised(down=0.9)),
    reference="Luo et al. 2026; its code, core_algos.py (C2)",
    arxiv="2606.19236",
    granularity="token",
)
"""And of those with A < 0 the tenth weighs .9."""
