"""A report: rows as one HTML file that opens from the disk and asks for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from casim.markup import Markup, element, joined, page
from casim.report import Row
from casim.tables import known_scores
from casim.version import __version__
from casim.webpages import assets
from casim.webpages.cards import card_data
from casim.webpages.comparisons import comparison_data
from casim.webpages.measured import definitions, figure_data, missing, table_of
from casim.webpages.plan import plan, provenance

SCRIPTS = ("page.js", "charts.js", "report.js")
FAMILIES = {
    "right": "is the credit right?",
    "trains": "does it train?",
    "cost": "what did it cost?",
    "all": "all",
}
"""What the table can show."""


class Source(NamedTuple):
    """Where rows come from."""

    name: str
    """As it is typed."""
    digest: str
    """SHA-256 of the file."""
    left_out: int = 0
    """Rows that later ones answer again."""


def to_html(
    rows: Sequence[Row],
    source: Source,
    against: str | None = None,
) -> str:
    """The report as a page.

    Args:
        rows: of any studies.
        source: where they come from.
        against: the label of the method that the others are compared with.

    Raises:
        ValueError: no rows, or a label that no row has.
    """
    if not rows:
        raise ValueError(f"{source.name} must hold rows, got none")
    colours = assets.colours_of([row.methodology for row in rows])
    values = {
        "row-data": figure_data(rows, colours),
        "comparison-data": comparison_data(rows, against),
        "card-data": card_data(rows),
    }
    studies = ", ".join(dict.fromkeys(row.study for row in rows))
    sections = {
        "plan": ("Plan", plan(rows)),
        "figures": ("Figures", _figures()),
        "scores": ("Scores", _scores(rows)),
        "comparisons": ("Comparisons", _comparisons(values["comparison-data"]["notes"])),
        "cards": ("Cards", _cards(values["card-data"]["notes"])),
        "definitions": ("Definitions", definitions(known_scores(rows))),
        "provenance": ("Provenance", provenance(rows, *source)),
    }
    written = [_section(name, *section) for name, section in sections.items()]
    heads = {name: head for name, (head, _) in sections.items()}
    body = [
        element("a", "to the scores", href="#scores", class_="skip"),
        element("header", *_top(rows, studies), _contents(heads)),
        element("main", *written),
    ]
    scripts = [assets.read(name) for name in SCRIPTS]
    return page(f"Report: {studies}", body, assets.style(colours), scripts, values)


def _top(rows: Sequence[Row], studies: str) -> list[Markup]:
    methods = len({row.label for row in rows})
    tasks = len({(str(row.task)) for row in rows})
    said = f"{len(rows)} rows: {methods} methods and controls on {tasks} tasks. casim {__version__}"
    return [element("h1", studies), element("p", said, class_="lead")]


def _contents(heads: dict[str, str]) -> Markup:
    links = [element("a", head, href=f"#{name}") for name, head in heads.items()]
    return element("nav", *links, aria_label="sections")


def _section(name: str, head: str, inside: Markup) -> Markup:
    title = element("h2", head, id=f"{name}-head")
    return element("section", title, inside, id=name, aria_labelledby=f"{name}-head")


def _figures() -> Markup:
    """Places that the scripts fill, and how to read what they draw."""
    hint = (
        "Points are estimates with 95% intervals, open diamonds exact values; the others are grey "
        "behind. Rest a pointer on a point, or go to a panel with Tab and along its points with "
        "the arrow keys."
    )
    return joined(
        [
            _needs_scripts(),
            element("form", id="filters", class_="controls", aria_label="rows to show"),
            element("p", id="count", role="status"),
            element("form", id="figure-controls", class_="controls", aria_label="what to draw"),
            element("p", hint, class_="hint"),
            element("div", id="panels", class_="panels"),
        ]
    )


def _scores(rows: Sequence[Row]) -> Markup:
    buttons = []
    for word, said in FAMILIES.items():
        own = element(
            "input",
            type="radio",
            name="family",
            value=word,
            checked=word == "right",
        )
        buttons.append(element("label", own, said))
    legend = element("legend", "scores by what they ask")
    choice = element("fieldset", legend, *buttons, id="families", class_="controls")
    hint = "The filters above choose lines; a head sorts by its column, a ? defines it."
    return joined(
        [
            element("p", hint, class_="hint"),
            choice,
            _scrolled(table_of(rows), "scores, a line for each row"),
            missing(rows),
        ]
    )


def _comparisons(notes: Sequence[str]) -> Markup:
    hint = (
        "Differences by pairs, on the groups that both methods saw. Intervals are 95% each; p and "
        "verdict are corrected for the number of comparisons of a score by Holm's method."
    )
    return joined(
        [
            _needs_scripts(),
            element("p", hint, class_="hint"),
            *(element("p", note, class_="note") for note in notes),
            element("form", id="comparison-controls", class_="controls", aria_label="comparison"),
            _scrolled(element("table", id="comparisons-table"), "comparisons"),
        ]
    )


def _cards(notes: Sequence[str]) -> Markup:
    hint = "What each claim about credit states, and what it leaves out, as printed by "
    command = element("code", "casim card")
    return joined(
        [
            _needs_scripts(),
            element("p", hint, command, ".", class_="hint"),
            *(element("p", f"No card of {note}", class_="note") for note in notes),
            element("form", id="card-controls", class_="controls", aria_label="card"),
            element("div", id="card"),
        ]
    )


def _scrolled(inside: Markup, said: str) -> Markup:
    """What may be wider than the page, in a box of its own that keys can scroll."""
    return element("div", inside, class_="wide", tabindex=0, role="region", aria_label=said)


def _needs_scripts() -> Markup:
    return element("noscript", element("p", "This part needs JavaScript; the tables do not."))
