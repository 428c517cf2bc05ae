"""Record: what is known of one paper of the survey, checked as it is made."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, final

from casim.checks import check_choice, check_distinct, check_integer
from casim.vocabulary import GRANULARITIES, METHODOLOGIES

KINDS = ("core", "enabler", "later")
"""Of the 47 methods of the survey, 41 and 6; and what its list has had since."""
REGIMES = ("reasoning", "agentic", "multi_agent")
EVIDENCE = ("S", "L", "A")
"""Strong; limited; analysis or theory."""
ARTIFACTS = ("PC", "P", "C", "N")
"""Peer-reviewed with its code read; without; a preprint with its code read; without."""
COMPUTE = ("low", "medium", "high")
MODELS = (
    "critic",
    "discriminator",
    "llm_judge",
    "llm_once",
    "prm",
    "progress_model",
    "reward_model",
    "reward_net",
    "verifier",
)
"""Models beside the policy and a frozen reference; with "?" where only some variants have one."""
ARXIV = re.compile(r"\d{4}\.\d{5}")
ID = re.compile(r"[a-z][a-z0-9_]*")
NUMBER_OF_METHODS = 47


@final
@dataclasses.dataclass(frozen=True)
class Correction:
    """What a public source says of a record and is not so.

    Attributes:
        field: of the record.
        listed: what is said; empty where something is left out.
        reason: why the record has something else.
    """

    field: str
    listed: str
    reason: str


@final
@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the survey puts a method.

    Attributes:
        granularity, methodology: its cell in the taxonomy; None where no place is known.
        tag: the granularity in the words of the public list.
        label: the mechanism in the words of the public list.
        basis: where the cell is from.
    """

    granularity: str | None
    methodology: str | None
    tag: str
    label: str
    basis: str


@final
@dataclasses.dataclass(frozen=True)
class Grade:
    """A level, and who says so.

    Attributes:
        level: a word, or None where it is not known.
        basis: the source, or the rule.
    """

    level: str | None
    basis: str


