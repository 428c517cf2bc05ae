"""The cards of rows for a report: each text once, however many cards say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from casim.report import Row
from casim.survey import cards
from casim.survey.answers import Facts, facts_of, method_of

CONTROL = "control"
NOT_SAID = -1


class _Texts:
    """Texts by number."""

    def __init__(self) -> None:
        self.all: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        return NOT_SAID if text is None else self.all.setdefault(text, len(self.all))


def card_data(rows: Sequence[Row]) -> dict[str, Any]:
    """A card of every method in every setting, of the first of its seeds.

    Returns:
        `questions`, as [section, words, whether required]; `texts`; and `cards`, as a title, the
        row, and the number of the text that answers each question, -1 where none does; `notes`,
        why there is no card.
    """
    texts = _Texts()
    places = {id(row): place for place, row in enumerate(rows)}
    found, notes = [], {}
    for own in _settings(rows).values():
        known = [row for row in own if _can_be_built(row, notes)]
        chosen = _first_seeds(known)
        facts = _facts(chosen, notes)
        if facts is None:
            continue
        for row in chosen:
            card = cards.card_of_row(row, known, facts)
            answers = [texts.number(card.answers.get(each.id)) for each in cards.QUESTIONS]
            place = places[id(row)]
            found.append({"title": card.title, "row": place, "answers": answers})
    questions = [[each.section, each.asks, each.required] for each in cards.QUESTIONS]
    return {
        "questions": questions,
        "texts": list(texts.all),
        "cards": found,
        "notes": list(notes),
    }


def _settings(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what the rows of a card's table have in common."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        sizes = (row.num_prompts, row.num_trajectories, row.share, row.replicates)
        recipes = (row.study, row.task, row.policy, row.behaviour)
        setting = json.dumps([*recipes, *sizes], sort_keys=True)
        found.setdefault(setting, []).append(row)
    return found


def _can_be_built(row: Row, notes: dict[str, None]) -> bool:
    """Whether the recipes of a row are here; if not, says so in the notes."""
    if row.methodology == CONTROL:
        return True
    try:
        method_of(row)
    except ValueError as error:
        notes[f"{row.label}: {error}"] = None
        return False
    return True


def _first_seeds(rows: Sequence[Row]) -> list[Row]:
    """The first row of each method."""
    methods = [row for row in rows if row.methodology != CONTROL]
    first = {row.label: row for row in reversed(methods)}
    return [row for row in methods if row is first[row.label]]


def _facts(
    rows: Sequence[Row],
    notes: dict[str, None],
) -> Facts | None:
    """What is exact about rows of one setting; None, and a note, where it cannot be built."""
    if not rows:
        return None
    try:
        return facts_of(rows[0])
    except ValueError as error:
        notes[f"{rows[0].label} at {rows[0].horizon}: {error}"] = None
        return None
