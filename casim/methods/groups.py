"""Groups without a critic: a step beside those of the group that stood where it stands.

A row of a trainer's batch, a turn of its agent, is a decision here.

References:
    See each method.
"""

from __future__ import annotations

from casim.estimators import (
    ActionValues,
    Baseline,
    BySurprisal,
    Chain,
    Fade,
    NodeGain,
    NonzeroMean,
    ShortestPath,
    Sum,
    ToGo,
    Whole,
)
from casim.methods.grpo import GRPO, GRPO_VERL
from casim.methods.method import Claim, Method
from casim.targets import TdError

__all__ = [
    "ECPO",
    "G2PO",
    "G2PO_RELEASED",
    "GACA",
    "GACA_DR",
    "GIGPO",
    "GIGPO_POOLED",
    "GIGPO_STATE",
    "GIGPO_STD",
    "GIGPO_TRAJECTORY",
    "GIGPO_TRAJECTORY_STD",
    "GRAFT",
    "GRAPH_GPO",
    "HGPO",
    "HGPO_BASE",
    "HGPO_CENTRED",
    "RTMC",
    "RTMC_SCALED",
    "TURN_LOO",
]

_OUTCOME = Whole(discount=1.0)
_ROWS = Baseline("group", votes="step", single="raw")
_ROWS_STD = Baseline("group", votes="step", scale=True, single="raw")
_STEP_RETURN = ToGo(0.95, gaps="earn")
_ANCHORS = Chain(_STEP_RETURN, Baseline("anchor", votes="step"))
_ANCHORS_STD = Chain(_STEP_RETURN, Baseline("anchor", votes="step", scale=True))

GIGPO = Method(
    name="GiGPO",
    recipe=Sum(Chain(Whole(), _ROWS), _ANCHORS),
    reference="Feng et al. 2025; verl-agent, core_gigpo.py (mean_norm)",
    arxiv="2505.10978",
    number=27,
    granularity="step",
)
"""A = A^E + omega A^S: R - mean R over the group, plus R_t - mean R_t over equal observations.

R_t = sum_k gamma^(k - t) r_k over rows, and a row earns what the environment's tokens after it do;
omega 1 and gamma 0.95 are the code's. Its episode part counts rows: every decision votes
(`compute_mean_std_cross_steps`), where the paper gives a trajectory one vote
(`GIGPO_TRAJECTORY`). Repeated visits of one trajectory all vote. A group of one row gets its raw
return, and a group of one trajectory of several rows 0, since all of its rows are equal; one step
alone at its anchor gets 0. So at the first observation there are always peers. Left out: anchors
that are similar and not equal, and the penalty of invalid actions. `casim.estimators.coverage` says
how many steps have a peer.
"""

GIGPO_STD = Method(
    name="GiGPO, std",
    recipe=Sum(Chain(Whole(), _ROWS_STD), _ANCHORS_STD),
    reference="Feng et al. 2025; verl-agent, core_gigpo.py (mean_std_norm)",
    arxiv="2505.10978",
    granularity="step",
)
"""Both parts over the deviation of the rows + 1e-6, with n - 1."""

GIGPO_TRAJECTORY = Method(
    name="GiGPO, one vote a trajectory",
    recipe=Sum(Chain(Whole(), Baseline("group", single="raw")), _ANCHORS),
    reference="Feng et al. 2025",
    arxiv="2505.10978",
    granularity="step",
)
"""The episode part of the paper, and of the forks of Dr. MAS and iStar: Dr. GRPO's.

Centred on an action at gamma 1 it is ((N - 1) / N + omega (n - 1) / n) A, n the visits of the
state. A group of one gets its raw return.
"""

GIGPO_TRAJECTORY_STD = Method(
    name="GiGPO, one vote a trajectory, std",
    recipe=Sum(Chain(Whole(), Baseline("group", scale=True, single="raw")), _ANCHORS_STD),
    reference="Feng et al. 2025",
    arxiv="2505.10978",
    granularity="step",
)
"""The same, both parts over their deviation + 1e-6."""

GIGPO_STATE = Method(
    name="GiGPO by state",
    recipe=Sum(Chain(Whole(), _ROWS), Chain(_STEP_RETURN, Baseline("state", votes="step"))),
    reference="Feng et al. 2025",
    arxiv="2505.10978",
    granularity="step",
    status="analogue",
)
"""Anchors are latent states: what is lost where different states look alike is not lost here."""

