"""What the survey says of credit, claim by claim: does it hold, and what flips it?

Run with `python experiments/claims.py [--quick] [--out FOLDER] [NAME...]`. Each claim of the survey
that can be tested (arXiv:2604.09459) is a small experiment in `experiments/hypotheses`, whose
answer is a sentence with numbers; nearly all are exact. What was found is kept in FOLDER as
`claims.json` and drawn; `--page docs/claims.md` writes the table of that page anew, and rows and
figure beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypotheses import (
    branching,
    critics,
    entropy,
    exploring,
    groups,
    hidden,
    judges,
    length,
    levels,
    memory,
    process,
    ratios,
    shaping,
)
from hypotheses.found import Claim, Curve, Found, Panel
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from casim.figures import COLUMN, save, style
from casim.figures.style import MARKERS

ROOMS = (
    *(length, critics, levels, branching, entropy, exploring, groups),
    *(process, shaping, ratios, judges, hidden, memory),
)
CLAIMS: tuple[Claim, ...] = tuple(claim for room in ROOMS for claim in room.CLAIMS)
DRAWN = (
    "step_snr",
    "td_or_outcome",
    "branches",
    "coarse_or_fine",
    "entropy",
    "contrasts",
    "sum_or_minimum",
    "shuffled_labels",
    "refed",
    "memory",
)
"""What the figure shows where all claims were measured: as many as fit a column."""
COLUMNS = 2
ROW = 1.8
"""Height of a row of panels in inches."""
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#882255",
    "#777777",
)
DASHES = ("-", "--", "-", "--", "-.", ":", "-.", ":")
"""So that lines that lie on each other are both seen."""
BEGIN, END = "<!-- made by experiments/claims.py -->", "<!-- end of what it made -->"
HEAD = ("claim", "of the survey", "verdict", "what is measured", "what flips it")

Results = Mapping[str, Found]


def to_json(found: Results) -> str:
    """What was found, as plain JSON, a line for each claim."""
    lines = []
    for name, one in found.items():
        curves = [curve._asdict() for curve in one.panel.curves]
        panel = {**one.panel._asdict(), "curves": curves}
        plain = {**one._asdict(), "panel": panel}
        lines.append(f"{json.dumps(name)}: {json.dumps(plain, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def from_json(text: str) -> dict[str, Found]:
    """The same, read again."""
    found = {}
    for name, plain in json.loads(text).items():
        curves = [Curve(**curve) for curve in plain["panel"]["curves"]]
        panel = Panel(**{**plain["panel"], "curves": curves})
        found[name] = Found(plain["verdict"], plain["numbers"], panel)
    return found


def answer(claim: Claim, found: Found) -> str:
    """The sentence with its numbers."""
    return claim.answer.format(**found.numbers)


def flips(claim: Claim, found: Found) -> str:
    """What turns it, with its numbers."""
    return claim.flips.format(**found.numbers)


def row(claim: Claim, found: Found) -> str:
    """A row of the table, in Markdown."""
    cells = (
        f"`{claim.name}`: {claim.says}",
        claim.hypothesis,
        f"**{found.verdict}** ({claim.how})",
        answer(claim, found),
        flips(claim, found),
    )
    return f"| {' | '.join(cells)} |"


def table(found: Results) -> str:
    """A row of Markdown for each claim."""
    head = f"| {' | '.join(HEAD)} |"
    rule = "|---" * len(HEAD) + "|"
    rows = [row(claim, found[claim.name]) for claim in CLAIMS if claim.name in found]
    return "\n".join([head, rule, *rows])


def paged(page: str, found: Results) -> str:
    """A page with its table made anew.

    Raises:
        ValueError: the page does not say where the table goes.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page must have the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}"


def report(claim: Claim, found: Found, seconds: float) -> str:
    """What is printed of a claim."""
    lines = [
        f"{claim.name} ({claim.hypothesis}): {claim.says}",
        f"  {found.verdict}, {claim.how}, {seconds:.1f} s",
    ]
    for text in (answer(claim, found), f"flips: {flips(claim, found)}"):
        lines += textwrap.wrap(text, 96, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def draw(found: Results, width: float = COLUMN) -> Figure:
    """A panel for each claim, or for those of the figure if all were measured."""
    whole = set(DRAWN) <= set(found)
    names = DRAWN if whole else tuple(found)
    rows = math.ceil(len(names) / COLUMNS)
    with style():
        figure = Figure(figsize=(width, ROW * rows))
        # Half of a row is title, axis and legend.
        figure.subplots_adjust(
            left=0.13,
            right=0.98,
            top=1 - 0.24 / (ROW * rows),
            bottom=0.68 / (ROW * rows),
            hspace=1.05,
            wspace=0.42,
        )
        panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            _panel(axes, found[name])
        for spare in panels[len(names) :]:
            spare.set_axis_off()
    return figure


def _panel(axes: Axes, found: Found) -> None:
    panel = found.panel
    for place, curve in enumerate(panel.curves):
        axes.plot(
            curve.x,
            curve.y,
            color=COLOURS[place],
            linestyle=DASHES[place],
            marker=MARKERS[place],
            markersize=2.2,
            markevery=max(1, len(curve.x) // 8),
            linewidth=0.9,
            label=curve.label,
        )
        if curve.low:
            band = {"color": COLOURS[place], "alpha": 0.2, "linewidth": 0}
            axes.fill_between(curve.x, curve.low, curve.high, **band)
    if "x" in panel.log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if "y" in panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=5.5, pad=1)
    axes.set_title(f"{panel.title}\n({found.verdict})", fontsize=5.8, loc="left", pad=2)
    axes.set_xlabel(panel.x, fontsize=5.8, labelpad=1)
    axes.set_ylabel(panel.y, fontsize=5.8, labelpad=1)
    # Below the panel, where no line is.
    axes.legend(
        fontsize=5.3,
        loc="upper left",
        bbox_to_anchor=(-0.08, -0.24),
        handlelength=2.2,
        labelspacing=0.12,
        handletextpad=0.4,
    )


def measured(names: Sequence[str], quick: bool) -> dict[str, Found]:
    """What is found of these claims, or of all; said as it comes."""
    found = {}
    for claim in CLAIMS:
        if not names or claim.name in names:
            begin = time.perf_counter()
            found[claim.name] = claim.measure(quick)
            seconds = time.perf_counter() - begin
            print(report(claim, found[claim.name], seconds), flush=True)
    return found


def keep(found: Results, path: Path) -> None:
    """Rows and figure under a name."""
    path.with_suffix(".json").write_text(to_json(found) + "\n")
    save(draw(found), path.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    known = [claim.name for claim in CLAIMS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="fewer runs where any are sampled")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder")
    parser.add_argument("--page", type=Path, help="a page whose table is made anew")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"NAME must be among {', '.join(known)}, got {', '.join(unknown)}")
    if options.page and (options.names or options.quick):
        parser.error("--page is made from all claims, without NAME and --quick")
    found = measured(options.names, options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    keep(found, options.out / ("claims_quick" if options.quick else "claims"))
    if options.page:
        options.page.write_text(paged(options.page.read_text(), found))
        keep(found, options.page.with_suffix(""))


if __name__ == "__main__":
    main()
