"""Studies: resumable to the row, paired, and strict about what they measure."""

from __future__ import annotations

import collections
import dataclasses
import gc
import json
import math
import zlib
from typing import Any, ClassVar

import chex
import jax
import numpy as np
import pytest

from casim import plan, programs, report, setting
from casim.controls import CONTROLS
from casim.estimators import (
    Estimator,
    Gae,
    ProcessReward,
    Vine,
)
from casim.jobs import label_of
from casim.judges import Judge
from casim.methods import GRPO, REINFORCE, REWARD_TO_GO, RLOO
from casim.policies import Softmax, Uniform
from casim.running import COLLECTED, LOCATIONS, Runner, tracing_lightly
from casim.scores import NAMES, pairs, stream
from casim.storage import beside, load, locked, read
from casim.study import Study
from casim.targets import Advantage, Target
from casim.tasks import Bifurcation, HackableProcess, ToolChain
from casim.types import Credit
from tests.small import small_numbers

TASK = Bifurcation(horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_segments=2)
METHODS = (REINFORCE, RLOO, REWARD_TO_GO)


@pytest.fixture(autouse=True)
def _compiled_ahead(unhooked):
    """Ahead-of-time compilation rebuilds worlds out of shapes, which the run-time types refuse."""


def trial(**changes) -> Study:
    settings = {
        "name": "trial",
        "tasks": (TASK,),
        "estimators": METHODS,
        "num_trajectories": 3,
        "replicates": 20,
        "controls": ("zero",),
    }
    return Study(**(settings | changes))


def same_scores(one, other, rtol=0.0):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=rtol, atol=rtol, err_msg=name)


