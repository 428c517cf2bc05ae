"""Exact truth about a policy in an MDP: what is called by name; the rest is in the rooms' files.

Moments of estimators are in `casim.oracle.moments`, published forms in `casim.oracle.closed_forms`.
"""

from casim.oracle.belief import beliefs, critics, history_values
from casim.oracle.blocks import solve_in_blocks
from casim.oracle.coefficients import contribution, state_hindsight
from casim.oracle.contrast import Protocol, contrast, sample_contrast
from casim.oracle.games import taken_game, team_game
from casim.oracle.hindsight import return_hindsight, success_hindsight
from casim.oracle.information import latent_information, outcome_information
from casim.oracle.prompts import prompt_values
from casim.oracle.shapley import shapley_by_counts
from casim.oracle.soft import implicit_reward, soft_optimal
from casim.oracle.summary import summary
from casim.oracle.targets import path_target
from casim.oracle.units import unit_truth, variance_parts
from casim.oracle.values import expected_return, optimal, solve

__all__ = [
    "Protocol",
    "beliefs",
    "contrast",
    "contribution",
    "critics",
    "expected_return",
    "history_values",
    "implicit_reward",
    "latent_information",
    "optimal",
    "outcome_information",
    "path_target",
    "prompt_values",
    "return_hindsight",
    "sample_contrast",
    "shapley_by_counts",
    "soft_optimal",
    "solve",
    "solve_in_blocks",
    "state_hindsight",
    "success_hindsight",
    "summary",
    "taken_game",
    "team_game",
    "unit_truth",
    "variance_parts",
]
