"""The figures of the survey: numbers of the inventory, marks of their family, letters inside."""

import bisect
import csv
import io
import itertools
import sys
from collections import Counter
from pathlib import Path

import pytest
import survey_figures
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from pictures import decision, evolution
from pictures.picture import ENDINGS, write
from pictures.sheet import UNKNOWN

from casim import survey
from casim.figures import COLOR, COLUMN
from casim.figures.style import MARK
from casim.methods import named_methods
from casim.survey.audit import audit
from casim.survey.evidence import members
from casim.survey.tree import LEAVES

PICTURES = survey_figures.PICTURES


@pytest.fixture(scope="module")
def tables():
    return {name: picture.numbers() for name, picture in PICTURES.items()}


@pytest.fixture(scope="module")
def figures(tables):
    return {name: picture.draw(tables[name]) for name, picture in PICTURES.items()}


@pytest.fixture(scope="module")
def lines():
    """The inventory as it is read from its CSV."""
    return list(csv.DictReader(io.StringIO(survey.to_csv(survey.inventory()))))


def several(text):
    return text.split("; ") if text else []


# Numbers


def test_cells_count_what_the_csv_of_the_inventory_has(tables, lines):
    own = [line for line in lines if line["number"]]
    methods = Counter((line["granularity"], line["methodology"]) for line in own)
    placed = Counter((line["placed.granularity"], line["placed.methodology"]) for line in own)
    later = Counter(
        (line["granularity"], line["methodology"]) for line in lines if not line["number"]
    )
    for cell in tables["taxonomy_grid"]:
        at = cell["granularity"], cell["methodology"]
        assert (cell["methods"], cell["placed"], cell["later"]) == (
            methods[at],
            placed[at],
            later[at],
        )
        assert len(several(cell["names"])) == methods[at]
    assert sum(cell["methods"] for cell in tables["taxonomy_grid"]) == 47
    moved = [
        line["name"]
        for line in own
        if line["granularity"] != line["placed.granularity"]
        or line["methodology"] != line["placed.methodology"]
    ]
    shown = [name for cell in tables["taxonomy_grid"] for name in several(cell["moved"])]
    assert sorted(shown) == sorted(moved)
    enablers = [name for cell in tables["taxonomy_grid"] for name in several(cell["enablers"])]
    assert sorted(enablers) == sorted(x["name"] for x in own if x["kind"] == "enabler")


def test_the_tree_has_every_method_once_where_the_csv_has_it(tables, lines):
    shown = {
        (x["number"], x["name"], x["regime"], x["granularity"], x["methodology"], x["kind"])
        for x in tables["taxonomy_tree"]
    }
    fields = ("name", "regime", "granularity", "methodology", "kind")
    known = {
        (int(line["number"]), *(line[field] for field in fields))
        for line in lines
        if line["number"]
    }
    assert shown == known
    assert len(tables["taxonomy_tree"]) == 47


def test_half_years_count_ids_between_their_bounds(tables, lines):
    table = tables["evolution"]
    for axis, word in {(line["axis"], line["word"]) for line in table}:
        ids = sorted(
            line["arxiv"]
            for line in lines
            if line["arxiv"] and (word == "all" or (line[axis] or "not known") == word)
        )
        for line in table:
            if (line["axis"], line["word"]) == (axis, word):
                year = line["half_year"][2:4]
                first, after = (f"{year}01", f"{year}07"), (f"{year}07", f"{year}13")
                begin, end = first if line["half_year"].endswith("H1") else after
                start, stop = (bisect.bisect_left(ids, bound) for bound in (begin, end))
                assert line["survey"] + line["later"] == stop - start
                assert line["total"] == stop
    assert {line["word"] for line in table if line["axis"] == "granularity"} == {
        *evolution.DASHES,
        "not known",
    }
    both = [line for line in table if line["axis"] == "all"]
    assert sum(line["survey"] for line in both) == 47
    assert {line["half_year"]: line["revision"] for line in both} == audit().half_years


def test_needs_are_those_of_the_csv_and_of_the_parts_of_recipes(tables, lines):
    table = {line["name"]: line for line in tables["needs"]}
    own = [line for line in lines if line["number"]]
    assert sorted(table) == sorted(line["name"] for line in own)
    for line in own:
        shown = table[line["name"]]
        models = [
            key.removeprefix("paper: ") + ("?" if value == "some variants" else "")
            for key, value in shown.items()
            if key.startswith("paper: ") and value
        ]
        assert sorted(models) == sorted(several(line["models"]))
        assert shown["compute"] == line["compute.level"]
        recipe = named_methods()[several(line["methods"])[0]].recipe
        needed = set().union(*(part.needs for part in members(recipe)))
        doors = {
            key.removeprefix("recipe: ")
            for key, value in shown.items()
            if key.startswith("recipe: ") and value
        }
        assert doors == needed


def test_the_audit_is_drawn_whole(tables):
    found = audit()
    for line, each in zip(tables["diagnostics"], found.diagnostics, strict=True):
        assert line["share"] * 42 == pytest.approx(each.positives, abs=0.01)
        assert line["agreement"] * 42 == pytest.approx(each.agreed, abs=0.01)
    parts = Counter()
    for line in tables["checklist"]:
        parts[line["part"], line["of"]] += line["count"] or 0
    assert parts["audit", "42 papers"] == 42 * len(found.fields)
    assert parts["core", "41 core methods"] == 2
    assert parts["trial", "GiGPO"] == 12


