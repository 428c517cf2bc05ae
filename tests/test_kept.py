"""Figures that are kept in the repository show what casim computes now, in small files."""

import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parent.parent / "docs"
LARGEST = 300 * 1024
"""Bytes of a figure; `python docs/figures/kept.py FILE` makes it small."""
FIGURES = sorted(DOCS.glob("*.png"))


@pytest.fixture(scope="module", autouse=True)
def folder():
    """What makes the figures can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "figures"))
        yield
    for name in ("kept", "overview", "survey", "claimed", "protocol"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def shown():
    """The numbers that docs/overview.png was drawn from."""
    from kept import numbers_of

    return numbers_of(DOCS / "overview.png")


def test_the_overview_shows_each_curve_at_each_horizon(shown):
    import overview

    assert list(shown) == [curve.name for curve in overview.CURVES]
    for score in shown.values():
        assert [*map(int, score)] == list(overview.HORIZONS)


def test_the_overview_is_what_casim_computes(shown):
    """At one horizon: each is a compilation."""
    import overview

    horizon = overview.HORIZONS[1]
    told = {name: {str(horizon): score[str(horizon)]} for name, score in shown.items()}
    computed = overview.measure((horizon,))
    for name, score in computed.items():
        wanted = pytest.approx(score, rel=1e-9)
        assert told[name] == wanted, f"{name}: python docs/figures/overview.py"


def test_what_spreads_an_outcome_loses_its_signal_and_what_is_zero_elsewhere_keeps_it(shown):
    """The noise of T steps of filler adds up, so at large T the ratio falls as 1 / T."""
    fall = {}
    for name, score in shown.items():
        *_, before, last = score.values()
        fall[name] = before / last
    spread = ("REINFORCE", "RLOO")
    kept = ("exact advantage", "TD error, exact values", "hindsight, exact", "GAE, exact critic")
    assert [fall[name] for name in spread] == pytest.approx([4, 4], rel=1e-3)
    assert [fall[name] for name in kept] == pytest.approx([1] * 4, rel=1e-9)


def test_the_overview_draws_the_numbers_that_it_keeps(shown):
    import overview

    figure = overview.draw(shown)
    drawn = {line.get_label(): line for line in figure.axes[0].get_lines()}
    plt.close(figure)
    for name, score in shown.items():
        np.testing.assert_array_equal(drawn[name].get_xdata(), overview.HORIZONS)
        np.testing.assert_array_equal(drawn[name].get_ydata(), [*score.values()])


def test_the_figures_of_the_survey_are_what_its_data_say():
    import survey
    from kept import numbers_of

    for name, path in survey.SHOWN.items():
        computed = json.loads(json.dumps(survey.PICTURES[name].numbers()))
        assert numbers_of(path) == computed, f"{name}: python docs/figures/survey.py"


def test_the_figure_of_the_claims_is_drawn_from_what_the_page_says():
    """Its numbers are in docs/claims.json, which other tests compute again."""
    import claimed
    from kept import numbers_of

    assert numbers_of(claimed.OUT) == claimed.digest(), "python docs/figures/claimed.py"


def leaderboard():
    """Label and worth of each method, as docs/protocol.md has them."""
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^\| \d+ \| ([^|]+) \| [^|]+ \| \d+ of 60 \| ([^|]+) \|", text, re.MULTILINE
    )
    return [(label, float(worth)) for label, worth in lines]


def test_the_figures_of_the_protocol_show_the_worth_that_its_leaderboard_sums_up():
    """The geometric mean over all worlds that one can go back in."""
    import protocol
    from kept import numbers_of

    worths = [numbers_of(protocol.gradient_path(length)) for length in protocol.LENGTHS]
    table = leaderboard()
    assert len(table) == 28
    for label, told in table:
        logs = []
        for worth in worths:
            logs += [np.log(x) for name, x in worth[label].items() if "no reset" not in name]
        assert len(logs) == 57
        assert np.exp(np.mean(logs)) == pytest.approx(told, rel=5e-3), label


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_kept_figures_are_small_and_sharp(path):
    assert path.stat().st_size <= LARGEST, f"python docs/figures/kept.py {path}"
    with Image.open(path) as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


def test_a_palette_changes_no_colour_by_what_can_be_seen(tmp_path):
    from kept import keep, numbers_of

    from casim.figures import save

    figure, axes = plt.subplots(figsize=(2, 1))
    for place in range(6):
        axes.plot([place, 3, 1], label=str(place), alpha=0.4 + place / 10)
    save(figure, tmp_path / "large.png")
    keep(figure, tmp_path / "small.png", {"a": [0.1, 2]})
    plt.close(figure)
    pixels = []
    for name in ("large", "small"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            pixels.append(np.asarray(picture.convert("RGB"), int))
    large, small = pixels
    moved = np.abs(large - small).max(axis=-1)
    assert moved.max() <= 20
    assert np.mean(moved > 4) < 0.01
    assert len(np.unique(small.reshape(-1, 3), axis=0)) <= 256
    assert numbers_of(tmp_path / "small.png") == {"a": [0.1, 2]}
    assert numbers_of(tmp_path / "large.png") is None
