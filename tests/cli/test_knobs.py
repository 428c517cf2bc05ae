"""Knobs of a study: found by name, turned where they are, and every combination measured once."""

import pytest

import casim
from casim.cli.knobs import Knob, Setup, read_setting, read_sweep, studies

SETUP = Setup(
    task=casim.ToolChain(num_turns=3),
    policy=casim.Softmax(scale=0.5),
    judge=casim.Judge(),
    estimators=(
        casim.methods.RLOO,
        casim.Gae(),
        casim.InformationGain(),
        casim.ProcessReward(),
    ),
    num_prompts=1,
    num_trajectories=4,
    replicates=20,
)


@pytest.mark.parametrize(
    ("name", "knob"),
    [
        ("num_turns", Knob("task", "num_turns")),
        ("horizon", Knob("task", "num_turns")),
        ("task.horizon", Knob("task", "num_turns")),
        ("task.discount", Knob("task", "discount")),
        ("scale", Knob("policy", "scale")),
        ("fidelity", Knob("judge", "fidelity")),
        ("lambda", Knob("estimator", "lambda_")),
        ("estimator.lambda_", Knob("estimator", "lambda_")),
        ("replicates", Knob("study", "replicates")),
    ],
)
def test_a_knob_is_found_by_its_name_or_its_field_alone(name, knob):
    assert SETUP.find(name) == knob


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("discount", "'discount' must say of what it is a field: task.discount or estimator.disc"),
        ("num_turn", "knob must be a known name, got 'num_turn': did you mean num_turns"),
        ("task.lambda_", "knob must be a known name, got 'task.lambda_'"),
        ("xyzzy", "knob must be one of"),
    ],
)
def test_a_knob_of_several_parts_or_of_none_is_refused_with_names(name, message):
    with pytest.raises(ValueError, match=message):
        SETUP.find(name)


def test_settings_are_made_where_they_are():
    turned = read_setting(SETUP, "task.repair=0.25")
    assert turned.task == casim.ToolChain(num_turns=3, repair=0.25)
    assert read_setting(SETUP, "num_trajectories=2").num_trajectories == 2
    assert read_setting(SETUP, "judge.resolution=3").judge == casim.Judge(resolution=3)
    floored = read_setting(SETUP, "floor=0.25").estimators
    assert floored[2] == casim.InformationGain(floor=0.25)
    assert [*floored[:2], floored[3]] == [*SETUP.estimators[:2], SETUP.estimators[3]]


@pytest.mark.parametrize("text", ["repair", "repair=", "=3", "repair 0.5"])
def test_a_setting_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="a knob must be written NAME=VALUE"):
        read_setting(SETUP, text)


def test_the_recipe_that_refuses_a_value_is_named():
    with pytest.raises(ValueError, match=r"ProcessReward.form must be one of .*, got 'log'"):
        read_setting(SETUP, "form=log")  # of information gain it is one
    with pytest.raises(ValueError, match=r"repair must be in \[0.0, 1.0\], got 7.0"):
        read_sweep(SETUP, "repair=0,7")
    with pytest.raises(ValueError, match=r"values of task.repair must differ, got '0.1,0.10'"):
        read_sweep(SETUP, "repair=0.1,0.10")


def planned(*texts):
    sweeps = [read_sweep(SETUP, text) for text in texts]
    return list(studies("s", SETUP, sweeps, (0, 1), ("exact",)))


def test_knobs_of_tasks_policies_and_estimators_are_one_study():
    (study,) = planned("num_turns=2..8", "scale=0:1:3")
    assert [task.horizon for task in study.tasks] == [2, 4, 8]
    assert [policy.scale for policy in study.policies] == [0.0, 0.5, 1.0]
    assert study.estimators == SETUP.estimators
    assert (study.judges["judge"], study.num_trajectories, study.replicates) == (
        casim.Judge(),
        4,
        20,
    )
    assert (study.seeds, study.controls, study.name) == ((0, 1), ("exact",), "s")


def test_a_knob_of_estimators_turns_those_that_have_it():
    (study,) = planned("lambda=0,1")
    gaes = [casim.Gae(lambda_=0.0), casim.Gae(lambda_=1.0)]
    first, _, *rest = SETUP.estimators
    assert [*study.estimators] == [first, *gaes, *rest]


def test_two_knobs_of_one_part_are_combined():
    (study,) = planned("repair=0,0.5", "num_turns=2,3")
    found = [(task.repair, task.num_turns) for task in study.tasks]
    assert found == [(0.0, 2), (0.0, 3), (0.5, 2), (0.5, 3)]


def test_knobs_that_a_whole_study_shares_make_several_of_one_name():
    several = planned("fidelity=0.5,1", "replicates=20,40")
    found = [(study.judges["judge"].fidelity, study.replicates) for study in several]
    assert found == [(0.5, 20), (0.5, 40), (1.0, 20), (1.0, 40)]
    assert {study.name for study in several} == {"s"}