def test_leaves_of_the_tree_are_found_again_by_their_conditions(tables):
    """Conditions are drawn once, in the order of the tree, and lead to the same methods."""
    path, found = [], {}
    for step in decision.steps(tables["decision_tree"]):
        if step.condition:
            path = [*path[: step.depth], step.condition]
            leaf = step.leaf
        else:
            assert step.depth == len(path)
            methods = [line["method"] for line in step.methods]
            found.setdefault((leaf, ", ".join(path)), []).extend(methods)
    assert list(found) == [(leaf.name, leaf.condition) for leaf in LEAVES.values()]
    names = {record.id: record.name for record in survey.inventory()}
    for leaf in LEAVES.values():
        proposed = [*leaf.baselines, *(names[each] for each in leaf.records)]
        assert found[leaf.name, leaf.condition] == proposed


def test_the_page_says_what_the_numbers_are(tables):
    page = (Path(__file__).parents[2] / "docs" / "survey-figures.md").read_text()
    page = " ".join(page.split())
    for name, picture in PICTURES.items():
        assert f"| `{name}` |" in page, picture
    grid = tables["taxonomy_grid"]
    moved = sum(len(several(cell["moved"])) for cell in grid)
    assert f"The survey has {moved} of the 47 in another cell" in page
    fullest = max(grid, key=lambda cell: cell["methods"])
    assert (fullest["granularity"], fullest["methodology"]) == ("step", "model_based")
    assert f"fullest cell ({fullest['methods']})" in page
    every = [line for line in tables["evolution"] if line["axis"] == "all"]
    new = [line["survey"] + line["later"] for line in every]
    assert new[:4] == [line["revision"] for line in every][:4] == [3, 6, 10, 18]
    assert f"casim has {new[4]} and the revision {every[4]['revision']}" in page
    unknown = [x for x in tables["evolution"] if (x["axis"], x["word"]) == ("methodology", UNKNOWN)]
    assert f"{sum(x['later'] for x in unknown)} have no known family" in page
    assert f"{sum(new) + 1} records, of which one has no id" in page
    families = {}
    for line in tables["decision_tree"]:
        families.setdefault(line["leaf"], set()).add(line["methodology"])
    assert [leaf for leaf, own in families.items() if len(own) == 1] == ["A2"]
    assert "only A2, a model beside the policy, has one" in page


# Figures


def shown(figure):
    """All that is written, less the ticks beyond the ends of an axis, which are not drawn."""
    beyond = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if not min(low, high) <= tick.get_loc() <= max(low, high):
                    beyond |= {tick.label1, tick.label2}
    texts = [text for text in figure.findobj(Text) if text not in beyond]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("name", PICTURES)
def test_letters_are_inside_large_enough_and_not_on_each_other(figures, name):
    figure = figures[name]
    assert figure.get_figwidth() == COLUMN
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = shown(figure)
    assert texts
    whole = figure.bbox
    boxes = []
    for text in texts:
        assert text.get_fontsize() >= 6, text
        box = text.get_window_extent(canvas.get_renderer())
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1, text
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1, text
        boxes.append((text, box.padded(-0.5)))
    for (one, box), (two, other) in itertools.combinations(boxes, 2):
        assert not box.overlaps(other), (one, two)


@pytest.mark.parametrize("name", ["taxonomy_grid", "taxonomy_tree", "evolution", "needs"])
def test_every_coloured_mark_is_that_of_its_family(figures, name):
    shown = Counter()
    for axes in figures[name].axes:
        for line in axes.get_lines():
            colour, marker = to_hex(line.get_color()).upper(), line.get_marker()
            if marker not in ("", "None", None):
                shown[colour, marker] += len(line.get_xdata())
    family = {(COLOR[word].upper(), MARK[word]) for word in COLOR if word != "control"}
    assert len({marker for _, marker in family}) == len({colour for colour, _ in family}) == 5
    unknown = {("#777777", "x")} if name == "evolution" else set()
    assert set(shown) == family | unknown


def test_every_method_is_named_in_the_grid_the_tree_and_the_needs(figures, lines):
    for name in ("taxonomy_grid", "taxonomy_tree", "needs"):
        words = Counter(x.get_text().rstrip("\N{DAGGER}") for x in figures[name].findobj(Text))
        for line in lines:
            assert words[line["name"]] == bool(line["number"]), (name, line["name"])


def test_marks_of_the_growth_are_its_papers(figures, tables):
    sheet, _ = figures["evolution"].axes
    marks = [line for line in sheet.get_lines() if line.get_markersize() == 4.0]
    assert len(marks) == sum(
        line["survey"] + line["later"] for line in tables["evolution"] if line["axis"] == "all"
    )
    hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
    assert len(hollow) == sum(
        line["later"] for line in tables["evolution"] if line["axis"] == "all"
    )


# Files


@pytest.mark.slow
def test_a_picture_is_written_as_three_files_and_its_numbers(tmp_path, tables):
    paths = write(PICTURES["diagnostics"], tmp_path)
    assert {path.name for path in paths} == {
        f"diagnostics{ending}" for ending in (".csv", *ENDINGS)
    }
    heads = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}
    for path in paths:
        assert path.read_bytes().startswith(heads.get(path.suffix, b"code,breaks"))
    kept = list(csv.DictReader(io.StringIO((tmp_path / "diagnostics.csv").read_text())))
    assert kept == [{key: str(x) for key, x in line.items()} for line in tables["diagnostics"]]
    assert "partial observability" in (tmp_path / "diagnostics.svg").read_text()


@pytest.mark.slow
def test_one_command_writes_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["survey_figures.py", "--out", str(tmp_path)])
    survey_figures.main()
    written = capsys.readouterr().out.split()
    assert len(written) == 4 * len(PICTURES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}{ending}" for name in PICTURES for ending in (".csv", *ENDINGS)
    )


def test_an_unknown_name_is_refused_in_a_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["survey_figures.py", "grid", "--out", str(tmp_path / "no")])
    with pytest.raises(SystemExit):
        survey_figures.main()
    assert "NAME must be among taxonomy_grid" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
