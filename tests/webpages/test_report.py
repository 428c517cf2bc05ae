"""`casim report`: what the page says is what the rows say."""

import dataclasses
import json
import re
from html import unescape
from pathlib import Path

import pytest

from casim.cli import main
from casim.compare import by_score, compare
from casim.report import describe
from casim.scores import NAMES
from casim.scores.definitions import DEFINITIONS, READING
from casim.storage import append
from casim.survey import cards
from casim.tasks import ToolChain
from casim.webpages import Source, report_html
from casim.webpages import cards as page_cards
from casim.webpages.cards import card_data
from casim.webpages.comparisons import comparison_data
from casim.webpages.numbers import DASH, kept, shown
from tests.webpages.samples import renamed, samples

SOURCE = Source("rows.jsonl", "0" * 64)
NASTY = "</script><script>alert(1)</script>"
DOCS = Path(__file__).parents[2] / "docs"


def carried(text: str, name: str):
    """The value that a page carries under an id."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_each_row_with_its_scores_intervals_and_exact_numbers(without_cards):
    rows = samples()
    text = report_html(rows, SOURCE)
    found = carried(text, "row-data")
    assert found["settings"][:2] == ["method", "methodology"]
    names = [score["name"] for score in found["scores"]]
    assert names == list(NAMES)
    for row, written in zip(rows, found["rows"], strict=True):
        assert written["settings"][0] == row.label
        assert row.horizon in written["settings"]
        for name, numbers in zip(names, written["scores"], strict=True):
            assert numbers[:3] == pytest.approx(row.scores[name][:3], rel=1e-4)
            exact = row.expected.get(name)
            assert numbers[3:] == ([] if exact is None else [pytest.approx(exact, rel=1e-4)])
    assert text.count('<tr data-row="') == len(rows)
    value = shown(rows[0].scores["variance"].value)
    assert f">{value}<small>" in text


def test_the_task_is_a_column_where_there_are_several(without_cards):
    rows = samples(horizons=(7,))
    others = [dataclasses.replace(row, task=describe(ToolChain())) for row in rows]
    alone = carried(report_html(rows, SOURCE), "row-data")
    both = carried(report_html([*rows, *others], SOURCE), "row-data")
    assert alone["settings"] == ["method", "methodology", "horizon"]
    assert both["settings"][:4] == ["method", "methodology", "task", "horizon"]
    assert {row["settings"][2] for row in both["rows"]} == {"Bifurcation", "ToolChain"}


def test_what_rows_say_is_escaped(without_cards):
    text = report_html(renamed(samples(), NASTY), Source(NASTY, "0"))
    assert "<script>alert" not in text
    assert unescape(text).count(NASTY) > 3
    assert carried(text, "row-data")["rows"][0]["settings"][0] == NASTY


def test_every_score_is_defined_once():
    assert set(DEFINITIONS) == set(NAMES)
    page = (DOCS / "scores.md").read_text(encoding="utf-8")
    for family in READING:
        assert f"```{{scores}} {family}\n```" in page
    for definition in DEFINITIONS.values():
        assert definition.words not in page


def test_a_definition_ends_with_its_formula(without_cards):
    text = unescape(report_html(samples(), SOURCE))
    for name in ("bias", "snr_aligned"):
        assert f"{DEFINITIONS[name].words}: {DEFINITIONS[name].text}" in text


def test_every_score_of_the_table_links_to_its_definition(without_cards):
    text = report_html(samples(), SOURCE)
    for name in NAMES:
        assert f'href="#define-{name}"' in text
        assert f'id="define-{name}"' in text


def test_comparisons_are_those_of_casim_compare():
    rows = samples()
    against = rows[1].label
    found = comparison_data(rows, against)
    methods = [row for row in rows if row.label != "zero"]
    wanted = compare(methods, by_score(rows, "leakage"), against)
    for line, one in zip(found["found"]["leakage"], wanted, strict=True):
        assert rows[line[0]] is one.rows[0]
        numbers = (one.value, one.reference, *one.estimate[:3])
        assert line[1:6] == pytest.approx(numbers, rel=1e-4)
        assert line[6:] == [kept(one.corrected, 3), one.verdict]
    assert {line[-1] for line in found["found"]["leakage"]} == {"better", "worse"}


def test_studies_that_cannot_be_compared_say_why_and_a_label_that_is_asked_for_raises():
    alone = samples(branches=(1,))
    assert comparison_data(alone, None)["notes"] == ["trial: no two methods to compare"]
    with pytest.raises(ValueError, match="against must be one of"):
        comparison_data(alone, "GRPO")
    rows = samples()
    other = dataclasses.replace(rows[0], sources={"casim": "1"}, label="elsewhere")
    (note,) = comparison_data([*rows, other], None)["notes"]
    assert "version of casim" in note


def test_cards_are_those_of_casim_card_and_what_cannot_be_built_says_so():
    rows = samples(horizons=(7,))
    gone = {"recipe": "Gone", "module": "nowhere"}
    unknown = dataclasses.replace(rows[0], label="gone", estimator=gone)
    found = card_data([*rows, unknown])
    assert [card["row"] for card in found["cards"]] == [0, 1, 2]
    wanted = cards.card_of_row(rows[1], rows)
    card = found["cards"][1]
    assert card["title"] == wanted.title
    for place, question in enumerate(cards.QUESTIONS):
        number = card["answers"][place]
        said = None if number < 0 else found["texts"][number]
        assert said == wanted.answers.get(question.id)
    (note,) = found["notes"]
    assert "nowhere" in note


@pytest.mark.slow
def test_five_hundred_rows_with_their_cards_take_less_than_two_megabytes(monkeypatch):
    rows = samples(branches=tuple(range(1, 25)), horizons=tuple(range(7, 27)))
    assert len(rows) == 500
    known = page_cards.facts_of(rows[0])
    monkeypatch.setattr(page_cards, "facts_of", lambda row: known)
    text = report_html(rows, SOURCE)
    assert len(carried(text, "card-data")["cards"]) == 480
    assert len(text.encode()) < 2_000_000


def test_the_command_writes_one_file(tmp_path, capsys, without_cards):
    rows, path = samples(horizons=(7,)), tmp_path / "rows.jsonl"
    for row in rows:
        append(path, row)
    out = tmp_path / "new" / "report.html"
    main(["report", str(path), "--out", str(out), "--against", rows[2].label])
    text = out.read_text(encoding="utf-8")
    assert carried(text, "comparison-data")["against"] == rows[2].label
    assert f"page: {out}, {len(rows)} rows" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["absent.jsonl", "empty.jsonl", "odd.jsonl"])
def test_bad_input_is_one_line(tmp_path, words, without_cards):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / words), "--out", str(tmp_path / "report.html")])
    said = str(stop.value)
    assert said.startswith("casim: ")
    assert words in said
    assert "\n" not in said
    assert not (tmp_path / "report.html").exists()


def test_numbers_are_short_where_people_read_them():
    wanted = {0.25: "0.25", 1234.5: "1,230", 0.00012345: "1.23e-4", -2e6: "-2.00e6", 0.0: "0"}
    assert {x: shown(x) for x in wanted} == wanted
    assert shown(float("nan")) == DASH
    given = (0.123456789, float("inf"), 3.0, None)
    assert list(map(kept, given)) == [0.12346, None, 3, None]
