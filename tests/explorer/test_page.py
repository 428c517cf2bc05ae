"""The explorer in a real browser: knobs change what is drawn to the exact numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exploring.grid import name_of
from exploring.knobs import GAP, GROUP, HORIZON, KNOBS, SIGHT, reference
from exploring.methods import METHODS

from casim.webpages import explorer_html
from casim.webpages.numbers import DASH, shown
from tests.webpages.browser import UNNAMED, chromium, opened, scrolls_sideways, too_faint

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def grid():
    return json.loads((DOCS / "explorer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def path():
    return DOCS / "explorer.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def found(browser, path):
    own = opened(browser, path)
    yield own
    own.page.close()


def at(**changes) -> tuple[int, ...]:
    place = list(reference())
    for name, value in changes.items():
        place[{"horizon": HORIZON, "gap": GAP, "group": GROUP, "sight": SIGHT}[name]] = value
    return tuple(place)


def move(page, knob: int, value: int) -> None:
    """Moves a knob by keys, as far as it must."""
    control = page.locator(f"#knob-{knob}")
    control.focus()
    control.press("Home")
    for _ in range(value):
        control.press("ArrowRight")


def text_of(x: float | None) -> str:
    return DASH if x is None else shown(x)


def table(page) -> list[list[str]]:
    script = """() => [...document.querySelectorAll("#numbers tbody tr")]
      .map((line) => [...line.cells].map((cell) => cell.textContent))"""
    return page.evaluate(script)


def wanted(grid, place) -> list[list[str]]:
    """What the table must say at a point."""
    own = grid["points"][name_of(place)]
    lines = []
    for method, scores, costs in zip(METHODS, own["scores"], own["costs"], strict=True):
        lines.append([method.name, *map(text_of, [*scores, *costs])])
    return lines


def test_the_page_is_that_of_the_kept_grid_and_is_not_large(grid, path):
    assert path.read_text(encoding="utf-8") == explorer_html(grid)
    assert path.stat().st_size < 2_000_000


@pytest.mark.slow
def test_it_opens_without_an_error_and_shows_the_reference(found, grid, path):
    assert found.errors == []
    assert found.asked == [path.as_uri()]
    assert found.page.evaluate(UNNAMED) == []
    assert table(found.page) == wanted(grid, reference())
    assert found.page.locator("#panels figure").count() == len(METHODS)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_window_and_can_be_read_in_light_and_dark(browser, path, width, scheme):
    page = opened(browser, path, width, scheme).page
    longest = len(KNOBS[HORIZON].values) - 1
    move(page, HORIZON, longest)
    assert not scrolls_sideways(page)
    assert too_faint(page) == {}
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("place", [at(horizon=0), at(gap=0), at(group=4), at(sight=4)])
def test_a_knob_changes_the_drawn_numbers_to_the_exact_ones(found, grid, place):
    page = found.page
    (knob,) = [k for k, value in enumerate(place) if value != reference()[k]]
    move(page, knob, place[knob])
    assert table(page) == wanted(grid, place)
    own = grid["points"][name_of(place)]
    assert shown(own["success"]) in page.locator("#success").inner_text()
    drawn = next(one for one in own["episodes"] if not one["won"])
    for method, mean, spread in zip(METHODS, drawn["mean"], drawn["spread"], strict=True):
        panel = page.get_by_role("group", name=f"credit of {method.name}", exact=True)
        said = panel.locator(".point").evaluate_all("all => all.map((one) => one.said)")
        told = zip(mean, spread, drawn["truth"], strict=True)
        lines = [
            f"credit {text_of(x)} on average, deviation {text_of(y)}\nexact advantage {text_of(z)}"
            for x, y, z in told
            if x is not None
        ]
        assert [one.partition("\n")[2] for one in said] == lines
    assert page.locator("#along-knob").input_value() == str(knob)
    assert found.errors == []


@pytest.mark.slow
def test_pairs_move_together_and_what_was_not_computed_goes_back_and_says_so(found, grid):
    page = found.page
    move(page, GAP, 1)
    move(page, GROUP, 3)
    assert table(page) == wanted(grid, at(gap=1, group=3))
    move(page, SIGHT, 2)
    said = page.locator("#moved").inner_text()
    assert "Back at the reference: gap, group size." in said
    assert table(page) == wanted(grid, at(sight=2))
    page.locator("#reset").click()
    assert table(page) == wanted(grid, reference())


@pytest.mark.slow
def test_the_trajectory_can_be_a_won_one_and_keys_walk_its_steps(found, grid):
    page = found.page
    page.get_by_label("one that was won").check()
    assert "reward 1" in page.locator("#story").inner_text()
    won = next(one for one in grid["points"][name_of(reference())]["episodes"] if one["won"])
    page.locator("#panels [tabindex='0']").first.focus()
    page.keyboard.press("ArrowRight")
    tip = page.locator("#tip")
    first = METHODS[0]
    assert first.name == "REINFORCE"
    assert "turn 1, call" in tip.inner_text()
    assert f"credit {text_of(won['mean'][0][1])} on average" in tip.inner_text()
    assert page.locator("#path svg[role=img]").count() == 1


@pytest.mark.slow
def test_the_table_sorts_and_stays_sorted_when_a_knob_moves(found, grid):
    page = found.page
    page.locator("#numbers").get_by_role("button", name="variance", exact=True).click()
    place = at(gap=0)
    move(page, GAP, 0)
    score = grid["scores"].index("variance")
    lines = zip(METHODS, grid["points"][name_of(place)]["scores"], strict=True)
    rising = sorted(lines, key=lambda line: line[1][score])
    assert [line[0] for line in table(page)] == [method.name for method, _ in rising]
