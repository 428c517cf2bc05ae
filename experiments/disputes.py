"""What trainers' issue threads argue about, question by question: exact numbers and a sentence.

Run with `python experiments/disputes.py [NAME ...] [--page docs/disputes.md]`. Each dispute is a
small experiment in `experiments/settled`: every trajectory and every group is listed, in double
precision, so that nothing is sampled. `--page` writes that part of the page anew, and the numbers
beside it as JSON.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from settled import ROOMS
from settled.found import Dispute, Found

DISPUTES: tuple[Dispute, ...] = tuple(dispute for room in ROOMS for dispute in room.DISPUTES)
BEGIN = "<!-- made by experiments/disputes.py -->"
END = "<!-- end of what it made -->"
WIDTH = 96
"""Of what is printed."""

Results = Mapping[str, Found]


def to_json(found: Results) -> str:
    """What was found, as plain JSON, a line for each dispute."""
    lines = []
    for name, one in found.items():
        plain = json.dumps(one._asdict(), allow_nan=False)
        lines.append(f'"{name}": {plain}')
    every = ",\n".join(lines)
    return f"{{\n{every}\n}}"


def from_json(text: str) -> dict[str, Found]:
    """The same, read again."""
    every = json.loads(text)
    return {name: Found(**plain) for name, plain in every.items()}


def answer(dispute: Dispute, found: Found) -> str:
    """The sentence with its numbers."""
    return dispute.answer.format(**found.numbers)


def flips(dispute: Dispute, found: Found) -> str:
    """What turns it, with its numbers."""
    return dispute.flips.format(**found.numbers)


def cell(x: float) -> str:
    """A number of a table, to four significant digits; 1 is a cosine as exact as doubles are."""
    near = round(x, 9)
    if near == 0:
        return "0"
    plain = 1e-3 <= abs(near) < 1e5
    return f"{near:.4g}" if plain else f"{near:.2e}"


def table(found: Found) -> str:
    """Its table in Markdown."""
    lines = [
        _line("", found.columns),
        _line("---", ["---"] * len(found.columns)),
    ]
    for name, row in found.rows.items():
        cells = [cell(x) for x in row]
        lines.append(_line(name, cells))
    return "\n".join(lines)


def _line(first: str, cells: Sequence[str]) -> str:
    """A line of a table."""
    rest = " | ".join(cells)
    return f"| {first} | {rest} |"


def section(dispute: Dispute, found: Found) -> str:
    """What the page says of it."""
    said = answer(dispute, found)
    turned = flips(dispute, found)
    parts = [
        f"### {dispute.question}",
        f"`{dispute.name}`, asked in {dispute.asked}: **{found.verdict}**.",
        f"> {said}",
        table(found),
        f"What turns it: {turned}.",
        f"Measured on: {dispute.world}",
    ]
    return "\n\n".join(parts)


def sections(found: Results) -> str:
    """Those that were found, in order."""
    parts = []
    for dispute in DISPUTES:
        if dispute.name in found:
            one = found[dispute.name]
            parts.append(section(dispute, one))
    return "\n\n".join(parts)


def paged(page: str, found: Results) -> str:
    """A page with its answers made anew.

    Raises:
        ValueError: the page does not say where they go.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page must have the lines {BEGIN!r} and {END!r}")
    made = sections(found)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def report(dispute: Dispute, found: Found, seconds: float) -> str:
    """What is printed of a dispute."""
    turned = flips(dispute, found)
    lines = [
        f"{dispute.name}: {dispute.question}",
        f"  {found.verdict}, {seconds:.1f} s",
    ]
    for text in (answer(dispute, found), f"what turns it: {turned}"):
        lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    numbers = textwrap.indent(table(found), "  ")
    return "\n".join([*lines, numbers])


def measured(names: Sequence[str]) -> dict[str, Found]:
    """What is found of these disputes, or of all; said as it comes."""
    found = {}
    for dispute in DISPUTES:
        if names and dispute.name not in names:
            continue
        begin = time.perf_counter()
        one = dispute.measure()
        seconds = time.perf_counter() - begin
        print(report(dispute, one, seconds), flush=True)
        found[dispute.name] = one
    return found


def main() -> None:
    first, *_ = str(__doc__).splitlines()
    parser = argparse.ArgumentParser(description=first)
    names = [dispute.name for dispute in DISPUTES]
    known = ", ".join(names)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=known,
    )
    parser.add_argument(
        "--page",
        type=Path,
        help="a page whose answers are made anew",
    )
    options = parser.parse_args()
    for name in options.names:
        if name not in names:
            parser.error(f"NAME must be among {known}, got {name}")
    if options.page and options.names:
        parser.error("--page is made from all disputes, without NAME")
    found = measured(options.names)
    if options.page:
        page = options.page.read_text()
        options.page.write_text(paged(page, found))
        kept = to_json(found)
        beside = options.page.with_suffix(".json")
        beside.write_text(f"{kept}\n")


if __name__ == "__main__":
    main()