TURN_LOO = Method(
    name="leave one out by turn",
    recipe=Chain(ToGo(), Baseline("turn", own=False, single="raw")),
    reference="textbook; see Ahmadian et al. 2024 for the episode's",
    granularity="turn",
    claims=(Claim("gradient"),),
    status="analogue",
)
"""G_t less the mean over the others of theirs at the same turn.

Where no other is left, the raw return: with 0 there, the gradient would lose that turn.
"""


def _hgpo(memory: int, scale: bool, base: bool) -> NonzeroMean:
    """Groups by the last 1, ..., memory + 1 observations; with the episode's part as k = 0."""
    groups = [
        Chain(_STEP_RETURN, Baseline("anchor", votes="step", scale=scale, ddof=0, memory=k))
        for k in range(1, memory + 2)
    ]
    episode = Chain(_OUTCOME, _ROWS_STD if scale else _ROWS)
    members = [episode, *groups] if base else groups
    first = 1 if base else 2
    weights = [float(first + k) for k in range(len(members))]
    return NonzeroMean(tuple(members), tuple(weights))


HGPO = Method(
    name="HGPO",
    recipe=_hgpo(2, scale=True, base=False),
    reference="He et al. 2026; verl-agent, recipe/hgpo/core_hgpo.py (mean_std_norm)",
    arxiv="2602.22817",
)
"""A = sum_k w_k A_k, k = 1, ..., H + 1: z-scores of R_t among steps with the same last k views.

w_k = (k + 1) / (sum + 1e-6) over those k with A_k not 0; std with n, + 1e-6; a step alone is in no
group, and one that shares no view gets 0. The history H = 2 is a setting of the code; gamma 0.95 is
verl-agent's. With all of the history the group is that of the information state.
"""

HGPO_CENTRED = Method(
    name="HGPO, centred",
    recipe=_hgpo(2, scale=False, base=False),
    reference="He et al. 2026; verl-agent, recipe/hgpo/core_hgpo.py (mean_norm)",
    arxiv="2602.22817",
)
"""The same without deviations."""

HGPO_BASE = Method(
    name="HGPO, base group",
    recipe=_hgpo(2, scale=True, base=True),
    reference="He et al. 2026; verl-agent, recipe/hgpo/core_hgpo.py (base_group)",
    arxiv="2602.22817",
)
"""With the episode's advantage, of rows, as k = 0."""

GRAPH_GPO = Method(
    name="GraphGPO",
    recipe=Sum(
        Chain(_OUTCOME, Baseline("group", scale=True)),
        Chain(_OUTCOME, ShortestPath(), Baseline("anchor", votes="step", scale=True)),
    ),
    reference="Cheng et al. 2026",
    arxiv="2605.26684",
    granularity="step",
    target=TdError(),
    status="second-hand",
)
"""A = A^E + A^G, A^G the z-score of 10 omega^d(s') over the steps that leave the same s; omega .1.

d is the fewest steps to a success in the graph of all that the group walked; no success in the
group is A^G = 0. A success is an outcome of at least 1/2. It is the potential of an optimist: one
lucky edge shortens the way for all.
"""


def _g2po(success: float) -> Sum:
    """The parts of G2PO, the end of a success worth that much."""
    following = NodeGain("monte_carlo", "next", 0.95, success)
    gain = NodeGain("monte_carlo", "gain", 0.95, success)
    return Sum(
        Chain(_OUTCOME, _ROWS_STD),
        Chain(_OUTCOME, following, Baseline("anchor", votes="step", scale=True)),
        Chain(_OUTCOME, gain, Baseline("group", votes="step", scale=True)),
    )


G2PO = Method(
    name="G2PO",
    recipe=_g2po(1.0),
    reference="Wang et al. 2026; its code, core_g2po.py (mean_std_norm)",
    arxiv="2606.22995",
    granularity="step",
    target=TdError(),
)
"""z(R) over rows + z of V(s') over the steps that leave s + z of V(s') - V(s) over all rows.

V is the mean of .95^k R over the visits of an observation, k the steps to the end, its own
included. The end is worth 1 if the outcome is 1, and else 0. All std with n - 1, + 1e-6. The
penalty of .1 for an invalid action is left out.
"""

