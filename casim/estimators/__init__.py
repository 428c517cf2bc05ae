"""Parts that credit-assignment methods are made of, and the ways to put them together."""

from casim.estimators.accumulate import ToGo, Whole
from casim.estimators.base import Estimator, Part, Source
from casim.estimators.baselines import Baseline
from casim.estimators.chain import Chain, Sum
from casim.estimators.sources.branches import Vine
from casim.estimators.sources.critics import Gae
from casim.estimators.sources.games import Shapley
from casim.estimators.sources.hindsight import Hindsight
from casim.estimators.sources.information import InformationGain
from casim.estimators.sources.judges import ProcessReward
from casim.estimators.sources.network import GaeNetwork
from casim.estimators.weights import OverLength, TopEntropy

ESTIMATORS: tuple[type[Estimator], ...] = (
    Vine,
    Gae,
    GaeNetwork,
    Hindsight,
    ProcessReward,
    Shapley,
    InformationGain,
)
"""Every estimator that stands alone.

Contract tests, `casim list` and the docs are made from this.
"""

PARTS: tuple[type[Estimator], ...] = (Whole, ToGo, Baseline, OverLength, TopEntropy)
"""Every part that changes credit: chains are made of them."""

__all__ = [
    "ESTIMATORS",
    "PARTS",
    "Baseline",
    "Chain",
    "Estimator",
    "Gae",
    "GaeNetwork",
    "Hindsight",
    "InformationGain",
    "OverLength",
    "Part",
    "ProcessReward",
    "Shapley",
    "Source",
    "Sum",
    "ToGo",
    "TopEntropy",
    "Vine",
    "Whole",
]
