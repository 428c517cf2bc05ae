"""Is an advantage function right? A ladder of questions with exact answers, and one page."""

from casim.bridge.score.asked import claimable
from casim.bridge.score.contract import line_names
from casim.bridge.score.ladder import AT_LENGTH, CONTRACT, EXACT, score
from casim.bridge.score.page import to_html, to_text
from casim.bridge.score.sampled import Length
from casim.bridge.score.verdicts import Breach, Line, Report, Verdict
from casim.bridge.score.worlds import TASKS

__all__ = [
    "AT_LENGTH",
    "CONTRACT",
    "EXACT",
    "TASKS",
    "Breach",
    "Length",
    "Line",
    "Report",
    "Verdict",
    "claimable",
    "line_names",
    "score",
    "to_html",
    "to_text",
]
