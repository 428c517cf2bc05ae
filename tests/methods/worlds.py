"""Three small processes of one shape on which every claim of a method is enumerated.

One shape, so that a method is compiled once for all of them.
"""

from __future__ import annotations

import numpy as np

from casim.types import MDP
from tests import reference

SCHEDULE = (0, 1, 2)


WIDE, NARROW = 6, 3
"""Successors of a state and an action, some of probability 0.

In the narrow worlds there are so few trajectories, 200 where the state is hidden, that all their
pairs are listed in a moment.
"""


def small(
    name: str,
    discount: float,
    prompts: int = 1,
    successors: int = WIDE,
) -> tuple[MDP, np.ndarray]:
    """A process of 3 steps and a policy for it.

    Args:
        name: a key of `WORLDS`.
        discount: of every step.
        prompts: how many prompts the start states are dealt out to.
        successors: `WIDE` or `NARROW`.
    """
    mdp, policy = WORLDS[name](discount, successors)
    assert (np.asarray(mdp.start) > 0).sum() > prompts
    return mdp._replace(prompt=np.arange(len(mdp.start)) % prompts), policy


def hidden(discount: float, successors: int) -> tuple[MDP, np.ndarray]:
    """A hidden state, a step of the environment between decisions, early ends, odd rewards."""
    sizes = {"schedule": SCHEDULE, "successors": successors}
    return reference.random_mdp(7, discount=discount, **sizes)


def chain(discount: float, successors: int) -> tuple[MDP, np.ndarray]:
    """The state is shown, every step is a decision that leads to one state; the last step pays."""
    sizes = {"schedule": SCHEDULE, "successors": successors}
    mdp, policy = reference.random_mdp(11, discount=discount, terminal=False, **sizes)
    sure = np.zeros(mdp.prob.shape)
    sure[..., 0] = 1.0
    shown = np.zeros(mdp.emission.shape)
    shown[:, range(shown.shape[1]), range(shown.shape[1])] = 1.0
    last = np.arange(len(SCHEDULE)) == len(SCHEDULE) - 1
    mdp = mdp._replace(
        prob=sure,
        emission=shown,
        reward=np.asarray(mdp.reward) * last[:, None, None, None],
        decision=np.ones(len(last), bool),
    )
    return mdp, policy


def lengths(discount: float, successors: int) -> tuple[MDP, np.ndarray]:
    """Action 0 stops, and what it pays depends on when; every step is a decision."""
    sizes = {"schedule": SCHEDULE, "successors": successors}
    mdp, policy = reference.random_mdp(5, discount=discount, **sizes)
    successor = np.array(mdp.successor)
    (end,) = np.flatnonzero(np.asarray(mdp.terminal))
    successor[:, :, 0] = end
    start = np.where(np.arange(len(mdp.start)) == end, 0.0, 0.25)
    decision = np.ones(len(SCHEDULE), bool)
    return mdp._replace(start=start, successor=successor, decision=decision), policy


WORLDS = {"hidden": hidden, "chain": chain, "lengths": lengths}
