"""Tables of rows: tidy records for pandas, polars and CSV, and tables for people and papers.

A *setting* is a field of a recipe or of the study, under a name with dots: "task" is the class of
the task, "task.horizon" one of its fields, "num_trajectories" a field of the study. A setting
*varies* if the rows that have it hold more than one value of it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from casim.checks import check_choice
from casim.report import RESERVED, Row
from casim.scores import Score

RECIPES = ("task", "policy", "judge", "estimator")
OPTIONAL = ("behaviour", "reference")
"""Recipes that most rows do not have."""
BUDGETS = ("num_prompts", "num_trajectories", "share", "replicates", "seed")
ALWAYS = ("study", *RECIPES, "label", "methodology", "num_steps", *BUDGETS)
"""Settings that every record has, whether they vary or not."""
SCORE = ("score", "value", "low", "high", "count", "note")
"""What a record says of its score."""

Record = dict[str, Any]
Lines = list[list[str]]
"""Cells of a table, the first line the names of its columns."""


def settings(row: Row) -> Record:
    """All that was set to measure a row, by name: recipes as their class names and their fields."""
    found: Record = {"study": row.study}
    for name in (*RECIPES, *OPTIONAL):
        found |= _flat(name, getattr(row, name))
    for name, judge in (row.judges or {}).items():
        found |= _flat(f"judges.{name}", judge)
    for name in ("label", "methodology", "num_steps", *BUDGETS):
        found[name] = getattr(row, name)
    return found


def _flat(
    name: str,
    value: Any,
) -> Record:
    """A setting by its name; a recipe also gives a setting for each of its fields."""
    if not isinstance(value, Mapping):
        return {name: _text(value) if isinstance(value, list) else value}
    found = {name: value["recipe"]}
    for field, inner in value.items():
        if field not in RESERVED:
            found |= _flat(f"{name}.{field}", inner)
    return found


def _text(value: Any) -> str:
    """A tuple as it is written in Python, for cells that must hold text."""
    if isinstance(value, list):
        inner = [_text(item) for item in value]
        comma = "," if len(inner) == 1 else ""
        items = ", ".join(inner)
        return f"({items}{comma})"
    if isinstance(value, Mapping):
        shown = {field: _text(x) for field, x in value.items() if field not in RESERVED}
        inner = ", ".join(f"{field}={text}" for field, text in shown.items())
        return f"{value['recipe']}({inner})"
    return repr(value)


def varying(rows: Sequence[Row]) -> list[str]:
    """The settings that vary among rows, in the order in which they are first met."""
    values: dict[str, set] = {}
    for row in rows:
        for name, value in settings(row).items():
            values.setdefault(name, set()).add(value)
    return [name for name, met in values.items() if len(met) > 1]


def to_records(
    rows: Sequence[Row],
    scores: Sequence[str] | None = None,
) -> list[Record]:
    """Rows as a tidy table: a record for each row and each of its scores.

    Records have the same keys in the same order. A column holds values of one type, or None: what
    is set in different types (a number of pivots here, their places there) is text. So they can be
    handed to `pandas.DataFrame` or `polars.DataFrame` as they are.

    Args:
        rows: of any studies.
        scores: which scores; all that any row has if left out.

    Raises:
        ValueError: a score that no row has.
    """
    chosen = known_scores(rows) if scores is None else _checked(rows, scores)
    others = [name for name in varying(rows) if name not in ALWAYS]
    names = [*ALWAYS, *others]
    found = [settings(row) for row in rows]
    columns = {}
    for name in names:
        values = [each.get(name) for each in found]
        columns[name] = _of_one_type(values)
    records = []
    for place, row in enumerate(rows):
        setting = {name: column[place] for name, column in columns.items()}
        for name in chosen:
            if name in row.scores:
                numbers = [_finite(x) for x in row.scores[name]]
                said = (name, *numbers, row.notes.get(name))
                record = dict(zip(SCORE, said, strict=True))
                records.append(setting | record)
    return records


def _of_one_type(values: list[Any]) -> list[Any]:
    """Values as they are if they are of one type, floats if they are numbers, else text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1:
        return values
    kind = float if kinds == {int, float} else str
    return [None if value is None else kind(value) for value in values]


def to_csv(
    rows: Sequence[Row],
    scores: Sequence[str] | None = None,
) -> str:
    """The records of `to_records` as CSV with a header; what is missing is an empty cell."""
    text = io.StringIO()
    records = to_records(rows, scores)
    names = records[0] if records else (*ALWAYS, *SCORE)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def known_scores(rows: Sequence[Row]) -> list[str]:
    """The names of the scores that any row has, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.scores))


def _checked(
    rows: Sequence[Row],
    scores: Sequence[str],
) -> Sequence[str]:
    for name in scores:
        check_choice("scores", name, known_scores(rows))
    return scores


class Number(NamedTuple):
    """A score as it is printed."""

    value: str
    half: str
    """Half the width of its interval; empty if there is none or it is not wanted."""


def tabulate(
    rows: Sequence[Row],
    scores: Sequence[str],
    interval: bool = False,
    times: bool = False,
) -> str:
    """A plain-text table of some scores: a line for each row, a column for each knob that varies.

    Args:
        rows: what to show.
        scores: names of the columns.
        interval: adds half-widths of the 95% intervals.
        times: adds seconds of compiling, which methods share, and of running.

    Raises:
        ValueError: a score that no row has.
    """
    left = telling(rows)
    cells = _cells(rows, left, scores, interval, " ±")
    if times:
        cells[0] += ["compile s", "run s"]
        for line, row in zip(cells[1:], rows, strict=True):
            compiled = f"{row.compile_time:.2f}"
            line += [compiled, f"{row.wall_time:.2f}"]
    return aligned(cells, len(left))


def to_markdown(
    rows: Sequence[Row],
    scores: Sequence[str],
) -> str:
    """The table of `tabulate`, with intervals, in GitHub's Markdown."""
    left = telling(rows)
    cells = _cells(rows, left, scores, True, " ± ")
    return marked(cells, len(left))


