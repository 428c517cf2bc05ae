"""What rows were asked for, and how they were made: the plan and the provenance of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from casim.markup import Markup, breakable, element, joined, table
from casim.report import Row
from casim.tables import Lines, settings

MOST = 12
"""Values of a setting that are named one by one."""
OF_METHOD = ("label", "methodology", "estimator")
CONTROL = "control"


def plan(rows: Sequence[Row]) -> Markup:
    """What was asked: the methods, what varies, and what does not."""
    methods = [["methodology", "methods"], *_methods(rows)]
    varies, fixed = _settings(rows)
    varies = [["setting", "values"], *varies]
    summary = element("summary", f"What does not: {len(fixed)} settings")
    fixed = [["setting", "value"], *fixed]
    parts = [
        element("h3", "Methods"),
        table(methods),
        element("h3", "What varies"),
        table(varies),
        element("details", summary, table(fixed)),
    ]
    return joined(parts)


def _methods(rows: Sequence[Row]) -> Lines:
    """The labels of each methodology, controls last."""
    labels: dict[str, dict[str, None]] = {}
    for row in rows:
        own = labels.setdefault(row.methodology, {})
        own[row.label] = None
    order = sorted(labels, key=lambda name: name == CONTROL)
    lines = []
    for name in order:
        head = name.replace("_", " ")
        said = ", ".join(labels[name])
        lines.append([head, said])
    return lines


def _settings(rows: Sequence[Row]) -> tuple[Lines, Lines]:
    """Settings but those of methods: which vary, with their values, and which do not."""
    values: dict[str, dict[Any, None]] = {}
    for row in rows:
        for name, value in settings(row).items():
            if name.startswith(OF_METHOD):
                continue
            met = values.setdefault(name, {})
            met[value] = None
    varies, fixed = [], []
    for name, met in values.items():
        said = _listed(met)
        lines = varies if len(met) > 1 else fixed
        lines.append([breakable(name), said])
    return varies or [["nothing", ""]], fixed


def _listed(values: Iterable[Any]) -> str:
    """Values, the first of them where they are many."""
    said = ["none" if value is None else str(value) for value in values]
    if len(said) > MOST:
        left = len(said) - MOST
        said = [*said[:MOST], f"and {left} more"]
    return ", ".join(said)


def provenance(
    rows: Sequence[Row],
    source: str,
    digest: str,
    left_out: int,
) -> Markup:
    """What the rows were made by, and how to have them again.

    Args:
        rows: that the report shows.
        source: where they were read.
        digest: SHA-256 of the file.
        left_out: rows of the file that later ones answer again.
    """
    shown = f"{len(rows)} of {source}"
    if left_out:
        shown += f"; {left_out} more answer the same by other code, and are left out"
    compiling = sum(row.compile_time for row in rows)
    running = sum(row.wall_time for row in rows)
    devices = dict.fromkeys(row.device for row in rows)
    seeds = dict.fromkeys(row.seed for row in rows)
    sources = [row.sources for row in rows]
    versions = [row.versions for row in rows]
    time = f"{compiling:,.0f} s to compile, {running:,.0f} s to run"
    cells = [
        ["what", "which"],
        ["rows", shown],
        ["SHA-256 of the file", digest],
        *_named("code", sources),
        *_named("version of", versions),
        ["device", _listed(devices)],
        ["seeds", _listed(seeds)],
        ["time", time],
    ]
    parts = [
        table(cells),
        _mixed(rows),
        _commands(source),
    ]
    return joined(parts)


def _commands(source: str) -> Markup:
    """What shows parts of the report in a terminal."""
    items = []
    for words in ("table", "compare --against LABEL", "card", "report"):
        command, *options = words.split(" ", 1)
        line = " ".join(["casim", command, source, *options])
        code = element("code", line)
        items.append(element("li", code))
    head = element("p", "The same from a terminal:")
    commands = element("ul", *items)
    return joined([head, commands])


def _named(
    what: str,
    found: Iterable[dict[str, str]],
) -> Lines:
    """A line for each name, with all that rows have under it."""
    values: dict[str, dict[str, None]] = {}
    for each in found:
        for name, value in each.items():
            met = values.setdefault(name, {})
            met[value] = None
    lines = []
    for name, met in values.items():
        said = _listed(met)
        lines.append([f"{what} {name}", said])
    return lines


def _mixed(rows: Sequence[Row]) -> Markup | None:
    """A warning where rows are of several versions of the code."""
    versions = {row.sources.get("casim") for row in rows}
    if len(versions) < 2:
        return None
    said = f"These rows were made by {len(versions)} versions of casim, and are shown together."
    return element("p", said, class_="warning")
