"""Panels draw what the rows say."""

import dataclasses
import itertools
import math

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import casim
from casim import figures
from casim.figures import (
    COLOR,
    COLUMN,
    label_ends,
    panel,
    pivots,
    small_multiples,
    styles,
    task_figure,
)
from casim.figures.labels import spread, wrap
from casim.figures.lines import coincident, read_lines
from casim.figures.places import find_places
from casim.figures.scales import fit_scale, thinned
from casim.figures.style import SPARE, colours
from casim.figures.task import SAME, advantage_map, kernel_graph
from casim.scores import Score
from tests.enumeration import solve


def row_of(label="RLOO", horizon=8, seed=0, value=1.0, half=0.1, **changes):
    """A row with one score, as a study would write it."""
    name, _, settings = label.removesuffix(")").partition("(")
    pairs = (setting.split("=") for setting in settings.split(", ") if setting)
    fields = {
        "study": "figures",
        "task": {"recipe": "Bifurcation", "horizon": horizon, "gap": 0.6, "placement": "even"},
        "policy": {"recipe": "Softmax", "scale": 0.5},
        "judge": {"recipe": "Judge", "fidelity": 0.9},
        "estimator": {"recipe": name, **{key: float(number) for key, number in pairs}},
        "label": label,
        "methodology": "monte_carlo",
        "horizon": horizon,
        "num_steps": horizon,
        "num_prompts": 1,
        "num_trajectories": 8,
        "share": "prompt",
        "replicates": 20,
        "seed": seed,
        "scores": {"bias": Score(value, value - half, value + 2 * half, 20.0)},
        "left_out": {},
        "notes": {},
        "exact": {},
        "sources": {"casim": "abc"},
        "versions": {},
        "device": "cpu",
        "compile_time": 0.0,
        "wall_time": 0.0,
    }
    return casim.Row(**{**fields, **changes})


def changed(row, name, value):
    """The row with another setting in one of its recipes."""
    recipe, key = name.split(".")
    return dataclasses.replace(row, **{recipe: {**getattr(row, recipe), key: value}})


def lines_of(rows, x, score="bias"):
    """Lines by label."""
    return {line.label: line for line in read_lines(rows, score, find_places(rows, x))}


def drawn(axes):
    """Named lines by name."""
    return {
        line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")
    }


def words(figure):
    """All that is written in a figure."""
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text) if text.get_text()]


# Lines


def test_seeds_are_averaged_and_their_intervals_combined():
    rows = [
        row_of(seed=seed, value=value, half=half)
        for seed, value, half in ((0, 1.0, 0.3), (5, 4.0, 0.4))
    ]
    line = lines_of(rows, "task.horizon")["RLOO"]
    # The means of independent numbers: half widths of .3 and .4 below, .6 and .8 above.
    assert line.value == pytest.approx([2.5])
    assert line.value - line.low == pytest.approx([0.5 / 2])
    assert line.high - line.value == pytest.approx([1.0 / 2])


def test_a_seed_without_the_score_leaves_a_gap_and_not_the_mean_of_the_others():
    rows = [row_of(seed=0), row_of(seed=1, value=math.nan), row_of(horizon=16)]
    assert np.isnan(lines_of(rows, "task.horizon")["RLOO"].value).tolist() == [True, False]


def test_a_score_of_none_is_missing():
    rows = [row_of(scores={"bias": Score(None, None, None, 0)}), row_of(horizon=16)]
    assert np.isnan(lines_of(rows, "task.horizon")["RLOO"].value).tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "values"),
    [("task.gap", (0.2, 0.7)), ("policy.scale", (1.0, 3.0)), ("judge.fidelity", (0.0, 1.0))],
)
def test_x_is_any_field_of_a_recipe(name, values):
    rows = [changed(row_of(value=value), name, value) for value in reversed(values)]
    line = lines_of(rows, name)["RLOO"]
    assert tuple(line.x) == tuple(line.value) == values


