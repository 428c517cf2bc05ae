"""Names beside the lines they belong to, and notes where a panel has room for them."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from casim.figures.style import dark

POINTS = 72.0
"""Points in an inch."""
LINE_HEIGHT = 1.25
LETTER_WIDTH = 0.55
"""Height of a line of text and mean width of a letter, in units of the font's size."""
LEADER = (1.03, 1.06, 1.08)
"""Right of the panel, in its widths: where a leader bends, where it ends, where its name begins."""
HALO = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5}
"""What keeps a note readable on lines."""


class End(NamedTuple):
    """The right end of a line, as shares of the panel, and what is written there."""

    x: float
    y: float
    name: str
    colour: str


def label_ends(
    axes: Axes,
    size: float = 6.5,
    width: int = 24,
) -> None:
    """Writes the name of every named line at its right end, apart from each other.

    The height of the panel must be known, so lay the figure out before, by
    `figure.draw_without_rendering()`.

    Args:
        axes: a panel; names that begin with "_" are left out, as in legends.
        size: of the letters in points.
        width: letters after which a name goes on in the next line.
    """
    ends = _ends(axes, width)
    line_height = size * LINE_HEIGHT / POINTS / axes_inches(axes)[1]
    breaks = np.array([end.name.count("\n") for end in ends])
    heights = line_height * (1 + breaks)
    wanted = np.array([end.y for end in ends])
    # What has no room inside sticks out above and below alike.
    beyond = max(0.0, heights.sum() - 1.0) / 2
    places = spread(wanted, heights, (-beyond, 1 + beyond))
    for end, place in zip(ends, places, strict=True):
        bend, stop, start = LEADER
        axes.plot(
            [end.x, bend, stop],
            [end.y, place, place],
            transform=axes.transAxes,
            color=end.colour,
            linewidth=0.5,
            alpha=0.7,
            clip_on=False,
            label="_leader",
        )
        axes.text(
            start,
            place,
            end.name,
            transform=axes.transAxes,
            color=dark(end.colour),
            fontsize=size,
            va="center",
            linespacing=1.0,
        )


def note(
    axes: Axes,
    text: str,
    size: float = 5.5,
) -> None:
    """Writes a remark where it covers least of the lines; the size of the panel must be known.

    Args:
        axes: a panel; lines with names, as in legends, count more than the others.
        text: the remark; its line breaks stay.
        size: of the letters in points.
    """
    across, up = axes_inches(axes)
    letter = size * LETTER_WIDTH / POINTS / across
    lines = []
    for line in text.split("\n"):
        lines += wrap(line, int(0.95 / letter))
    width = letter * max(map(len, lines))
    height = len(lines) * size * LINE_HEIGHT / POINTS / up
    ink, weight = _ink(axes)
    spots = []
    for bottom in np.linspace(0.98 - height, 0.02, 12):
        for left in np.linspace(0.02, max(0.02, 0.98 - width), 4):
            corner = np.array([left, bottom])
            above = ink > corner - 0.02
            below = ink < corner + (width, height) + 0.02
            inside = np.all(above & below, axis=1)
            covered = weight[inside].sum()
            # The first of equal spots, from the top left on.
            spots.append((covered, len(spots), left, bottom))
    _, _, left, bottom = min(spots)
    axes.text(
        left,
        bottom,
        "\n".join(lines),
        transform=axes.transAxes,
        va="bottom",
        fontsize=size,
        color="#333333",
        linespacing=1.05,
        zorder=6,
        bbox=HALO,
    )


def wrap(name: str, width: int) -> list[str]:
    """The name in lines of so many letters, broken at spaces, long words before their brackets."""
    width = max(width, 8)
    words = []
    for word in name.split():
        head, bracket, inside = word.partition("(")
        if len(word) > width and head:
            words += [head, bracket + inside]
        else:
            words.append(word)
    return textwrap.wrap(
        " ".join(words),
        width,
        break_long_words=False,
        break_on_hyphens=False,
    )


def spread(
    wanted: Float[np.ndarray, " n"],
    heights: Float[np.ndarray, " n"],
    within: tuple[float, float],
) -> Float[np.ndarray, " n"]:
    """Centres near those wanted, in their order, of intervals that do not overlap.

    In maths: argmin of sum_i (c_i - w_i)^2 with c_{i+1} - c_i >= (h_i + h_{i+1}) / 2. Less the room
    below, sum_{j<i} h_j + h_i / 2, this is isotonic regression, which pools neighbours that are out
    of order; then all are moved inside.

    Args:
        wanted: rising.
        heights: of the intervals.
        within: where the intervals should lie, if there is room.
    """
    below = np.cumsum(heights) - heights / 2
    pools: list[list[float]] = []
    for shift in wanted - below:
        pools.append([shift])
        while len(pools) > 1:
            before, last = pools[-2:]
            if np.mean(before) <= np.mean(last):
                break
            pools[-2:] = [before + last]
    shifts = []
    for pool in pools:
        shifts += [np.mean(pool)] * len(pool)
    low, high = within
    # Shifts rise, so bounds on them keep the stack in order.
    inside = np.clip(shifts, low, max(low, high - heights.sum()))
    return inside + below


def axes_inches(axes: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "the panel must be in a figure"
    to_inches = figure.dpi_scale_trans.inverted()
    box = axes.get_window_extent().transformed(to_inches)
    return box.width, box.height


def _ends(
    axes: Axes,
    width: int,
) -> list[End]:
    """The right ends of the named lines, from the lowest up; ends outside are moved to the edge."""
    ends = []
    for line in axes.get_lines():
        points = _points(axes, line)
        if not _named(line) or len(points) == 0:
            continue
        x, y = points[-1]
        name = wrap(str(line.get_label()), width)
        end = End(
            x=float(x),
            y=min(max(float(y), 0.0), 1.0),
            name="\n".join(name),
            colour=to_hex(line.get_color()),
        )
        ends.append(end)
    return sorted(ends, key=lambda end: end.y)


def _named(line: Line2D) -> bool:
    return not str(line.get_label()).startswith("_")


def _points(
    axes: Axes,
    line: Line2D,
) -> Float[np.ndarray, "n 2"]:
    """Finite points of a line as shares of the panel; none of a line that is not in its units."""
    if line.get_transform() != axes.transData:
        return np.zeros((0, 2))
    x = np.asarray(line.get_xdata(), float)
    y = np.asarray(line.get_ydata(), float)
    shown = np.isfinite(x) & np.isfinite(y)
    if axes.get_yscale() == "log":
        shown &= y > 0
    points = np.stack([x[shown], y[shown]], axis=1)
    to_share = axes.transData + axes.transAxes.inverted()
    return to_share.transform(points)


def _ink(
    axes: Axes,
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Points all along the lines, as shares of the panel, and how much each counts."""
    ink, weights = [np.zeros((0, 2))], [np.zeros(0)]
    for line in axes.get_lines():
        points = _points(axes, line)
        if len(points):
            corners = np.arange(len(points))
            along = np.linspace(0, len(points) - 1, 20 * len(points))
            x = np.interp(along, corners, points[:, 0])
            y = np.interp(along, corners, points[:, 1])
            ink.append(np.stack([x, y], axis=1))
            weight = 1.0 if _named(line) else 0.1
            share = weight / len(along)
            weights.append(np.full(len(along), share))
    return np.concatenate(ink), np.concatenate(weights)
