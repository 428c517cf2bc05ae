"""Knobs of a study by name: `task.num_turns`, `estimator.lambda_`, or a field alone if unique."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import casim
from casim.cli.names import named
from casim.cli.values import parse
from casim.cli.words import expand, hints
from casim.estimators import Estimator
from casim.graders import Grader
from casim.judges import Judge
from casim.methods import Method, recipe_of
from casim.panel import PANEL
from casim.policies import Policy, Uniform
from casim.simulate import JUDGE
from casim.tasks import Task

BUDGETS = {"num_prompts": int, "num_trajectories": int, "replicates": int}
"""Fields of a study that are knobs."""
HORIZON = "horizon"
"""Stands for the knob of the task that sets its horizon, whatever its name is."""


class Knob(NamedTuple):
    """A field of what a study is made of."""

    root: str
    """ "task", "policy", "judge", "estimator" or "study"."""
    field: str

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.root}.{self.field}"

    @property
    def in_rows(self) -> str:
        """What figures and tables call it."""
        return self.field if self.root == "study" else self.name


class Sweep(NamedTuple):
    """A knob and the values that it takes, as they were typed."""

    knob: Knob
    values: list[str]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a study is made of, before anything is varied."""

    task: Task
    policy: Policy
    judge: Judge | None
    estimators: tuple[Estimator | Method, ...]
    num_prompts: int
    num_trajectories: int
    replicates: int

    def knobs(self) -> dict[str, Knob]:
        """All knobs by name."""
        fields = {
            "task": hints(type(self.task)),
            "policy": hints(type(self.policy)),
            "judge": {} if self.judge is None else hints(type(self.judge)),
            "estimator": [key for one in self.estimators for key in hints(type(one))],
            "study": BUDGETS,
        }
        knobs = [Knob(root, field) for root in fields for field in fields[root]]
        return {knob.name: knob for knob in knobs}

    def find(self, name: str) -> Knob:
        """The knob of a name, or of a field alone if only one part of the study has it.

        Raises:
            ValueError: an unknown name, or a field of several parts, with their names.
        """
        knobs = self.knobs()
        known = {key.rstrip("_"): knob for key, knob in knobs.items()}
        wanted = name.rstrip("_")
        if wanted in known:
            return known[wanted]
        alone = [knob for knob in known.values() if knob.field.rstrip("_") == wanted]
        if len(alone) > 1:
            choices = " or ".join(knob.name for knob in alone)
            raise ValueError(f"{name!r} must say of what it is a field: {choices}")
        if alone:
            return alone[0]
        if name in (HORIZON, f"task.{HORIZON}"):
            return Knob("task", self.task.knob)
        by_field = {knob.field: knob for knob in known.values()}
        return named("knob", name, known | by_field)

    def turned(self, knob: Knob, value: str) -> Setup:
        """The same with a knob at a value; of the estimators, those that have the field.

        Raises:
            ValueError: no value of the field's type, or one that the recipe refuses.
        """
        if knob.root == "study":
            kind = BUDGETS[knob.field]
            number = parse(knob.name, value, kind)
            return dataclasses.replace(self, **{knob.field: number})
        if knob.root == "estimator":
            estimators = [_turned(one, knob, value) for one in self.estimators]
            return dataclasses.replace(self, estimators=tuple(estimators))
        recipe = getattr(self, knob.root)
        turned = _turned(recipe, knob, value)
        return dataclasses.replace(self, **{knob.root: turned})


def _turned(recipe: Any, knob: Knob, value: str) -> Any:
    """A recipe with a field at a value, if it has the field."""
    kinds = hints(type(recipe))
    if knob.field not in kinds:
        return recipe
    name = f"{type(recipe).__name__}.{knob.field}"
    kind = kinds[knob.field]
    turned = parse(name, value, kind)
    return dataclasses.replace(recipe, **{knob.field: turned})


def read_setting(setup: Setup, text: str) -> Setup:
    """The setup with one setting changed, from `NAME=VALUE`.

    Raises:
        ValueError: no such form, knob or value.
    """
    name, value = _parted(text)
    knob = setup.find(name)
    return setup.turned(knob, value)


def read_sweep(setup: Setup, text: str) -> Sweep:
    """A knob and its values, from `NAME=RANGE` or `NAME=VALUE,VALUE,...`.

    Raises:
        ValueError: no such form, knob or value, or one value twice.
    """
    name, values = _parted(text)
    knob = setup.find(name)
    sweep = Sweep(knob, expand(values))
    turned = [setup.turned(sweep.knob, value) for value in sweep.values]
    if len(set(turned)) < len(turned):
        raise ValueError(f"values of {sweep.knob.name} must differ, got {values!r}")
    return sweep


def _parted(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    name = name.strip()
    value = value.strip()
    if not name or not value:
        raise ValueError(f"a knob must be written NAME=VALUE, got {text!r}")
    return name, value


def studies(
    name: str,
    setup: Setup,
    sweeps: Sequence[Sweep],
    seeds: tuple[int, ...],
    controls: tuple[Any, ...],
) -> Iterator[casim.Study]:
    """Studies that together measure every combination of the knobs' values.

    One is enough, but for knobs that a whole study shares: of the judge and of the study itself.
    """
    shared = [sweep for sweep in sweeps if sweep.knob.root in ("judge", "study")]
    for outer in _combinations(setup, shared):
        parts = {root: _distinct(part, outer, sweeps, root) for root, part in _PARTS.items()}
        yield casim.Study(
            name=name,
            tasks=parts["task"],
            estimators=parts["estimator"],
            policies=parts["policy"],
            judges=_judges(outer),
            reference=_reference(outer),
            num_prompts=outer.num_prompts,
            num_trajectories=outer.num_trajectories,
            replicates=outer.replicates,
            seeds=seeds,
            controls=controls,
        )


def _judges(setup: Setup) -> dict[str, Grader]:
    """The judge that is set, and those of the panel that estimators ask by other names."""
    asked = set()
    for each in setup.estimators:
        asked |= recipe_of(each).judges
    others = sorted(asked - {JUDGE})
    judges = {name: PANEL[name] for name in others if name in PANEL}
    if setup.judge is None:
        return judges
    return {JUDGE: setup.judge} | judges


def _reference(setup: Setup) -> Policy | None:
    """The uniform policy, where an estimator compares with a reference."""
    compared = any("reference" in each.needs for each in setup.estimators)
    return Uniform() if compared else None


_PARTS: dict[str, Callable[[Setup], tuple[Any, ...]]] = {
    "task": lambda setup: (setup.task,),
    "policy": lambda setup: (setup.policy,),
    "estimator": lambda setup: setup.estimators,
}
"""The parts of which a study takes several."""


def _distinct(
    part: Callable[[Setup], tuple[Any, ...]],
    setup: Setup,
    sweeps: Sequence[Sweep],
    root: str,
) -> tuple[Any, ...]:
    """All that a part of the setup becomes as its own knobs are turned, each once."""
    own = [sweep for sweep in sweeps if sweep.knob.root == root]
    turned = [part(each) for each in _combinations(setup, own)]
    # What becomes of one recipe stays together.
    together = itertools.chain(*zip(*turned, strict=True))
    return tuple(dict.fromkeys(together))


def _combinations(setup: Setup, sweeps: Sequence[Sweep]) -> Iterator[Setup]:
    """The setup with every combination of the knobs' values."""
    choices = [sweep.values for sweep in sweeps]
    for values in itertools.product(*choices):
        turned = setup
        for sweep, value in zip(sweeps, values, strict=True):
            turned = turned.turned(sweep.knob, value)
        yield turned