def test_x_is_a_field_of_the_study():
    rows = [row_of(num_trajectories=num, value=num) for num in (2, 4)]
    assert tuple(lines_of(rows, "num_trajectories")["RLOO"].x) == (2, 4)


def test_a_setting_of_the_method_is_no_part_of_its_name_and_methods_without_it_are_level():
    settings = ("Gae(lambda=0.5, fit=1)", "Gae(fit=1)", "Gae(lambda=0.5)", "Gae")
    rows = [row_of(label, value=i) for i, label in enumerate(settings)]
    rows = [
        changed(row, "estimator.lambda_", 0.5 if "lambda" in row.label else 0.95) for row in rows
    ]
    found = lines_of([*rows, row_of(value=7.0)], "estimator.lambda_")
    assert {label: tuple(line.value) for label, line in found.items()} == {
        "Gae(fit=1)": (0, 1),
        "Gae": (2, 3),
        "RLOO": (7, 7),
    }
    assert [label for label, line in found.items() if line.flat] == ["RLOO"]
    assert tuple(found["RLOO"].x) == (0.5, 0.95)


def test_words_and_whole_recipes_lie_side_by_side_in_the_order_of_the_rows():
    rows = [changed(row_of(), "task.placement", word) for word in ("late", "even", "random")]
    places = find_places(rows, "task.placement")
    assert places.words == ("late", "even", "random")
    assert list(places.at.values()) == [0, 1, 2]
    uniform = row_of(policy={"recipe": "Uniform", "module": "casim.policies"})
    assert find_places([row_of(), uniform], "policy").words == ("Softmax(scale=0.5)", "Uniform()")


def test_numbers_come_before_words_and_true_is_a_word():
    rows = [changed(row_of(), "judge.fidelity", value) for value in (None, 5, 2, True)]
    assert find_places(rows, "judge.fidelity").words == ("2", "5", "None", "True")


def test_an_unknown_x_is_refused_with_the_names_that_there_are():
    with pytest.raises(
        ValueError, match=r"x must be one of .*'judge.fidelity'.*'task.gap'.*, got 'task.gaps'"
    ):
        find_places([row_of()], "task.gaps")
    with pytest.raises(ValueError, match=r"got 'scores.bias'"):
        find_places([row_of()], "scores.bias")


def test_a_field_of_the_task_that_some_task_lacks_is_refused():
    other = row_of(task={"recipe": "Tree", "depth": 3})
    with pytest.raises(
        ValueError, match=r"x must be a field of every row, .*'task.depth'.*got 'task.gap'"
    ):
        find_places([row_of(), other], "task.gap")


def test_an_unknown_score_is_refused_with_the_names_that_there_are():
    with pytest.raises(ValueError, match=r"score must be one of \['bias'\], got 'snr'"):
        lines_of([row_of()], "task.horizon", "snr")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"num_trajectories": 4}, "num_trajectories = 8 and 4"),
        ({"replicates": 40}, "replicates = 20 and 40"),
        ({"study": "another"}, "study = 'figures' and 'another'"),
        ({"policy": {"recipe": "Softmax", "scale": 2.0}}, "policy.scale = 0.5 and 2.0"),
        ({"policy": {"recipe": "Uniform"}}, "policy.recipe = 'Softmax' and 'Uniform'"),
        ({"judge": None}, "judge.recipe = 'Judge' and none"),
        ({"sources": {"casim": "def"}}, "sources.casim = 'abc' and 'def'"),
    ],
)
def test_only_seeds_are_averaged_over(changes, name):
    with pytest.raises(ValueError, match=f"RLOO at task.horizon = 8 must differ .* got {name};"):
        lines_of([row_of(), row_of(seed=1, **changes)], "task.horizon")


def test_the_same_row_twice_is_refused():
    with pytest.raises(ValueError, match="must have different seeds, got 3 twice"):
        lines_of([row_of(seed=3), row_of(seed=3)], "task.horizon")


