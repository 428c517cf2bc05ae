"""Rows: as JSON and back, what makes two the same, their recipes built again."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

import casim
from casim.controls import CONTROLS, Control
from casim.estimators import Baseline, Chain, Gae, ToGo, Vine
from casim.report import Row, classes, describe, label, rebuild
from casim.scores import Score
from casim.tasks import Bifurcation, Forced, Observed
from tests.rows import row


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


def test_what_is_exact_is_part_of_the_row_and_that_it_was_asked_for_of_the_question():
    asked = row(expected={"bias": 0.25})
    again = Row.from_json(asked.to_json())
    assert again.expected == {"bias": 0.25}
    assert again.question == asked.question == row(expected={}).question != row().question
    assert "expected" not in json.loads(row().to_json())
    with pytest.raises(ValueError, match="expected must hold numbers"):
        Row.from_json(json.dumps({**json.loads(row().to_json()), "expected": {"bias": "low"}}))


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinite_scores_are_stored_as_missing(value):
    again = Row.from_json(row(scores={"bias": Score(value, 0.0, 1.0, 2.0)}).to_json())
    assert math.isnan(again.scores["bias"].value)


def test_the_question_is_study_recipes_budgets_and_seed_and_nothing_else():
    for field in ("task", "policy", "judge", "estimator"):
        assert row(**{field: {"recipe": "Other", "module": "elsewhere"}}).question != row().question
    for field in ("num_trajectories", "replicates", "seed"):
        assert row(**{field: 99}).question != row().question
    assert row(study="other").question != row().question
    for changes in ({"scores": {}}, {"wall_time": 9.0}, {"device": "gpu"}, {"versions": {}}):
        assert row(**changes).identity == row().identity


def test_other_code_gives_the_same_question_another_identity():
    for sources in ({"casim": "1"}, {"casim": "0", "mine:Estimator": "2"}):
        assert row(sources=sources).question == row().question
        assert row(sources=sources).identity != row().identity


def test_where_a_recipe_is_defined_is_part_of_the_question():
    estimator = row().estimator
    assert row(estimator=estimator | {"module": "mine"}).question != row().question


def test_an_unknown_key_raises_and_is_named():
    fields = json.loads(row().to_json()) | {"colour": 1}
    with pytest.raises(ValueError, match="'colour'"):
        Row.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "field",
    [field.name for field in dataclasses.fields(Row) if field.default is dataclasses.MISSING],
)
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


def test_labels_show_what_differs_from_the_defaults():
    assert label(Gae()) == "Gae"
    assert label(Gae(lambda_=0.5, fit="td")) == "Gae(lambda=0.5, fit=td)"
    assert label(Observed(Bifurcation(horizon=7))) == "Observed(task=Bifurcation(horizon=7))"


def test_a_chain_is_labelled_by_its_parts():
    chain = Chain(ToGo(), Baseline("step", own=False))
    assert label(chain) == "Chain(ToGo, Baseline(peers=step, own=False))"
    assert label(Bifurcation(pivots=(9, 2))) == "Bifurcation(pivots=(9, 2))"


def test_recipes_are_described_by_class_module_and_all_fields():
    assert describe(Vine(3)) == {
        "recipe": "Vine",
        "module": Vine.__module__,
        "num_branches": 3,
        "unit": "segment",
        "discount": Vine().discount,
        "shared": False,
        "max_units": None,
    }
    nested = describe(Observed(Bifurcation(horizon=7, pivots=(1, 4))))
    assert nested["recipe"] == "Observed"
    assert nested["task"]["recipe"] == "Bifurcation"
    assert nested["task"]["pivots"] == [1, 4]
    assert json.loads(json.dumps(nested)) == nested


RECIPES = (
    *(kind() for kind in casim.TASKS),
    *casim.PRESETS.values(),
    *(kind() for kind in casim.ESTIMATORS),
    *(kind() for kind in casim.POLICIES),
    *(method.recipe for method in casim.methods.METHODS),
    *(Control(name) for name in CONTROLS),
    casim.Judge(),
    casim.Judge(signal="advantage", fidelity=0.5, resolution=3, density=0.25),
    Bifurcation(horizon=9, pivots=(1, 4), gap=np.float64(0.125)),
    Observed(Forced(Bifurcation(horizon=9, pivots=(2, 5)), every=2, unit="step")),
    Gae(lambda_=1),
    casim.EntropyControlled(pivot=0.25),
)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: label(recipe)[:60])
def test_a_recipe_comes_back_from_its_row(recipe):
    again = rebuild(json.loads(json.dumps(describe(recipe))))
    assert again == recipe
    assert type(again) is type(recipe)
    assert describe(again) == describe(recipe)


def test_what_cannot_be_built_again_says_why():
    good = describe(Vine(3))
    for changes, message in (
        ({"module": "casim.gone"}, "module that can be imported, got casim.gone:Vine"),
        ({"recipe": "Gone"}, "its module still holds, got casim.*:Gone"),
        ({"recipe": "math"}, "must be a dataclass"),
        ({"recipe": "f.<locals>.Vine"}, "its module still holds"),
        ({"module": None}, "must have text under 'module'"),
        ({"colour": 1}, r"Vine takes \['num_branches', .* now, got .*'colour'"),
        ({"num_branches": 0}, "num_branches must be"),
    ):
        with pytest.raises(ValueError, match=message):
            rebuild(good | changes)
    del good["unit"]
    with pytest.raises(ValueError, match="Vine takes"):
        rebuild(good)


class Undecorated(casim.Policy):
    def table(self, mdp):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Knob(Undecorated):
    setting: Any = None


@dataclasses.dataclass(frozen=True)
class Reserved(Undecorated):
    module: int = 1


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Knob([1]), r"Knob.setting: a setting must be None, .* got \[1\]"),
        (Knob(math.inf), "Knob.setting: a setting must be in"),
        (Knob((1.0, math.nan)), "Knob.setting: a setting must be in"),
        (Knob(Score(1.0, 0.0, 2.0, 3.0)), "Knob.setting: a setting must be"),
        (Knob(Knob), "Knob.setting: a setting must be"),
        (Knob(Knob({})), "Knob.setting: Knob.setting: a setting must be"),
        (Undecorated(), "Undecorated must be decorated"),
        (Reserved(), "a field of Reserved must not have the name 'module'"),
    ],
)
def test_what_a_row_cannot_hold_exactly_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        describe(recipe)


def test_the_classes_of_a_recipe_are_those_of_its_settings_too():
    assert classes((Observed(Bifurcation()), None, Knob((Vine(), 3)))) == {
        Observed,
        Bifurcation,
        Knob,
        Vine,
    }
