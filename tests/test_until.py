"""Replicates until an interval is narrow: enough, no more than allowed, and only where needed."""

import itertools
import math

import numpy as np
import pytest

import casim
from casim.cli import main
from casim.controls import Control
from casim.jobs import label_of
from casim.methods import recipe_of
from casim.report import describe
from casim.scores import Score
from casim.until import Goal, run_until, with_most_replicates
from tests.compare.samples import scored
from tests.rows import NAN, row

GOAL = Goal("snr", 0.1, 6400)
STUDY = casim.Study(
    name="s",
    tasks=(casim.Bifurcation(horizon=4), casim.Bifurcation(horizon=9)),
    estimators=(casim.methods.RLOO, casim.Vine()),
    replicates=100,
    seeds=(0, 1),
    controls=("exact",),
)
# Half widths of the intervals at 100 replicates, of a value of 2.
HALF = {(4, "RLOO"): 0.1, (9, "RLOO"): 0.5, (4, "Vine"): 3.0, (9, "Vine"): 0.25}


def measured(value, half, replicates=100, **changes):
    return row(
        scores={"snr": Score(value, value - half, value + half, 1.0)},
        replicates=replicates,
        **changes,
    )


def run(study, log):
    """Rows whose intervals narrow like 1 / sqrt(replicates)."""
    log.append(study)
    rows = []
    for task, seed, method in itertools.product(study.tasks, study.seeds, study.methods):
        control = isinstance(method, Control)
        name = label_of(method)
        half = 9.0 if control else HALF[task.horizon, name]
        recipes = {
            "task": describe(task),
            "policy": describe(study.policies[0]),
            "judge": describe(study.judges["judge"]),
            "estimator": describe(recipe_of(method)),
        }
        names = {"label": name, "horizon": task.horizon, "seed": seed, "num_trajectories": 8}
        kind = "control" if control else "monte_carlo"
        wide = half * math.sqrt(100 / study.replicates) * (1 + 0.1 * seed)
        rows.append(measured(2.0, wide, study.replicates, methodology=kind, **recipes, **names))
    return rows


def test_a_row_is_narrow_if_half_its_interval_is_a_small_share_of_its_value():
    assert GOAL.more([measured(2.0, 0.19)]) is None
    assert GOAL.more([measured(-2.0, 0.19)]) is None
    assert GOAL.excess(measured(-2.0, 0.4)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("half", "replicates"),
    [(0.21, 200), (0.28, 200), (0.29, 400), (0.4, 400), (0.41, 800), (1.6, 6400), (9.0, 6400)],
)
def test_replicates_grow_by_doubling_to_what_is_about_enough(half, replicates):
    # 100 (half / 0.2)^2, rounded up to 100 times a power of two.
    assert GOAL.more([measured(2.0, half)]) == replicates


def test_all_seeds_grow_with_the_widest_and_none_beyond_the_limit():
    assert GOAL.more([measured(2.0, 0.1), measured(2.0, 0.41)]) == 800
    assert GOAL.more([measured(2.0, 9.0, replicates=3200)]) == 6400
    assert GOAL.more([measured(2.0, 9.0, replicates=6400)]) is None
    assert Goal("snr", 0.1, 6399).more([measured(2.0, 9.0)]) == 3200


def test_what_has_no_interval_does_not_grow_and_what_has_no_noise_is_narrow():
    assert GOAL.more([measured(NAN, NAN)]) is None
    assert GOAL.more([measured(2.0, NAN)]) is None
    assert GOAL.more([measured(0.0, 0.1)]) is None
    assert GOAL.more([measured(0.0, 0.0)]) is None


def test_only_what_is_too_wide_is_measured_again_and_controls_never():
    log = []
    outcome = run_until(STUDY, GOAL, lambda study: run(study, log))
    found = {(one.horizon, one.label, one.seed): one.replicates for one in outcome.rows}
    # Seed 1 is a tenth wider: 100 (1.1 x half / 0.2)^2, rounded up.
    wanted = {(4, "RLOO"): 100, (9, "RLOO"): 800, (4, "Vine"): 6400, (9, "Vine"): 200}
    wanted |= {(4, "exact"): 100, (9, "exact"): 100}
    assert found == {(*key, seed): count for key, count in wanted.items() for seed in (0, 1)}
    assert [(one.horizon, one.label) for one in outcome.rows[:3]] == [
        (4, "RLOO"),
        (4, "Vine"),
        (4, "exact"),
    ]
    # 3 / 8 of 2 is 0.1875, which is not a tenth; the limit is met.
    assert {(one.horizon, one.label) for one in outcome.wide} == {(4, "Vine")}
    assert log[0] == STUDY
    assert all(part.controls == () and len(part.tasks) == 1 for part in log[1:])
    assert sorted(part.replicates for part in log[1:]) == [200, 800, 6400]


