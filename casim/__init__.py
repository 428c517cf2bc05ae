"""casim: a JAX simulator of credit assignment.

Small worlds shaped like reinforcement learning of language models (long token chains, turns, tools,
hidden state, one sparse verified reward), exact truth by dynamic programming, and the
credit-assignment methods of the literature run on the same trajectories and scored against that
truth, with their cost.
"""

from typing import TYPE_CHECKING

from casim.lazy import lazily

if TYPE_CHECKING:
    from casim import methods, survey
    from casim.estimators import (
        ESTIMATORS,
        Estimator,
        Gae,
        GaeNetwork,
        Hindsight,
        InformationGain,
        ProcessReward,
        Shapley,
        Vine,
    )
    from casim.judges import Judge
    from casim.oracle import solve
    from casim.policies import (
        POLICIES,
        EntropyControlled,
        EpsilonOptimal,
        Policy,
        Softmax,
        Stale,
        Uniform,
    )
    from casim.report import Row
    from casim.simulate import World
    from casim.storage import load
    from casim.study import Study
    from casim.tables import tabulate, to_csv, to_records
    from casim.tasks import (
        PRESETS,
        TASKS,
        Bifurcation,
        EchoTrap,
        HackableProcess,
        HiddenCause,
        InformationSeeking,
        MemoryChain,
        ReasoningChain,
        Task,
        Team,
        ToolChain,
        VariableTurns,
    )
    from casim.types import MDP, Cost, Credit, Trajectory, Truth
    from casim.version import __version__

__all__ = [
    "ESTIMATORS",
    "MDP",
    "POLICIES",
    "PRESETS",
    "TASKS",
    "Bifurcation",
    "Cost",
    "Credit",
    "EchoTrap",
    "EntropyControlled",
    "EpsilonOptimal",
    "Estimator",
    "Gae",
    "GaeNetwork",
    "HackableProcess",
    "HiddenCause",
    "Hindsight",
    "InformationGain",
    "InformationSeeking",
    "Judge",
    "MemoryChain",
    "Policy",
    "ProcessReward",
    "ReasoningChain",
    "Row",
    "Shapley",
    "Softmax",
    "Stale",
    "Study",
    "Task",
    "Team",
    "ToolChain",
    "Trajectory",
    "Truth",
    "Uniform",
    "VariableTurns",
    "Vine",
    "World",
    "__version__",
    "load",
    "methods",
    "solve",
    "survey",
    "tabulate",
    "to_csv",
    "to_records",
]

__getattr__, __dir__ = lazily(__name__)
