"""Rows on disk: written, cut off, repaired, loaded strictly, and printed."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from casim import report
from casim.estimators import Gae, GroupRelative, Vine
from casim.metrics import Score
from casim.report import Row, describe, label, load, tabulate
from casim.tasks import Bifurcation, Observed

NAN = math.nan


def row(**changes) -> Row:
    task = Bifurcation(horizon=7, pivots=(1, 4))
    fields = {
        "study": "trial",
        "task": describe(task),
        "policy": {"recipe": "Uniform"},
        "judge": None,
        "estimator": describe(GroupRelative(ddof=0)),
        "label": label(GroupRelative(ddof=0)),
        "methodology": "monte_carlo",
        "horizon": 7,
        "num_steps": 7,
        "num_trajectories": 5,
        "replicates": 20,
        "seed": 3,
        "scores": {"bias": Score(0.25, 0.125, 0.375, 9.0), "snr": Score(NAN, NAN, NAN, 0.0)},
        "left_out": {"bias": [0.25, 0.375], "snr": [NAN, NAN]},
        "notes": {"snr": "no gradient"},
        "exact": {"expected_return": 0.5, "odd": NAN},
        "versions": {"casim": "0"},
        "device": "cpu",
        "compile_time": 1.5,
        "wall_time": 0.25,
    }
    return Row(**(fields | changes))


def same(one: Row, other: Row) -> bool:
    """Equality in which NaN equals NaN."""
    return repr(one) == repr(other)


def test_a_row_comes_back_as_it_was_with_its_nans():
    line = row().to_json()
    assert "NaN" not in line
    assert json.loads(line)["scores"]["snr"] == [None, None, None, 0.0]
    again = Row.from_json(line)
    assert same(again, row())
    assert again.identity == row().identity


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_scores_are_stored_as_missing(value):
    again = Row.from_json(row(scores={"bias": Score(value, 0.0, 1.0, 2.0)}).to_json())
    assert math.isnan(again.scores["bias"].value)


def test_the_identity_is_recipes_budgets_and_seed_and_nothing_else():
    for field in ("task", "policy", "estimator"):
        assert row(**{field: {"recipe": "Other"}}).identity != row().identity
    assert row(judge={"recipe": "Judge"}).identity != row().identity
    for field in ("num_trajectories", "replicates", "seed"):
        assert row(**{field: 99}).identity != row().identity
    for changes in ({"scores": {}}, {"wall_time": 9.0}, {"device": "gpu"}, {"study": "other"}, {"versions": {}}):
        assert row(**changes).identity == row().identity


def test_an_unknown_key_raises_and_is_named():
    fields = json.loads(row().to_json()) | {"colour": 1}
    with pytest.raises(ValueError, match="'colour'"):
        Row.from_json(json.dumps(fields))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Row)])
def test_a_missing_key_raises_and_is_named(field):
    fields = json.loads(row().to_json())
    del fields[field]
    with pytest.raises(ValueError, match=f"got none for '{field}'"):
        Row.from_json(json.dumps(fields))


@pytest.mark.parametrize("score", [[1.0, 2.0, 3.0], 1.0, ["a", 0.0, 0.0, 1.0], {"value": 1}])
def test_a_score_that_is_not_four_numbers_raises_and_is_named(score):
    fields = json.loads(row().to_json())
    fields["scores"]["bias"] = score
    with pytest.raises(ValueError, match="'bias'"):
        Row.from_json(json.dumps(fields))


@pytest.mark.parametrize("line", ["", "{", "5", "[]", "null", '{"scores": 3}'])
def test_a_line_that_is_no_row_raises_and_is_numbered(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(row().to_json() + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2"):
        load(path)


def test_a_last_line_that_was_cut_off_is_left_out_and_repaired(tmp_path):
    path = tmp_path / "rows.jsonl"
    report.append(path, row())
    report.append(path, row(seed=4))
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in (second, second + 1, second + 40, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert [x.seed for x in load(path)] == [3]
        report.repair(path)
        report.append(path, row(seed=5))
        assert [x.seed for x in load(path)] == [3, 5]
    path.write_bytes(whole[: second - 3])
    report.repair(path)
    assert path.read_bytes() == b""
    report.repair(tmp_path / "absent.jsonl")
    assert not (tmp_path / "absent.jsonl").exists()


def test_repair_leaves_a_whole_file_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    report.append(path, row())
    before = path.read_bytes()
    report.repair(path)
    assert path.read_bytes() == before


def test_labels_show_what_differs_from_the_defaults():
    assert label(GroupRelative()) == "GroupRelative"
    assert label(Gae(lambda_=0.5, fit="td")) == "Gae(lambda=0.5, fit=td)"
    assert label(Observed(Bifurcation(horizon=7))) == "Observed(task=Bifurcation(horizon=7))"


def test_recipes_are_described_by_class_and_all_fields():
    assert describe(Vine(3)) == {"recipe": "Vine", "num_branches": 3, "unit": "segment", "discount": 1.0}
    nested = describe(Observed(Bifurcation(horizon=7, pivots=(1, 4))))
    assert nested["recipe"] == "Observed"
    assert nested["task"]["recipe"] == "Bifurcation"
    assert nested["task"]["pivots"] == [1, 4]
    assert json.loads(json.dumps(nested)) == nested


def test_a_table_has_a_line_per_row_and_aligned_columns():
    text = tabulate(
        [row(), row(label="Other", scores={"bias": Score(-1234.5, NAN, NAN, 1.0), "snr": Score(2, 1, 3, 4)})],
        ["bias", "snr"],
    )
    head, first, second = text.split("\n")
    assert head.split() == ["task", "horizon", "estimator", "bias", "snr"]
    assert first.split() == ["Bifurcation", "7", "GroupRelative(ddof=0)", "0.25", "-"]
    assert second.split() == ["Bifurcation", "7", "Other", "-1.23e+03", "2"]
    assert len({len(line) for line in text.split("\n")}) == 1


def test_a_table_shows_half_widths_if_asked():
    text = tabulate([row()], ["bias", "snr"], interval=True)
    assert text.split("\n")[1].split()[-3:] == ["0.25", "±0.1", "-"]
