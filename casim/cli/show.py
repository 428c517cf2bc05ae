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
from casim.checks import check_range
from casim.cli.command import Command
from casim.cli.names import named
from casim.cli.output import claims, console, plain, save, settings
from casim.cli.size import check_size
from casim.estimators import PARTS
from casim.estimators.chain import parts_of
from casim.figures import style, task_figure, truth_figure
from casim.figures.truths import TRUTHS, Kind, curves, telling
from casim.methods import Method, named_methods
from casim.oracle import optimal, solve
from casim.targets import TARGETS, Target
from casim.tasks import RuleTask, Size

MAX_STATES = 64
"""States whose meaning is printed."""
MAX_STEPS = 20_000
"""Steps of a trajectory whose truths are drawn."""
NUM_TRAJECTORIES = 256
"""Trajectories among which one is chosen to be drawn."""


FACTS = (
    "reference",
    "arxiv",
    "number",
    "granularity",
    "methodology",
    "target",
    "stands_for",
    "status",
)
"""What is said of a published method as it stands in its recipe."""


@dataclasses.dataclass(frozen=True)
class Show(Command):
    """Show one recipe in words and in maths, with its settings; a task is also drawn.

    Attributes:
        name: of a task, a preset, a method, an estimator or a policy, see `casim list`.
        horizon: draw the task at this value of its horizon knob.
        truth: of a task, draw this kind of truth along one trajectory instead, or a target by its
            name, see `casim list targets`; "all" draws every kind.
        seed: of the trajectories among which that one is chosen.
        force: work the task out however large it is.
        out: folder for the picture of a task.
    """

    name: tyro.conf.Positional[str]
    horizon: int | None = None
    truth: str | None = None
    seed: int = 0
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    out: Path = Path("results")

    def run(self) -> None:
        """Prints the documentation of the module and the class; draws a task."""
        rooms = (*casim.TASKS, *casim.ESTIMATORS, *PARTS, *casim.POLICIES)
        recipes = {recipe.__name__: recipe for recipe in rooms}
        known = recipes | {name: type(task) for name, task in casim.PRESETS.items()}
        methods = named_methods()
        recipe = named("name", self.name, methods | known)
        if isinstance(recipe, Method):
            self._method(recipe)
            return
        if self.truth is not None:
            named("truth", self.truth, _kinds() | {"all": None})
        plain(inspect.getdoc(sys.modules[recipe.__module__]))
        console.print(f"\n[bold]{recipe.__name__}[/bold]")
        plain(inspect.getdoc(recipe))
        plain(f"\nDefaults: {recipe.__name__}({settings(recipe)})")
        if issubclass(recipe, casim.Task):
            task = casim.PRESETS.get(self.name) or recipe()
            self._task(task if self.horizon is None else task.with_horizon(self.horizon))

    def _method(self, method: Method) -> None:
        """What is known of a published method, and what its parts do."""
        console.print(f"[bold]{method.name}[/bold]")
        for name in FACTS:
            value = getattr(method, name)
            if value not in (None, ""):
                plain(f"{name.replace('_', ' ')}: {value}")
        plain(f"unbiased for: {claims(method)}")
        plain(f"needs: {', '.join(sorted(method.needs)) or 'nothing beyond its trajectory'}")
        plain(f"exact moments: {_exact(method)}")
        for part in parts_of(method.recipe):
            console.print(f"\n[bold]{part!r}[/bold]")
            plain(inspect.getdoc(sys.modules[type(part).__module__]))

    def _task(self, task: casim.Task) -> None:
        """Works a task out under the uniform policy, and draws it or truths along a trajectory."""
        if not self.force:
            check_size(task, "a smaller --horizon")
        mdp = task.build()
        policy = casim.Uniform().table(mdp)
        truth, best = _solved(mdp, policy)
        if self.truth is None:
            self._draw_task(task, mdp, truth, best)
        else:
            self._draw_truths(task, mdp, policy, truth)

    def _draw_task(self, task: casim.Task, mdp: casim.MDP, truth: casim.Truth, best: float) -> None:
        """Sizes, exact values, what the numbers of the states mean, and a picture."""
        size = Size.of(mdp)
        axes = f"S = {size.states}, O = {size.observations}, A = {size.actions}, M = {size.kernels}"
        print(f"\n{task}\nT = {size.steps:,}, {axes}")
        print(f"expected return of the uniform policy: {float(truth.expected_return):.6g}")
        print(f"optimum, seeing the state:             {best:.6g}")
        if isinstance(task, RuleTask) and size.states <= MAX_STATES:
            meanings = [f"{i} = {state}" for i, state in enumerate(task.states())]
            print("states: " + ", ".join(meanings))
        mdp, truth = jax.tree.map(np.asarray, (mdp, truth))
        with style():
            save(task_figure(mdp, truth), self.out / f"{self.name}.png")

    def _draw_truths(
        self,
        task: casim.Task,
        mdp: casim.MDP,
        policy: jax.Array,
        truth: casim.Truth,
    ) -> None:
        """Draws truths along the trajectory that tells most."""
        check_range("number of steps (choose --horizon)", len(mdp.schedule), 1, MAX_STEPS)
        world = casim.World.make(mdp, policy)
        batch = world.rollout(jax.random.key(self.seed), NUM_TRAJECTORIES)
        chosen = telling(mdp, truth, batch)
        one = jax.tree.map(lambda x: x[chosen.index][None], batch)
        if self.truth == "all":
            kinds = {kind.__name__: kind for kind in TRUTHS}
        else:
            kinds = {str(self.truth): _kinds()[str(self.truth)]}
        panels = {name: curves(kind, mdp, policy, truth, one) for name, kind in kinds.items()}
        decision = np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
        origin = f"trajectory {chosen.index} of {NUM_TRAJECTORIES} of the uniform policy"
        outcome = f"return {float(one.reward.sum()):.3g}"
        first = f"{type(task).__name__}: {origin} (seed {self.seed}), {outcome}"
        title = f"{first}\n{chosen.reason}"
        print(title)
        with style():
            picture = truth_figure(panels, decision, title)
            save(picture, self.out / f"{self.name}-{self.truth}.png")


def _exact(method: Method) -> str:
    """Where bias, variance and signal-to-noise ratio are known without sampling."""
    known = []
    if method.recursion is not None:
        known.append("at any horizon")
    if method.enumerable:
        known.append("where all groups can be listed")
    return ", and ".join(known) or "nowhere; a study samples them"


def _kinds() -> dict[str, Kind | Target]:
    """What can be drawn, by name: every kind of truth, and every target that needs no setting."""
    kinds: dict[str, Kind | Target] = {kind.__name__: kind for kind in TRUTHS}
    for target in TARGETS:
        fields = dataclasses.fields(target)
        if all(field.default is not dataclasses.MISSING for field in fields):
            kinds[target.__name__] = target()
    return kinds


def _solved(mdp: casim.MDP, policy: jax.Array) -> tuple[casim.Truth, float]:
    """What the policy is worth everywhere, and the optimum from the start."""

    @jax.jit
    def work(mdp: casim.MDP, policy: jax.Array) -> tuple[casim.Truth, jax.Array]:
        return solve(mdp, policy), optimal(mdp).value[0]

    truth, best = work(mdp, policy)
    return truth, float(np.asarray(mdp.start) @ np.asarray(best))
