"""What the survey found when it read papers by its own checklist: counts, second-hand.

Its revision coded 42 papers, twice and blind, by six diagnostics, and counted what they report; its
first version tried the checklist on three papers, and counted three items in the 41 core methods.
The label of each paper is not public. The two versions count by other definitions, so their numbers
do not compare.

References:
    Zhang 2026, arXiv:2604.09459: versions 1 and 2 (trial, counts of the core), version 3 (the 42,
    papers by half-year). Read through public notes on the paper.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, NamedTuple, final

from casim.checks import check_choice, check_integer
from casim.survey.inventory import inventory
from casim.survey.questions import CHECKLIST

WORDS = ("yes", "part", "no")
"""How an item is reported."""


class Diagnostic(NamedTuple):
    """A way in which agents break what holds of a single generation."""

    code: str
    breaks: str
    control: str
    """What an evaluation should do about it, at least."""
    positives: int
    """Papers whose mechanism is said to answer it; no count of `kappa`'s, but for that of R."""
    agreed: int
    """Papers that both coders gave the same code."""
    kappa: float
    """Cohen's."""


class Field(NamedTuple):
    """What the papers report of one thing: how many of them, by what they say."""

    name: str
    counts: Mapping[str, int]


@final
@dataclasses.dataclass(frozen=True)
class Audit:
    """What was counted.

    Attributes:
        papers: that the revision coded.
        core: methods of the first version.
        diagnostics: coded in `papers`.
        fields: counted in `papers`.
        reported: by item of the checklist, how many of the `core` report it.
        trial: by id of the record, then by item of the checklist, one of `WORDS`.
        half_years: papers of the revision by the half-year of their first posting.

    Raises:
        ValueError: counts that do not add up, or an item or a record that is not known.
    """

    papers: int
    core: int
    diagnostics: tuple[Diagnostic, ...]
    fields: tuple[Field, ...]
    reported: Mapping[str, int]
    trial: Mapping[str, Mapping[str, str]]
    half_years: Mapping[str, int]

    def __post_init__(self) -> None:
        for found in self.diagnostics:
            check_integer(f"positives of {found.code}", found.positives, 0, self.papers)
            check_integer(f"agreed of {found.code}", found.agreed, 0, self.papers)
        for field in self.fields:
            total = sum(field.counts.values())
            check_choice(f"counts of {field.name!r} in all", total, (self.papers,))
        _check_items(self.reported)
        for item, count in self.reported.items():
            check_integer(f"reported of {item}", count, 0, self.core)
        known = tuple(record.id for record in inventory())
        for name, said in self.trial.items():
            check_choice("trial", name, known)
            _check_items(said)
            for item, word in said.items():
                check_choice(f"{item} of {name}", word, WORDS)


def _check_items(items: Iterable[str]) -> None:
    known = tuple(question.id for question in CHECKLIST)
    for item in items:
        check_choice("item", item, known)


@functools.cache
def audit() -> Audit:
    """What the survey counted.

    Raises:
        ValueError: the data that came with casim was changed to something that does not add up.
    """
    file = resources.files("casim") / "survey" / "audit.json"
    return read_audit(json.loads(file.read_text(encoding="utf-8")))


def read_audit(found: Mapping[str, Any]) -> Audit:
    """An audit from a JSON object.

    Raises:
        ValueError: what `Audit` raises.
    """
    diagnostics = tuple(Diagnostic(**each) for each in found["diagnostics"])
    fields = tuple(Field(**each) for each in found["fields"])
    return Audit(**{**found, "diagnostics": diagnostics, "fields": fields})
