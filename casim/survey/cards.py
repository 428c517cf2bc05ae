"""Cards: what a claim about credit states, from a recipe, from a run, or from a paper.

`card_of_method` and `card_of_row` fill one in; `read_card` reads one, and `check` says what it
leaves out.
"""

from casim.survey.answers import card_of_method, card_of_row
from casim.survey.card import (
    Card,
    Gap,
    blank,
    check,
    read_card,
    to_json,
    to_markdown,
    to_report,
)
from casim.survey.questions import CHECKLIST, QUESTIONS, Question

__all__ = [
    "CHECKLIST",
    "QUESTIONS",
    "Card",
    "Gap",
    "Question",
    "blank",
    "card_of_method",
    "card_of_row",
    "check",
    "read_card",
    "to_json",
    "to_markdown",
    "to_report",
]