@pytest.fixture(scope="module")
def whole():
    """The rows of an uninterrupted run."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    rows = trial().run()
    jaxtyping.config.update("jaxtyping_disable", False)
    return rows


@pytest.fixture
def measured(monkeypatch):
    """Counts what is measured: a list of (label of the method, seed)."""
    calls = []
    measure = Runner._measure

    def counting(self, *args):
        job = args[-1]
        calls.append((label_of(job.method), job.seed))
        return measure(self, *args)

    monkeypatch.setattr(Runner, "_measure", counting)
    return calls


class StopHereError(Exception):
    pass


def stop_after(number):
    seen = []

    def progress(row, new):
        seen.append((row.label, new))
        if len(seen) == number:
            raise StopHereError

    return progress


def test_an_interrupted_run_goes_on_without_losing_or_repeating_a_row(tmp_path, measured, whole):
    path = tmp_path / "deep" / "rows.jsonl"
    with pytest.raises(StopHereError):
        trial().run(path, progress=stop_after(2))
    assert [label for label, _ in measured] == ["REINFORCE", "RLOO"]
    assert len(load(path)) == 2
    seen = []
    rows = trial().run(path, progress=lambda row, new: seen.append((row.label, new)))
    assert seen == [("REINFORCE", False), ("RLOO", False), ("reward-to-go", True), ("zero", True)]
    assert collections.Counter(label for label, _ in measured) == dict.fromkeys(
        (x.label for x in whole), 1
    )
    assert [row.label for row in load(path)] == [row.label for row in rows]
    for one, other in zip(rows, whole, strict=True):
        assert one.identity == other.identity
        same_scores(one.scores, other.scores)
    trial().run(path)
    assert len(measured) == 4  # nothing was left to do


def test_a_run_killed_while_writing_repeats_that_row_only(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    lines = [row.to_json() + "\n" for row in whole]
    path.write_text(lines[0] + lines[1] + lines[2][:-9], encoding="utf-8")
    rows = trial().run(path)
    assert [label for label, _ in measured] == ["reward-to-go", "zero"]
    assert [x.identity for x in load(path)] == [x.identity for x in whole]
    for one, other in zip(rows, whole, strict=True):
        same_scores(one.scores, other.scores)


def write(path, rows):
    path.write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")


def test_rows_that_the_study_does_not_ask_for_are_kept_and_left_out(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    write(path, whole)
    rows = trial(estimators=(REINFORCE,), controls=()).run(path)
    assert [row.label for row in rows] == ["REINFORCE"]
    assert not measured
    assert len(load(path)) == 4


def renamed(rows, **changes):
    return [dataclasses.replace(row, **changes) for row in rows]


def test_rows_of_another_study_are_neither_reused_nor_returned(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    write(path, renamed(whole, study="other"))
    lines = []
    rows = trial(estimators=(REINFORCE,), controls=()).run(path, notify=lines.append)
    assert [(row.study, row.label) for row in rows] == [("trial", "REINFORCE")]
    assert measured == [("REINFORCE", 0)]
    assert [row.study for row in load(path)] == ["other"] * 4 + ["trial"]
    assert not any("left out" in line for line in lines)


def test_rows_of_other_code_are_kept_and_counted_and_measured_again(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    stale = renamed(whole[:2], sources={"casim": "older"})
    write(path, [*stale, whole[2]])
    lines = []
    rows = trial(controls=()).run(path, notify=lines.append)
    assert lines[0] == f"2 rows of another version left out; they stay in {path}"
    assert [label for label, _ in measured] == ["REINFORCE", "RLOO"]
    assert [row.identity for row in rows] == [row.identity for row in whole[:3]]
    assert [row.sources["casim"] for row in read(path)][:2] == ["older", "older"]
    assert {row.identity for row in load(path)} == {row.identity for row in whole[:3]}
    trial(controls=()).run(path)
    assert len(measured) == 2


def test_fresh_puts_the_rows_of_the_study_aside_and_measures_anew(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    other = renamed(whole[:1], study="other")
    stale = renamed(whole[:1], sources={"casim": "older"})
    write(path, [*stale, *other, *whole[:2]])
    lines = []
    trial(estimators=METHODS[:1], controls=()).run(path, notify=lines.append, fresh=True)
    assert lines[0] == f"3 rows of trial put aside in {beside(path, '.old')}"
    assert measured == [("REINFORCE", 0)]
    assert [(row.study, row.label) for row in read(path)] == [
        ("other", "REINFORCE"),
        ("trial", "REINFORCE"),
    ]
    aside = read(beside(path, ".old"))
    assert [row.identity for row in aside] == [row.identity for row in (*stale, *whole[:2])]


def test_a_file_is_measured_into_by_one_run_at_a_time(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    write(path, whole)
    with locked(path), pytest.raises(ValueError, match=f"{path} is in use by process"):
        trial().run(path)
    assert [row.label for row in trial().run(path)] == [row.label for row in whole]
    assert not measured


def test_the_rows_that_a_study_asks_for_are_selected_in_its_order(whole):
    other = renamed(whole, study="other")
    more = renamed(whole, replicates=30)
    stale = renamed(whole[:1], sources={"casim": "older"})
    rows = [*other, *stale, *more, *whole[::-1]]
    assert [id(row) for row in trial().select(rows)] == [id(row) for row in whole]
    assert trial(estimators=(RLOO,), controls=()).select(rows) == [whole[1]]
    assert trial(name="third").select(rows) == []


def test_a_row_that_is_in_the_file_twice_ends_the_run_before_anything(tmp_path, measured, whole):
    path = tmp_path / "rows.jsonl"
    write(path, [*whole, whole[1]])
    with pytest.raises(ValueError, match="line 5: the same row as line 2"):
        trial().run(path)
    assert not measured


def test_a_file_with_something_that_is_no_row_raises(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"study": "trial"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        trial().run(path)


def test_rows_say_what_was_measured(whole):
    row = whole[1]
    assert row.task == report.describe(TASK)
    assert row.policy == {"recipe": "Uniform", "module": "casim.policies"}
    assert list(row.sources) == ["casim"]
    assert row.judge == report.describe(Judge())
    assert report.rebuild(row.estimator) == RLOO.recipe
    assert (row.methodology, whole[3].methodology) == ("monte_carlo", "control")
    assert (row.horizon, row.num_steps, row.num_trajectories, row.replicates, row.seed) == (
        5,
        5,
        3,
        20,
        0,
    )
    assert tuple(row.scores) == NAMES
    assert row.scores["batch_steps"].value == 15
    assert row.scores["env_steps"].value == 0
    assert row.exact["expected_return"] == pytest.approx(
        0.5 - 0.3 + 0.6 * good_at_the_end(), abs=1e-6
    )
    assert row.compile_time >= 0
    assert row.wall_time > 0
    assert json.loads(row.to_json())["versions"]["jax"] == jax.__version__


def good_at_the_end():
    """P(good) of TASK under the uniform policy.

    A right action keeps or lifts, a wrong one breaks, then a flip.
    """
    good = 1.0
    for _ in range(2):
        kept = 0.5 * (good + 0.4 * (1 - good))
        good = 0.9 * kept + 0.1 * (1 - kept)
    return good


def test_all_methods_see_the_same_trajectories(whole):
    """With one reward at the end, the return and the return-to-go are the same credit.

    So must be every score.
    """
    one, other = ({k: v for k, v in whole[i].scores.items() if k != "target_bias"} for i in (0, 2))
    same_scores(one, other)


def test_the_order_and_the_company_of_estimators_change_nothing(whole):
    rows = trial(estimators=METHODS[::-1], controls=("exact", "zero")).run()
    by_label = {row.label: row for row in rows}
    for row in whole:
        same_scores(row.scores, by_label[row.label].scores)


def test_results_do_not_depend_on_the_size_of_chunks(monkeypatch, whole):
    small_numbers(monkeypatch, jax.default_backend(), chunk=1)
    for one, other in zip(trial().run(), whole, strict=True):
        same_scores(one.scores, other.scores, rtol=1e-4)


def test_the_trajectories_of_a_replicate_depend_on_the_seed_and_its_number_alone():
    few, many = (
        np.asarray(jax.random.key_data(jax.random.split(jax.random.key(3), n))) for n in (10, 30)
    )
    np.testing.assert_array_equal(few, many[:10])


def test_seeds_are_rows_of_their_own():
    rows = trial(estimators=(RLOO,), controls=(), seeds=(4, 0)).run()
    assert [row.seed for row in rows] == [4, 0]
    assert rows[0].scores["rmse"].value != rows[1].scores["rmse"].value
    assert rows[0].exact == rows[1].exact


def test_tasks_and_policies_are_crossed():
    tasks, policies = (TASK, dataclasses.replace(TASK, gap=0.3)), (Uniform(), Softmax())
    rows = trial(tasks=tasks, policies=policies, estimators=(REINFORCE,), controls=()).run()
    crossed = [
        (report.describe(task), report.describe(policy)) for task in tasks for policy in policies
    ]
    assert [(row.task, row.policy) for row in rows] == crossed
    assert len({row.scores["rmse"].value for row in rows}) == 4


def test_controls_score_what_they_must():
    rows = trial(estimators=(), controls=CONTROLS).run()
    exact, zero, broadcast, shuffled = (row.scores for row in rows)
    assert [row.label for row in rows] == list(CONTROLS)
    assert exact["bias"].value == pytest.approx(0, abs=1e-6)
    assert exact["sign_accuracy"].value == 1
    assert exact["leakage"].value == pytest.approx(0, abs=1e-6)
    assert exact["precision_at_k"].value == 1
    assert zero["bias"].value == pytest.approx(1, abs=1e-4)
    assert zero["gradient_bias"].value == pytest.approx(1, abs=1e-5)
    assert math.isnan(broadcast["rank_correlation"].value)
    assert broadcast["rank_correlation"].count == 0
    assert broadcast["leakage"].value > 0.5
    assert shuffled["sign_accuracy"].value < exact["sign_accuracy"].value
    assert shuffled["leakage"].value > 0.3


def test_targets_without_an_exact_value_are_nan_and_the_rest_is_scored():
    row = trial(estimators=(ProcessReward(),), controls=(), tasks=(TASK,)).run()[0]
    assert math.isnan(row.scores["target_bias"].value)
    assert row.scores["target_bias"].count == 0
    assert math.isfinite(row.scores["bias"].value)
    assert row.scores["judge_calls"].value == 15


@dataclasses.dataclass(frozen=True)
class Knob(Estimator):
    """Never called."""

    setting: Any = None
    needs: ClassVar[frozenset[str]] = frozenset()
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = Advantage()
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, key, world, batch) -> Credit:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Referred(Knob):
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})


def namesake(setting):
    """An estimator of another class of the same name."""
    kind = dataclasses.make_dataclass("Knob", [("setting", Any, None)], bases=(Knob,), frozen=True)
    return kind(setting)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (1, 2, 1)}, "seeds must hold distinct values, got 1 twice"),
        (
            {"estimators": (REINFORCE, GRPO, REINFORCE)},
            r"estimators must hold distinct values, got Chain\(parts=\(Whole\(",
        ),
        ({"tasks": (TASK, TASK)}, "tasks must hold distinct values"),
        ({"policies": (Uniform(), Uniform())}, "policies must hold distinct values"),
        ({"controls": ("zero", "zero")}, "controls must hold distinct values"),
        ({"controls": ("oracle",)}, "controls must be one of"),
        ({"tasks": ()}, "number of tasks must be"),
        ({"seeds": ()}, "number of seeds must be"),
        ({"policies": ()}, "number of policies must be"),
        ({"replicates": 1}, "replicates must be"),
        ({"replicates": 11}, r"replicates must have a divisor in \[2, 10\], got 11"),
        ({"replicates": 143}, "replicates must have a divisor .* got 143"),
        ({"replicates": 20.0}, "replicates must be an integer"),
        ({"num_trajectories": 0}, "num_trajectories must be"),
        ({"seeds": (-1,)}, "seeds must be"),
        ({"seeds": (0.5,)}, "seeds must be an integer"),
        ({"name": "../../x"}, "name must be 1 to 100 letters.*, got '../../x'"),
        ({"name": "/tmp/x"}, "name must be"),
        ({"name": ".hidden"}, "name must be"),
        ({"name": ".."}, "name must be"),
        ({"name": ""}, "name must be"),
        ({"name": "a\0b"}, "name must be"),
        ({"name": "a b"}, "name must be"),
        ({"name": "x" * 101}, "name must be"),
        ({"name": None}, "name must be"),
        ({"estimators": (Vine,)}, r"got the class Vine: write Vine\(\)"),
        (
            {"tasks": (Bifurcation,)},
            r"tasks must .* got the class Bifurcation: write Bifurcation\(\)",
        ),
        ({"policies": (Uniform,)}, r"policies must .* got the class Uniform: write Uniform\(\)"),
        (
            {"judges": {"judge": Judge}},
            r"judges\['judge'\] must .* got the class Judge: write Judge\(\)",
        ),
        ({"tasks": TASK}, r"tasks must be a tuple, got Bifurcation\("),
        ({"seeds": 3}, "seeds must be a tuple, got 3"),
        ({"controls": "exact"}, "controls must be a tuple, got 'exact'"),
        ({"tasks": (Vine(),)}, r"tasks must hold a casim.Task, got Vine\("),
        ({"estimators": (len,)}, "estimators must hold a casim.Estimator, got <built-in"),
        ({"judges": "kind"}, "judges must be recipes by name, got 'kind'"),
        ({"estimators": (), "controls": ()}, "number of estimators and controls must be"),
        (
            {"estimators": (Knob([1]),)},
            r"estimators must hold recipes that rows can hold: unhashable",
        ),
        ({"estimators": (Knob(math.inf),)}, r"rows can hold: .*Knob.setting: a setting must be"),
        (
            {"estimators": (Knob(1), namesake(1))},
            r"must have different labels, got two of 'Knob\(setting=1\)'",
        ),
        (
            {"num_trajectories": 1},
            "num_trajectories must be at least 2 for RLOO, which needs a group, got 1",
        ),
        (
            {"judges": {}, "estimators": (ProcessReward(),)},
            r"judges must hold 'judge' for ProcessReward, which asks it, got \[\]",
        ),
        (
            {"tasks": (TASK, ToolChain(branching=False)), "estimators": (Vine(),)},
            r"tasks must be such that one can go back to a step, which Vine needs, "
            r"got ToolChain\(branching=False\)",
        ),
        (
            {"estimators": (Referred(),)},
            "reference must be set for Referred, which needs one, got None",
        ),
    ],
)
def test_bad_settings_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        trial(**changes)


@pytest.mark.parametrize("replicates", [2, 3, 9, 10, 22, 25, 128, 30])
def test_these_numbers_of_replicates_are_fine(replicates):
    trial(replicates=replicates)


def test_what_a_method_draws_does_not_depend_on_how_its_settings_are_spelled():
    """Rows of 1 and 1.0 are one measurement, so they must be one number."""
    one, *others = (Gae(lambda_=x) for x in (1.0, 1, np.float64(1.0), np.int64(1)))
    for other in others:
        assert report.describe(other) == report.describe(one)
        assert programs.name_of(other) == programs.name_of(one)
    assert programs.name_of(Gae(lambda_=0.5)) != programs.name_of(one)
    assert programs.name_of(REINFORCE) == zlib.crc32(repr(REINFORCE.recipe).encode())


def test_lists_are_as_good_as_tuples():
    assert trial(tasks=[TASK], seeds=[1, 2]) == trial(seeds=(1, 2))


def test_a_study_is_a_hashable_recipe():
    assert hash(trial()) == hash(trial())
    assert trial() == dataclasses.replace(trial())
    assert trial() != trial(replicates=30)


def test_nothing_is_compiled_again_when_only_values_change(monkeypatch):
    """Tasks and policies of equal shapes, and seeds, share every program: all are traced once."""
    for name in ("_rollout", "_credit", "_target", "_sums"):
        monkeypatch.setattr(programs, name, chex.assert_max_traces(getattr(programs, name), n=1))
    for room, name in ((stream, "_zeros"), (pairs, "_slabs")):
        monkeypatch.setattr(room, name, chex.assert_max_traces(getattr(room, name), n=1))
    counted = chex.assert_max_traces(stream._add.__wrapped__, n=1)
    monkeypatch.setattr(stream, "_add", jax.jit(counted, donate_argnums=0))
    monkeypatch.setattr(programs, "_STAGES", {})
    monkeypatch.setattr(pairs, "_PROGRAMS", {})
    tasks = (TASK, dataclasses.replace(TASK, gap=0.3, recovery=0.2))
    policies = (Softmax(seed=1), Softmax(seed=2))
    rows = trial(
        tasks=tasks, policies=policies, seeds=(0, 1), estimators=(REINFORCE,), controls=()
    ).run()
    assert len({row.scores["rmse"].value for row in rows}) == 8


@pytest.mark.slow
def test_a_task_that_judges_see_as_it_is_is_solved_once(monkeypatch):
    solved = []
    solve = setting._solve
    monkeypatch.setattr(
        setting, "_solve", lambda mdp, table: solved.append(mdp) or solve(mdp, table)
    )
    setting.Outline.make(TASK, Uniform(), {"judge": Judge()}).solve()
    assert len(solved) == 1
    setting.Outline.make(
        HackableProcess(horizon=3, num_segments=2), Uniform(), {"judge": Judge()}
    ).solve()
    assert len(solved) == 3


@pytest.mark.slow
def test_an_outline_has_the_shapes_of_what_is_solved():
    """All of the stand-in is known to the program, down to what is compiled into it."""
    chain = ToolChain(num_turns=2, observation_noise=0.1, replay_noise=0.3)
    outline = setting.Outline.make(
        chain, Softmax(), {"judge": Judge(signal="advantage", resolution=3)}
    )
    solved = outline.solve()
    one, other = ((outline.world, outline.truth), (solved.world, solved.truth))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for shape, array in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (shape.shape, shape.dtype, shape.sharding) == (
            array.shape,
            array.dtype,
            array.sharding,
        )


@pytest.mark.slow
def test_a_method_that_needs_more_memory_gets_smaller_chunks():
    outline = setting.Outline.make(TASK, Uniform(), {"judge": Judge()})
    groups = plan.Groups(1, 3, "prompt")
    roomy = programs.program(RLOO, groups, outline, 8, 1e9)
    tight = programs.program(RLOO, groups, outline, 8, roomy.bytes / 3)
    assert roomy.chunk == 8
    assert tight.chunk in (1, 2)
    assert tight.bytes <= roomy.bytes / 3
    single = programs.program(RLOO, groups, outline, 1, 1e9)
    with pytest.raises(
        ValueError,
        match=r"memory must exceed .* for a single batch of 3 .*, got .* beside the sums",
    ):
        programs.program(RLOO, groups, outline, 8, single.bytes - 1)


def test_a_study_says_how_it_is_measured():
    lines = []
    trial(estimators=(REINFORCE,), controls=()).run(notify=lines.append)
    assert len(lines) == 1
    assert "Bifurcation at 5: T = 5, 10 blocks of 2 groups, in chunks of 2 on 1 x" in lines[0]


def test_a_run_traces_lightly_and_leaves_no_trace():
    thresholds, limit = gc.get_threshold(), getattr(jax.config, LOCATIONS)
    try:
        gc.set_threshold(700, 10, 10)
        jax.config.update(LOCATIONS, 3)
        seen = set()

        def look(row, new):
            seen.add((gc.get_threshold(), getattr(jax.config, LOCATIONS)))

        trial(estimators=()).run(progress=look)
        assert seen == {(COLLECTED, 0)}
        with pytest.raises(KeyError), tracing_lightly():
            raise KeyError
        assert gc.get_threshold() == (700, 10, 10)
        assert getattr(jax.config, LOCATIONS) == 3
        gc.set_threshold(0, 10, 10)
        with tracing_lightly():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*thresholds)
        jax.config.update(LOCATIONS, limit)
