"""One look for every figure: sizes that fit a paper's column, and a colour per methodology."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

COLUMN, PAGE = 3.4, 7.0
"""Widths in inches of one column and of a full page."""

COLOR = {
    "monte_carlo": "#0072B2",
    "temporal_difference": "#D55E00",
    "model_based": "#009E73",
    "game_theoretic": "#CC79A7",
    "information_theoretic": "#E69F00",
    "control": "#777777",
}
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

SPARE = (
    "#56B4E9",
    "#332288",
    "#882255",
    "#999933",
    "#661100",
    "#7F3C8D",
    "#4B4B00",
)
"""Colours for methodologies that casim does not know; none is in `COLOR`."""

MARKERS = "osD^vP*X<>hp"

MARK = dict(zip(COLOR, MARKERS, strict=False))
"""A mark for each methodology, where methods are not told apart."""

SETTINGS: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "figure.dpi": 150,
    # What a paper asks of a file: fine pixels, fonts that are no bitmaps, text that stays text.
    "savefig.dpi": 300,
    "savefig.bbox": "tight",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """The settings shared by all figures, while they are drawn and while they are saved."""
    with mpl.rc_context(SETTINGS):
        yield


def save(figure: Figure, path: str | Path) -> None:
    """Saves a figure as papers want it; the ending of the path chooses the format.

    Pixels at 300 dpi, TrueType fonts in PDF and PostScript, text as text in SVG.
    """
    with style():
        figure.savefig(path)


def colours(methodologies: Iterable[str]) -> dict[str, str]:
    """A colour for each methodology; those that casim does not know get colours of their own.

    The name alone chooses the colour, so it is the same in every figure, except where two unknown
    names of one figure choose alike: the later one in the alphabet then takes the next free colour.
    """
    names = sorted(set(methodologies))
    found = {name: COLOR[name] for name in names if name in COLOR}
    unknown = [name for name in names if name not in COLOR]
    free: list[str] = [*SPARE]
    while len(free) < len(unknown):
        free.append(_beyond(len(free)))
    for name in unknown:
        # The colours start at the name's own place and go round.
        place = zlib.crc32(name.encode()) % len(SPARE)
        order = free[place:] + free[:place]
        taken = found.values()
        found[name] = next(colour for colour in order if colour not in taken)
    return found


def shade(colour: str, place: int, number: int) -> str:
    """The place-th of so many shades of a colour, from dark to light."""
    if number == 1:
        return colour
    share = 2 * place / (number - 1) - 1
    if share > 0:
        towards, weight = 1.0, 0.4 * share
    else:
        towards, weight = 0.0, -0.45 * share
    red, green, blue = (part + weight * (towards - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def dark(colour: str) -> str:
    """The colour for text, which is thin and needs more contrast than a line."""
    red, green, blue = (0.7 * part for part in to_rgb(colour))
    return to_hex((red, green, blue))


def _beyond(place: int) -> str:
    """Colours after the last spare one: hues that lie apart, by the golden section."""
    hue = (0.618034 * place) % 1.0
    return to_hex(colorsys.hsv_to_rgb(hue, 0.55, 0.65))
