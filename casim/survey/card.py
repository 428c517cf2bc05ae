"""Card: what a claim about credit states, written, read, and checked for what it leaves out.

References:
    The card of Zhang 2026, arXiv:2604.09459, with the checklist of the same paper below it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from casim.survey.inventory import inventory
from casim.survey.questions import QUESTIONS, SECTIONS, Question
from casim.survey.record import Record
from casim.survey.tiers import TIERS

MISSING = ("", "-", "?", "none given", "not reported", "not stated", "n/a", "unknown", "todo")
"""Words that say that something is not said."""
NOT_REPORTED = "not reported"
DEFAULT_METHOD = "GRPO"
"""The recipe in commands for a paper that is not in the inventory."""
_LINE = re.compile(r"- (\w+): ?(.*)")


@final
@dataclasses.dataclass(frozen=True)
class Card:
    """What is stated of one credit claim.

    Attributes:
        title: what it is of.
        answers: by the id of the question, see `QUESTIONS`; what is not stated is not in it.

    Raises:
        ValueError: an id that no question has.
    """

    title: str
    answers: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in self.answers:
            _check_known(name)
        said = {name: text for name, text in self.answers.items() if is_said(text)}
        object.__setattr__(self, "answers", said)


def _check_known(name: str) -> None:
    """Raises `ValueError` unless a question has this id."""
    known = [question.id for question in QUESTIONS]
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    meant = f": did you mean {close[0]}?" if close else f", one of {known}"
    raise ValueError(f"a card must have known fields, got {name!r}{meant}")


class Gap(NamedTuple):
    """What is wrong with one item of a card."""

    question: Question
    problem: str
    command: str
    """What of casim would give it."""

    @property
    def fails(self) -> bool:
        """Whether a card with it is none: a required item is open, or what is said is wrong."""
        return self.question.required or self.problem != NOT_REPORTED


def is_said(text: str) -> bool:
    """Whether an answer states anything."""
    return text.strip().lower() not in MISSING


def blank() -> Card:
    """A card that states nothing, to be filled in."""
    return Card("the paper, or the method and the run", {})


def to_markdown(card: Card) -> str:
    """A card as Markdown: a section each, a line for each question; `read_card` reads it again."""
    lines = [f"# Card: {card.title}"]
    for section in SECTIONS:
        lines += ["", f"## {section}", ""]
        for question in QUESTIONS:
            if question.section == section:
                said = card.answers.get(question.id, NOT_REPORTED)
                lines.append(f"- {question.id}: {said}")
    return "\n".join(lines)


def to_json(card: Card) -> str:
    """A card as a JSON object: the title, and an answer or null for each question."""
    answers = {question.id: card.answers.get(question.id) for question in QUESTIONS}
    return json.dumps({"title": card.title, "answers": answers}, indent=2, ensure_ascii=False)


def read_card(text: str) -> Card:
    """A card from its Markdown or its JSON.

    Raises:
        ValueError: no card, or a field that none has.
    """
    if text.lstrip().startswith("{"):
        return _from_json(_parsed(text))
    title, answers = "", {}
    for line in text.splitlines():
        if line.startswith("# "):
            title = line.removeprefix("# ").removeprefix("Card: ").strip()
        elif found := _LINE.fullmatch(line.strip()):
            answers[found[1]] = found[2]
    if not answers:
        raise ValueError("a card must have lines '- field: text', or be JSON; got none")
    return Card(title, answers)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"a card that begins with {{ must be JSON, got {error}") from error


def _from_json(found: Any) -> Card:
    answers = found.get("answers")
    if not isinstance(answers, dict):
        raise ValueError(f"a card must hold an object 'answers', got {sorted(found)}")
    said = {name: _text(value) for name, value in answers.items() if value is not None}
    return Card(_text(found.get("title") or ""), said)


def _text(value: Any) -> str:
    """A value of JSON as an answer; lists with commas between."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def check(card: Card) -> list[Gap]:
    """What a card leaves out or contradicts, in the order of the questions."""
    method = _recipe_in(card)
    # A method that is compared with itself is asked for once.
    names = {"method": method, "methods": " ".join(dict.fromkeys((method, "GRPO")))}
    gaps = []
    for question in QUESTIONS:
        problem = _problem(card, question)
        if problem:
            command = question.command.format(**names)
            gaps.append(Gap(question, problem, command))
    return gaps


def _problem(
    card: Card,
    question: Question,
) -> str:
    """What is wrong with the answer to a question; nothing if it is right."""
    said = card.answers.get(question.id)
    if said is None:
        return NOT_REPORTED
    if question.choices and said not in question.choices:
        return f"must be one of {', '.join(question.choices)}, got {said!r}"
    return _overclaim(card) if question.id == "tier" else ""


def _overclaim(card: Card) -> str:
    """Why the tier is higher than what else is stated can bear; nothing if it is not."""
    answers = card.answers
    restored, observational = TIERS[:2]
    tier, state, source = (answers.get(name) for name in ("tier", "state", "source"))
    if tier == restored and state != "restored":
        return f"{restored} needs a state that is restored, got {state or NOT_REPORTED}"
    if tier in (restored, observational) and source == "model proxy":
        return f"{tier} needs a branch that was played or matched, got {source}"
    if tier == observational and _never(answers.get("overlap")):
        return f"{observational} needs actions that all occur, got an overlap of 0"
    return ""


def _never(overlap: str | None) -> bool:
    """Whether an answer on overlap begins with the number 0."""
    number = re.match(r"[\d.]+", overlap or "")
    return number is not None and not number[0].strip("0.")


def _recipe_in(card: Card) -> str:
    """The recipe of the paper that a card names: by its id on arXiv, or its name as a word."""
    named = [record for record in inventory() if record.main and _names(card.title, record)]
    longest = max(named, key=lambda record: len(record.name), default=None)
    return DEFAULT_METHOD if longest is None else str(longest.main)


def _names(
    title: str,
    record: Record,
) -> bool:
    if record.arxiv is not None and record.arxiv in title:
        return True
    name = re.escape(record.name.lower())
    return re.search(rf"(?<![\w-]){name}(?![\w-])", title.lower()) is not None


def to_report(
    card: Card,
    gaps: Sequence[Gap],
) -> str:
    """What is missing, by section: why it matters, and what of casim would give it."""
    stated = len(QUESTIONS) - len(gaps)
    required = sum(gap.question.required for gap in gaps)
    counts = f"{stated} of {len(QUESTIONS)} items stated"
    still = f"{required} required, {len(gaps) - required} optional"
    lines = [f"{card.title}: {counts}; open: {still}"]
    section = ""
    for gap in gaps:
        asked = gap.question
        if asked.section != section:
            section = asked.section
            lines += ["", section]
        level = "required" if asked.required else "recommended"
        lines += [
            f"  {asked.id} ({level}): {gap.problem}",
            f"    states {asked.asks}",
            f"    matters: {asked.why}",
            f"    casim:   {gap.command}",
        ]
    if gaps:
        lines += ["", "ROWS is a file of rows, as `casim run` and `casim ablate` write them."]
    return "\n".join(lines)
