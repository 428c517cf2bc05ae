"""Logs: what is read, what is said of them, and the world that has their statistics."""

from __future__ import annotations

import importlib
import json
import sys

import jax
import numpy as np
import pytest

import casim
from casim import methods
from casim.bridge import calibrate, describe, load, world
from casim.bridge.describe import Share
from casim.cli import main
from casim.estimators.peers import coverage
from casim.oracle.moments import precise_truth
from casim.survey.measured import study_in
from casim.survey.regime import read_regime
from casim.types import to_rows
from tests.quick import QUICK

OPTIONS = {"compiler_options": QUICK}
LOG = [
    {"prompt": "b", "reward": 1.0, "mask": [1, 1, 0, 1], "turn": [0, 0, 0, 1]},
    {"prompt": "a", "reward": [0.5, 0.5], "mask": [1, 1], "turn": [0, 1]},
    {"prompt": "b", "reward": 0.0, "mask": [1, 0, 1], "turn": [0, 0, 1]},
    {"prompt": "a", "reward": 1.0, "mask": [1, 1, 1], "turn": [0, 1, 2]},
    {"prompt": "c", "reward": 0, "mask": [1], "turn": [0]},
]
SEEN = [["x", "y", "y", "x"], ["x", "x"], ["x", "z", "w"], ["y", "x", "y"], ["x"]]
TOOK = [[3, 4, 9, 4], [3, 4], [3, 9, 4], [3, 5, 4], [3]]
SURE = [[0.5, 0.1, 0.0, 0.2], [0.4, 0.4], [0.1, 0.0, 0.3], [0.2, 0.2, 0.2], [0.6]]
MORE = [
    {**record, "observation": seen, "action": took, "entropy": sure, "text": "left alone"}
    for record, seen, took, sure in zip(LOG, SEEN, TOOK, SURE, strict=True)
]


def written(path, records):
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    return path


@pytest.fixture
def log(tmp_path):
    return written(tmp_path / "log.jsonl", MORE)


def test_a_log_is_a_batch_on_which_methods_run(log):
    batch = load(log)
    assert batch.live.shape == (3, 2, 4)
    mask = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(to_rows(batch.decision, batch), mask)
    np.testing.assert_array_equal(to_rows(batch.reward, batch).sum(axis=1), [1, 1, 0, 1, 0])
    recipe = methods.RLOO_VERL_VECTORIZED.recipe
    run = jax.jit(lambda batch: recipe.credit(jax.random.key(0), None, batch), **OPTIONS)
    credit = run(batch)
    np.testing.assert_allclose(to_rows(credit.value, batch)[:, 0], [1, 0, -1, 0, 0])


def test_the_description_is_what_one_counts_by_hand(log):
    found = describe(load(log))
    assert (found.rollouts, found.prompts) == (5, 3)
    assert found.group_size == pytest.approx([1, 1.2, 2, 2, 2])
    assert (found.length[0], found.length[2], found.length[-1]) == (1, 3, 4)
    assert (found.turns[0], found.turns[2], found.turns[-1]) == (1, 2, 3)
    assert found.tool_share == pytest.approx(2 / 13)
    assert found.outcome_values == {"0": 0.4, "1": 0.6}
    assert found.success.value == pytest.approx(0.6)
    assert found.equal_groups.value == 0.5  # a's outcomes are equal, b's are not, c is alone
    assert found.truncated is None
    assert (found.entropy[0], found.entropy[-1]) == pytest.approx((0.1, 0.6))
    # Of b's 5 decisions the 3 at x met another, of a's 5 all, of c's none.
    assert found.anchor_coverage == pytest.approx(8 / 11)
    # b: the first of each; a: the first and the second of each.
    assert found.prefix_sharing == pytest.approx(6 / 11)


@pytest.mark.slow
def test_coverage_is_that_of_the_estimators(log):
    batch = load(log)
    share = np.asarray(coverage(None, batch, "anchor"))
    number = np.asarray(batch.decided & batch.counted[..., None]).sum(axis=(0, 1))
    assert describe(batch).anchor_coverage == pytest.approx((share * number).sum() / number.sum())


