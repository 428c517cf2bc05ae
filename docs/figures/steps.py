"""One success, token by token: what each token earned, and what a group gives it."""

from __future__ import annotations

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import casim
from casim.figures import COLOR, style
from casim.oracle import path_target, solve
from casim.targets import Advantage

TASK = casim.Bifurcation(horizon=12, pivots=(3, 8), gap=0.6, recovery=0.5)
GROUP = 8


def draw() -> Figure:
    """Exact advantages of a successful rollout beside the credit of RLOO."""
    mdp = TASK.build()
    policy = casim.Uniform().table(mdp)
    world = casim.World.make(mdp, policy)
    batch = world.groups(jax.random.key(3), 1, GROUP)
    given = casim.methods.RLOO.credit(jax.random.key(0), world, batch).value[0]
    exact = _exact(world, mdp, policy, batch)
    chosen = int(np.argmax(np.asarray(batch.reward).sum(axis=-1)))
    steps = np.arange(TASK.horizon)
    with style():
        figure, axes = plt.subplots(figsize=(4.0, 2.3))
        axes.bar(steps - 0.2, exact[chosen], 0.4, color=COLOR["control"], label="earned (exact)")
        axes.bar(steps + 0.2, given[chosen], 0.4, color=COLOR["monte_carlo"], label="given by RLOO")
        axes.axhline(0.0, color="black", linewidth=0.6)
        axes.set_xlabel("token of a rollout that succeeded")
        axes.set_ylabel("credit")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def _exact(world, mdp, policy, batch):
    """Advantages along the rollouts of a group."""
    group = casim.Trajectory(*(getattr(batch, name)[0] for name in casim.Trajectory._fields))
    return np.asarray(path_target(Advantage(), world, solve(mdp, policy), group))
