"""A report as one page: text for a terminal, HTML for a browser."""

from __future__ import annotations

import textwrap

from casim.bridge.score.legend import COLUMNS, legend
from casim.bridge.score.verdicts import Breach, Line, Report, Verdict, number
from casim.markup import Markup, element, page, table
from casim.tables import aligned

SHOWN = 12
"""Tokens of a batch that the page has."""
INDENT = "  "
NAME = 36
"""Columns of a name."""
WORD = 20
"""And of a word that the legend explains."""
WIDTH = 100
"""Of a line of the legend."""
HEADS = ["", *(column.head for column in COLUMNS.values())]
READING = "how to read it"
STYLE = """
:root {
  --ink: #1a1f26; --ground: #fff; --line: #ccc; --good: #00734d; --bad: #b00020; --warn: #8a5a00;
}
@media (prefers-color-scheme: dark) { :root {
  --ink: #e6e9ed; --ground: #13161a; --line: #444; --good: #6fd6a8; --bad: #ff8fa0; --warn: #f0b765;
} }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--ground); overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25 }
a { color: inherit }
.wide { overflow-x: auto; margin: .5rem 0 1rem }
.wide td, .wide th { white-space: nowrap }
table { border-collapse: collapse }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid var(--line) }
.line { display: grid; grid-template-columns: 4rem minmax(0, 19rem) minmax(0, 1fr); gap: 0 .8rem }
.pass { color: var(--good) } .remark { color: var(--warn) }
.FAIL { color: var(--bad); font-weight: 700 }
dl { display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: .2rem .8rem }
dt { font-weight: 600 } dd { margin: 0; max-width: 46rem }
@media (max-width: 40rem) {
  .line { grid-template-columns: 4rem minmax(0, 1fr); margin-bottom: .35rem }
  .said { grid-column: 2 }
  .wide { font-size: .8rem }
  .wide th { white-space: normal; overflow-wrap: normal }
  .wide td, .wide th { padding-right: .35rem }
  dl { display: block } dd { margin-bottom: .5rem }
}
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
    lines += _legend(report)
    lines.append(_verdict(report))
    return "\n".join(lines)


def _legend(report: Report) -> list[str]:
    """What each word means, in lines that fit a terminal."""
    lines = [READING]
    before = INDENT + " " * WORD
    for word, said in legend(report).items():
        head = f"{INDENT}{word:<{WORD}}"
        lines += textwrap.wrap(said, WIDTH, initial_indent=head, subsequent_indent=before)
    return [*lines, ""]


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
    title = _title(report)
    link = element("a", READING, href="#reading")
    body = [element("h1", title), element("p", f"{_verdict(report)}. ", link)]
    for stage, answers in report.stages.items():
        body.append(element("h2", stage))
        body += [element("div", *_row(line)) for line in answers]
    for line in _shown(report):
        body += [element("h3", line.name), element("p", _why(line)), _table(_tokens(line.breach))]
    body.append(element("h2", READING, id="reading"))
    body.append(element("dl", *_terms(report)))
    return page(title, body, STYLE)


def _row(line: Line) -> list[Markup]:
    """A verdict in a line, and its numbers below."""
    cells = [
        element("span", str(line.verdict), class_=str(line.verdict)),
        element("span", line.name),
        element("span", line.said, class_="said"),
    ]
    said = element("div", *cells, class_="line")
    return [said] if line.numbers is None else [said, _table(_scores(line))]


def _terms(report: Report) -> list[Markup]:
    """What each word means, as terms and their definitions."""
    pairs = legend(report).items()
    return [
        element(tag, text) for pair in pairs for tag, text in zip(("dt", "dd"), pair, strict=True)
    ]


def _table(cells: Cells) -> Markup:
    """Rows of cells that scroll where they are wider than the page; nothing where none are."""
    return element("div", table(cells), class_="wide") if cells else Markup("")


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
        known = [scores.get(name, float("nan")) for name in COLUMNS]
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
