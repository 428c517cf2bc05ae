"""One discount: an estimator's is the world's, and claims hold at the discounts that they name."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators import ESTIMATORS, PARTS, Gae, Shapley, ToGo, Vine, Whole
from casim.estimators.base import claimed, discount_of
from casim.methods import GRPO, REINFORCE, REWARD_TO_GO, RLOO
from casim.oracle.moments import by_reward, exact_scores, group_moments
from casim.simulate import World
from casim.tasks import Bifurcation, VariableTurns
from tests.chains import rloo
from tests.enumeration import expected_gradient, returns_to_go, run, solved
from tests.reference import groups, rollout

KEY = jax.random.key(0)
DISCOUNTS = (1.0, 0.8)
WITH_DISCOUNT = [
    kind
    for kind in (*ESTIMATORS, *PARTS)
    if "discount" in {x.name for x in dataclasses.fields(kind)}
]

OWN = {"Fade", "FadeUnits", "NearEnd", "NodeGain", "TurnWindow", "TurnsToGo"}
"""Parts whose discount is the method's own and not that of returns: of turns, groups or graphs."""


def chain(discount):
    """One pivot at step 3 of 8, and the uniform policy."""
    mdp = Bifurcation(8, (3,), discount=discount).build()
    return mdp, np.full((*mdp.emission.shape[::2], 2), 0.5, np.float32)


def slope(estimator, discount):
    """Exact slope of the gradient, by enumeration of all groups of two."""
    moments = group_moments(*chain(discount), estimator, 2, by_reward)
    return exact_scores(*chain(discount), moments)["gradient_slope"]


@pytest.mark.parametrize("method", [REWARD_TO_GO, RLOO, REINFORCE], ids=lambda x: x.name)
def test_the_gradient_is_exact_where_it_is_claimed_and_only_there(method):
    """A return from the first step is worth 0.8^3 of the reward-to-go at step 3."""
    for discount in DISCOUNTS:
        exact = "gradient" in method.claims_at(discount)
        wanted = 1.0 if exact else 0.8**3
        assert slope(method, discount) == pytest.approx(wanted, rel=1e-6)


def test_a_discount_of_ones_own_is_kept_and_takes_the_claim_away():
    """Undiscounted, the reward at the last step counts 0.8^-4 times too much at step 3."""
    assert slope(ToGo(1.0), 0.8) == pytest.approx(0.8**-4, rel=1e-6)
    assert slope(rloo(1.0), 0.8) == pytest.approx(0.8**-4, rel=1e-6)
    assert not ToGo(1.0).claims(0.8)


@pytest.mark.parametrize(
    ("estimator", "undiscounted", "discounted"),
    [
        (Whole(), {"gradient"}, set()),
        (ToGo(), {"gradient"}, {"gradient"}),
        (Vine(), {"gradient", "target"}, {"target"}),
        (Vine(unit="step"), {"gradient", "target"}, {"gradient", "target"}),
        (Shapley(), {"target"}, {"target"}),
    ],
    ids=lambda x: str(sorted(x)) if isinstance(x, set) else repr(x),  # the order of a set changes
)
def test_claims_name_their_discounts(estimator, undiscounted, discounted):
    assert estimator.claims(1.0) == undiscounted
    assert estimator.claims(0.8) == discounted
    single = float(jnp.float32(0.8))  # as a world holds it
    assert dataclasses.replace(estimator, discount=0.8).claims(single) == discounted
    assert not dataclasses.replace(estimator, discount=0.7).claims(single)


@pytest.mark.parametrize(
    ("method", "undiscounted", "discounted"),
    [
        (REINFORCE, {"gradient"}, set()),
        (REWARD_TO_GO, {"gradient"}, {"gradient"}),
        (RLOO, {"gradient", "target"}, {"target"}),
        (GRPO, set(), set()),
    ],
    ids=lambda x: str(sorted(x)) if isinstance(x, set) else x.name,
)
def test_claims_of_methods_name_their_discounts(method, undiscounted, discounted):
    assert method.claims_at(1.0) == undiscounted
    assert method.claims_at(0.8) == discounted


def test_claims_in_words():
    assert claimed(Vine()) == "gradient (discount 1), target"
    assert claimed(ToGo()) == "gradient"
    assert claimed(Gae()) == "-"


def test_none_is_the_discount_of_the_world_and_1_without_one():
    world = World.make(*jax.tree.map(jnp.asarray, chain(0.8)))
    batch = groups(world, KEY, 1, 2)
    assert float(discount_of(world, batch, None)) == pytest.approx(0.8)
    assert discount_of(world, batch, 0.5) == 0.5
    np.testing.assert_allclose(discount_of(None, batch, None), 0.8)
    assert discount_of(None, batch, 0.5) == 0.5


@pytest.mark.parametrize("kind", WITH_DISCOUNT, ids=lambda kind: kind.__name__)
def test_every_discount_is_the_worlds_by_default_and_in_0_to_1(kind, unhooked):
    assert (kind().discount is None) == (kind.__name__ not in OWN)
    assert {kind(discount=x).discount for x in (0.0, 1.0)} == {0.0, 1.0}
    for bad in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"discount must be in \[0.0, 1.0\], got"):
            kind(discount=bad)


def test_no_credit_is_weighed_by_the_discount_of_its_own_step():
    """discount^t belongs to the scorer: a return is the same at all steps.

    The last step has its reward.
    """
    mdp, policy = chain(0.8)
    world = World.make(mdp, jnp.asarray(policy))
    batch = rollout(world, KEY, 5)
    reward = np.asarray(batch.reward)[:, -1]
    assert 0 < reward.sum() < 5
    whole, to_go = (
        np.asarray(run(method, KEY, world, batch).value) for method in (REINFORCE, REWARD_TO_GO)
    )
    np.testing.assert_allclose(whole, np.repeat(0.8**7 * reward[:, None], 8, axis=1), rtol=1e-6)
    np.testing.assert_allclose(to_go, reward[:, None] * 0.8 ** (7 - np.arange(8)), rtol=1e-6)


def test_without_discount_to_the_t_the_gradient_is_another():
    """The numbers of docs/scores.md: right credit, summed over steps as trainers sum it."""
    mdp = VariableTurns(discount=0.8).build()
    policy = np.broadcast_to(np.array([0.3, 0.7], np.float32), (*mdp.emission.shape[::2], 2))
    given = solved(mdp, policy)
    credit = returns_to_go(given.all.batch, 0.8)
    exact = expected_gradient(mdp, policy, given.all, credit)
    np.testing.assert_allclose(exact, given.exact.gradient, atol=1e-6)
    plain = expected_gradient(
        mdp._replace(discount=jnp.ones_like(mdp.discount)), policy, given.all, credit
    )
    along, length = np.vdot(plain, exact), np.linalg.norm(exact)
    assert along / length / np.linalg.norm(plain) == pytest.approx(0.966, abs=5e-4)
    assert along / length**2 == pytest.approx(1.263, abs=5e-4)


@pytest.mark.slow
def test_a_study_has_the_discount_of_its_world():
    """The reward-to-go has slope 1 there, where the same without discount has 2.4."""
    task = Bifurcation(8, (3,), gap=1.0, discount=0.8)
    study = casim.Study(
        "discount", (task,), (REWARD_TO_GO,), replicates=20, num_trajectories=50, controls=()
    )
    (row,) = study.run()
    score = row.scores["gradient_slope"]
    assert score.low < 1 < score.high < 2
