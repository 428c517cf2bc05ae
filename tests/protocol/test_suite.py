"""The suite: what it sets is held beside its version, its worlds are as the survey asks."""

import dataclasses

import jax
import numpy as np
import pytest

from casim.controls import CONTROLS
from casim.jobs import label_of
from casim.methods import GRPO, RLOO, VINEPPO_STEP
from casim.protocol.suite import (
    AGAINST,
    QUICK_METHODS,
    SCORES,
    VERSION,
    Suite,
    full,
    quick,
)
from casim.protocol.worlds import no_reset, single_agent, teams
from casim.report import describe
from casim.scores import NAMES

DIGESTS = {"1.1": {"quick": "33473e711d2c", "full": "724a5eec4282"}}
"""Of all settings, by version: a change of one is a change of numbers, and takes a new version."""


@pytest.fixture(scope="module")
def suites():
    return {"quick": quick(), "full": full()}


def test_what_changes_a_number_bumps_the_version(suites):
    assert {size: suite.digest for size, suite in suites.items()} == DIGESTS[VERSION]


def test_any_setting_changes_the_digest_and_where_a_recipe_is_defined_does_not(suites):
    suite = suites["quick"]
    world = suite.worlds[0]
    task = dataclasses.replace(world.task, task=dataclasses.replace(world.task.task, solve=0.8))
    others = [
        dataclasses.replace(suite, replicates=120),
        dataclasses.replace(suite, seeds=(1,)),
        dataclasses.replace(suite, methods=suite.methods[1:]),
        dataclasses.replace(suite, worlds=suite.worlds[1:]),
        dataclasses.replace(suite, worlds=(world._replace(task=task), *suite.worlds[1:])),
    ]
    digests = {suite.digest, *(other.digest for other in others)}
    assert len(digests) == 1 + len(others)
    asked_otherwise = dataclasses.replace(
        suite, worlds=(world._replace(asks="?"), *suite.worlds[1:])
    )
    assert asked_otherwise.digest == suite.digest


def test_the_quick_suite_has_one_shape_and_at_most_eight_methods(suites):
    suite = suites["quick"]
    assert len(suite.methods) <= 8
    assert AGAINST in [label_of(method) for method in suite.methods]
    mdps = [world.task.build() for world in suite.worlds]
    shapes = [jax.tree.map(np.shape, mdp) for mdp in mdps]
    assert all(shape == shapes[0] for shape in shapes)
    # What a program is compiled for beside shapes: numbers of turns, segments and agents.
    for mdp in mdps:
        assert int(mdp.turn[-1]) == int(mdp.segment[-1]) == 7
        assert not np.any(np.asarray(mdp.agent))
        assert np.all(np.asarray(mdp.emission).max(-1) == 1)


def test_every_family_is_there_and_every_world_has_a_name_of_its_own(suites):
    names = [world.name for world in suites["full"].worlds]
    assert len(set(names)) == len(names)
    families = [*single_agent(8), *no_reset(8), *teams(8)]
    assert len(families) == 20
    assert {world.name for world in suites["quick"].worlds} <= {world.name for world in families}
    assert all(score in NAMES for score in SCORES)


def test_studies_keep_methods_that_go_back_from_worlds_that_forbid_it():
    worlds = tuple(world for world in no_reset(4) if world.name == "no reset")
    suite = Suite("quick", worlds, (RLOO, VINEPPO_STEP))
    (study,) = suite.studies((GRPO,))
    assert [label_of(method) for method in study.estimators] == ["RLOO", "GRPO"]
    assert study.controls == CONTROLS
    assert study.name == f"protocol_{VERSION}_quick"


def test_studies_share_a_policy_and_ask_the_judges_that_their_methods_ask(suites):
    suite = suites["quick"]
    studies = suite.studies()
    assert sum(len(study.tasks) for study in studies) == len(suite.worlds)
    assert len({study.policies for study in studies}) == len(studies) == 3
    asked = set().union(*(method.recipe.judges for method in QUICK_METHODS))
    assert set(studies[0].judges) == asked


def test_two_methods_of_one_label_are_refused(suites):
    with pytest.raises(ValueError, match="distinct values"):
        suites["quick"].studies((RLOO,))


def test_the_world_of_a_row_is_found_by_its_recipes(suites):
    suite = suites["quick"]
    from tests.rows import row

    world = suite.worlds[3]
    found = row(task=describe(world.task), policy=describe(world.policy))
    assert suite.world_of(found) is world
    assert suite.world_of(row()) is None
