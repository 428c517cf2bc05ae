"""What the survey counted in papers: diagnostics that they answer, and items that they report."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from casim import survey
from casim.figures import COLUMN, style
from casim.survey.audit import WORDS, audit
from casim.survey.questions import CHECKLIST
from pictures.picture import Picture, Table
from pictures.sheet import GREY, INK, LINE, SIZE, inches, sheet, spoken, write

BAR = "#5B7083"
"""Of counts that are of no family."""


def diagnostics() -> Table:
    """A line for each of the six diagnostics."""
    found = audit()
    return [
        {
            "code": each.code,
            "breaks": each.breaks,
            "positives": each.positives,
            "papers": found.papers,
            "share": round(each.positives / found.papers, 4),
            "agreed": each.agreed,
            "agreement": round(each.agreed / found.papers, 4),
            "kappa": each.kappa,
        }
        for each in found.diagnostics
    ]


def draw_diagnostics(table: Table) -> Figure:
    """Left, how many papers answer each; right, how far two coders agreed on that."""
    names = ["{breaks}  {code}".format(**line) for line in table]
    with style():
        figure = Figure(figsize=(COLUMN, 1.75), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
        _counts(left, table)
        _agreement(right, table)
        left.set_yticks(range(len(table)), names)
        left.invert_yaxis()
        figure.legend(
            *right.get_legend_handles_labels(),
            loc="outside upper right",
            ncols=2,
            fontsize=SIZE,
            borderpad=0,
            handletextpad=0.2,
        )
        for axes in (left, right):
            axes.tick_params(labelsize=SIZE, left=False)
            axes.grid(visible=False, axis="y")
            axes.set_axisbelow(True)
    return figure


def _counts(axes: Axes, table: Table) -> None:
    """A bar for each diagnostic, its number at the end."""
    papers = table[0]["papers"]
    for place, line in enumerate(table):
        count = line["positives"]
        axes.barh(place, count, color=BAR, height=0.62)
        look = {"va": "center", "fontsize": SIZE, "color": INK}
        axes.text(count + 0.6, place, str(count), **look)
    axes.set_xlim(0, papers)
    axes.set_xticks([0, papers // 2, papers])
    axes.set_xlabel(f"papers, of {papers}", fontsize=SIZE)


def _agreement(axes: Axes, table: Table) -> None:
    """Kappa and the share of equal codes."""
    places = range(len(table))
    kappa = [line["kappa"] for line in table]
    agreed = [line["agreement"] for line in table]
    axes.plot(kappa, places, "o", color=INK, label="kappa")
    axes.plot(
        agreed,
        places,
        "|",
        color=INK,
        markersize=6,
        label="share agreed",
    )
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_xlabel("two coders", fontsize=SIZE)


def items() -> Table:
    """A line for each number, and for each item of each paper that was tried.

    `part` is "trial" for three papers, item by item; "core" for the 41 methods of the first
    version; "audit" for the 42 papers of the revision, where `item` is a field of the audit.
    """
    found = audit()
    names = {record.id: record.name for record in survey.inventory()}
    core = f"{found.core} core methods"
    papers = f"{found.papers} papers"
    table: Table = []
    for question in CHECKLIST:
        for paper, said in found.trial.items():
            word = said.get(question.id, "")
            count = 1 if word else ""
            line = _line("trial", question.id, names[paper], word, count)
            table.append(line)
    for item, count in found.reported.items():
        table.append(_line("core", item, core, "yes", count))
    for field in found.fields:
        for word, count in field.counts.items():
            table.append(_line("audit", field.name, papers, word, count))
    return table


def _line(part: str, item: str, of: str, word: str, count: int | str) -> dict:
    return {"part": part, "item": item, "of": of, "word": word, "count": count}


LEFT, LANE = 1.05, 0.46
"""Inches of the names of items, and of a column."""
HEAD, ROW = 0.3, 0.125
"""Inches of the names of columns, and of an item."""
BAR_HEIGHT = 0.09
ABSENT, INAPPLICABLE = ("absent", "not reported"), "not applicable"
"""Words of the audit that say that nothing is reported, and that nothing can be."""
FILLS = dict(zip(WORDS, ("full", "left", "none"), strict=True))
"""How much of a circle is filled."""


def draw_checklist(table: Table) -> Figure:
    """Above, the checklist tried on three papers and on the core; below, the audit as bars."""
    bars: dict[str, Table] = {}
    for line in table:
        if line["part"] == "audit":
            bars.setdefault(line["item"], []).append(line)
    middle = HEAD + ROW * len(CHECKLIST) + 0.42
    heights = []
    for lines in bars.values():
        *_, (_, lowest) = _place_words(lines)
        heights.append(lowest + LINE + 0.24)
    with style():
        figure, axes = sheet(middle + sum(heights))
        _items(axes, table)
        title = f"{_audited(table)}, by what they say"
        write(axes, 0.03, middle - 0.1, title, fontweight="bold")
        y = middle
        for lines, height in zip(bars.values(), heights, strict=True):
            _bar(axes, y, lines)
            y += height
    return figure


def _audited(table: Table) -> str:
    found = (line["of"] for line in table if line["part"] == "audit")
    return next(found)


def _items(axes: Axes, table: Table) -> None:
    """A row for each item: circles for the papers that were tried, the number of the core."""
    shown = [line for line in table if line["part"] != "audit"]
    x, y = {}, {}
    for line in shown:
        name = line["of"]
        if name not in x:
            middle = len(x) + 0.5
            x[name] = LEFT + LANE * middle
            head = name.replace(" core ", " core\n")
            write(axes, x[name], HEAD / 2, head, ha="center")
    for place, question in enumerate(CHECKLIST):
        y[question.id] = HEAD + ROW * (place + 0.5)
        name = question.id.replace("ca_", "credit_")
        weight = "bold" if question.required else "normal"
        at = 0.03, y[question.id]
        write(axes, *at, spoken(name), fontweight=weight)
    for line in shown:
        at = x[line["of"]], y[line["item"]]
        if line["part"] == "core":
            write(axes, *at, str(line["count"]), ha="center")
        elif line["word"]:
            _circle(axes, *at, line["word"])
    below = len(CHECKLIST) + 0.8
    _circles(axes, HEAD + ROW * below)


def _circles(axes: Axes, y: float) -> None:
    """What circles and letters mean."""
    x = 0.06
    for word in WORDS:
        _circle(axes, x, y, word)
        write(axes, x + 0.06, y, word)
        x += 0.14 + inches(word)
    said = "reported; bold: required; number: how many report it"
    write(axes, x, y, said, color=GREY)


def _circle(axes: Axes, x: float, y: float, word: str) -> None:
    axes.plot(
        x,
        y,
        marker="o",
        markersize=4.2,
        fillstyle=FILLS[word],
        color=INK,
        markerfacecoloralt="white",
        markeredgewidth=0.6,
    )


def _bar(axes: Axes, y: float, lines: Table) -> None:
    """A bar of all papers in parts, its name above, and below what each part says."""
    total = sum(line["count"] for line in lines)
    name = lines[0]["item"]
    write(axes, 0.03, y + 0.04, name)
    top = y + 0.1
    left = 0.03
    for place, line in enumerate(lines):
        width = (COLUMN - 0.06) * line["count"] / total
        look = _box(lines, place)
        part = Rectangle((left, top), width, BAR_HEIGHT, **look)
        axes.add_patch(part)
        left += width
    for place, (x, down) in enumerate(_place_words(lines)):
        middle = top + BAR_HEIGHT + 0.07 + down
        look = _box(lines, place)
        swatch = Rectangle((x, middle - 0.025), 0.05, 0.05, **look)
        axes.add_patch(swatch)
        said = _said(lines[place])
        write(axes, x + 0.08, middle, said)


def _said(line: dict) -> str:
    return f"{line['word']} {line['count']}"


def _place_words(lines: Table) -> list[tuple[float, float]]:
    """Where the words of each part stand: from the left, and below the first line."""
    places = []
    x, y = 0.03, 0.0
    for line in lines:
        width = 0.16 + inches(_said(line))
        if x + width > COLUMN + 0.05:
            x, y = 0.03, y + LINE
        places.append((x, y))
        x += width
    return places


def _box(lines: Table, place: int) -> dict:
    """The look of a part: darker the more is reported, white if nothing, hatched if nothing can."""
    word = lines[place]["word"]
    look = {"edgecolor": INK, "linewidth": 0.4, "facecolor": "white"}
    if word == INAPPLICABLE:
        return {**look, "hatch": "//////"}
    if word not in ABSENT:
        words = [line["word"] for line in lines]
        graded = [word for word in words if word not in (*ABSENT, INAPPLICABLE)]
        share = place / max(1, len(graded) - 1)
        look["facecolor"] = str(0.3 + 0.55 * share)
    return look


PICTURES = (
    Picture(
        "diagnostics",
        "how many papers answer each diagnostic, and how far two coders agreed",
        diagnostics,
        draw_diagnostics,
    ),
    Picture(
        "checklist",
        "what papers report, by the checklist and by the audit",
        items,
        draw_checklist,
    ),
)
