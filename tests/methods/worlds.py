"""Three small processes of one shape on which every claim of a method is enumerated.

One shape, so that a method is compiled once for all of them.
"""

from __future__ import annotations

import numpy as np

from casim.types import MDP
from tests import reference

SCHEDULE = (0, 1, 2)


def small(name: str, discount: float, prompts: int = 1) -> tuple[MDP, np.ndarray]:
    """A process of 3 steps and a policy for it.

    Args:
        name: a key of `WORLDS`.
        discount: of every step.
        prompts: how many prompts the start states are dealt out to.
    """
    mdp, policy = WORLDS[name](discount)
    assert (np.asarray(mdp.start) > 0).sum() > prompts
    return mdp._replace(prompt=np.arange(len(mdp.start)) % prompts), policy


def hidden(discount: float) -> tuple[MDP, np.ndarray]:
    """A hidden state, a step of the environment between decisions, early ends, odd rewards."""
    return reference.random_mdp(7, schedule=SCHEDULE, discount=discount)


def chain(discount: float) -> tuple[MDP, np.ndarray]:
    """The state is shown, every step is a decision that leads to one state; the last step pays."""
    mdp, policy = reference.random_mdp(11, schedule=SCHEDULE, discount=discount, terminal=False)
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


def lengths(discount: float) -> tuple[MDP, np.ndarray]:
    """Action 0 stops, and what it pays depends on when; every step is a decision."""
    mdp, policy = reference.random_mdp(5, schedule=SCHEDULE, discount=discount)
    successor = np.array(mdp.successor)
    (end,) = np.flatnonzero(np.asarray(mdp.terminal))
    successor[:, :, 0] = end
    start = np.where(np.arange(len(mdp.start)) == end, 0.0, 0.25)
    decision = np.ones(len(SCHEDULE), bool)
    return mdp._replace(start=start, successor=successor, decision=decision), policy


WORLDS = {"hidden": hidden, "chain": chain, "lengths": lengths}
