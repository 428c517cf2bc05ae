"""Parts that credit-assignment methods are made of, and the ways to put them together."""

from casim.estimators.accumulate import (
    FromEnds,
    FromStart,
    Increments,
    OntoDecisions,
    ToGo,
    Whole,
    WithoutLast,
)
from casim.estimators.actions import Answers, LessAverage, OnTaken
from casim.estimators.agents import Aligned, ByLeader, FormReward
from casim.estimators.base import Estimator, Part, Source
from casim.estimators.baselines import Baseline
from casim.estimators.blends import BySurprisal, NonzeroMean
from casim.estimators.candidates import RankedPair
from casim.estimators.chain import Chain, Sum
from casim.estimators.components import PerComponent
from casim.estimators.emphasis import Apportion, Emphasis
from casim.estimators.energy import TokenBaseline
from casim.estimators.given import FittedValues, JudgedComponents, JudgedValues, Rewarded
from casim.estimators.graphs import ActionValues, NodeGain, ShortestPath
from casim.estimators.influence import ByDivergence, BySaliency, Surprised
from casim.estimators.masks import Nonzero, Unlikely
from casim.estimators.once import Average, First, Lowest, Once
from casim.estimators.peers import coverage
from casim.estimators.places import LessOwnMean, Place
from casim.estimators.pooling import PoolByChange, PoolByEntropy
from casim.estimators.prefixes import PrefixGain
from casim.estimators.products import Agreeing, TimesOther
from casim.estimators.ratios import Ratio
from casim.estimators.sampling import ByValue, DynamicSampling, TopGroups
from casim.estimators.scales import (
    Best,
    Fade,
    OverLargest,
    OverMean,
    PerNonzero,
    Plus,
    Times,
    Unshrunk,
)
from casim.estimators.shaping import Overlong
from casim.estimators.solo import BesideSolo
from casim.estimators.sources.absent import Without
from casim.estimators.sources.alternatives import Alternatives
from casim.estimators.sources.branches import Vine
from casim.estimators.sources.coalitions import AllCoalitions
from casim.estimators.sources.completions import Completions
from casim.estimators.sources.contributions import Contribution
from casim.estimators.sources.critics import Gae
from casim.estimators.sources.cuts import CutVine
from casim.estimators.sources.direct import DirectAdvantage
from casim.estimators.sources.foresight import Foresight
from casim.estimators.sources.forks import Forks
from casim.estimators.sources.games import Shapley
from casim.estimators.sources.greedy import LessGreedy
from casim.estimators.sources.hindsight import Hindsight
from casim.estimators.sources.implicit import ImplicitReward
from casim.estimators.sources.information import InformationGain, Pointwise
from casim.estimators.sources.interventions import Intervention
from casim.estimators.sources.judged import Judged
from casim.estimators.sources.judges import ProcessReward
from casim.estimators.sources.marginals import Marginal
from casim.estimators.sources.mixing import AdditiveMixing, MonotoneMixing
from casim.estimators.sources.network import GaeNetwork
from casim.estimators.sources.offpolicy import Retrace, VTrace
from casim.estimators.sources.pairs import Contrast, Extremes, PairWeight
from casim.estimators.sources.predictions import ReturnDifferences
from casim.estimators.sources.prefixes import PrefixReward
from casim.estimators.sources.promises import Promise
from casim.estimators.sources.redistribution import Distilled, Redistributed
from casim.estimators.sources.references import LessDivergence, LogRatio
from casim.estimators.sources.returns import ReturnHindsight
from casim.estimators.sources.search import DeadEnd
from casim.estimators.sources.siblings import Siblings
from casim.estimators.sources.synthetic import SyntheticReturns
from casim.estimators.sources.trees import TreeVine
from casim.estimators.sources.turns import BilevelGae, UnitGae
from casim.estimators.sources.twins import TwinCritics
from casim.estimators.splits import OverUnitLength, Split
from casim.estimators.turns_ahead import (
    GainsAside,
    Gathered,
    NearEnd,
    NotLastTurn,
    Positive,
    Turns,
    TurnsToGo,
    TurnWindow,
)
from casim.estimators.turnwise import Blend, ByHindsight, Clipped, FadeUnits, NoHarm
from casim.estimators.units import AllDecisions, Only, OutcomeShares, OverUnit, TimesLeft
from casim.estimators.weights import OverConstant, OverLength, TopEntropy, Traces

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

