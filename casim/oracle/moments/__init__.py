"""Exact mean and variance of estimators: by enumerating groups, or by recursion at any horizon."""

from casim.oracle.moments.branches import StepBranches
from casim.oracle.moments.classes import Classes, by_anchor, by_return, by_reward, whole
from casim.oracle.moments.contributions import (
    Features,
    contribution_features,
    contribution_moments,
)
from casim.oracle.moments.forms import (
    Product,
    Trace,
    advantage,
    all_action,
    control_variate,
    gae,
    hindsight,
    judged_gain,
    peer_baseline,
    reward_to_go,
    td_error,
    value_baseline,
    whole_return,
)
from casim.oracle.moments.group import Moments, group_moments
from casim.oracle.moments.known import Known, Recursion, Shuffled, nothing, share_of_others
from casim.oracle.moments.outcomes import Normalised, OnlyWin, OutcomeGroup, OverWins
from casim.oracle.moments.paths import Enumeration, enumerate_trajectories, precise, precise_truth
from casim.oracle.moments.recursion import recursion_moments
from casim.oracle.moments.scores import exact_scores

__all__ = [
    "Classes",
    "Enumeration",
    "Features",
    "Known",
    "Moments",
    "Normalised",
    "OnlyWin",
    "OutcomeGroup",
    "OverWins",
    "Product",
    "Recursion",
    "Shuffled",
    "StepBranches",
    "Trace",
    "advantage",
    "all_action",
    "by_anchor",
    "by_return",
    "by_reward",
    "contribution_features",
    "contribution_moments",
    "control_variate",
    "enumerate_trajectories",
    "exact_scores",
    "gae",
    "group_moments",
    "hindsight",
    "judged_gain",
    "nothing",
    "peer_baseline",
    "precise",
    "precise_truth",
    "recursion_moments",
    "reward_to_go",
    "share_of_others",
    "td_error",
    "value_baseline",
    "whole",
    "whole_return",
]
