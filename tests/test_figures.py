"""Panels draw what the rows say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import casim
from casim.figures import COLOR, horizon_panel, series, styles


@pytest.fixture(scope="module")
def rows():
    tasks = tuple(casim.Bifurcation(horizon=h, pivots=(2,)) for h in (4, 7))
    return casim.Study("figures", tasks, (casim.LeaveOneOut(), casim.Return()), seeds=(0, 3), replicates=10).run()


def test_seeds_are_averaged_and_their_intervals_combined(rows):
    steps, value, low, high = series(rows, "LeaveOneOut", "rmse")
    scores = [row.scores["rmse"] for row in rows if row.label == "LeaveOneOut" and row.num_steps == 7]
    assert list(steps) == [4, 7]
    assert value[1] == pytest.approx(np.mean([s.value for s in scores]))
    half = np.sqrt(sum(((s.high - s.low) / 2) ** 2 for s in scores)) / 2
    assert (high - low)[1] / 2 == pytest.approx(half)


def test_colour_is_by_methodology(rows):
    style = styles(rows)
    assert style["LeaveOneOut"]["color"] == style["Return"]["color"] == COLOR["monte_carlo"]
    assert style["exact"]["color"] == COLOR["control"]
    assert style["LeaveOneOut"]["marker"] != style["Return"]["marker"]


def test_a_panel_holds_one_line_per_method_and_its_exact_values(rows):
    _, axes = plt.subplots()
    horizon_panel(axes, rows, "rmse", "title", exact={"Return": {4: 0.5, 7: 0.6}})
    labels = [line.get_label() for line in axes.get_lines()]
    assert {"LeaveOneOut", "Return", "exact", "zero", "broadcast", "shuffled"} <= set(labels)
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 1
    assert list(dashed[0].get_ydata()) == [0.5, 0.6]
    plt.close("all")
