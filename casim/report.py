"""Rows of results, and the recipes in them: described as JSON, named, built again."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from casim.checks import check_range
from casim.scores import PROFILE_NUMBERS, PROFILES, Profile, Score
from casim.vocabulary import JUDGE

RESERVED = ("recipe", "module")
"""Keys of a described recipe that are no settings: the class, and the module it is in."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator on one task: the recipes, the budgets, the scores, and how they were made.

    Attributes:
        study: name of the study.
        task, policy, judge, estimator: recipes as nested dicts, see `describe`; judge, the one of
            that name, may be None.
        label: a short name of the estimator with its settings.
        methodology: of the estimator; "control" for controls.
        horizon: value of the task's horizon knob.
        num_steps: T.
        num_prompts: P, groups in a batch.
        num_trajectories: N, the group size.
        share: what the trajectories of a group have in common, "prompt" or "state".
        replicates: number of batches.
        seed: what the person typed.
        scores: name to `Score`.
        left_out: name of a score to its values without each block of replicates in turn. Rows that
            share task, policy, judge, seed and numbers have the same blocks, so they can be
            compared by pairs.
        notes: name of a score to why it is missing, or what to know of it.
        exact: exact numbers of the task under the policy, see `casim.oracle.summary`.
        sources: digests of the code that made it, see `casim.identity`: that of "casim", and those
            of recipes from elsewhere by `module:class`.
        versions: of casim, jax, numpy and python.
        device: what it ran on.
        compile_time, wall_time: seconds; wall_time excludes compilation.
        behaviour: recipe of who acts in rollouts; None where the policy does, and then left out of
            the row's JSON, as the next.
        reference: recipe of the policy to compare with; None without one.
        profiles: by "step" or "distance" where the study asked: of bins, `first` and the numbers
            of `casim.scores.profiles`, each [value, low, high].
        judges: recipes of judges of other names than "judge", by name; None without any.
        expected: where the study asked, exact scores by name, of what `casim.expected` knows.
    """

    study: str
    task: dict[str, Any]
    policy: dict[str, Any]
    judge: dict[str, Any] | None
    estimator: dict[str, Any]
    label: str
    methodology: str
    horizon: int
    num_steps: int
    num_prompts: int
    num_trajectories: int
    share: str
    replicates: int
    seed: int
    scores: dict[str, Score]
    left_out: dict[str, list[float]]
    notes: dict[str, str]
    exact: dict[str, float]
    sources: dict[str, str]
    versions: dict[str, str]
    device: str
    compile_time: float
    wall_time: float
    behaviour: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    profiles: dict[str, Profile] | None = None
    judges: dict[str, Any] | None = None
    expected: dict[str, float] | None = None

    @property
    def question(self) -> str:
        """What the row answers, as canonical JSON: the study, recipes, budgets and seed."""
        recipes = (self.task, self.policy, self.judge, self.estimator)
        groups = (self.num_prompts, self.num_trajectories, self.share)
        asked = tuple(self.profiles or ())
        exact = self.expected is not None
        added = beside(
            self.behaviour,
            self.reference,
            self.judges,
            asked,
            exact,
        )
        return question(
            self.study,
            *recipes,
            *groups,
            self.replicates,
            self.seed,
            *added,
        )

    @property
    def identity(self) -> str:
        """What makes two rows the same measurement: the question, and the code that answers it."""
        return identity(self.question, self.sources)

    def to_json(self) -> str:
        """One line of JSON; numbers that are not finite become null."""
        fields = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in _OPTIONAL and value is None:
                continue
            fields[field.name] = value
        if self.profiles is not None:
            fields["profiles"] = mapped(_finite, self.profiles)
        for name in _LISTS:
            fields[name] = {}
            for key, numbers in getattr(self, name).items():
                fields[name][key] = [_finite(x) for x in numbers]
        fields["exact"] = mapped(_finite, self.exact)
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(
        cls,
        line: str | bytes,
    ) -> Row:
        """Reads one line.

        Raises:
            ValueError: no JSON object, an unknown or missing key, a value of the wrong type, or a
                score that is not four numbers.
        """
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError(f"row must be a JSON object, got {fields!r}")
        for name in _OPTIONAL:
            fields.setdefault(name, None)
        known = [field.name for field in dataclasses.fields(cls)]
        _check_keys(fields, known)
        _check_kinds(fields)
        for name in _LISTS:
            for key, numbers in fields[name].items():
                _check_numbers(f"{name}[{key!r}]", numbers)
                fields[name][key] = [_nan(x) for x in numbers]
        for name, numbers in fields["scores"].items():
            if len(numbers) != len(Score._fields):
                wanted = "[value, low, high, count]"
                raise ValueError(f"scores[{name!r}] must be {wanted}, got {numbers!r}")
            fields["scores"][name] = Score(*numbers)
        if fields["profiles"] is not None:
            _check_profiles(fields["profiles"])
            fields["profiles"] = mapped(_nan, fields["profiles"])
        _check_numbers("exact", [*fields["exact"].values()])
        if fields["expected"] is not None:
            expected = [*fields["expected"].values()]
            _check_numbers("expected", expected)
        for name, number in fields["exact"].items():
            fields["exact"][name] = _nan(number)
        return cls(**fields)


_TEXT = ("study", "label", "methodology", "share", "device")
_WHOLE = ("horizon", "num_steps", "num_prompts", "num_trajectories", "replicates", "seed")
_SECONDS = ("compile_time", "wall_time")
_LISTS = ("scores", "left_out")
_RECIPES = ("task", "policy", "estimator")
_OPTIONAL = ("behaviour", "reference", "profiles", "judges", "expected")
_NAMED = (*_RECIPES, *_LISTS, "notes", "exact", "sources", "versions")
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(_TEXT, str),
    **dict.fromkeys(_WHOLE, int),
    **dict.fromkeys(_SECONDS, (int, float)),
    **dict.fromkeys(_NAMED, dict),
    **dict.fromkeys(("judge", *_OPTIONAL), (dict, type(None))),
}
"""What the values of a row must be in JSON."""


def mapped(
    function: Callable[[Any], Any],
    tree: Any,
) -> Any:
    """Numbers in dicts and lists, each through a function."""
    if isinstance(tree, dict):
        return {name: mapped(function, value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [mapped(function, value) for value in tree]
    return function(tree)


def _check_profiles(found: dict[str, Any]) -> None:
    """Raises `ValueError` unless these are bins and three numbers of each, by known names."""
    for by, profile in found.items():
        if by not in PROFILES or set(profile) != {"first", *PROFILE_NUMBERS}:
            names = ", ".join(PROFILE_NUMBERS)
            wanted = f"have first, {names}, by one of {PROFILES}"
            raise ValueError(f"profiles must {wanted}, got {by!r}: {sorted(profile)}")
        bins = len(profile["first"])
        for name in PROFILE_NUMBERS:
            place = f"profiles[{by!r}][{name!r}]"
            if len(profile[name]) != bins:
                raise ValueError(f"{place} must be {bins} bins")
            for numbers in profile[name]:
                _check_numbers(place, numbers)


def question(*parts: Any) -> str:
    """Canonical JSON of the parts that say what is measured, in the order of `Row.question`."""
    return json.dumps(parts, sort_keys=True)


def split_judges(judges: Mapping[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """The described judge that is asked if none is named, and the others by name.

    None where there are none: rows of one judge hold it alone.
    """
    described = {name: describe(judge) for name, judge in judges.items()}
    judge = described.pop(JUDGE, None)
    return judge, described or None


def beside(
    behaviour: Any,
    reference: Any,
    judges: Any = None,
    profiles: tuple[str, ...] = (),
    exact: bool = False,
) -> tuple[dict[str, Any], ...]:
    """What a question says of what most studies do not have: described recipes, and profiles.

    Nothing where none is set, so that those of other rows stay what they were.
    """
    asked = list(profiles) if profiles else None
    given = {
        "behaviour": behaviour,
        "reference": reference,
        "judges": judges,
        "profiles": asked,
        "exact": exact or None,
    }
    found = {name: value for name, value in given.items() if value is not None}
    return (found,) if found else ()


def identity(
    question: str,
    sources: dict[str, str],
) -> str:
    """Canonical JSON of a question and the digests of the code that answers it."""
    return json.dumps([question, sources], sort_keys=True)


def describe(recipe: Any) -> Any:
    """A recipe as a JSON value: its class and module, its fields, nested recipes likewise.

    Raises:
        ValueError: a class that is no dataclass of its own, or a setting that JSON cannot hold
            exactly: anything but None, booleans, integers, finite floats, text, recipes and tuples.
    """
    if _is_recipe(recipe):
        return _describe_fields(recipe)
    if type(recipe) is tuple:
        return [describe(item) for item in recipe]
    if isinstance(recipe, np.generic):
        recipe = recipe.item()
    if recipe is None or isinstance(recipe, bool | int | str):
        return recipe
    if isinstance(recipe, float):
        check_range("a setting", recipe, -math.inf, math.inf)
        return recipe
    wanted = "None, a boolean, a number, text, a recipe or a tuple of these"
    raise ValueError(f"a setting must be {wanted}, got {recipe!r}")


def _is_recipe(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _describe_fields(recipe: Any) -> dict[str, Any]:
    kind = type(recipe)
    name = kind.__qualname__
    if "__dataclass_params__" not in vars(kind):
        raise ValueError(f"{name} must be decorated with @dataclasses.dataclass(frozen=True)")
    described: dict[str, Any] = {"recipe": name, "module": kind.__module__}
    for field in dataclasses.fields(recipe):
        if field.name in RESERVED:
            raise ValueError(f"a field of {name} must not have the name {field.name!r}")
        try:
            value = describe(getattr(recipe, field.name))
        except ValueError as error:
            raise ValueError(f"{name}.{field.name}: {error}") from error
        if isinstance(field.default, float) and isinstance(value, int):
            # 1 and 1.0 are the same setting.
            value = float(value)
        described[field.name] = value
    return described


def rebuild(description: Any) -> Any:
    """The recipe that `describe` described: its module is imported and its class called.

    Raises:
        ValueError: a module or class that is gone, or one that no longer takes these settings.
    """
    if isinstance(description, list):
        return tuple(rebuild(item) for item in description)
    if not isinstance(description, dict):
        return description
    _check_description(description)
    kind = _find(description["module"], description["recipe"])
    settings = {}
    for name, value in description.items():
        if name not in RESERVED:
            settings[name] = rebuild(value)
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    if set(settings) != set(known):
        name = kind.__qualname__
        got = list(settings)
        raise ValueError(f"{name} takes {known} now, got {got} in the row")
    return kind(**settings)


def _check_description(description: dict[str, Any]) -> None:
    for name in RESERVED:
        if not isinstance(description.get(name), str):
            raise ValueError(f"a recipe must have text under {name!r}, got {description!r}")


def _find(
    module: str,
    name: str,
) -> type:
    """The dataclass of this qualified name in a module."""
    place = f"{module}:{name}"
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        wanted = "in a module that can be imported"
        raise ValueError(f"recipe must be {wanted}, got {place}: {error}") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        raise ValueError(f"recipe must be a dataclass that its module still holds, got {place}")
    return found


def classes(recipe: Any) -> set[type]:
    """The class of a recipe and those of the recipes in its settings."""
    if isinstance(recipe, tuple):
        of_each = map(classes, recipe)
        return set().union(*of_each)
    if not _is_recipe(recipe):
        return set()
    found = {type(recipe)}
    for field in dataclasses.fields(recipe):
        found |= classes(getattr(recipe, field.name))
    return found


def label(recipe: Any) -> str:
    """A short name: the class and the fields that differ from their defaults.

    Parts of a chain stand one after the other, by their own labels.
    """
    changed = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if value == field.default:
            continue
        if _are_recipes(value):
            changed += [label(part) for part in value]
            continue
        name = field.name.rstrip("_")
        shown = label(value) if _is_recipe(value) else value
        changed.append(f"{name}={shown}")
    name = type(recipe).__name__
    if not changed:
        return name
    settings = ", ".join(changed)
    return f"{name}({settings})"


def _are_recipes(value: Any) -> bool:
    """Whether this is a tuple of recipes, such as the parts of a chain."""
    if not isinstance(value, tuple) or not value:
        return False
    return all(_is_recipe(part) for part in value)


def _check_keys(
    fields: dict[str, Any],
    known: list[str],
) -> None:
    for key in fields:
        if key not in known:
            raise ValueError(f"row key must be one of {known}, got {key!r}")
    for key in known:
        if key not in fields:
            raise ValueError(f"row must hold every key of {known}, got none for {key!r}")


def _check_kinds(fields: dict[str, Any]) -> None:
    for name, kind in _KINDS.items():
        value = fields[name]
        if not isinstance(value, kind):
            raise ValueError(f"row key {name!r} has a value of the wrong type: {value!r}")


def _check_numbers(
    name: str,
    values: Any,
) -> None:
    """Raises `ValueError` unless this is a list of numbers, None for those that are not finite."""
    if not isinstance(values, list):
        raise ValueError(f"{name} must be a list of numbers, got {values!r}")
    for value in values:
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{name} must hold numbers, got {value!r}")


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _nan(x: float | None) -> float:
    return math.nan if x is None else float(x)
