"""The worlds of the literature on credit assignment, with their sources' parameters, one a file."""

from casim.tasks.base import Task
from casim.tasks.classics.ambiguous_bandit import AmbiguousBandit
from casim.tasks.classics.context_chain import ContextChain
from casim.tasks.classics.delayed_effect import DelayedEffect
from casim.tasks.classics.discounting_chain import DiscountingChain
from casim.tasks.classics.key_to_door import KeyToDoor
from casim.tasks.classics.random_walk import RandomWalk
from casim.tasks.classics.recovery import Recovery
from casim.tasks.classics.shortcut import Shortcut
from casim.tasks.classics.t_maze import TMaze
from casim.tasks.classics.tree import Tree
from casim.tasks.classics.umbrella_chain import UmbrellaChain
from casim.tasks.classics.watch_repair import WatchRepair

CLASSICS: tuple[type[Task], ...] = (
    RandomWalk,
    DiscountingChain,
    UmbrellaChain,
    ContextChain,
    Shortcut,
    DelayedEffect,
    AmbiguousBandit,
    KeyToDoor,
    Tree,
    WatchRepair,
    Recovery,
    TMaze,
)
"""Every task of this folder, in the order of the documentation."""

__all__ = [
    "CLASSICS",
    "AmbiguousBandit",
    "ContextChain",
    "DelayedEffect",
    "DiscountingChain",
    "KeyToDoor",
    "RandomWalk",
    "Recovery",
    "Shortcut",
    "TMaze",
    "Tree",
    "UmbrellaChain",
    "WatchRepair",
]