G2PO_RELEASED = Method(
    name="G2PO, rewards of 10",
    recipe=_g2po(10.0),
    reference="Wang et al. 2026; its code, core_g2po.py",
    arxiv="2606.22995",
    granularity="step",
    target=TdError(),
)
"""The code's constant: an outcome other than exactly 10 ends in 0, a failure, without a word."""

GRAFT = Method(
    name="GRAFT",
    recipe=Chain(_OUTCOME, NodeGain("bellman", "error", 0.99)),
    reference="Yao et al. 2026",
    arxiv="2609.28963",
    granularity="step",
    methodology="temporal_difference",
    target=TdError(),
    status="second-hand",
)
"""delta = gamma V(s') - V(s), V of Bellman's equation on the graph that the group has walked.

The end is worth the outcome; gamma .99. Graph GAE adds (gamma lambda)^hop times the mean of delta
over all edges reachable in so many hops. At convergence the mean out of every node is 0, so it adds
nothing for any lambda: there is no setting for it. Mixing with A^E and normalisation are not known
to us and left out.
"""

_RTMC = Chain(_OUTCOME, Fade(0.99), ActionValues(node_prior=2.0, visits="first"))

RTMC = Method(
    name="RTMC",
    recipe=_RTMC,
    reference="Wang, Zheng and Xiao 2026",
    arxiv="2604.11037",
    granularity="step",
    status="second-hand",
)
"""A = Q(s, a) - V'(s), V' = (n V + n_0 mean R) / (n + n_0): first visits, gamma^(T-1-t) R, n_0 = 2.

On average (n + n_0 - 1) / (n + n_0) A plus a function of the state, were mean R independent of the
visits, and (n - 1) / n A where all of the group pass the state. Observations and actions stand for
the signatures.
"""

RTMC_SCALED = Method(
    name="RTMC, scaled",
    recipe=Chain(
        _RTMC,
        Baseline("group", votes="step", centre=False, scale=True, ddof=0, epsilon=0.0),
    ),
    reference="Wang, Zheng and Xiao 2026",
    arxiv="2604.11037",
    granularity="step",
    status="second-hand",
)
"""The same over the deviation of all steps of the group, n in the variance, without centring."""

ECPO = Method(
    name="ECPO",
    recipe=Sum(GRPO_VERL.recipe, Chain(ToGo(), ActionValues(action_prior=2.0, explained=True))),
    reference="Li et al. 2026",
    arxiv="2606.05885",
    granularity="step",
    status="second-hand",
)
"""A = A_GRPO + omega rho(s) (mu'(s, a) - mu(s)), mu' = (n_a mean G_a + k_0 mu) / (n_a + k_0).

k_0 = 2. rho is the share of the variance of returns at s that is between actions, as casim writes
it; omega 1 and the discount of the world are casim's, the paper's threshold is left out. The
shrinkage depends on how often one's own action was taken, so even the order of the actions of a
state may be wrong.
"""

GACA = Method(
    name="GACA",
    recipe=BySurprisal(
        (GRPO.recipe, _ANCHORS_STD),
        "trajectory",
    ),
    reference="Liang et al. 2026",
    arxiv="2609.12424",
    status="analogue",
)
"""A = (1 - l) A^E + l A^S, l = -log pi(a) over the largest of the trajectory.

That l grows with the surprise is the paper's, the map is casim's. It weighs by the action: in
states better than the start rare actions are pushed down, in worse ones up, whatever they earn.
"""

GACA_DR = Method(
    name="GACA, without deviations",
    recipe=BySurprisal(
        (
            Chain(Whole(), Baseline("group")),
            Chain(ToGo(), Baseline("anchor", votes="step")),
        ),
        "action",
    ),
    reference="Liang et al. 2026",
    arxiv="2609.12424",
    status="analogue",
)
"""The same with l = 1 - pi(a | s), centred only, at the world's discount."""

GIGPO_POOLED = Method(
    name="GiGPO, pooled by action",
    recipe=Sum(Chain(_OUTCOME, Baseline("group")), Chain(ToGo(), ActionValues())),
    reference="Li et al. 2026",
    arxiv="2606.05885",
    granularity="step",
    status="analogue",
)
"""ECPO at k_0 = 0 and rho = 1: equal actions share their mean, which lowers the variance."""
