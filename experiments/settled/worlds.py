"""The worlds of the disputes, in double precision: all are listed trajectory by trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from casim.tasks import ReasoningChain, Task, VariableTurns
from settled.found import Setting

STOP = 0.3
"""The probability of stopping at a turn."""


def built(task: Task) -> Any:
    """The process in NumPy."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, task.build())


def constant(mdp: Any, *chances: float) -> Setting:
    """A policy with these probabilities at every step."""
    shape = (*mdp.emission.shape[::2], len(chances))
    return Setting(mdp, np.broadcast_to(chances, shape))


def stopping(
    *rewards: float,
    chance: float = STOP,
    going: float | Sequence[float] = 0.0,
    ends: bool = True,
) -> Setting:
    """Turns that the agent may end, with a reward for stopping at each and one for going on.

    Where it never `ends`, stopping pays all the same, and all trajectories are equally long.
    """
    mdp = built(VariableTurns(num_turns=len(rewards), stop_rewards=rewards))
    # Of the states only that in which the episode runs is not terminal; action 0 stops.
    goes = np.zeros_like(mdp.reward)
    goes[:, ~mdp.terminal, 1:] = 1.0
    each = np.broadcast_to(going, len(rewards))
    reward = mdp.reward + each[:, None, None, None] * goes
    mdp = mdp._replace(reward=reward)
    if not ends:
        here = np.arange(len(mdp.start))
        stays = np.broadcast_to(here[:, None, None], mdp.successor.shape)
        mdp = mdp._replace(successor=stays)
    return constant(mdp, chance, 1 - chance)


def prompts(*success: float) -> Setting:
    """A fork on each of some prompts: the right way pays 1, and is taken with these chances."""
    task = ReasoningChain(
        num_steps=1,
        tokens_per_step=2,
        difficulty=(1.0,) * len(success),
        correction=0.0,
        finish=1.0,
        luck=0.0,
        may_stop=False,
        num_actions=2,
    )
    mdp = built(task)
    chance = np.array(success)[mdp.prompt]
    # Each state is seen as itself: the rows of the table are those of the states.
    seen = mdp.emission.argmax(axis=2)
    right = np.full(mdp.emission.shape[::2], 0.5)
    np.put_along_axis(right, seen, chance[None], axis=1)
    return Setting(mdp, np.stack([right, 1 - right], axis=-1))