def test_what_fails_is_not_tried_twice():
    log = []

    def run_first(study):
        rows = run(study, log)
        return rows if study is STUDY else []

    outcome = run_until(STUDY, GOAL, run_first)
    assert len(log) == 4
    assert {one.replicates for one in outcome.rows} == {100}


def test_rows_with_more_replicates_take_the_places_of_chosen_ones():
    base = [
        measured(2.0, 0.5, label=name, estimator={"recipe": name, "module": "m"}) for name in "AB"
    ]
    more = measured(2.0, 0.25, 400, label="A", estimator={"recipe": "A", "module": "m"})
    other = measured(
        2.0, 0.25, 800, label="A", estimator={"recipe": "A", "module": "m"}, study="other"
    )
    assert with_most_replicates(base, [*base, more, other]) == [more, base[1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("snrr", 0.1, 100), "score must be one of"),
        (("snr", 0.0, 100), "width must be in"),
        (("snr", 0.1, 1), "at_most must be in"),
    ],
)
def test_goals_that_cannot_be_reached_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Goal(*arguments)


@pytest.mark.slow
def test_intervals_of_what_stopped_cover_about_as_often_as_is_said():
    rng = np.random.default_rng(0)
    goal, runs, hits = Goal("snr", 0.1, 2560), 1000, 0
    for _ in range(runs):
        groups = 1 + 2 * rng.standard_normal(goal.at_most)
        replicates = 40
        while replicates is not None:
            last = scored(
                "A", {"snr": groups[:replicates].reshape(10, -1).mean(1)}, replicates=replicates
            )
            value = last.scores["snr"].value
            half = 2.262 * math.sqrt(9 * np.var(last.left_out["snr"]))
            replicates = goal.more([measured(value, half, replicates)])
        hits += abs(value - 1) <= half
    assert 0.92 <= hits / runs <= 0.96


EXPERIMENT = """
import casim
from casim.figures import small_multiples

def study(name, replicates):
    tasks = (casim.Bifurcation(horizon=3), casim.Bifurcation(horizon=5))
    estimators = (casim.methods.REWARD_TO_GO,)
    return casim.Study(name, tasks, estimators, replicates=replicates, controls=())

STUDY, QUICK, SCORES = study("full", 40), study("small", 20), ("bias", "snr_aligned")

def draw(rows):
    assert all(row.replicates > 20 for row in rows)
    return small_multiples(rows, ["snr_aligned"])
"""


@pytest.mark.slow
def test_a_run_measures_again_until_what_is_asked_and_its_figure_is_drawn_again(tmp_path, capsys):
    path = tmp_path / "experiment.py"
    path.write_text(EXPERIMENT)
    arguments = ["run", str(path), "--quick", "--until", "snr_aligned=0.05", "--at-most", "160"]
    main([*arguments, "--out", str(tmp_path)])
    out = capsys.readouterr().out
    rows = casim.load(tmp_path / "small.jsonl")
    assert sorted(one.replicates for one in rows) == [20, 20, 160, 160]
    assert "up to 160 replicates for snr_aligned within 0.05 of its value" in out
    assert out.count("times too wide: reward-to-go at") == 2
    main([*arguments, "--out", str(tmp_path)])
    assert "0 new rows" in capsys.readouterr().out
    again = ["figure", str(path), str(tmp_path / "small.jsonl"), "--out", str(tmp_path / "x.png")]
    main([*again, "--most"])
    with pytest.raises(SystemExit, match="AssertionError"):
        main(again)  # rows of 20 replicates, as the study asks for them


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("snr", "until must be SCORE=WIDTH, got 'snr'"),
        ("snr_alined=1", "until must be a known name, got 'snr_alined': did you mean snr_aligned"),
        ("snr=x", "until must be a number, got 'x'"),
        ("snr=0", "width must be in"),
    ],
)
def test_the_command_refuses_what_is_no_goal(until, message):
    with pytest.raises(SystemExit, match=message):
        main(["run", "experiment.py", "--until", until])
