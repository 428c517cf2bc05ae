"""Exact truth about a policy in an MDP. Moments of estimators are in `casim.oracle.moments`."""

from casim.oracle.belief import Critic, Critics, beliefs, critics, history_values
from casim.oracle.closed_forms import binary_group_scale, closed_forms
from casim.oracle.hindsight import (
    Contribution,
    Outcomes,
    StateHindsight,
    check_support,
    contribution,
    return_hindsight,
    reward_feature,
    state_hindsight,
    success_hindsight,
)
from casim.oracle.information import (
    Gain,
    LatentInformation,
    OutcomeInformation,
    StepInformation,
    entropy_removed,
    latent_information,
    outcome_information,
    pointwise_information,
    success_gain,
)
from casim.oracle.shapley import coalition_values, shapley
from casim.oracle.soft import ImplicitReward, Soft, implicit_reward, soft_optimal
from casim.oracle.summary import summary
from casim.oracle.targets import path_target
from casim.oracle.values import Optimal, expected_return, optimal, solve

__all__ = [
    "Contribution",
    "Critic",
    "Critics",
    "Gain",
    "ImplicitReward",
    "LatentInformation",
    "Optimal",
    "OutcomeInformation",
    "Outcomes",
    "Soft",
    "StateHindsight",
    "StepInformation",
    "beliefs",
    "binary_group_scale",
    "check_support",
    "closed_forms",
    "coalition_values",
    "contribution",
    "critics",
    "entropy_removed",
    "expected_return",
    "history_values",
    "implicit_reward",
    "latent_information",
    "optimal",
    "outcome_information",
    "path_target",
    "pointwise_information",
    "return_hindsight",
    "reward_feature",
    "shapley",
    "soft_optimal",
    "solve",
    "state_hindsight",
    "success_gain",
    "success_hindsight",
    "summary",
]
