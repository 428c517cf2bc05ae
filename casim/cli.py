"""The command line: `casim list | show | run | figure`."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure as Picture
from rich.console import Console
from rich.progress import Progress

import casim
from casim.checks import check_choice, check_range
from casim.controls import CONTROLS
from casim.figures import style, task_figure, truth_figure
from casim.oracle import optimal, solve
from casim.report import Row, load, tabulate
from casim.tasks import RuleTask
from casim.truths import TRUTHS, curves

console = Console()
MAX_STATES = 64
"""States whose meaning is printed."""
MAX_STEPS = 20_000
"""Steps of a trajectory whose truths are drawn."""


@dataclasses.dataclass(frozen=True)
class List:
    """List what casim holds.

    Attributes:
        what: which room to list; all of them if left out.
    """

    what: tyro.conf.Positional[Literal["all", "tasks", "presets", "estimators", "policies", "controls"]] = "all"

    def run(self) -> None:
        """Prints one line per recipe."""
        rooms = {
            "tasks": _tasks,
            "presets": lambda: [f"{name:<18} {task}" for name, task in casim.PRESETS.items()],
            "estimators": _estimators,
            "policies": _policies,
            "controls": lambda: list(CONTROLS),
        }
        for name, lines in rooms.items():
            if self.what in ("all", name):
                console.print(f"[bold]{name}[/bold]")
                for line in lines():
                    console.print(f"  {line}", highlight=False, soft_wrap=True)


@dataclasses.dataclass(frozen=True)
class Show:
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
        console.print(inspect.getdoc(sys.modules[recipe.__module__]), highlight=False, markup=False, soft_wrap=True)
        console.print(f"\n[bold]{recipe.__name__}[/bold]")
        console.print(inspect.getdoc(recipe), highlight=False, markup=False, soft_wrap=True)
        console.print(
            f"\nDefaults: {recipe.__name__}({_settings(recipe)})", highlight=False, markup=False, soft_wrap=True
        )
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
        self._save(self.name, lambda: task_figure(mdp, truth))

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
        self._save(f"{self.name}-{self.truth}", lambda: truth_figure(panels, decision, title))

    def _save(self, name: str, draw: Callable[[], Picture]) -> None:
        path = self.out / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with style():
            draw().savefig(path)
        print(f"figure: {path}")


@dataclasses.dataclass(frozen=True)
class Run:
    """Run the study of an experiment file, save its rows and draw its figure.

    Rows that are already saved are kept: an interrupted run goes on where it stopped. Compiled programs are kept too.

    Attributes:
        path: a Python file with STUDY, QUICK and draw(rows).
        quick: run QUICK, the small version.
        out: folder for the rows and the figure.
        devices: how many devices to use; all if left out.
        memory: gigabytes of each device to use; what is free if left out.
        cache: folder for compiled programs; the user's cache folder if left out, or what JAX was told.
        no_cache: keep no compiled programs.
        distributed: take part in a run of several processes; the first one writes and prints. JAX finds them by
            itself under Slurm, MPI and Kubernetes, else by JAX_COORDINATOR_ADDRESS (host:port of the first),
            JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    """

    path: tyro.conf.Positional[Path]
    quick: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    out: Path = Path("results")
    devices: int | None = None
    memory: float | None = None
    cache: Path | None = None
    no_cache: tyro.conf.FlagCreatePairsOff[bool] = False
    distributed: bool = False

    def run(self) -> None:
        """Measures, saves, prints and draws."""
        if self.distributed:
            join_processes()
        if not self.no_cache:
            keep_programs(self.cache)
        console.quiet = jax.process_index() > 0
        started = time.perf_counter()
        experiment = _experiment(self.path)
        study = experiment.QUICK if self.quick else experiment.STUDY
        rows_path = self.out / f"{study.name}.jsonl"
        total = len(study.tasks) * len(study.policies) * len(study.seeds) * len(study.methods)
        with Progress(console=console) as bar:
            job = bar.add_task(study.name, total=total)

            fresh: list[Row] = []

            def report(row: Row, new: bool) -> None:
                bar.update(job, advance=1, description=f"{study.name}: {row.label} at {row.horizon}")
                fresh.extend([row] if new else [])

            def notify(line: str) -> None:
                console.print(line, highlight=False, soft_wrap=True)

            rows = study.run(rows_path, report, notify, self.devices, self.memory)
        if jax.process_index() > 0:
            return
        took, ran = time.perf_counter() - started, sum(row.wall_time for row in fresh)
        print(tabulate(rows, experiment.SCORES, times=True))
        print(f"\n{len(fresh)} new rows: {took - ran:.1f} s to compile and solve, {ran:.1f} s to run")
        print(f"rows:   {rows_path}")
        _draw(experiment, rows, self.out / f"{study.name}.png")


@dataclasses.dataclass(frozen=True)
class Figure:
    """Draw an experiment's figure again, from saved rows alone.

    Attributes:
        path: the experiment file.
        rows: the saved rows.
        out: where the picture goes; its ending chooses the format.
    """

    path: tyro.conf.Positional[Path]
    rows: tyro.conf.Positional[Path]
    out: Path = Path("figure.png")

    def run(self) -> None:
        """Loads and draws."""
        _draw(_experiment(self.path), load(self.rows), self.out)


def join_processes() -> None:
    """Connects the processes of one run, see `Run.distributed`."""
    number, index = (os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    jax.distributed.initialize(
        num_processes=None if number is None else int(number), process_id=None if index is None else int(index)
    )


def keep_programs(folder: Path | None = None) -> None:
    """Keeps compiled programs between processes, in a folder or where JAX was told to, by default the user's cache."""
    if folder is None and jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(folder or base / "casim"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def main(args: list[str] | None = None) -> None:
    """Parses the command line and runs the command; bad input ends with one line that says what is wrong."""
    commands = {"list": List, "show": Show, "run": Run, "figure": Figure}
    command = tyro.extras.subcommand_cli_from_dict(commands, args=args, prog="casim", description=casim.__doc__)
    try:
        command.run()
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"casim: {error}")


def _experiment(path: Path) -> ModuleType:
    """The module in a file, checked for what an experiment must define."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ValueError(f"path must be a Python file, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("STUDY", "QUICK", "SCORES", "draw"):
        if not hasattr(module, name):
            raise ValueError(f"{path} must define STUDY, QUICK, SCORES and draw, got none of the name {name!r}")
    return module


def _draw(experiment: ModuleType, rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    experiment.draw(rows).savefig(path)
    print(f"figure: {path}")


def _tasks() -> list[str]:
    return [f"{task.__name__:<18} horizon knob: {task.knob:<16} {_settings(task)}" for task in casim.TASKS]


def _estimators() -> list[str]:
    lines = []
    for estimator in casim.ESTIMATORS:
        needs = ", ".join(sorted(estimator.needs)) or "nothing"
        unbiased = ", ".join(sorted(estimator.unbiased)) or "-"
        lines.append(
            f"{estimator.__name__:<16} {estimator.granularity:<11} {estimator.methodology:<22} "
            f"target: {estimator.target:<21} unbiased for: {unbiased:<17} needs: {needs}"
        )
    return lines


def _policies() -> list[str]:
    return [f"{policy.__name__:<14} {_settings(policy)}" for policy in casim.POLICIES]


def _settings(recipe: type) -> str:
    return ", ".join(f"{field.name}={field.default!r}" for field in dataclasses.fields(recipe))
