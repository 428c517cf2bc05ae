"""Credit-assignment methods behind one interface: one folder per methodology, one file per mechanism."""

from casim.estimators.base import Estimator
from casim.estimators.game_theoretic.shapley import Shapley
from casim.estimators.hindsight.hindsight import Hindsight
from casim.estimators.information_theoretic.information_gain import InformationGain
from casim.estimators.model_based.process_reward import ProcessReward
from casim.estimators.monte_carlo.group import GroupRelative, LeaveOneOut
from casim.estimators.monte_carlo.returns import Return, RewardToGo
from casim.estimators.monte_carlo.vine import Vine
from casim.estimators.temporal_difference.gae import Gae
from casim.estimators.temporal_difference.network import GaeNetwork

ESTIMATORS: tuple[type[Estimator], ...] = (
    Return,
    RewardToGo,
    GroupRelative,
    LeaveOneOut,
    Vine,
    Gae,
    GaeNetwork,
    Hindsight,
    ProcessReward,
    Shapley,
    InformationGain,
)
"""Every estimator: contract tests, `casim list` and the docs are made from this."""

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Gae",
    "GaeNetwork",
    "GroupRelative",
    "Hindsight",
    "InformationGain",
    "LeaveOneOut",
    "ProcessReward",
    "Return",
    "RewardToGo",
    "Shapley",
    "Vine",
]