def test_what_differs_is_named_before_what_follows_from_it():
    with pytest.raises(ValueError, match=r"got task\.horizon = 8 and 16"):
        lines_of([row_of(), row_of(horizon=16)], "judge.fidelity")


def test_lines_that_agree_within_rounding_coincide_and_missing_ones_do_not():
    values = {"A": 1.0, "B": 1.0 + 2e-5, "C": 1.1, "D": math.nan, "E": math.nan}
    found = coincident(
        lines_of([row_of(label, value=v) for label, v in values.items()], "seed").values()
    )
    assert [[line.label for line in group] for group in found] == [["A", "B"], ["C"], ["D"], ["E"]]


def test_lines_of_the_same_values_and_other_intervals_do_not_coincide():
    found = coincident(lines_of([row_of("A"), row_of("B", half=0.2)], "seed").values())
    assert len(found) == 2


# Colours and marks


def test_colour_is_by_methodology_and_marks_tell_methods_apart():
    rows = [row_of("A"), row_of("B"), row_of("C"), row_of("exact", methodology="control")]
    style = styles(rows)
    assert style["B"]["color"].upper() == COLOR["monte_carlo"]  # the middle of three shades
    assert len({look["color"] for look in style.values()}) == 4
    assert len({look["marker"] for look in style.values()}) == 4
    assert style["exact"]["color"] == COLOR["control"]
    assert style["exact"]["markerfacecolor"] == "white"


def test_a_methodology_of_ones_own_has_a_colour_that_no_other_has():
    own = [f"mine {i}" for i in range(3 * len(SPARE))]
    found = colours([*COLOR, *own])
    assert len(set(found.values())) == len(found)
    assert {name: found[name] for name in COLOR} == COLOR


def test_the_colour_of_ones_own_is_the_same_in_every_figure():
    alone = colours(["mine"])["mine"]
    assert alone in SPARE
    others = [name for name in "bcdefgh" if colours([name])[name] != alone]
    assert len(others) > 2
    for number in range(len(others)):
        assert colours([*others[:number], "mine", "monte_carlo"])["mine"] == alone


def test_rows_of_ones_own_methodology_are_drawn():
    figure = small_multiples(
        [row_of("Mine", methodology="my idea"), row_of("B", value=2.0)], ["bias"]
    )
    assert drawn(figure.axes[0])["Mine"].get_color() == colours(["my idea"])["my idea"]


# Panels


def test_a_panel_has_a_line_per_method_its_band_and_its_exact_values():
    rows = [row_of(label, horizon, value=horizon) for label in ("A", "B") for horizon in (4, 7)]
    rows = [
        row if row.label == "A" else dataclasses.replace(row, scores={"bias": Score(2, 1, 3, 1)})
        for row in rows
    ]
    _, axes = plt.subplots()
    panel(
        axes,
        rows,
        "bias",
        x="task.horizon",
        names={"B": "better"},
        exact={"A": {4: 0.5, 7: 0.6, 9: 1.0}},
    )
    found = drawn(axes)
    assert list(found) == ["A", "better"]
    assert list(found["A"].get_ydata()) == [4, 7]
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[0.5, 0.6]]
    assert len(axes.collections) == 2
    assert axes.get_xlabel() == "horizon T (steps)"
    plt.close("all")


def test_methods_that_coincide_are_one_line_that_says_so():
    rows = [row_of("Gae(lambda=1)"), row_of("Vine", value=3.0), row_of("RLOO")]
    figure = small_multiples(rows, ["bias"], names={"Gae(lambda=1)": "GAE, λ = 1"})
    assert list(drawn(figure.axes[0])) == ["GAE, λ = 1 = RLOO", "Vine"]
    assert "GAE, λ = 1 = RLOO" in words(figure)


