"""What methods claim to be unbiased for, by enumeration; and the list of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import casim
from casim import methods
from casim.estimators import Chain, Whole
from casim.methods import METHODS, Claim, Method, named_methods
from casim.oracle import path_target, solve
from casim.oracle.moments import by_reward, exact_scores, group_moments
from casim.report import describe, rebuild
from casim.simulate import World
from tests import reference
from tests.enumeration import cell_mean, trajectories

EXACT = 1e-9
ENUMERABLE = [m for m in METHODS if m.claims and m.needs <= {"group"}]


def small(discount, prompts=1):
    """A process with hidden state, steps of the environment, early ends and odd rewards."""
    mdp, policy = reference.random_mdp(7, schedule=(0, 1, 2), discount=discount)
    assert (np.asarray(mdp.start) > 0).sum() > prompts
    return mdp._replace(prompt=np.arange(len(mdp.start)) % prompts), policy


@pytest.mark.parametrize(("discount", "prompts"), [(1.0, 1), (0.75, 2), (1.0, 2)])
@pytest.mark.parametrize("method", ENUMERABLE, ids=lambda m: m.name)
def test_claims_hold_exactly_where_they_are_made(method, discount, prompts):
    mdp, policy = small(discount, prompts)
    claims = method.claims_at(discount)
    moments = group_moments(mdp, policy, method, 2, by_reward)
    scores = exact_scores(mdp, policy, moments)
    if "gradient" in claims:
        assert scores["gradient_bias"] < EXACT
    if "target" in claims:
        world = World.make(mdp, policy)
        every = trajectories(mdp, policy)
        aim = path_target(method.target, world, solve(mdp, policy), every.batch)
        wanted, mass = cell_mean(mdp, every, np.asarray(aim))
        np.testing.assert_allclose(moments.expectation[mass > 0], wanted[mass > 0], atol=1e-5)


def test_a_claim_for_discount_1_does_not_hold_below():
    for method in ENUMERABLE:
        if method.claims_at(1.0) == method.claims_at(0.75):
            continue
        mdp, policy = small(0.75)
        scores = exact_scores(mdp, policy, group_moments(mdp, policy, method, 2, by_reward))
        assert scores["gradient_bias"] > 1e-4, method.name


def test_every_method_is_listed_once_under_its_name():
    names = named_methods()
    assert list(names.values()) == list(METHODS)
    assert len({m.name for m in METHODS}) == len(METHODS)
    for name in names:
        assert name in methods.__all__
        assert name.isupper()


def test_recipes_can_be_rebuilt_from_rows():
    for method in METHODS:
        assert rebuild(describe(method.recipe)) == method.recipe


def test_a_study_calls_a_method_by_its_name_and_keeps_its_recipe(unhooked):
    study = casim.Study(
        "named",
        (casim.Bifurcation(horizon=5, pivots=(2,)),),
        (methods.RLOO, casim.LeaveOneOut(), methods.GRPO),
        num_prompts=2,
        num_trajectories=3,
        replicates=10,
        controls=("exact",),
    )
    rows = {row.label: row for row in study.run(progress=False)}
    assert list(rows) == ["RLOO", "LeaveOneOut", "GRPO", "exact"]
    assert rebuild(rows["RLOO"].estimator) == methods.RLOO.recipe
    assert rows["RLOO"].num_prompts == 2
    for name, score in rows["RLOO"].scores.items():
        same = rows["LeaveOneOut"].scores[name]
        np.testing.assert_allclose(score, same, rtol=1e-5, atol=1e-6, err_msg=name)
    assert rows["GRPO"].scores["support"].value == 1.0
    assert rows["GRPO"].scores["effective_sample"].value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"granularity": "word"}, "granularity must be one of"),
        ({"status": "sure"}, "status must be one of"),
        ({"claims": (Claim("truth"),)}, "claims must be one of"),
    ],
)
def test_nonsense_is_refused(changes, message, unhooked):
    with pytest.raises(ValueError, match=message):
        Method("mine", Chain(Whole()), "me", **changes)


def test_what_a_method_does_not_say_is_that_of_its_recipe():
    mine = Method("mine", methods.VINEPPO.recipe, "me")
    assert (mine.granularity, mine.methodology) == ("step", "monte_carlo")
    assert mine.target == methods.VINEPPO.recipe.target
    other = dataclasses.replace(mine, granularity="segment")
    assert other.granularity == "segment"
