"""What methods claim to be unbiased for, by enumeration; and the list of them."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim import methods
from casim.estimators import Chain, Whole
from casim.methods import METHODS, Claim, Method, named_methods
from casim.methods.order import ROOMS
from casim.oracle import path_target
from casim.oracle.moments import exact_scores, group_moments
from casim.panel import PANEL
from casim.report import describe, rebuild
from casim.scores import group_gradient
from casim.simulate import World
from casim.types import recorded
from tests.enumeration import cell_mean, solve, trajectories
from tests.methods.worlds import NARROW, WORLDS, small

EXACT = 1e-9
ENUMERABLE = [m for m in METHODS if m.claims and m.needs <= {"group"}]


PLACES = [
    ("hidden", 1.0, 1),
    ("hidden", 0.75, 2),
    *(
        pytest.param(name, discount, prompts, marks=pytest.mark.slow)
        for name in WORLDS
        for discount, prompts in ((1.0, 1), (0.75, 2), (1.0, 2))
        if (name, discount, prompts) not in {("hidden", 1.0, 1), ("hidden", 0.75, 2)}
    ),
]


@functools.cache
def enumerated(name, discount, prompts):
    """A world, what is known of it, and all its trajectories."""
    mdp, policy = small(name, discount, prompts, NARROW)
    return World.make(mdp, policy), solve(mdp, policy), trajectories(mdp, policy)


@functools.cache
def wanted(target, *place):
    """What credit should be in every cell on average, and the probability of the cell."""
    world, truth, every = enumerated(*place)
    aim = path_target(target, world, truth, every.batch)
    return cell_mean(world.mdp, every, np.asarray(aim))


@pytest.mark.parametrize(("name", "discount", "prompts"), PLACES)
@pytest.mark.parametrize("method", ENUMERABLE, ids=lambda m: m.name)
def test_claims_hold_exactly_where_they_are_made(method, name, discount, prompts):
    mdp, policy = small(name, discount, prompts, NARROW)
    claims = method.claims_at(discount)
    moments = group_moments(mdp, policy, method, 2)
    if "gradient" in claims:
        assert exact_scores(mdp, policy, moments)["gradient_bias"] < EXACT
    if "target" in claims:
        mean, mass = wanted(method.target, name, discount, prompts)
        np.testing.assert_allclose(moments.expectation[mass > 0], mean[mass > 0], atol=1e-5)


SEEDS = 2000
SAMPLED = [m for m in METHODS if m.claims and not m.needs <= {"group"}]


@functools.partial(jax.jit, static_argnums=0)
def errors(method, world, truth, key):
    """Of one group: its gradient less the exact one; and credit less target, summed by cell."""
    rollout, own = jax.random.split(key)
    batch = world.groups(rollout, 1, 3)
    credit = method.credit(own, world, batch)
    rows = jax.tree.map(lambda x: x[0], recorded(batch))
    product = credit.value[0] * credit.weight[0]
    gradient = group_gradient(world.mdp, world.policy, rows, product)
    aim = path_target(method.target, world, truth, rows)
    decided = batch.decided[0]
    time = jnp.broadcast_to(jnp.arange(decided.shape[1]), decided.shape)
    off = jnp.where(decided, credit.value[0] - aim, 0.0)
    cell = jnp.zeros(truth.advantage.shape).at[time, rows.state, rows.action].add(off)
    return gradient - truth.gradient, cell


@pytest.mark.slow
@pytest.mark.parametrize("discount", [1.0, 0.75])
@pytest.mark.parametrize("method", SAMPLED, ids=lambda m: m.name)
def test_claims_of_what_draws_hold_within_three_standard_errors(method, discount):
    mdp, policy = small("hidden", discount)
    truth = solve(mdp, policy)
    asked = {name: PANEL[name] for name in method.recipe.judges}
    judges = {name: judge.informed(mdp, truth, policy) for name, judge in asked.items()}
    world = World.make(mdp, policy, judges=judges)
    keys = jax.random.split(jax.random.key(5), SEEDS)
    gradient, cell = jax.lax.map(
        lambda key: errors(method, world, truth, key), keys, batch_size=SEEDS // 10
    )
    claims = method.claims_at(discount)
    assert claims or discount < 1
    for name, error in (("gradient", gradient), ("target", cell)):
        if name in claims:
            each = np.asarray(error, np.float64).reshape(SEEDS, -1)
            deviation = each.std(axis=0, ddof=1) / np.sqrt(SEEDS)
            assert (np.abs(each.mean(axis=0)) <= 3 * deviation + 1e-6).all(), name
            assert (deviation > 1e-4).any(), name


def test_a_claim_for_discount_1_does_not_hold_below():
    for method in ENUMERABLE:
        if method.claims_at(1.0) == method.claims_at(0.75):
            continue
        mdp, policy = small("hidden", 0.75, successors=NARROW)
        scores = exact_scores(mdp, policy, group_moments(mdp, policy, method, 2))
        assert scores["gradient_bias"] > 1e-4, method.name


def test_every_method_is_listed_once_under_its_name():
    names = named_methods()
    assert list(names.values()) == list(METHODS)
    assert len({m.name for m in METHODS}) == len(METHODS)
    for name, method in names.items():
        assert getattr(methods, name) is method
        assert name.isupper()


def test_a_file_of_recipes_exports_all_of_them_and_nothing_is_left_out_of_the_list():
    listed = set(named_methods())
    for room in ROOMS:
        own = {name for name, x in vars(room).items() if isinstance(x, Method) and name.isupper()}
        assert set(room.__all__) <= own & listed, room.__name__
        assert {name for name in own if not name.startswith("_")} <= listed, room.__name__


def test_recipes_can_be_rebuilt_from_rows():
    for method in METHODS:
        assert rebuild(describe(method.recipe)) == method.recipe


@pytest.mark.slow
def test_a_study_calls_a_method_by_its_name_and_keeps_its_recipe(unhooked):
    study = casim.Study(
        "named",
        (casim.Bifurcation(horizon=5, pivots=(2,)),),
        (methods.RLOO, methods.DR_GRPO),
        num_prompts=2,
        num_trajectories=3,
        replicates=10,
        controls=(),
    )
    rows = {row.label: row for row in study.run(progress=False)}
    assert list(rows) == ["RLOO", "Dr. GRPO"]
    assert rebuild(rows["RLOO"].estimator) == methods.RLOO.recipe
    assert rows["RLOO"].num_prompts == 2
    # Dr. GRPO is RLOO times (N - 1) / N.
    shrunk = 2 / 3
    for name, factor in (("gradient_slope", shrunk), ("variance", shrunk**2)):
        ratio = rows["Dr. GRPO"].scores[name].value / rows["RLOO"].scores[name].value
        assert ratio == pytest.approx(factor, rel=1e-4), name
    for name in ("gradient_cosine", "snr_aligned", "sign_accuracy", "leakage"):
        one, other = (rows[label].scores[name] for label in ("RLOO", "Dr. GRPO"))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)
    assert rows["RLOO"].scores["support"].value == 1.0
    assert rows["RLOO"].scores["effective_sample"].value == pytest.approx(1.0)


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