def test_up_to_eight_methods_have_a_panel_per_score_with_their_names_at_the_lines():
    rows = [row_of(name, horizon, value=ord(name)) for name in "ABCDEFGH" for horizon in (4, 8, 16)]
    for row in rows:
        row.scores["rmse"] = row.scores["bias"]
    figure = small_multiples(rows, ["bias", "rmse"], x="task.horizon")
    assert len(figure.axes) == 2
    assert all(words(figure).count(name) == 2 for name in "ABCDEFGH")
    assert figure.axes[0].get_title(loc="left") == "(a) squared bias / signal"


def test_names_at_lines_do_not_overlap():
    rows = [
        row_of(name, horizon, value=1 + 0.01 * ord(name))
        for name in "ABCDEFGH"
        for horizon in (4, 8)
    ]
    figure = small_multiples(
        [*rows, row_of("A", 16, value=99.0)], ["bias"], x="task.horizon", width=COLUMN
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert len(boxes) == 8
    boxes.sort(key=lambda box: box.y0)
    for below, above in itertools.pairwise(boxes):
        assert below.y1 <= above.y0 + 1


def many(horizons=(4, 8)):
    """Rows of eleven methods in three methodologies."""
    kinds = {"monte_carlo": "ABCDEF", "my idea": "GHI", "control": "JK"}
    return [
        row_of(name, horizon, value=ord(name) * horizon, methodology=kind)
        for kind, names in kinds.items()
        for name in names
        for horizon in horizons
    ]


def test_more_methods_have_a_column_per_methodology_with_the_others_behind():
    figure = small_multiples(many(), ["bias"], x="task.horizon")
    assert [list(drawn(axes)) for axes in figure.axes] == [list("ABCDEF"), list("GHI"), list("JK")]
    assert all(len(axes.get_lines()) == 11 for axes in figure.axes)
    assert {"monte carlo", "my idea", "control"} <= set(words(figure))
    # One scale for all, so that columns can be compared.
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_no_panel_has_more_than_eight_lines_to_tell_apart():
    rows = [row_of(f"method {i}", value=i) for i in range(19)]
    figure = small_multiples(rows, ["bias"])
    assert [len(drawn(axes)) for axes in figure.axes] == [7, 7, 5]
    assert {"monte carlo (1)", "monte carlo (3)"} <= set(words(figure))


def test_one_column_of_a_paper_has_fewer_panels_side_by_side():
    wide, narrow = (small_multiples(many(), ["bias"], width=width) for width in (7.0, COLUMN))
    rows = [
        len({round(axes.get_position().y0, 3) for axes in figure.axes}) for figure in (wide, narrow)
    ]
    assert rows == [1, 2]
    assert narrow.get_figwidth() == COLUMN


def test_by_gives_every_value_a_column_of_its_own():
    rows = [changed(row_of(value=scale), "policy.scale", scale) for scale in (1.0, 2.0)]
    with pytest.raises(ValueError, match=r"policy\.scale = 1\.0 and 2\.0"):
        small_multiples(rows, ["bias"], x="task.horizon")
    figure = small_multiples(rows, ["bias"], x="task.horizon", by="policy.scale")
    assert [list(drawn(axes)["RLOO"].get_ydata()) for axes in figure.axes] == [[1.0], [2.0]]
    assert "scale of the policy: 2" in words(figure)
    mixed = [row_of("Gae(lambda_=1)", horizon=7), row_of("Vine", horizon=7)]
    named = words(small_multiples(mixed, ["bias"], x="task.horizon", by="estimator.lambda_"))
    assert "lambda of the estimator: none" in named
    with pytest.raises(ValueError, match=r"by must be one of .* got 'policy.size'"):
        small_multiples(rows, ["bias"], by="policy.size")


def test_columns_of_unlike_sizes_share_an_axis_that_shows_them_all():
    """One column spans factors, the other few of them or what is not positive."""
    for other, kind in ((1.0, "log"), (-1.0, "symlog")):
        rows = []
        for scale, values in ((1.0, (1.0, 300.0)), (2.0, (other, 1.5 * other))):
            for horizon, value in zip((4, 8), values, strict=True):
                rows.append(changed(row_of(horizon=horizon, value=value), "policy.scale", scale))
        figure = small_multiples(rows, ["bias"], x="task.horizon", by="policy.scale")
        assert {axes.get_yscale() for axes in figure.axes} == {kind}
        low, high = figure.axes[0].get_ylim()
        assert low < min(1.0, 1.5 * other)
        assert high > 300.0


def test_missing_values_are_gaps_and_a_panel_without_any_says_why():
    rows = [row_of(name, horizon) for name in "AB" for horizon in (4, 8, 16)]
    rows[1] = row_of("A", 8, value=math.nan)
    for row in rows:
        row.scores["snr"] = Score(math.nan, math.nan, math.nan, 0)
        row.notes["snr"] = "the exact gradient is 0"
    figure = small_multiples(rows, ["bias", "snr"], x="task.horizon")
    assert np.isnan(drawn(figure.axes[0])["A"].get_ydata()).tolist() == [False, True, False]
    assert drawn(figure.axes[1]) == {}
    assert "not defined here the exact gradient is 0" in words(figure)


def test_a_method_whose_values_are_missing_or_outside_is_named():
    rows = [row_of("A"), row_of("B", value=math.nan), row_of("C", value=50.0)]
    figure = small_multiples(rows, ["bias"], spans={"bias": (0.5, 2.0)})
    assert "outside: C not defined: B" in words(figure)


def test_a_single_x_shows_marks_with_bars():
    figure = small_multiples([row_of("A"), row_of("B", value=2.0)], ["bias"], x="task.horizon")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8"]
    assert len(axes.collections) == 2
    positions = [line.get_xdata()[0] for line in drawn(axes).values()]
    assert positions[0] < positions[1]


def test_rows_and_scores_must_be_there():
    with pytest.raises(ValueError, match="rows must hold at least one row"):
        small_multiples([], ["bias"])
    with pytest.raises(ValueError, match="scores must hold at least one"):
        small_multiples([row_of()], [])
    with pytest.raises(ValueError, match="width must be in"):
        small_multiples([row_of()], ["bias"], width=0.5)


# Axes


@pytest.mark.parametrize(
    ("values", "score", "kind"),
    [
        ((1.0, 2.0, 8.0), "bias", "linear"),
        ((0.01, 2.0, 800.0), "bias", "log"),
        ((0.0, 3.0, 2000.0, 1e5), "env_steps", "symlog"),
        ((0.0, 0.5, 0.6, 1.0), "leakage", "linear"),
        ((0.0001, 1.0), "precision_at_k", "linear"),
        ((0.0, 0.0), "bias", "linear"),
        ((-0.01, 5.0, 6.0, 7.0, 8.0), "bias", "linear"),
    ],
)
def test_an_axis_is_logarithmic_where_sizes_differ_widely(values, score, kind):
    lines = lines_of(
        [row_of(f"method {i}", value=value, half=0.0) for i, value in enumerate(values)], "seed"
    )
    assert fit_scale(list(lines.values()), score).kind == kind


def test_the_linear_middle_of_an_axis_is_as_wide_as_the_noise():
    noisy = [row_of(f"noise {i}", value=0.01 * (i - 1), half=0.2) for i in range(3)]
    large = [row_of(f"large {i}", value=10.0**i, half=0.0) for i in range(6)]
    lines = lines_of([*noisy, *large], "seed")
    assert fit_scale(list(lines.values()), "bias").threshold == pytest.approx(0.1)


def test_ticks_are_at_values_and_few():
    assert thinned(np.log(2.0 ** np.arange(3, 13)), 5) == [0, 3, 6, 9]
    assert thinned(np.array([1.0, 2.0]), 5) == [0, 1]
    assert thinned(np.array([0.0, 0.5, 0.9, 0.95, 1.0]), 5) == [0, 1, 4]


def test_a_horizon_over_factors_has_a_logarithmic_axis_with_ticks_at_values():
    figure = small_multiples(many((8, 64, 512, 4096)), ["bias"], x="task.horizon")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8", "64", "512", "4,096"]


def test_spread_keeps_names_apart_in_order_and_as_near_as_possible():
    heights = np.full(3, 0.2)
    np.testing.assert_allclose(spread(np.array([0.5, 0.5, 0.9]), heights, (0, 1)), [0.4, 0.6, 0.9])
    # All want the top: a stack below it.
    np.testing.assert_allclose(
        spread(np.array([0.98, 0.99, 1.0]), heights, (0, 1)), [0.5, 0.7, 0.9]
    )
    # Against a search over all places on a grid.
    wanted, heights = np.array([0.30, 0.35, 0.42]), np.array([0.1, 0.3, 0.1])
    found = spread(wanted, heights, (-9, 9))
    grid = np.stack(np.meshgrid(*[np.arange(0.0, 0.8, 0.01)] * 3, indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    fits = (np.diff(grid, axis=1) >= (heights[1:] + heights[:-1]) / 2 - 1e-9).all(axis=1)
    best = ((grid[fits] - wanted) ** 2).sum(axis=1).min()
    assert ((found - wanted) ** 2).sum() <= best + 1e-12
    assert (np.diff(found) >= 0.2 - 1e-12).all()


def test_names_break_at_spaces_and_before_brackets_and_lose_nothing():
    assert wrap("Hindsight(condition=state)", 18) == ["Hindsight", "(condition=state)"]
    assert wrap("GAE (λ = 1)", 30) == ["GAE (λ = 1)"]
    assert wrap("A(b=1) = B(c=2)", 9) == ["A(b=1) =", "B(c=2)"]


def test_label_ends_leaves_out_what_legends_leave_out():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="shown")
    axes.plot([0, 1], [1, 0], label="_hidden")
    label_ends(axes)
    assert [text.get_text() for text in axes.texts] == ["shown"]


# Files


def test_files_are_as_papers_want_them(tmp_path):
    figure = small_multiples([row_of("A"), row_of("B", value=2.0)], ["bias"], width=COLUMN)
    for ending in ("png", "pdf", "svg"):
        figures.save(figure, tmp_path / f"figure.{ending}")
    pixels = plt.imread(tmp_path / "figure.png").shape[1]
    assert pixels == pytest.approx(300 * COLUMN, rel=0.1)
    pdf = (tmp_path / "figure.pdf").read_bytes()
    assert b"/Subtype /Type3" not in pdf
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert ">squared bias / signal</text>" in (tmp_path / "figure.svg").read_text()
    plt.close("all")


# Tasks


def solved(task):
    mdp = task.build()
    return jax.tree.map(np.asarray, (mdp, solve(mdp, casim.Uniform().table(mdp))))


def test_pivots_are_the_steps_that_matter_most():
    task = casim.Bifurcation(horizon=20, pivots=(3, 11), recovery=1.0)
    # With full recovery the second pivot undoes whatever the first did.
    np.testing.assert_array_equal(pivots(*solved(task)), [11])
    np.testing.assert_array_equal(
        pivots(*solved(casim.Bifurcation(horizon=20, pivots=(3, 11)))), [3, 11]
    )
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
    # After the pivot bad is there too: two loops.
    assert (len(filler.patches), len(filler.lines)) == (0, 2)
    assert filler.lines[0].get_color() == SAME


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(casim.Team(), marks=pytest.mark.slow),
        casim.VariableTurns(num_turns=12, stop_rewards=tuple(range(12))),
    ],
)
def test_a_task_figure_has_a_graph_per_kernel_up_to_six(task):
    mdp, truth = solved(task)
    figure = task_figure(mdp, truth)
    top, bottom = figure.subfigs
    drawn = [axes for axes in top.axes if axes.get_title()]
    assert len(drawn) == min(6, mdp.prob.shape[0])
    assert len(bottom.axes) == 3
    plt.close(figure)
