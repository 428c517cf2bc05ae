"""`casim show`: one recipe in words and in maths; a task is also solved and drawn."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path

import jax
import numpy as np
import tyro

import casim
from casim.checks import check_choice, check_range
from casim.cli.command import Command
from casim.cli.output import console, plain, save, settings
from casim.figures import style, task_figure, truth_figure
from casim.oracle import optimal, solve
from casim.tasks import RuleTask
from casim.truths import TRUTHS, curves

MAX_STATES = 64
"""States whose meaning is printed."""
MAX_STEPS = 20_000
"""Steps of a trajectory whose truths are drawn."""


@dataclasses.dataclass(frozen=True)
class Show(Command):
    """Show one recipe: what it is, in words and in maths, and its settings. A task is also solved and drawn.

    Attributes:
        name: of a task, a preset, an estimator or a policy, as `casim list` prints it.
        horizon: draw the task at this value of its horizon knob.
        truth: of a task, draw this kind of truth along one trajectory instead; "all" draws every kind.
        seed: of that trajectory.
        out: folder for the picture of a task.
    """

    name: tyro.conf.Positional[str]
    horizon: int | None = None
    truth: str | None = None
    seed: int = 0
    out: Path = Path("results")

    def run(self) -> None:
        """Prints the documentation of the module and the class; draws a task."""
        recipes = {recipe.__name__: recipe for recipe in (*casim.TASKS, *casim.ESTIMATORS, *casim.POLICIES)}
        if self.name not in {**recipes, **casim.PRESETS}:
            raise ValueError(f"name must be one of {sorted((*recipes, *casim.PRESETS))}, got {self.name!r}")
        preset = casim.PRESETS.get(self.name)
        recipe = recipes[self.name] if preset is None else type(preset)
        plain(inspect.getdoc(sys.modules[recipe.__module__]))
        console.print(f"\n[bold]{recipe.__name__}[/bold]")
        plain(inspect.getdoc(recipe))
        plain(f"\nDefaults: {recipe.__name__}({settings(recipe)})")
        if issubclass(recipe, casim.Task):
            task = recipe() if preset is None else preset
            self._task(task if self.horizon is None else task.with_horizon(self.horizon))

    def _task(self, task: casim.Task) -> None:
        """Sizes, exact values, what the numbers of the states mean, and a picture under the uniform policy."""
        mdp = task.build()
        truth, best = jax.jit(lambda mdp, policy: (solve(mdp, policy), optimal(mdp).value[0]))(
            mdp, casim.Uniform().table(mdp)
        )
        if self.truth is not None:
            self._truths(task, mdp, truth)
            return
        mdp, truth = jax.tree.map(np.asarray, (mdp, truth))
        kernels, states, actions, _ = mdp.prob.shape
        sizes = f"S = {states}, O = {mdp.emission.shape[2]}, A = {actions}, M = {kernels}"
        print(f"\n{task}\nT = {len(mdp.schedule):,}, {sizes}")
        print(f"expected return of the uniform policy: {float(truth.expected_return):.6g}")
        print(f"optimum, seeing the state:             {float(mdp.start @ np.asarray(best)):.6g}")
        if isinstance(task, RuleTask) and states <= MAX_STATES:
            print("states: " + ", ".join(f"{i} = {state}" for i, state in enumerate(task.states())))
        with style():
            save(task_figure(mdp, truth), self.out / f"{self.name}.png")

    def _truths(self, task: casim.Task, mdp: casim.MDP, truth: casim.Truth) -> None:
        """Draws truths along one trajectory of the uniform policy."""
        kinds = {kind.__name__: kind for kind in TRUTHS}
        check_choice("truth", self.truth, (*kinds, "all"))
        check_range("number of steps (choose --horizon)", len(mdp.schedule), 1, MAX_STEPS)
        policy = casim.Uniform().table(mdp)
        batch = casim.World.make(mdp, policy).rollout(jax.random.key(self.seed), 1)
        chosen = kinds if self.truth == "all" else {str(self.truth): kinds[str(self.truth)]}
        panels = {name: curves(kind, mdp, policy, truth, batch) for name, kind in chosen.items()}
        decision = np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
        title = f"{type(task).__name__}: one trajectory of the uniform policy, return {float(batch.reward.sum()):.3g}"
        with style():
            save(truth_figure(panels, decision, title), self.out / f"{self.name}-{self.truth}.png")
