"""Judges by name: in a world, in a study, in rows."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest

from casim import report
from casim.estimators import Chain, InformationGain, ProcessReward, Sum, Whole
from casim.judges import Judge
from casim.oracle import solve
from casim.policies import Softmax
from casim.simulate import World
from casim.study import Study
from casim.tables import settings
from casim.tasks import Bifurcation
from tests.rows import row

TASK = Bifurcation(horizon=4, pivots=(1,), gap=0.5, recovery=0.25, noise=0.1)
JUDGES = {"judge": Judge(bias=2.0), "exact": Judge(), "actions": Judge("advantage")}
KEY = jax.random.key(3)


def trial(**changes) -> Study:
    fields = {
        "name": "trial",
        "tasks": (TASK,),
        "policies": (Softmax(seed=2),),
        "estimators": (InformationGain(),),
        "num_trajectories": 3,
        "replicates": 20,
        "controls": (),
    }
    return Study(**(fields | changes))


@pytest.mark.slow
def test_every_judge_of_a_world_answers_to_its_name():
    mdp = TASK.build()
    policy = Softmax(seed=2).table(mdp)
    models = {name: judge.model(mdp, solve(mdp, policy)) for name, judge in JUDGES.items()}
    world = World.make(mdp, policy, judges=models)
    batch = world.groups(KEY, 2, 3)
    for name in JUDGES:
        alone = World.make(mdp, policy, judges={"judge": models[name]})
        np.testing.assert_array_equal(world.judge(KEY, batch, name), alone.judge(KEY, batch))
    np.testing.assert_array_equal(world.judge(KEY, batch), world.judge(KEY, batch, "judge"))
    start = world.judge_prompt(KEY, batch, "exact")
    np.testing.assert_allclose(world.judge_prompt(KEY, batch) - start, 2.0, rtol=1e-5)
    with pytest.raises(ValueError, match=r"judges must hold 'other' .* \['actions', 'exact', 'ju"):
        world.judge(KEY, batch, "other")


@pytest.mark.slow
def test_a_method_of_a_study_asks_the_judge_that_it_names(unhooked):
    """As where that judge is the only one."""
    (asked,) = trial(estimators=(InformationGain(judge="exact"),), judges=JUDGES).run()
    (alone,) = trial().run()
    assert asked.scores["bias"] == alone.scores["bias"]
    assert alone.judges is None
    assert asked.judges == {name: report.describe(JUDGES[name]) for name in ("exact", "actions")}
    assert asked.judge == report.describe(JUDGES["judge"])
    assert settings(asked)["judges.actions.signal"] == "advantage"
    again = report.Row.from_json(asked.to_json())
    assert (again.judges, again.identity) == (asked.judges, asked.identity)
    (question,) = (job.question for case in trial(judges=JUDGES)._cases() for job in case.jobs)
    assert json.loads(question)[-1] == {"judges": asked.judges}


def test_rows_of_one_judge_say_nothing_of_others():
    assert "judges" not in json.loads(row().to_json())
    other = dataclasses.replace(row(), judges={"exact": report.describe(Judge())})
    assert other.question != row().question


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judges": {}}, r"judges must hold 'judge' for InformationGain, which asks it, got \[\]"),
        (
            {"estimators": (Chain(ProcessReward(judge="b")),), "judges": {"a": Judge()}},
            r"judges must hold 'b' for Chain.*, got \['a'\]",
        ),
        ({"judges": Judge()}, r"judges must be recipes by name, got Judge\("),
        ({"judges": {"a b": Judge()}}, r"names of judges must be identifiers, got 'a b'"),
        ({"judges": {"a": Judge}}, r"judges\['a'\] must hold instances, got the class Judge"),
        ({"judges": {"a": TASK}}, r"judges\['a'\] must hold a casim.Grader, got Bifurcation"),
    ],
)
def test_judges_that_make_no_sense_are_refused(changes, message, unhooked):
    with pytest.raises(ValueError, match=message):
        trial(**changes)


def test_a_compound_asks_all_that_its_parts_ask():
    parts = (ProcessReward(judge="a"), InformationGain())
    assert Sum(*parts).judges == {"a", "judge"}
    assert not Chain(Whole()).judges
