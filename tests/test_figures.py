"""Panels draw what the rows say."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import casim
from casim.figures import COLOR, horizon_panel, pivots, series, styles, task_figure
from casim.figures.task import SAME, advantage_map, kernel_graph


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


def solved(task):
    mdp = task.build()
    return jax.tree.map(np.asarray, (mdp, casim.solve(mdp, casim.Uniform().table(mdp))))


def test_pivots_are_the_steps_that_matter_most():
    task = casim.Bifurcation(horizon=20, pivots=(3, 11), recovery=1.0)
    # With full recovery the second pivot undoes whatever the first did.
    np.testing.assert_array_equal(pivots(*solved(task)), [11])
    np.testing.assert_array_equal(pivots(*solved(casim.Bifurcation(horizon=20, pivots=(3, 11)))), [3, 11])
    assert len(pivots(*solved(casim.Bifurcation(horizon=20, pivots=0)))) == 0


def test_the_heat_map_shows_the_exact_advantages_and_hides_states_that_cannot_be():
    mdp, truth = solved(casim.Bifurcation(horizon=5, pivots=(2,), gap=0.6))
    figure, axes = plt.subplots()
    image = np.ma.filled(advantage_map(axes, mdp, truth).get_array(), np.nan)
    plt.close(figure)
    # Rows (good, 0), (good, 1), (bad, 0), (bad, 1); bad cannot be before the pivot.
    np.testing.assert_allclose(image[:2, 2], [0.3, -0.3], atol=1e-6)
    assert np.isnan(image[2:, :3]).all()
    assert (image[:2, [0, 1, 3, 4]] == 0).all()


def test_a_graph_has_an_arrow_for_every_outcome_and_one_colour_where_actions_agree():
    mdp, truth = solved(casim.Bifurcation(horizon=5, pivots=(2,), noise=0.1))
    figure, (pivot, filler) = plt.subplots(1, 2)
    kernel_graph(pivot, mdp, truth, int(mdp.schedule[2]))
    kernel_graph(filler, mdp, truth, int(mdp.schedule[0]))
    plt.close(figure)
    # From good: both actions reach good (a loop) and bad (an arrow). Bad is not there yet.
    assert (len(pivot.patches), len(pivot.lines)) == (2, 2)
    assert (len(filler.patches), len(filler.lines)) == (0, 2)  # after the pivot bad is there too: two loops
    assert filler.lines[0].get_color() == SAME


@pytest.mark.parametrize("task", [casim.Team(), casim.VariableTurns(num_turns=12, stop_rewards=tuple(range(12)))])
def test_a_task_figure_has_a_graph_per_kernel_up_to_six(task):
    mdp, truth = solved(task)
    figure = task_figure(mdp, truth)
    top, bottom = figure.subfigs
    drawn = [axes for axes in top.axes if axes.get_title()]
    assert len(drawn) == min(6, mdp.prob.shape[0])
    assert len(bottom.axes) == 3
    plt.close(figure)
