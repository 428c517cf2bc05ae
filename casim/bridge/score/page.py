"""A report as one page: text for a terminal, HTML for a browser."""

from __future__ import annotations

from html import escape

from casim import markup
from casim.bridge.score.exact import SCORES
from casim.bridge.score.verdicts import Breach, Line, Report, Verdict, number
from casim.tables import aligned

SHOWN = 12
"""Tokens of a batch that the page has."""
INDENT = "  "
NAME = 36
"""Columns of a name."""
HEADS = ["", "slope", "cosine", "centred bias", "variance"]
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1rem }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid #ccc }
.pass { color: #00734d } .FAIL { color: #b00020; font-weight: 700 } .remark { color: #8a5a00 }
"""
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>
<body>
<h1>{title}</h1>
<p>{verdict}</p>
{body}
</body>
</html>
"""

Cells = list[list[str]]
"""Rows of a table, the first of heads."""


def to_text(report: Report) -> str:
    """The page as plain text."""
    lines = [_title(report), ""]
    for stage, answers in report.stages.items():
        lines.append(stage)
        for line in answers:
            lines += _answer(line)
        lines.append("")
    for place, line in enumerate(_shown(report), start=1):
        lines.append(f"{place}. {line.name}")
        lines += _batch(line)
        lines.append("")
    lines.append(_verdict(report))
    return "\n".join(lines)


def _answer(line: Line) -> list[str]:
    """A verdict in a line, and its numbers below."""
    said = f"{INDENT}{line.verdict:<8}{line.name:<{NAME}}{line.said}"
    lines = [said.rstrip()]
    if line.numbers is not None:
        table = aligned(_scores(line), 1)
        lines += _indented(table, 3)
    return lines


def _batch(line: Line) -> list[str]:
    """Why, and the batch that shows it."""
    lines = [f"{INDENT}{_why(line)}"]
    cells = _tokens(line.breach)
    if cells:
        table = aligned(cells, 0)
        lines += _indented(table, 2)
    return lines


def _indented(
    text: str,
    times: int,
) -> list[str]:
    before = times * INDENT
    return [before + line for line in text.splitlines()]


def to_html(report: Report) -> str:
    """The page as one HTML file that needs nothing else."""
    body = []
    for stage, answers in report.stages.items():
        rows = [_row(line) for line in answers]
        body.append(f"<h2>{escape(stage)}</h2>")
        body.append(f"<table>{''.join(rows)}</table>")
    for line in _shown(report):
        body.append(f"<h3>{escape(line.name)}</h3>")
        body.append(f"<p>{escape(_why(line))}</p>")
        body.append(_table(_tokens(line.breach)))
    return PAGE.format(
        title=escape(_title(report)),
        style=STYLE,
        verdict=escape(_verdict(report)),
        body="\n".join(body),
    )


def _row(line: Line) -> str:
    """A verdict as a row, and its numbers as the next."""
    verdict = f'<td class="{line.verdict}">{line.verdict}</td>'
    name = f"<td>{escape(line.name)}</td>"
    said = f"<td>{escape(line.said)}</td>"
    row = f"<tr>{verdict}{name}{said}</tr>"
    if line.numbers is None:
        return row
    table = _table(_scores(line))
    return f'{row}<tr><td></td><td colspan="2">{table}</td></tr>'


def _table(cells: Cells) -> str:
    """Rows of cells, nothing where there are none."""
    return markup.table(cells) if cells else ""


def _title(report: Report) -> str:
    title = f"{report.function}, called by {report.convention}"
    if report.claimed is None:
        return title
    return f"{title}, as {report.claimed}"


def _verdict(report: Report) -> str:
    """The last line."""
    verdicts = [line.verdict for line in report.lines]
    asked = len(verdicts) - verdicts.count(Verdict.SKIPPED)
    failed = verdicts.count(Verdict.FAIL)
    remarks = verdicts.count(Verdict.REMARK)
    what = "nothing is wrong" if report.passed else f"{failed} wrong"
    return f"{what}: {asked} questions, {failed} failed, {remarks} remarks"


def _shown(report: Report) -> list[Line]:
    """Failures that say more than a line."""
    return [line for line in report.failures if line.breach is not None]


def _why(line: Line) -> str:
    return line.said if line.breach is None else line.breach.why


def _scores(line: Line) -> Cells:
    """The scores of a line, a row for whoever has them."""
    cells = [HEADS]
    for who, scores in (line.numbers or {}).items():
        known = [scores.get(name, float("nan")) for name in SCORES]
        cells.append([who, *map(number, known)])
    return cells


def _tokens(breach: Breach | None) -> Cells:
    """The first tokens of a batch; none where no batch shows it."""
    if breach is None or breach.rows is None:
        return []
    table = breach.table
    shown = table[: 1 + SHOWN]
    left = len(table) - len(shown)
    if left > 0:
        empty = [""] * (len(table[0]) - 1)
        shown.append([f"and {left} more", *empty])
    return shown