@final
@dataclasses.dataclass(frozen=True)
class Record:
    """A paper of the survey.

    Attributes:
        id: a name for programs.
        number: in the survey, 1 to 47; None for what is later.
        kind: "core" (41), "enabler" (6) or "later".
        name: as the field calls the method.
        title: of the paper.
        authors: in their order, "others" for those that are not given; empty if none is.
        year: of the first posting.
        arxiv: id on arXiv, the external key; None where there is none.
        venue: or the status of a preprint.
        regime: the column of the survey that it stands in.
        granularity: the unit that receives credit, by its mechanism; None where it is not known.
        methodology: the family, by its mechanism: of what tells the steps of a trajectory apart.
        placed: where the survey puts it.
        mechanism: what the paper or its code does.
        baselines: families that it is compared with.
        evidence: "S", "L" or "A", see `EVIDENCE`.
        artifact: what there is to check, see `ARTIFACTS`.
        models: that it needs beside the policy and a frozen reference, see `MODELS`.
        needs: whatever else it needs.
        compute: "low", "medium" or "high".
        benchmarks: that it is measured on.
        code: address of its code.
        methods: names in `casim.methods` of the recipes that carry its mechanism, the main one
            first.
        not_simulated: why there is none; empty where there is one.
        corrections: what public sources say of it and is not so.
        notes: namesakes and open doubts.

    Raises:
        ValueError: a field of the wrong type, a word that is none of those allowed, a number out
            of its range, or a record with neither recipes nor a reason, or with both.
    """

    id: str
    number: int | None
    kind: Literal["core", "enabler", "later"]
    name: str
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str | None
    venue: str
    regime: Literal["reasoning", "agentic", "multi_agent"]
    granularity: str | None
    methodology: str | None
    placed: Placement
    mechanism: str
    baselines: tuple[str, ...]
    evidence: Grade
    artifact: str | None
    models: tuple[str, ...]
    needs: tuple[str, ...]
    compute: Grade
    benchmarks: tuple[str, ...]
    code: str | None
    methods: tuple[str, ...]
    not_simulated: str
    corrections: tuple[Correction, ...]
    notes: str

    def __post_init__(self) -> None:
        _check_types(self)
        self._check_key()
        self._check_words()
        for field in ("authors", "baselines", "models", "needs", "benchmarks", "methods"):
            check_distinct(field, getattr(self, field))
        if bool(self.methods) == bool(self.not_simulated):
            wanted = "hold recipes, or not_simulated a reason, and not both"
            raise ValueError(f"methods must {wanted}, got {self.methods!r}, {self.not_simulated!r}")
        for correction in self.corrections:
            self._check_correction(correction)

    def _check_key(self) -> None:
        """The id, the number and the id on arXiv."""
        if not ID.fullmatch(self.id):
            raise ValueError(f"id must be small letters, digits and _, got {self.id!r}")
        if self.arxiv is not None and not ARXIV.fullmatch(self.arxiv):
            raise ValueError(f"arxiv must be four digits, a dot and five, got {self.arxiv!r}")
        check_choice("kind", self.kind, KINDS)
        if self.kind == "later":
            check_choice("number of a later record", self.number, (None,))
        else:
            check_integer("number", self.number, 1, NUMBER_OF_METHODS)  # pyright: ignore
        check_integer("year", self.year, 2017, 2100)

    def _check_words(self) -> None:
        """What has a list of words."""
        check_choice("regime", self.regime, REGIMES)
        for place in (self, self.placed):
            check_choice("granularity", place.granularity, (*GRANULARITIES, None))
            check_choice("methodology", place.methodology, (*METHODOLOGIES, None))
        check_choice("evidence.level", self.evidence.level, (*EVIDENCE, None))
        check_choice("compute.level", self.compute.level, (*COMPUTE, None))
        check_choice("artifact", self.artifact, (*ARTIFACTS, None))
        for model in self.models:
            check_choice("models", model.removesuffix("?"), MODELS)

    def _check_correction(self, correction: Correction) -> None:
        """It is of a field, gives a reason, and the record does not say what is listed."""
        check_choice("corrections.field", correction.field, FIELDS)
        if not correction.reason:
            raise ValueError(f"corrections.reason must say why, got none for {correction.field!r}")
        value = getattr(self, correction.field)
        if correction.listed == ("" if value is None else str(value)):
            wanted = "differ from what the record has"
            raise ValueError(f"corrections.listed must {wanted}, got {correction.listed!r}")

    @property
    def main(self) -> str | None:
        """The name of the recipe that carries its mechanism; None where there is none."""
        return self.methods[0] if self.methods else None

    @property
    def link(self) -> str | None:
        """The address of the paper."""
        return None if self.arxiv is None else f"https://arxiv.org/abs/{self.arxiv}"


FIELDS = tuple(field.name for field in dataclasses.fields(Record))


def read_record(found: Any) -> Record:
    """A record from a value of JSON.

    Raises:
        ValueError: a key that is missing or unknown, or what `Record` raises; the message begins
            with the id.
    """
    name = found.get("id") if isinstance(found, dict) else found
    try:
        return _made(Record, found)
    except ValueError as error:
        raise ValueError(f"record {name!r}: {error}") from error


def _made(kind: type, found: Any) -> Any:
    """A dataclass from a JSON object, and those in its fields likewise."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{kind.__name__} must be a JSON object, got {found!r}")
    hints = _hints(kind)
    for key in found:
        check_choice("key", key, tuple(hints))
    for key in hints:
        if key not in found:
            raise ValueError(f"key {key!r} must be there, got none")
    return kind(**{key: _value(hint, found[key]) for key, hint in hints.items()})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of a class's fields, which take long to read."""
    return typing.get_type_hints(kind)


def _value(hint: Any, value: Any) -> Any:
    """A value of JSON as a field of this type has it."""
    if dataclasses.is_dataclass(hint):
        return _made(hint, value)  # pyright: ignore
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)[0]
        return tuple(_value(inner, item) for item in value)
    return value


def _check_types(record: Record) -> None:
    """Raises `ValueError` on the first field that has a value of another type."""
    for name, hint in _hints(type(record)).items():
        value = getattr(record, name)
        if not _fits(hint, value):
            wanted = getattr(hint, "__name__", None) or str(hint)
            raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return True  # words have a check of their own
    if origin is types.UnionType:
        return any(_fits(option, value) for option in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(inner[0], item) for item in value)
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, hint)
