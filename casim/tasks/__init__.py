"""Recipes for worlds, one file per family."""

from casim.tasks.base import Observed, Task
from casim.tasks.bifurcation import Bifurcation
from casim.tasks.classics import (
    CLASSICS,
    AmbiguousBandit,
    ContextChain,
    DelayedEffect,
    DiscountingChain,
    KeyToDoor,
    RandomWalk,
    Recovery,
    Shortcut,
    TMaze,
    Tree,
    UmbrellaChain,
    WatchRepair,
)
from casim.tasks.echo_trap import EchoTrap
from casim.tasks.forced import Forced
from casim.tasks.hackable_process import HackableProcess
from casim.tasks.hidden_cause import HiddenCause
from casim.tasks.information_seeking import InformationSeeking
from casim.tasks.memory_chain import MemoryChain
from casim.tasks.reasoning_chain import ReasoningChain
from casim.tasks.rules import Layout, RuleTask
from casim.tasks.size import Growth, Size, TooLargeError
from casim.tasks.team import Team
from casim.tasks.tool_chain import ToolChain
from casim.tasks.variable_turns import VariableTurns

TASKS: tuple[type[Task], ...] = (
    Bifurcation,
    ReasoningChain,
    HackableProcess,
    ToolChain,
    MemoryChain,
    EchoTrap,
    InformationSeeking,
    VariableTurns,
    Team,
    HiddenCause,
    *CLASSICS,
)
"""Every task family: contract tests, `casim list` and the docs are made from this."""

PRESETS: dict[str, Task] = {
    "reasoning_500": ReasoningChain(num_steps=10, tokens_per_step=50),
    "reasoning_30k": ReasoningChain(num_steps=300, tokens_per_step=100),
    "agentic_100_turns": ToolChain(
        num_turns=100,
        tokens_per_turn=300,
        output_tokens=700,
        repair=0.5,
        observation_noise=0.1,
        unverified=0.5,
    ),
    "agentic_1m": ToolChain(
        num_turns=250,
        tokens_per_turn=1000,
        output_tokens=3000,
        repair=0.5,
        observation_noise=0.1,
        unverified=0.5,
    ),
}
"""Tasks at the sizes of the regimes that the survey (arXiv:2604.09459) names.

500 and 30,000 tokens of reasoning, 100 turns of 1,000 tokens, and a million tokens of turns.
"""

__all__ = [
    "CLASSICS",
    "PRESETS",
    "TASKS",
    "AmbiguousBandit",
    "Bifurcation",
    "ContextChain",
    "DelayedEffect",
    "DiscountingChain",
    "EchoTrap",
    "Forced",
    "Growth",
    "HackableProcess",
    "HiddenCause",
    "InformationSeeking",
    "KeyToDoor",
    "Layout",
    "MemoryChain",
    "Observed",
    "RandomWalk",
    "ReasoningChain",
    "Recovery",
    "RuleTask",
    "Shortcut",
    "Size",
    "TMaze",
    "Task",
    "Team",
    "TooLargeError",
    "ToolChain",
    "Tree",
    "UmbrellaChain",
    "VariableTurns",
    "WatchRepair",
]