def marked(
    cells: Lines,
    left: int,
) -> str:
    """Cells as a table of GitHub's Markdown; the first columns, `left` of them, are flush left."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    head, *body = cells
    sides = ["---" if place < left else "---:" for place in range(len(head))]
    lines = [" | ".join(line) for line in (head, sides, *body)]
    return "\n".join(f"| {line} |" for line in lines)


def to_latex(
    rows: Sequence[Row],
    scores: Sequence[str],
) -> str:
    """The table of `tabulate`, with intervals, as a LaTeX tabular of the package booktabs."""
    left = telling(rows)
    cells = _cells(rows, left, scores, True, " ± ")
    number = len(left)
    lines = []
    for line in cells:
        words = [escaped(cell) for cell in line[:number]]
        if line is cells[0]:
            numbers = [escaped(cell) for cell in line[number:]]
        else:
            numbers = [_mathematical(cell) for cell in line[number:]]
        lines.append([*words, *numbers])
    shape = "l" * number + "r" * len(scores)
    return tabular(lines, shape)


def tabular(
    lines: Lines,
    shape: str,
) -> str:
    """Cells that are LaTeX already as a tabular of the package booktabs; `shape` is its columns."""
    head, *body = [" & ".join(line) + r" \\" for line in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{shape}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def telling(rows: Sequence[Row]) -> list[str]:
    """The settings that a table shows: the task, its horizon, what else varies, and the method.

    Settings of the method are in its label, and a field that is the horizon is not said twice.
    """
    shown = []
    for name in varying(rows):
        said = name in ("task", "label", "methodology", "num_steps")
        of_method = name.startswith("estimator")
        if not (said or of_method or _is_horizon(rows, name)):
            shown.append(name)
    return ["task", "horizon", *shown, "label"]


def _is_horizon(
    rows: Sequence[Row],
    name: str,
) -> bool:
    """Whether a setting is the horizon knob of every task that has it."""
    if not name.startswith("task."):
        return False
    return all(settings(row).get(name, row.horizon) == row.horizon for row in rows)


def _cells(
    rows: Sequence[Row],
    left: Sequence[str],
    scores: Sequence[str],
    interval: bool,
    sign: str,
) -> Lines:
    """The cells of a table; `left` are settings, "label" is headed "estimator"."""
    _checked(rows, scores)
    heads = ["estimator" if name == "label" else name for name in left]
    cells = [[*heads, *scores]]
    for row in rows:
        line = setting_cells(row, left)
        for name in scores:
            value, half = _number(row.scores.get(name), interval)
            line.append(value + (sign + half if half else ""))
        cells.append(line)
    return cells


def _number(
    score: Score | None,
    interval: bool,
) -> Number:
    if score is None or math.isnan(score.value):
        return Number("-", "")
    half = (score.high - score.low) / 2
    shown = interval and not math.isnan(half)
    width = f"{half:.1g}" if shown else ""
    return Number(f"{score.value:.3g}", width)


def setting_cells(
    row: Row,
    names: Sequence[str],
) -> list[str]:
    """Settings of a row as cells; "horizon" is one of them."""
    found = settings(row) | {"horizon": row.horizon}
    values = [found.get(name) for name in names]
    return ["-" if value is None else str(value) for value in values]


def aligned(
    cells: Lines,
    left: int,
) -> str:
    """Cells as plain text; the first columns, `left` of them, are flush left."""
    columns = zip(*cells, strict=True)
    widths = [max(map(len, column)) for column in columns]
    sides = [str.ljust if place < left else str.rjust for place in range(len(widths))]
    lines = []
    for line in cells:
        padded = [to(x, width) for to, x, width in zip(sides, line, widths, strict=True)]
        lines.append("  ".join(padded))
    return "\n".join(lines)


_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
_SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def escaped(text: str) -> str:
    """Text for LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _mathematical(cell: str) -> str:
    """`1.2e+03 ± 5e+01` in LaTeX's mathematics; a dash stays."""
    if cell == "-":
        return "--"
    parts = [_power(part) for part in cell.split(" ± ")]
    number = r" \pm ".join(parts)
    return f"${number}$"


def _power(number: str) -> str:
    value, mark, exponent = number.partition("e")
    if not mark:
        return value
    power = int(exponent)
    return rf"{value} \times 10^{{{power}}}"


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