PARTS: tuple[type[Estimator], ...] = (
    Whole,
    ToGo,
    FromStart,
    FromEnds,
    OntoDecisions,
    Overlong,
    Baseline,
    TokenBaseline,
    PrefixGain,
    ShortestPath,
    NodeGain,
    ActionValues,
    LessGreedy,
    LessDivergence,
    OverMean,
    PerNonzero,
    Best,
    Times,
    Fade,
    Positive,
    GainsAside,
    Gathered,
    NotLastTurn,
    TurnsToGo,
    TurnWindow,
    NearEnd,
    Turns,
    Surprised,
    ByDivergence,
    BySaliency,
    Pointwise,
    NonzeroMean,
    BySurprisal,
    DynamicSampling,
    OverLength,
    OverConstant,
    TopEntropy,
    Ratio,
    Traces,
    PerComponent,
    LogRatio,
    Unlikely,
    Nonzero,
    Once,
    Lowest,
    CutVine,
    TreeVine,
    Forks,
    Siblings,
    Completions,
    DeadEnd,
    AllCoalitions,
    AdditiveMixing,
    Aligned,
    ByLeader,
    FormReward,
    LessAverage,
    Marginal,
    MonotoneMixing,
    OnTaken,
    Answers,
    Contribution,
    ReturnHindsight,
    Foresight,
    DirectAdvantage,
    SyntheticReturns,
    WithoutLast,
    Increments,
    Unshrunk,
    OverLargest,
    OverUnit,
    Only,
    AllDecisions,
    TimesLeft,
    OutcomeShares,
    ImplicitReward,
    Redistributed,
    Distilled,
    PrefixReward,
    Extremes,
    PairWeight,
    RankedPair,
    Contrast,
    UnitGae,
    BilevelGae,
    Rewarded,
    FittedValues,
    JudgedValues,
    JudgedComponents,
    Place,
    LessOwnMean,
    TopGroups,
    FadeUnits,
    Blend,
    NoHarm,
    Clipped,
    ByHindsight,
    Without,
    BesideSolo,
    Alternatives,
    VTrace,
    Retrace,
    Promise,
    TwinCritics,
    ReturnDifferences,
    Average,
    First,
    Plus,
    PoolByEntropy,
    PoolByChange,
    TimesOther,
    Agreeing,
    ByValue,
    Judged,
    Emphasis,
    Apportion,
    Split,
    OverUnitLength,
    Intervention,
)
"""Every part that chains are made of and that does not stand alone."""

__all__ = [
    "ESTIMATORS",
    "PARTS",
    "ActionValues",
    "AdditiveMixing",
    "Agreeing",
    "Aligned",
    "AllCoalitions",
    "AllDecisions",
    "Alternatives",
    "Answers",
    "Apportion",
    "Average",
    "Baseline",
    "BesideSolo",
    "Best",
    "BilevelGae",
    "Blend",
    "ByDivergence",
    "ByHindsight",
    "ByLeader",
    "BySaliency",
    "BySurprisal",
    "ByValue",
    "Chain",
    "Clipped",
    "Completions",
    "Contrast",
    "Contribution",
    "CutVine",
    "DeadEnd",
    "DirectAdvantage",
    "Distilled",
    "DynamicSampling",
    "Emphasis",
    "Estimator",
    "Extremes",
    "Fade",
    "FadeUnits",
    "First",
    "FittedValues",
    "Foresight",
    "Forks",
    "FormReward",
    "FromEnds",
    "FromStart",
    "Gae",
    "GaeNetwork",
    "GainsAside",
    "Gathered",
    "Hindsight",
    "ImplicitReward",
    "Increments",
    "InformationGain",
    "Intervention",
    "Judged",
    "JudgedComponents",
    "JudgedValues",
    "LessAverage",
    "LessDivergence",
    "LessGreedy",
    "LessOwnMean",
    "LogRatio",
    "Lowest",
    "Marginal",
    "MonotoneMixing",
    "NearEnd",
    "NoHarm",
    "NodeGain",
    "Nonzero",
    "NonzeroMean",
    "NotLastTurn",
    "OnTaken",
    "Once",
    "Only",
    "OntoDecisions",
    "OutcomeShares",
    "OverConstant",
    "OverLargest",
    "OverLength",
    "OverMean",
    "OverUnit",
    "OverUnitLength",
    "Overlong",
    "PairWeight",
    "Part",
    "PerComponent",
    "PerNonzero",
    "Place",
    "Plus",
    "Pointwise",
    "PoolByChange",
    "PoolByEntropy",
    "Positive",
    "PrefixGain",
    "PrefixReward",
    "ProcessReward",
    "Promise",
    "RankedPair",
    "Ratio",
    "Redistributed",
    "Retrace",
    "ReturnDifferences",
    "ReturnHindsight",
    "Rewarded",
    "Shapley",
    "ShortestPath",
    "Siblings",
    "Source",
    "Split",
    "Sum",
    "Surprised",
    "SyntheticReturns",
    "Times",
    "TimesLeft",
    "TimesOther",
    "ToGo",
    "TokenBaseline",
    "TopEntropy",
    "TopGroups",
    "Traces",
    "TreeVine",
    "TurnWindow",
    "Turns",
    "TurnsToGo",
    "TwinCritics",
    "UnitGae",
    "Unlikely",
    "Unshrunk",
    "VTrace",
    "Vine",
    "Whole",
    "Without",
    "WithoutLast",
    "coverage",
]
