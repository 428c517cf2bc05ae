"""Many methods in small panels, few lines in each, instead of one panel with a long legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from casim.checks import check_range
from casim.figures.fields import caption, check_known, read
from casim.figures.grid import Column, draw_grid
from casim.figures.labels import label_ends
from casim.figures.lines import coincident, name_of, styles
from casim.figures.panel import (
    Exact,
    Look,
    Span,
    View,
    check_rows,
    draw_view,
    fit_axis,
)
from casim.figures.places import Places, find_places, write
from casim.figures.scales import score_caption
from casim.figures.style import PAGE, colours, style
from casim.report import Row

MAX_LINES = 8
"""Most lines of a panel that are to be told apart."""
WIDE, TALL = 2.6, 1.75
"""Least width and height in inches of a panel with names at its lines."""


def small_multiples(
    rows: Sequence[Row],
    scores: Sequence[str],
    x: str = "num_steps",
    by: str | None = None,
    width: float = PAGE,
    names: Mapping[str, str] | None = None,
    exact: Mapping[str, Exact] | None = None,
    spans: Mapping[str, Span] | None = None,
) -> Figure:
    """Draws scores against any field of the rows, at most eight lines in a panel.

    Up to eight methods: a panel per score, names at the ends of the lines. More: a row of panels
    per score and a column per methodology, the methods of the others grey behind. Bands and bars
    are 95% intervals, dashed lines exact values. Save it by `casim.figures.save`.

    Args:
        rows: of one setting but for method, x, `by` and seed.
        scores: names of scores; where one is missing its line has a gap.
        x: a field such as "task.horizon", "judge.fidelity", "estimator.lambda_",
            "num_trajectories".
        by: a field that gives each of its values a column of its own ("methodology",
            "policy.scale"); if left out, chosen as above.
        width: of the figure in inches; `casim.figures.COLUMN` for one column of a paper.
        names: short names by label.
        exact: exact values by score, label and x.
        spans: by score, the least and the largest number to show; what fits, if left out.

    Raises:
        ValueError: no rows or scores, an unknown x, by or score, a width below 2 inches, or two
            rows of one line at one x that differ in anything but the seed.
    """
    check_rows(rows)
    check_range("width", width, 2.0, 100.0)
    if len(scores) == 0:
        raise ValueError("scores must hold at least one name, got none")
    places = find_places(rows, x)
    look = Look(styles(rows, x), names or {})
    sheet = Sheet(scores, places, exact or {}, spans or {})
    with style():
        if by is None and len(look.styles) <= MAX_LINES:
            return _draw_panels(sheet.views(rows), look, width)
        columns = _columns(rows, by or "methodology", sheet, look)
        return draw_grid(columns, look, width)


class Sheet(NamedTuple):
    """What the panels of a figure share; see `small_multiples`."""

    scores: Sequence[str]
    places: Places
    exact: Mapping[str, Exact]
    spans: Mapping[str, Span]

    def views(
        self,
        rows: Sequence[Row],
    ) -> dict[str, View]:
        """The lines of some rows, by score."""
        views = {}
        for score in self.scores:
            exact = self.exact.get(score, {})
            span = self.spans.get(score)
            views[score] = View.make(rows, score, self.places, exact, span)
        return views


def _draw_panels(
    views: Mapping[str, View],
    look: Look,
    width: float,
) -> Figure:
    """A panel per score, with the names at the ends of the lines."""
    number = len(views)
    columns = max(1, min(number, int(width / WIDE)))
    rows = -(-number // columns)
    figure = Figure(figsize=(width, TALL * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[number:]:
        spare.set_axis_off()
    panels = grid[:number]
    for place, (axes, score) in enumerate(zip(panels, views, strict=True)):
        view = views[score]
        draw_view(axes, view, look, look.styles)
        letter = f"({chr(ord('a') + place)}) " if number > 1 else ""
        axes.set_title(letter + score_caption(score), loc="left")
        lowest = place + columns >= number
        axes.tick_params(labelbottom=lowest)
        if lowest:
            axes.set_xlabel(caption(view.places.field))
    # Lays the panels out, so that names can be kept apart.
    figure.draw_without_rendering()
    for axes in panels:
        label_ends(axes)
    return figure


def _columns(
    rows: Sequence[Row],
    by: str,
    sheet: Sheet,
    look: Look,
) -> list[Column]:
    """A column per value of a field, or several where it has too many lines.

    By methodology all rows are in every column, so that the others can be seen behind.
    """
    check_known(rows, by, "by")
    kinds = by == "methodology"
    colour = colours(row.methodology for row in rows)
    everything = sheet.views(rows) if kinds else {}
    columns = []
    for value in dict.fromkeys(read(row, by) for row in rows):
        own = [row for row in rows if read(row, by) == value]
        views = everything or sheet.views(own)
        labels = dict.fromkeys(name_of(row, sheet.places.field) for row in own)
        title = f"{caption(by)}: {write(value)}"
        paint = "black"
        if kinds:
            title = str(value).replace("_", " ")
            paint = colour[str(value)]
        parts = _parts(list(labels))
        for number, part in enumerate(parts, start=1):
            count = f" ({number})" if len(parts) > 1 else ""
            column = Column(
                title=title + count,
                colour=paint,
                names=_merged(part, views, look),
                views=views,
            )
            columns.append(column)
    return _alike(columns, sheet)


def _parts(labels: Sequence[str]) -> list[Sequence[str]]:
    """The labels in parts of about one size that are not too large."""
    number = -(-len(labels) // MAX_LINES)
    size = -(-len(labels) // number)
    starts = range(0, len(labels), size)
    return [labels[start : start + size] for start in starts]


def _merged(
    labels: Sequence[str],
    views: Mapping[str, View],
    look: Look,
) -> dict[str, str]:
    """Names by label; methods that coincide in all scores are one, "A = B", under the first."""
    leaders = []
    for view in views.values():
        own = [line for line in view.lines if line.label in labels]
        leader = {}
        for group in coincident(own):
            leader |= {line.label: group[0].label for line in group}
        leaders.append(leader)
    together: dict[tuple[str, ...], list[str]] = {}
    for label in labels:
        # Which line it lies on, score by score.
        kind = tuple(leader[label] for leader in leaders)
        together.setdefault(kind, []).append(label)
    names = {}
    for members in together.values():
        names[members[0]] = " = ".join(look.name(label) for label in members)
    return names


def _alike(columns: Sequence[Column], sheet: Sheet) -> list[Column]:
    """One scale and span per score in all columns, so that they can be compared."""
    shared = {}
    for score in sheet.scores:
        lines = [line for column in columns for line in column.views[score].lines]
        exact, span = sheet.exact.get(score, {}), sheet.spans.get(score)
        scale, span = fit_axis(lines, score, sheet.places, exact, span)
        shared[score] = {"span": span, "scale": scale}
    alike = []
    for column in columns:
        views = {}
        for score, view in column.views.items():
            views[score] = view._replace(**shared[score])
        alike.append(column._replace(views=views))
    return alike
