"""Study: tasks x policies x estimators x seeds, scored against the truth, row by row, resumable.

All estimators of a (task, policy, seed) see the same trajectories: the batch of replicate r is
drawn from a key that depends on the seed and r alone, and each estimator draws from a key of its
own.

Groups are scored in chunks, as many at once as memory allows, on all devices side by side. A chunk
is summed in single precision; chunks are added up in double precision and in their order. So scores
do not depend at all on the number of devices, and on the size of chunks as single-precision sums
depend on their order: about 1e-5 of a score. With several processes (`jax.distributed`) every
process runs the same study, and the first one writes the rows.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, final

from casim.checks import check_choice, check_distinct, check_integer
from casim.controls import CONTROLS, Control
from casim.devices import memory_at_hand, mesh_of
from casim.estimators import Estimator
from casim.failures import Interrupted, StudyError
from casim.jobs import Case, Sizes, label_of, questions
from casim.judges import Judge
from casim.judging import Grader
from casim.methods import Method as Published
from casim.methods import recipe_of
from casim.needs import (
    as_tuple,
    check_judges,
    check_labels,
    check_name,
    check_needs,
    check_recipe,
    check_seeds,
)
from casim.plan import MAX_BLOCKS, Groups, blocks_of
from casim.policies import Behaviour, Policy, Uniform
from casim.programs import Method
from casim.progress import watched
from casim.report import Row
from casim.running import Runner, tracing_lightly
from casim.saved import opened
from casim.scores import PROFILES
from casim.simulate import JUDGE, SHARES
from casim.tasks import Task


@final
@dataclasses.dataclass(frozen=True)
class Study:
    """A frozen recipe of measurements.

    Attributes:
        name: names the study and its files.
        tasks: worlds, all different.
        estimators: estimators, or published methods of `casim.methods`; all different.
        policies: whose credit it is, all different.
        judges: the judges that worlds have, by name; the one named "judge" is asked by estimators
            that name none.
        num_prompts: P, the groups of a batch, at least 1; prompts are drawn with replacement.
        num_trajectories: N, the size of a group, at least 1.
        share: what the trajectories of a group have in common: the "prompt", or the start "state",
            as where a group shares the seed of its environment.
        replicates: fresh batches per row, a number with a divisor in [2, 10]; the largest is the
            number of blocks.
        seeds: one row each, all different.
        controls: which controls run along.
        behaviour: who acts in rollouts, a policy or `Stale` (the policy before some updates); None
            is the policy. Truth and gradient are the policy's, averages over the behaviour's exact
            visits; what weighs by ratios of the two has scores of the gradient only.
        reference: the policy to compare with, if any estimator needs one.
        profiles: keep bias, variance and SNR by "step", or by "distance" to the next reward, in the
            rows too; see `casim.scores.profiles`.
        exact: keep the exact scores in the rows too, of methods of which they are known; see
            `casim.expected`.

    Raises:
        ValueError: an empty or repeated entry, a class in place of an instance, a number out of its
            range, a name that is no name of a file, or an estimator that needs what the study does
            not give it: a group, a judge, a task where one can go back to a step.
    """

    name: str
    tasks: tuple[Task, ...]
    estimators: tuple[Estimator | Published, ...]
    policies: tuple[Policy, ...] = (Uniform(),)
    judges: Mapping[str, Grader] = dataclasses.field(
        default_factory=lambda: {JUDGE: Judge()},
        hash=False,
    )
    num_prompts: int = 1
    num_trajectories: int = 8
    share: Literal["prompt", "state"] = "prompt"
    replicates: int = 200
    seeds: tuple[int, ...] = (0,)
    controls: tuple[Literal["exact", "zero", "broadcast", "shuffled"], ...] = CONTROLS
    behaviour: Behaviour | None = None
    reference: Policy | None = None
    profiles: tuple[Literal["step", "distance"], ...] = ()
    exact: bool = False

    def __post_init__(self) -> None:
        check_name("name", self.name)
        for field in ("tasks", "estimators", "policies", "seeds", "controls", "profiles"):
            values = as_tuple(field, getattr(self, field))
            object.__setattr__(self, field, values)
            check_distinct(field, list(map(recipe_of, values)))
        for field in ("tasks", "policies", "seeds"):
            check_integer(f"number of {field}", len(getattr(self, field)), 1)
        self._check_numbers()
        self._check_recipes()
        check_integer("number of estimators and controls", len(self.methods), 1)
        check_labels("estimators and controls", [label_of(method) for method in self.methods])
        for estimator in self.estimators:
            numbers = (self.num_trajectories, self.reference)
            check_needs(estimator, self.tasks, self.judges, *numbers)

    def _check_numbers(self) -> None:
        check_integer("num_prompts", self.num_prompts, 1)
        check_integer("num_trajectories", self.num_trajectories, 1)
        check_choice("share", self.share, SHARES)
        check_integer("replicates", self.replicates, 2)
        if blocks_of(self.replicates) == 1:
            wanted = f"have a divisor in [2, {MAX_BLOCKS}]"
            raise ValueError(f"replicates must {wanted}, got {self.replicates}")
        check_seeds(self.seeds)

    def _check_recipes(self) -> None:
        kinds = {"tasks": Task, "policies": Policy, "estimators": Estimator}
        for field, kind in kinds.items():
            for value in getattr(self, field):
                check_recipe(field, recipe_of(value), kind)
        single = {
            "behaviour": Behaviour,
            "reference": Policy,
        }
        object.__setattr__(self, "judges", check_judges(self.judges))
        for field, kind in single.items():
            value = getattr(self, field)
            if value is not None:
                check_recipe(field, value, kind)
        for control in self.controls:
            check_choice("controls", control, CONTROLS)
        for profile in self.profiles:
            check_choice("profiles", profile, PROFILES)

    def run(
        self,
        path: str | Path | None = None,
        progress: bool | Callable[[Row, bool], None] = True,
        notify: Callable[[str], None] | None = None,
        devices: int | None = None,
        memory: float | None = None,
        fresh: bool = False,
    ) -> list[Row]:
        """Measures everything; rows already in the file at `path` are kept and not measured again.

        Rows of other code (see `casim.identity`) are kept too, but measured again. What fails,
        fails alone: the rest is measured and saved before `StudyError` says what is missing.

        Args:
            path: a JSON-lines file; each row is written to it as soon as it is finished. Several
                processes must all see it.
            progress: True shows a bar on a terminal, False shows none; a function is called with
                every row and whether it is new, instead.
            notify: called with lines for people, as on how each task is measured, instead of
                printing them above the bar.
            devices: how many devices to use; all if left out.
            memory: gigabytes of each device to use; see `casim.devices.memory_at_hand`.
            fresh: moves the study's rows to FILE.old first, so that everything is measured anew.

        Returns:
            The study's rows, in the order of tasks, policies, seeds and methods.

        Raises:
            ValueError: the file holds something that is no row, or another run uses it; an option
                is out of its range.
            StudyError: some rows could not be measured; it has the others.
            casim.failures.Interrupted: a KeyboardInterrupt that says how many rows are kept.
        """
        mesh = mesh_of(devices)
        room = memory_at_hand(memory)
        cases = self._cases()
        total = sum(len(case.jobs) for case in cases)
        file = None if path is None else Path(path)
        with (
            opened(file, self.name, dict(questions(cases)), fresh) as saved,
            watched(progress, notify, self.name, total) as watcher,
            tracing_lightly(),
        ):
            for line in saved.notes:
                watcher.note(line)
            runner = Runner(self._sizes, mesh, room, saved, watcher)
            try:
                runner.run(cases)
            except KeyboardInterrupt:
                raise Interrupted(self.name, runner.rows, total, file, fresh) from None
        if runner.failures:
            raise StudyError(self.name, runner.rows, runner.failures)
        return runner.rows

    def select(self, rows: Iterable[Row]) -> list[Row]:
        """Those rows that answer what this study asks, in its order: the last one to each question.

        Rows of other studies, and of this one with other settings, are left out.
        """
        answers = {row.question: row for row in rows}
        return [answers[asked] for asked, _ in questions(self._cases()) if asked in answers]

    @property
    def methods(self) -> tuple[Method, ...]:
        """The estimators, then the controls."""
        return (*self.estimators, *(Control(name) for name in self.controls))

    @property
    def _sizes(self) -> Sizes:
        groups = Groups(int(self.num_prompts), int(self.num_trajectories), self.share)
        return Sizes(self.name, groups, int(self.replicates), self.profiles, self.exact)

    def _cases(self) -> list[Case]:
        pairs = itertools.product(self.tasks, self.policies)
        others = (self.behaviour, self.reference)
        cases = (Case(task, policy, self.judges, [], *others) for task, policy in pairs)
        return [case.asking(self._sizes, self.methods, self.seeds) for case in cases]
