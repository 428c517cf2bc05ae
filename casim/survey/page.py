"""The inventory as a table of HTML, with a box to search it: what docs/inventory.md shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from casim.markup import table
from casim.survey.record import Correction, Record
from casim.tables import Lines

FILTERS = ("regime", "granularity", "methodology", "kind")
"""Columns with a choice of their own."""
HEADS = ("", "method", "year", *FILTERS, "evidence", "in casim", "what it does")


def to_html(records: Sequence[Record], script: str) -> str:
    """A box for words, choices, and a table of all records; `script` is the address of the search.

    Without JavaScript the table is whole.
    """
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    choices = [_choice(name, records) for name in FILTERS]
    rows = map(_row, records)
    lines = [
        "<p>",
        '<input type="search" data-filter="words" placeholder="words" aria-label="words">',
        *choices,
        f'<span id="inventory-count">{len(records)}</span>',
        "</p>",
        '<div style="overflow-x: auto">',
        '<table id="inventory" class="docutils">',
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table>",
        "</div>",
        f'<script src="{escape(script)}"></script>',
    ]
    return "\n".join(lines)


def plain_table(cells: Lines) -> str:
    """Cells as a table of HTML, the first line its head."""
    return table(cells, class_="docutils")


def _choice(name: str, records: Iterable[Record]) -> str:
    """A menu of the values of a column."""
    values = dict.fromkeys(getattr(record, name) for record in records)
    known = filter(None, values)
    options = "".join(f"<option>{escape(value)}</option>" for value in known)
    first = f'<option value="">any {escape(name)}</option>'
    attributes = f'data-filter="{name}" aria-label="{name}"'
    return f"<select {attributes}>{first}{options}</select>"


def _row(record: Record) -> str:
    """A line of the table; what filters choose by is on the line itself."""
    marks = {name: getattr(record, name) for name in FILTERS}
    data = [f'data-{name}="{escape(value or "")}"' for name, value in marks.items()]
    said = [
        _text(record.number),
        _paper(record),
        _text(record.year),
        *map(_text, marks.values()),
        _text(record.evidence.level),
        _recipes(record),
        _more(record),
    ]
    cells = "".join(f"<td>{cell}</td>" for cell in said)
    return f"<tr {' '.join(data)}>{cells}</tr>"


def _paper(record: Record) -> str:
    """The name, with the title where a mouse rests on it, and the address of the paper."""
    name = escape(record.name)
    title = escape(record.title)
    shown = f'<span title="{title}">{name}</span>'
    if record.link is None:
        return shown
    return f'<a href="{record.link}">{shown}</a>'


def _recipes(record: Record) -> str:
    """The recipes of `casim.methods`, or why there is none."""
    if not record.methods:
        return f"not simulated: {escape(record.not_simulated)}"
    return ", ".join(f"<code>{escape(name)}</code>" for name in record.methods)


def _text(value: object) -> str:
    return "-" if value in (None, "") else escape(str(value))


def _more(record: Record) -> str:
    """The mechanism, and below it what is wrong in the lists."""
    said = escape(f"{record.mechanism}. {record.notes}".strip())
    if not record.corrections:
        return said
    lines = [f"<li>{_corrected(each)}</li>" for each in record.corrections]
    inside = "".join(lines)
    return f"{said}<details><summary>corrected</summary><ul>{inside}</ul></details>"


def _corrected(correction: Correction) -> str:
    field = escape(correction.field)
    listed = escape(correction.listed)
    reason = escape(correction.reason)
    source = f"listed as {listed}" if listed else "not listed"
    return f"<em>{field}</em>, {source}: {reason}"