def test_what_a_log_does_not_say_is_not_told(tmp_path):
    found = describe(load(written(tmp_path / "bare.jsonl", LOG)))
    assert found.entropy is None
    assert found.anchor_coverage is None
    assert found.prefix_sharing is None


def test_an_interval_holds_its_share():
    """Wilson's for 8 of 10: 0.490 to 0.943."""
    share = Share.of(8, 10)
    assert share == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert Share.of(0, 5).low == pytest.approx(0, abs=1e-12)
    assert Share.of(5, 5).high == pytest.approx(1)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a", "reward": 1.0}, r"rollout 2 must have prompt, reward, mask, got no mask"),
        ({"prompt": "a", "reward": 1.0, "mask": []}, "rollout 2: mask must be a list"),
        ({"prompt": "a", "reward": [1.0], "mask": [1, 1]}, "reward must have 2 entries, .* got 1"),
        ({"prompt": "a", "reward": "x", "mask": [1]}, "reward must hold numbers, got 'x'"),
        ({"prompt": "a", "reward": 1.0, "mask": [1], "turn": [0, 1]}, "turn must have 1 entries"),
        ({"prompt": "a", "reward": 1.0, "mask": [1]}, "turn must be in all 2 rollouts, got 1"),
        ([1, 2], "line 2 must be an object"),
    ],
)
def test_a_bad_log_is_one_line(tmp_path, record, message):
    with pytest.raises(ValueError, match=message):
        load(written(tmp_path / "bad.jsonl", [LOG[0], record]))


def test_an_empty_log_and_one_that_is_no_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold rollouts, got none"):
        load(written(tmp_path / "empty.jsonl", []))
    path = tmp_path / "text.jsonl"
    path.write_text("once\n")
    with pytest.raises(ValueError, match="line 1 must be JSON"):
        load(path)


def test_without_pyarrow_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"pip install 'casim\[parquet\]'"):
        load(tmp_path / "log.parquet")


def test_parquet_is_read_as_json_lines_are(tmp_path):
    """Flags, short numbers, lists of lists; empty cells are keys that are not there."""
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'casim[parquet]'")
    parquet = importlib.import_module("pyarrow.parquet")
    flat = [{**record, "reward": float(np.sum(record["reward"]))} for record in MORE]
    path = tmp_path / "log.parquet"
    table = pyarrow.Table.from_pylist(flat)
    # The least that holds them, and columns that are read by nobody.
    flags = pyarrow.array([record["mask"] for record in flat], pyarrow.list_(pyarrow.int8()))
    table = table.set_column(table.schema.get_field_index("mask"), "mask", flags)
    empty = pyarrow.array([None] * len(flat), pyarrow.list_(pyarrow.float32()))
    table = table.append_column("value", empty)
    parquet.write_table(table, path)
    lines = load(written(tmp_path / "log.jsonl", flat))
    for one, other in zip(load(path), lines, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)


