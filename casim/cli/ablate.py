"""`casim ablate`: a study of any knob, from the command line alone."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

import casim
from casim.cli.command import Command
from casim.cli.knobs import Knob, Setup, Sweep, read_setting, read_sweep, studies
from casim.cli.machine import Machine
from casim.cli.measured import Measured
from casim.cli.names import check_names
from casim.cli.output import save
from casim.cli.size import check_size
from casim.cli.words import recipe
from casim.compare import Estimate, scaling
from casim.failures import StudyError
from casim.figures import small_multiples
from casim.judges import Judge
from casim.methods import named_methods
from casim.report import Row
from casim.scores import NAMES
from casim.tables import aligned, setting_cells, settings, tabulate, to_csv

Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]
"""An option that may be given more than once."""
MAX_KNOBS = 2
"""Knobs that a figure can show: one along its panels, one from panel to panel."""


@dataclasses.dataclass(frozen=True)
class Ablate(Command):
    """Vary a knob, measure methods at each of its values, and say how their scores scale.

    A knob is a field: of the task (task.FIELD), policy (policy.FIELD), judge (judge.FIELD),
    estimators (estimator.FIELD, of those that have it) or study (study.num_trajectories,
    study.replicates); FIELD alone where only one of them has it. Prints a table, and writes rows,
    records (CSV) and a figure. Run it again to go on where it stopped, or with more methods.

    Judges that methods ask by other names are those of `casim.panel`; the reference policy, where
    one is needed, is the uniform one.

    Attributes:
        over: NAME=8..2048 (doubling), NAME=0:0.5:6 (six numbers) or NAME=a,b,c; once or twice.
        estimators: published methods (GRPO), or estimators with settings in brackets if need be:
            "Gae(lambda=0.5)".
        task: the world, a name that `casim list` prints, with settings in brackets if need be.
        policy: whose credit it is, likewise.
        judge: likewise; "none" for no judge.
        set: NAME=VALUE, of any knob that is not varied; as often as need be.
        score: what to print and draw; the exponents are theirs.
        num_prompts: P, groups in a batch.
        num_trajectories: N, in a group.
        replicates: groups for each row.
        seeds: a row each; they are averaged in the figure.
        controls: which controls run along.
        name: of the files; made from task and knobs if left out.
        force: measure tasks however large they are.
        fresh: measure everything anew; rows that are already saved move to a file beside theirs.
        out: folder for rows, records and figure.
        machine: what it runs on.
    """

    over: Repeated
    estimators: tuple[str, ...]
    task: str = "Bifurcation"
    policy: str = "Uniform"
    judge: str = "Judge"
    set: Repeated = ()
    score: tuple[str, ...] = ("snr_aligned",)
    num_prompts: int = 1
    num_trajectories: int = 8
    replicates: int = 200
    seeds: tuple[int, ...] = (0,)
    controls: tuple[Literal["exact", "zero", "broadcast", "shuffled"], ...] = ()
    name: str | None = None
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    fresh: tyro.conf.FlagCreatePairsOff[bool] = False
    out: Path = Path("results")
    machine: tyro.conf.OmitArgPrefixes[Machine] = Machine()

    def run(self) -> None:
        """Measures, prints, writes and draws."""
        check_names("score", self.score, NAMES)
        setup = self._setup()
        sweeps = self._sweeps(setup)
        name = self.name or _name(setup, sweeps)
        studied = studies(name, setup, sweeps, self.seeds, self.controls)
        planned = list(studied)
        if not self.force:
            _check_sizes(planned)
        self.machine.start()
        file = self.out / f"{name}.jsonl"
        measured = Measured(file, self.machine, self.fresh)
        rows = []
        for study in planned:
            rows += measured.run(study)
        if self.machine.speaks and rows:
            self._tell(rows, setup, sweeps)
        if measured.failures:
            raise StudyError(name, rows, measured.failures)

    def _setup(self) -> Setup:
        """What is measured, before anything is varied."""
        tasks = _by_name(casim.TASKS) | casim.PRESETS
        policies = _by_name(casim.POLICIES)
        methods = named_methods() | _by_name(casim.ESTIMATORS)
        judge = None
        if self.judge.lower() != "none":
            judge = recipe("judge", self.judge, {"Judge": Judge})
        estimators = [recipe("estimators", each, methods) for each in self.estimators]
        setup = Setup(
            task=recipe("task", self.task, tasks),
            policy=recipe("policy", self.policy, policies),
            judge=judge,
            estimators=tuple(estimators),
            num_prompts=self.num_prompts,
            num_trajectories=self.num_trajectories,
            replicates=self.replicates,
        )
        for text in self.set:
            setup = read_setting(setup, text)
        return setup

    def _sweeps(self, setup: Setup) -> list[Sweep]:
        sweeps = [read_sweep(setup, text) for text in self.over]
        knobs = [sweep.knob for sweep in sweeps]
        different = len(set(knobs))
        if not 1 <= different == len(knobs) <= MAX_KNOBS:
            names = [knob.name for knob in knobs]
            raise ValueError(f"over must name 1 to {MAX_KNOBS} different knobs, got {names}")
        return sweeps

    def _tell(self, rows: list[Row], setup: Setup, sweeps: Sequence[Sweep]) -> None:
        """Prints tables, and writes records and the figure."""
        name = rows[0].study
        knobs = [sweep.knob for sweep in sweeps]
        first, *more = knobs
        x = first.in_rows
        # What varies among estimators is in their labels.
        others = [knob for knob in more if knob.root != "estimator"]
        by = others[0].in_rows if others else None
        table = tabulate(rows, self.score, interval=True)
        print(table)
        if first == Knob("task", setup.task.knob):
            print(f"\nscore ~ {x}^exponent, with 95% intervals\n")
            table = _exponents(rows, self.score, x, by)
            print(table)
        print(f"\nrows:   {self.out / name}.jsonl")
        records = self.out / f"{name}.csv"
        written = to_csv(rows)
        records.write_text(written, encoding="utf-8")
        print(f"records: {records}")
        picture = small_multiples(rows, self.score, x, by)
        save(picture, self.out / f"{name}.png")


def _by_name(kinds: Sequence[type]) -> dict[str, type]:
    return {kind.__name__: kind for kind in kinds}


def _check_sizes(planned: Sequence[casim.Study]) -> None:
    """Raises `ValueError` if a task of the studies is too large to be worked out."""
    tasks = {task: None for study in planned for task in study.tasks}
    for task in tasks:
        check_size(task, "smaller values")


def _name(setup: Setup, sweeps: Sequence[Sweep]) -> str:
    """A name for files: the task and the knobs that are varied."""
    fields = [sweep.knob.field.strip("_") for sweep in sweeps]
    task = type(setup.task).__name__
    name = "-".join([task, *fields])
    return re.sub(r"[^\w.-]", "", name)


def _exponents(rows: Sequence[Row], scores: Sequence[str], x: str, by: str | None) -> str:
    """A line for each method, value of the other knob, and score."""
    others = [] if by is None else [by]
    head = ["estimator", *others, "score", "exponent", "95% interval", "values", "left out"]
    cells = [head]
    columns = ["label", *others]
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(setting_cells(row, columns))
        lines.setdefault(key, []).append(row)
    for key, own in lines.items():
        at = []
        for row in own:
            value = settings(row)[x]
            at.append(float(value))
        for score in scores:
            found = scaling(own, score, at)
            used = str(found.used)
            counts = [used, str(found.left_out)]
            exponent = _number(found.exponent)
            line = [*key, score, *exponent, *counts]
            cells.append(line)
    names = len(others) + 2
    return aligned(cells, names)


def _number(estimate: Estimate) -> tuple[str, str]:
    if np.isnan(estimate.value):
        return "-", "-"
    value = f"{estimate.value:.3g}"
    low, high = f"{estimate.low:.3g}", f"{estimate.high:.3g}"
    return value, f"{low} to {high}"
