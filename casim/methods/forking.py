"""Trajectories that are forked where it seems to matter: by entropy, by a judge, or anywhere.

The trajectories of the group are trained on, and what forked off them is charged.

References:
    See each method.
"""

from __future__ import annotations

import dataclasses

from casim.estimators import Chain, Forks, Ratio, Siblings
from casim.methods.method import Method
from casim.targets import TdError, TrajectoryAdvantage

__all__ = [
    "AT2PO",
    "AT2PO_MEAN",
    "AT2PO_PARENT",
    "AT2PO_RATIO",
    "BPO",
    "BPO_FADED",
    "CARL",
    "CARL_ALL",
    "CARL_ENTROPY",
    "CARL_JUDGE",
    "CARL_RANDOM",
]

CARL = Method(
    name="CARL",
    recipe=Forks(16, 16),
    reference="Shen et al. 2025",
    arxiv="2512.04949",
    number=31,
    target=TdError(),
    status="second-hand",
)
"""A(edge) = V(v) - V(u), V(u) the mean of the children of u, V(leaf) = R; only where u has several.

16 forks, one after the other, each at the point of largest H / n, H the mean of -log pi of the n
actions taken there. Other actions are dropped: weight 0. It gives (n - 1) / n of the advantage and
the luck of the transition, and weighs states anew. A fork that decides all, 95 to 5, has a low
entropy, and four actions of one value a high one. The group are the first trajectories, of which
the paper has 8, and of all edges those of the group are trained on.
"""

CARL_ENTROPY = Method(
    name="CARL, exact entropy",
    recipe=Forks(16, 16, "entropy"),
    reference="Shen et al. 2025",
    arxiv="2512.04949",
    target=TdError(),
    status="analogue",
)
"""H the entropy of the policy, so that where it forks does not depend on the action taken there."""

CARL_JUDGE = Method(
    name="CARL, judged criticality",
    recipe=Forks(16, 16, "judge", judge="critical"),
    reference="Shen et al. 2025",
    arxiv="2512.04949",
    target=TdError(),
    stands_for="a judge named 'critical' says how much depends on a decision",
    status="analogue",
)
"""Forks at the largest C / n, C what a judge of the signal "spread" or "gap" says of the state.

The paper's criticality is the deviation of the return over actions.
"""

CARL_RANDOM = Method(
    name="CARL, random forks",
    recipe=Forks(16, 16, "random"),
    reference="Shen et al. 2025",
    arxiv="2512.04949",
    target=TdError(),
    status="analogue",
)
"""Any point of the tree, each as likely: the ablation."""

CARL_ALL = Method(
    name="CARL, all updated",
    recipe=Forks(16, 16, only_forked=False),
    reference="Shen et al. 2025",
    arxiv="2512.04949",
    target=TdError(),
    status="analogue",
)
"""Actions without siblings too: their value is 0, so that only lengths and counts change."""

_AT2PO = Forks(
    12,
    2,
    "surprisal",
    damping="less",
    where="turn",
    leaves="scaled",
    children="surprisal",
    give="value",
    only_forked=False,
)

AT2PO = Method(
    name="AT2PO",
    recipe=_AT2PO,
    reference="Zong et al. 2026; its code and script (child_softmax, node_value)",
    arxiv="2601.04767",
    granularity="turn",
    target=TrajectoryAdvantage(),
)
"""A = V(node) itself, V(node) = sum_child softmax(H_child) V(child), leaves z-scored in each tree.

A node is a turn. What is called its entropy H is in the code the mean -log pi of the tokens that
were drawn for it. Two rounds of 6 draw the turns of largest H - .05 n anew, n their siblings; a
last turn is not. The softmax makes rare turns count more, also where they are worse. n in the
variance of the leaves, + 1e-6. The group are the first rollouts, 10 in the script.
"""

AT2PO_MEAN = Method(
    name="AT2PO, mean of children",
    recipe=dataclasses.replace(_AT2PO, children="mean"),
    reference="Zong et al. 2026; its code (child_mean)",
    arxiv="2601.04767",
    granularity="turn",
    target=TrajectoryAdvantage(),
)
"""The same with plain means, which are what a node is worth."""

AT2PO_PARENT = Method(
    name="AT2PO, less the parent",
    recipe=dataclasses.replace(_AT2PO, give="gain"),
    reference="Zong et al. 2026; its code (diff_parent)",
    arxiv="2601.04767",
    granularity="turn",
    target=TdError(),
)
"""A = V(node) - V(parent)."""

AT2PO_RATIO = Method(
    name="AT2PO, ratio of turns",
    recipe=Chain(_AT2PO, Ratio("turn", "geometric", bounds=(0.8, 1.2), kind="ppo")),
    reference="Zong et al. 2026",
    arxiv="2601.04767",
    granularity="turn",
    target=TrajectoryAdvantage(),
)
"""With one geometric mean of ratios a turn, clipped as PPO's; its bounds are casim's."""

BPO = Method(
    name="BPO",
    recipe=Siblings(2, 4),
    reference="He et al. 2026",
    arxiv="2607.14171",
    status="second-hand",
)
"""A_i = R_i - mean of the siblings' R after a fork, at the M = 2 highest entropies, K = 4.

M and K are casim's. Given the fork it is exact; where it forks weighs states anew.
"""

BPO_FADED = Method(
    name="BPO, faded to the prefix",
    recipe=Siblings(2, 4, fade=0.9),
    reference="He et al. 2026",
    arxiv="2607.14171",
    status="analogue",
)
"""What comes before the first fork has its credit, times .9 a step back; the decay is casim's.

Siblings share what came before, so on average it is 0 there whatever was done.
"""
