"""Recipes for worlds, one file per family."""

from casim.tasks.base import Observed, Task
from casim.tasks.bifurcation import Bifurcation
from casim.tasks.tool_chain import ToolChain

TASKS: tuple[type[Task], ...] = (Bifurcation, ToolChain)
"""Every task family: contract tests, `casim list` and the docs are made from this."""

__all__ = ["TASKS", "Bifurcation", "Observed", "Task", "ToolChain"]
