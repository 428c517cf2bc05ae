"""The inventory of the survey: its 47 methods and what came later, with what is wrong in the lists.

Records lie in `inventory.json`, one for each paper, in the order of the survey. They are read and
checked once: fields, words, ids that are all different. That their recipes are in `casim.methods`
is checked in other inventories as they are read, and in this one by a test: what only asks for
records needs none of the recipes, which take a second to import.

References:
    Zhang 2026, arXiv:2604.09459, and the public list beside it. Letters of evidence are second-hand
    or by the rule that `basis` names.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from casim.checks import check_choice, check_distinct
from casim.survey.record import (
    COMPUTE,
    EVIDENCE,
    KINDS,
    NUMBER_OF_METHODS,
    REGIMES,
    Record,
    read_record,
)
from casim.vocabulary import GRANULARITIES, METHODOLOGIES

COUNTS = {"core": 41, "enabler": 6}


@functools.cache
def inventory() -> tuple[Record, ...]:
    """Every record, in the order of the survey, later ones last.

    Raises:
        ValueError: the data that came with casim was changed to something that is no inventory.
    """
    file = resources.files("casim") / "survey" / "inventory.json"
    return _read(file.read_text(encoding="utf-8"))


def read_inventory(text: str) -> tuple[Record, ...]:
    """The records in a text of JSON, checked one by one and together.

    Raises:
        ValueError: no list of records, one that is wrong, two of one id, number or paper, a number
            that is missing, or a recipe that `casim.methods` has not.
    """
    records = _read(text)
    _check_recipes(records)
    return records


def _read(text: str) -> tuple[Record, ...]:
    """The records in a text of JSON, checked but for their recipes."""
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError(f"an inventory must be a list of records, got {type(found).__name__}")
    records = tuple(map(read_record, found))
    check_distinct("id", [record.id for record in records])
    check_distinct("arxiv", [record.arxiv for record in records if record.arxiv])
    for kind, number in COUNTS.items():
        count = sum(record.kind == kind for record in records)
        check_choice(f"number of records of kind {kind!r}", count, (number,))
    numbers = [record.number for record in records if record.number]
    check_distinct("number", numbers)
    missing = sorted(set(range(1, NUMBER_OF_METHODS + 1)) - set(numbers))
    if missing:
        raise ValueError(f"number must be on a record each, got none for {missing}")
    return records


def _check_recipes(records: Iterable[Record]) -> None:
    from casim.methods import named_methods

    known = named_methods()
    for record in records:
        for name in record.methods:
            if name not in known:
                raise ValueError(f"record {record.id!r}: methods must be recipes, got {name!r}")


def methods(
    *,
    granularity: str | None = None,
    methodology: str | None = None,
    kind: str | None = None,
    regime: str | None = None,
    evidence: str | None = None,
    compute: str | None = None,
    simulated: bool | None = None,
    corrected: bool | None = None,
    text: str | None = None,
) -> tuple[Record, ...]:
    """Records, all of them or those that every filter keeps.

    Args:
        granularity: the unit that receives credit.
        methodology: the family.
        kind: "core", "enabler" or "later".
        regime: "reasoning", "agentic" or "multi_agent".
        evidence: level, "S", "L" or "A".
        compute: level, "low", "medium" or "high".
        simulated: whether `casim.methods` has a recipe of it.
        corrected: whether a public source is wrong of it.
        text: words that all occur in it somewhere, whatever their case.

    Raises:
        ValueError: a word that is none of those allowed.
    """
    words = {
        "granularity": (granularity, GRANULARITIES),
        "methodology": (methodology, METHODOLOGIES),
        "kind": (kind, KINDS),
        "regime": (regime, REGIMES),
        "evidence": (evidence, EVIDENCE),
        "compute": (compute, COMPUTE),
    }
    wanted: dict[str, Any] = {"simulated": simulated, "corrected": corrected}
    for field, (word, allowed) in words.items():
        if word is not None:
            check_choice(field, word, allowed)
        wanted[field] = word
    asked = {field: value for field, value in wanted.items() if value is not None}
    parts = (text or "").lower().split()
    return tuple(record for record in inventory() if _kept(record, asked, parts))


def _kept(record: Record, asked: dict[str, Any], parts: Sequence[str]) -> bool:
    """Whether a record is what is asked for, and holds all these words."""
    facts = {
        "granularity": record.granularity,
        "methodology": record.methodology,
        "kind": record.kind,
        "regime": record.regime,
        "evidence": record.evidence.level,
        "compute": record.compute.level,
        "simulated": bool(record.methods),
        "corrected": bool(record.corrections),
    }
    if any(facts[field] != value for field, value in asked.items()):
        return False
    said = str(record).lower()
    return all(part in said for part in parts)


def record_of(name: str) -> Record | None:
    """The record of a recipe, by its name in `casim.methods`; None where no paper of it is here."""
    found = (record for record in inventory() if name in record.methods)
    return next(found, None)