def test_what_is_no_parquet_is_one_line(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install 'casim[parquet]'")
    path = tmp_path / "log.parquet"
    path.write_text("no table")
    with pytest.raises(ValueError, match=r"log\.parquet must be Parquet: .*magic bytes"):
        load(path)


TASK = casim.ReasoningChain(num_steps=3, tokens_per_step=4, difficulty=(0.2, 0.8), may_stop=False)


def records_of(task, prompts, num, seed=0):
    """A log of the uniform policy: its entropy is that of a policy that hesitates at forks."""
    mdp = task.build()
    made = casim.World.make(mdp, casim.Uniform().table(mdp))
    batch = made.groups(jax.random.key(seed), prompts, num)
    forks = np.asarray(mdp.schedule) == 0
    entropy = np.where(forks, 1.0, 0.0)
    live, decision, turn, reward = (
        np.asarray(x) for x in (batch.live, batch.decision, batch.turn, batch.reward)
    )
    if turn.max() == 0:
        turn = np.asarray(batch.segment)
    found = []
    for prompt, row in np.ndindex(live.shape[:2]):
        size = int(live[prompt, row].sum())
        record = {
            "prompt": prompt,
            "reward": float(reward[prompt, row].sum()),
            "mask": decision[prompt, row, :size].astype(int).tolist(),
            "turn": turn[prompt, row, :size].tolist(),
            "entropy": entropy[:size].tolist(),
        }
        found.append(record)
    return found


@pytest.mark.slow
def test_a_log_of_known_parameters_gives_them_back(tmp_path, capsys, unhooked):
    """Difficulty within its interval, horizon and density exactly, success as measured."""
    path = written(tmp_path / "log.jsonl", records_of(TASK, 60, 16))
    out = tmp_path / "world.json"
    main(["calibrate", str(path), "--out", str(out)])
    assert "cannot be told" in capsys.readouterr().out
    task = world(out)
    assert (task.num_steps, task.tokens_per_step, task.may_stop) == (3, 4, False)
    assert task.fork_share == pytest.approx(0.25)  # one of four tokens hesitates
    assert task.forks_per_step == TASK.forks_per_step
    saved = json.loads(out.read_text())
    (_, low, high) = saved["settings"]["difficulty[0]"]
    assert low <= 0.2 <= high
    (_, low, high) = saved["settings"]["difficulty[2]"]
    assert low <= 0.8 <= high
    measured = [share[0] for share in saved["success"]]
    assert saved["reached"] == pytest.approx(measured, abs=2e-3)
    # What is measured for a choice succeeds as the log does.
    regime = read_regime(out)
    assert (regime.tokens, regime.rollouts) == (12, 16)
    study = study_in(regime, replicates=10)
    assert study.tasks == (task,)
    mdp = task.build()
    success = precise_truth(mdp, study.policies[0].table(mdp)).expected_return
    assert float(success) == pytest.approx(np.mean(measured), abs=2e-3)
    assert regime.success == pytest.approx(float(success), abs=1e-6)


@pytest.mark.slow
def test_tools_give_a_world_of_tools(tmp_path, unhooked):
    task = casim.ToolChain(num_turns=3, tokens_per_turn=2, output_tokens=1, damage=0.6)
    path = written(tmp_path / "log.jsonl", records_of(task, 20, 16, seed=1))
    found = calibrate(load(path))
    assert isinstance(found.task, casim.ToolChain)
    assert (found.task.num_turns, found.task.tokens_per_turn) == (3, 2)
    assert found.task.output_tokens == 1
    _, low, high = found.settings["damage"]
    assert low <= 0.6 <= high
    assert any("ToolChain has one prompt" in line for line in found.cannot_tell)


def test_agents_are_counted_and_how_they_depend_is_not_told(tmp_path):
    records = [{"prompt": i // 2, "reward": i % 2, "mask": [1, 1, 1]} for i in range(4)]
    assert describe(load(written(tmp_path / "log.jsonl", records))).agents == 1
    several = [{**record, "agent": [0, 1, 0]} for record in records]
    found = calibrate(load(written(tmp_path / "team.jsonl", several)))
    assert found.description.agents == 2
    assert any("its 2 agents depend on each other" in line for line in found.cannot_tell)


def test_outcomes_of_many_values_have_no_success(tmp_path):
    records = [{"prompt": i, "reward": float(i), "mask": [1]} for i in range(4)]
    with pytest.raises(ValueError, match="outcomes must have two values"):
        calibrate(load(written(tmp_path / "log.jsonl", records)))


def test_the_command_says_what_the_log_holds(log, capsys):
    main(["describe", str(log)])
    text = capsys.readouterr().out
    assert "tool_share          0.1538" in text
    assert "truncated           the log does not say" in text
    main(["describe", str(log), "--json"])
    assert json.loads(capsys.readouterr().out)["rollouts"] == 5


def test_a_file_that_is_no_world_is_refused(tmp_path):
    path = tmp_path / "world.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="must be a world of `casim calibrate`"):
        world(path)
