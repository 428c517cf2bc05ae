"""The report in a real browser: it sorts, filters, draws, and answers to pointer and keys."""

from __future__ import annotations

import dataclasses
import re

import pytest

from casim.scores import Score
from casim.webpages import Source, report_html
from casim.webpages.numbers import shown
from tests.webpages.browser import UNNAMED, chromium, opened, scrolls_sideways, too_faint
from tests.webpages.samples import renamed, samples

pytestmark = pytest.mark.slow
NASTY = "</script><script>alert(1)</script>"
ROWS = renamed(samples(branches=(3, 1, 2)), NASTY)


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("report") / "report.html"
    place.write_text(report_html(ROWS, Source("rows.jsonl", "0" * 64)), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def found(browser, path):
    """The page, opened once; each test sets what it needs."""
    return opened(browser, path)


def visible(page, column: int) -> list[str]:
    """The first lines of the cells of a column, of rows that are shown."""
    script = """([column]) => [...document.querySelectorAll("#scores-table tbody tr")]
      .filter((line) => !line.hidden)
      .map((line) => line.cells[column])
      .map((cell) => (cell.querySelector("small") ? cell.firstChild : cell).textContent)"""
    return page.evaluate(script, [column])


def column_of(page, name: str) -> int:
    heads = page.locator("#scores-table thead button").all_inner_texts()
    return heads.index(name)


def test_it_opens_without_an_error_and_asks_for_nothing_but_itself(found, path):
    assert found.errors == []
    assert found.asked == [path.as_uri()]
    assert found.page.evaluate(UNNAMED) == []
    assert NASTY in found.page.locator("#scores-table").inner_text()


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_window_and_can_be_read_in_light_and_dark(browser, path, width, scheme):
    page = opened(browser, path, width, scheme).page
    assert not scrolls_sideways(page)
    assert too_faint(page) == {}
    page.close()


def test_a_telephone_shows_the_first_score_beside_the_method(browser, path):
    page = opened(browser, path, 360).page
    box = page.locator(".wide").first.bounding_box()
    cell = page.locator("#scores-table tbody td[data-of=right]").first.bounding_box()
    assert cell["x"] + cell["width"] <= box["x"] + box["width"]
    heads = page.locator("#scores-table thead th:visible").all_inner_texts()
    assert [head.rstrip(" ?") for head in heads[:3]] == ["method", "horizon", "bias"]
    page.close()


BROKEN = """() => [...document.querySelectorAll("#plan td:first-child, #scores-table tbody th")]
  .flatMap((cell) => [...cell.childNodes])
  .filter((node) => node.nodeType === 3 && !/[ <]/.test(node.textContent))
  .filter((node) => {
    const range = document.createRange();
    range.selectNode(node);
    return range.getClientRects().length > 1;
  })
  .map((node) => node.textContent)"""
"""Words that stand on two lines; what has spaces, or the markup of another test, is left out."""


def test_no_word_is_broken_on_a_telephone(browser, path):
    page = opened(browser, path, 360).page
    assert page.locator("#scores-table tbody th wbr").count() > 0
    assert page.evaluate(BROKEN) == []
    page.close()


def test_a_head_sorts_by_its_column_rising_and_then_falling(found):
    page = found.page
    column = column_of(page, "variance")
    wanted = sorted(row.scores["variance"].value for row in ROWS)
    head = page.get_by_role("button", name="variance", exact=True).first
    head.click()
    assert visible(page, column) == [shown(x) for x in wanted]
    assert page.locator("#scores-table [aria-sort=ascending]").count() == 1
    head.press("Enter")
    assert visible(page, column) == [shown(x) for x in reversed(wanted)]
    assert page.locator("#scores-table [aria-sort=descending]").inner_text().startswith("variance")


def test_filters_choose_rows_of_tables_figures_and_comparisons(found):
    page = found.page
    filters = page.locator("#filters")
    filters.get_by_label("horizon", exact=True).select_option("9")
    page.locator("#controls").uncheck()
    own = [row for row in ROWS if row.horizon == 9 and row.methodology != "control"]
    assert sorted(visible(page, 0)) == sorted(row.label for row in own)
    assert page.locator("#count").inner_text() == f"{len(own)} of {len(ROWS)} rows"
    assert page.locator("#panels .point").count() == len(own)
    assert page.locator("#comparisons-table tbody tr").count() == len(own) - 1
    filters.get_by_label("words", exact=True).fill("vine branches=2")
    assert visible(page, 0) == ["Vine(num_branches=2)"]
    filters.get_by_label("words", exact=True).fill("")
    filters.get_by_label("horizon", exact=True).select_option("")
    page.locator("#controls").check()
    assert len(visible(page, 0)) == len(ROWS)


def test_the_figure_says_the_numbers_of_its_score_to_pointer_and_keys(found):
    page = found.page
    controls = page.locator("#figure-controls")
    place = controls.get_by_label("score", exact=True)
    place.select_option(label="variance")
    row = next(row for row in ROWS if row.label == "Vine(num_branches=2)" and row.horizon == 9)
    value, low, high, _ = row.scores["variance"]
    wanted = [
        f"variance {shown(value)}",
        f"95% {shown(low)} to {shown(high)}",
        f"exact {shown(row.expected['variance'])}",
    ]
    point = page.locator("[aria-label*='Vine(num_branches=2)'][aria-label*='horizon 9']")
    said = point.get_attribute("aria-label").split("\n")
    assert said[2:] == wanted
    tip = page.locator("#tip")
    assert tip.is_hidden()
    # The keys: one stop for each panel, then along the line.
    panel = page.locator("#panels svg[role=group]").first
    assert panel.locator("[tabindex='0']").count() == 1
    panel.locator("[tabindex='0']").focus()
    assert tip.is_visible()
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() != first
    assert "horizon 9" in tip.inner_text()
    page.keyboard.press("ArrowDown")
    assert re.search("^Vine", tip.inner_text())
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    # The pointer.
    point.locator(".mark").scroll_into_view_if_needed()
    box = point.locator(".mark").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert tip.inner_text().split("\n")[2:] == wanted
    assert found.errors == []


ENDS = """() => [...document.querySelectorAll("#panels .whisker")]
  .map((line) => line.getAttribute("d").split(/[MV,]/).slice(2).map(Number))"""
"""The lower and the upper end of each interval, from the top of its panel."""


@pytest.mark.parametrize(("wide", "inside"), [(1, True), (100, False)])
def test_intervals_stay_in_their_panel_and_are_seen_whole_where_they_are_short(
    browser, tmp_path, without_cards, wide, inside
):
    rows = [stretched(row, wide) for row in samples(names=("sign_accuracy",))]
    path = tmp_path / "report.html"
    path.write_text(report_html(rows, Source("rows.jsonl", "0")), encoding="utf-8")
    found = opened(browser, path)
    ends = found.page.evaluate(ENDS)
    assert len(ends) == len(rows)
    top, floor = 8, 215 - 34
    assert all(top <= high < low <= floor for low, high in ends)
    assert all(top < high and low < floor for low, high in ends) == inside
    found.page.close()


def stretched(row, times):
    """The row with so many times the intervals."""
    scores = {}
    for name, (value, low, high, count) in row.scores.items():
        scores[name] = Score(
            value, value - times * (value - low), value + times * (high - value), count
        )
    return dataclasses.replace(row, scores=scores)


def test_a_question_mark_leads_to_the_definition_and_a_menu_to_each_card(found):
    page = found.page
    page.get_by_label("definition of bias", exact=True).click()
    assert page.evaluate("document.querySelector(':target').textContent") == "bias"
    menu = page.locator("#card-controls select")
    assert menu.locator("option").count() == 6
    menu.select_option(index=1)
    assert "Vine" in menu.locator("option").nth(1).inner_text()
    assert page.locator("#card dt").count() > 30
    assert found.errors == []


def test_worlds_that_differ_in_several_settings_are_named_at_once(browser, tmp_path, without_cards):
    rows = samples(branches=(1, 2), horizons=(7, 9, 11))
    weak = [dataclasses.replace(row, task=row.task | {"gap": 0.25}) for row in rows]
    path = tmp_path / "report.html"
    text = report_html([*rows, *weak], Source("rows.jsonl", "0"))
    path.write_text(text, encoding="utf-8")
    found = opened(browser, path)
    along = found.page.locator("#figure-controls").get_by_label("along", exact=True)
    assert along.locator("option:checked").inner_text() == "world"
    worlds = found.page.locator(".worlds li").all_inner_texts()
    assert worlds[0] == "horizon 7, gap 0.6"
    assert worlds[-1] == "horizon 11, gap 0.25"
    # The table names them too, instead of their settings, so that scores are in sight.
    heads = found.page.locator("#scores-table thead th:visible").all_inner_texts()
    assert [head.rstrip(" ?") for head in heads[:4]] == ["method", "methodology", "world", "bias"]
    column = column_of(found.page, "world")
    assert set(visible(found.page, column)) == set(worlds)
    # A line for each method, a point for each world.
    assert found.page.locator("#panels .point").count() == 3 * len(worlds) == len(rows + weak)
    assert found.errors == []
    found.page.close()
