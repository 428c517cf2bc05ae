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
        presets = {name: type(task) for name, task in casim.PRESETS.items()}
        known = recipes | presets
        methods = named_methods()
        recipe = named("name", self.name, methods | known)
        if isinstance(recipe, Method):
            self._method(recipe)
            return
        if self.truth is not None:
            kinds = _kinds() | {"all": None}
            named("truth", self.truth, kinds)
        module = sys.modules[recipe.__module__]
        plain(inspect.getdoc(module))
        console.print(f"\n[bold]{recipe.__name__}[/bold]")
        plain(inspect.getdoc(recipe))
        plain(f"\nDefaults: {recipe.__name__}({settings(recipe)})")
        if issubclass(recipe, casim.Task):
            task = casim.PRESETS.get(self.name) or recipe()
            if self.horizon is not None:
                task = task.with_horizon(self.horizon)
            self._task(task)

    def _method(self, method: Method) -> None:
        """What is known of a published method, and what its parts do."""
        console.print(f"[bold]{method.name}[/bold]")
        for name in FACTS:
            value = getattr(method, name)
            if value not in (None, ""):
                field = name.replace("_", " ")
                plain(f"{field}: {value}")
        plain(f"unbiased for: {claims(method)}")
        needs = ", ".join(sorted(method.needs))
        plain(f"needs: {needs or 'nothing beyond its trajectory'}")
        plain(f"exact moments: {_exact(method)}")
        for part in parts_of(method.recipe):
            console.print(f"\n[bold]{part!r}[/bold]")
            module = sys.modules[type(part).__module__]
            plain(inspect.getdoc(module))

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
        states = f"S = {size.states}"
        observations = f"O = {size.observations}"
        actions = f"A = {size.actions}"
        axes = f"{states}, {observations}, {actions}, M = {size.kernels}"
        expected = float(truth.expected_return)
        print(f"\n{task}\nT = {size.steps:,}, {axes}")
        print(f"expected return of the uniform policy: {expected:.6g}")
        print(f"optimum, seeing the state:             {best:.6g}")
        if isinstance(task, RuleTask) and size.states <= MAX_STATES:
            meanings = [f"{i} = {state}" for i, state in enumerate(task.states())]
            print("states: " + ", ".join(meanings))
        given = (mdp, truth)
        mdp, truth = jax.tree.map(np.asarray, given)
        with style():
            picture = task_figure(mdp, truth)
            save(picture, self.out / f"{self.name}.png")

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
        key = jax.random.key(self.seed)
        batch = world.rollout(key, NUM_TRAJECTORIES)
        chosen = telling(mdp, truth, batch)
        one = jax.tree.map(lambda x: x[chosen.index][None], batch)
        if self.truth == "all":
            kinds = {kind.__name__: kind for kind in TRUTHS}
        else:
            name = str(self.truth)
            kinds = {name: _kinds()[name]}
        panels = {name: curves(kind, mdp, policy, truth, one) for name, kind in kinds.items()}
        schedule = np.asarray(mdp.schedule)
        decision = np.asarray(mdp.decision)[schedule]
        origin = f"trajectory {chosen.index} of {NUM_TRAJECTORIES} of the uniform policy"
        outcome = float(one.reward.sum())
        told = f"{origin} (seed {self.seed})"
        told = f"{told}, return {outcome:.3g}"
        title = f"{type(task).__name__}: {told}\n{chosen.reason}"
        print(title)
        with style():
            picture = truth_figure(panels, decision, title)
            name = f"{self.name}-{self.truth}.png"
            save(picture, self.out / name)


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
        required = [field for field in fields if field.default is dataclasses.MISSING]
        if not required:
            kinds[target.__name__] = target()
    return kinds


def _solved(mdp: casim.MDP, policy: jax.Array) -> tuple[casim.Truth, float]:
    """What the policy is worth everywhere, and the optimum from the start."""

    @jax.jit
    def work(mdp: casim.MDP, policy: jax.Array) -> tuple[casim.Truth, jax.Array]:
        best = optimal(mdp)
        return solve(mdp, policy), best.value[0]

    truth, best = work(mdp, policy)
    start = np.asarray(mdp.start)
    on_average = start @ np.asarray(best)
    return truth, float(on_average)
