"""The contract of estimators: casim's own pass it, and breakers fail each for its own reason."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import casim
from casim.estimators import ToGo, Whole
from casim.estimators.base import cost, episode_return, to_steps
from casim.ops import returns_to_go
from casim.targets import Advantage, Subgoal
from casim.testing import check_estimator

BROADCAST = (casim.methods.GRPO, casim.methods.DR_GRPO, casim.methods.RLOO)


def written(call, **attributes):
    """An estimator of an outside author, from its `give` and what it declares."""
    declared = {
        "granularity": "step",
        "methodology": "monte_carlo",
        "target": Advantage(),
        "needs": frozenset(),
        "unbiased": frozenset(),
    }
    namespace = declared | attributes | {"give": call, "__module__": __name__}
    return dataclasses.dataclass(frozen=True)(
        type("Written", (casim.estimators.Source,), namespace)
    )()


def by_step(value):
    """An estimator's call, from a function of the world and the batch that values every step."""

    def call(self, key, world, batch):
        credit = value(world, batch).astype(jnp.float32)
        return jnp.where(batch.live, credit, 0.0), cost()

    return call


def reward(world, batch):
    return batch.reward


def same_state(world, batch):
    """Which share of the group is in one's own state: no label matters, only which are equal."""
    return jnp.mean(batch.state[:, :, None] == batch.state[:, None], axis=2)


def gain_of_rollout(world, batch):
    """Reads states that no batch was handed in with."""
    fresh = world.groups(jax.random.key(0), *batch.live.shape[:2])
    return fresh.state % 2


def state_of_branch(world, batch):
    branch = world.branch(jax.random.key(0), batch, 1, 1)
    return branch.state[:, :, 0] % 2


def judged(world, batch):
    """Uses every door that it declares, on batches that it made itself."""
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    branch = world.branch(jax.random.key(0), twice, 2, 1)
    again = jax.tree.map(lambda x: x[: len(batch.live), :, 0], branch)
    kept = jnp.zeros(batch.live.shape, bool)
    rerun = world.intervene(jax.random.key(1), again, kept, 1)
    start = world.judge_prompt(jax.random.key(2), batch)[..., None]
    score = world.judge(jax.random.key(2), again) - start
    other = jnp.sum(world.reference_probability(batch) ** 2, axis=-1)
    return score + rerun.reward[:, :, 0] + other + world.discount * world.decision[None, None, :]


def returns(self, key, world, batch):
    """At the discount of the world, whatever that makes of the gradient."""
    discount = 1.0 if world is None else world.discount
    return to_steps(episode_return(batch, discount), batch), cost()


GRADIENT = {"unbiased": frozenset({"gradient"})}
RESET = {"needs": frozenset({"reset"})}
BAD = {
    "granularity": (by_step(reward), {"granularity": "word"}, r"granularity must be among"),
    "methodology": (
        by_step(reward),
        {"methodology": "my own"},
        r"must be an identifier, got 'my own'",
    ),
    "empty": (by_step(reward), {"methodology": ""}, r"methodology must be an identifier"),
    "unknown claim": (by_step(reward), {"unbiased": frozenset({"all"})}, r"unbiased must be among"),
    "more claims": (
        by_step(reward),
        {"claims": lambda self, discount: frozenset({"target"})},
        r"claims\(0.8\) must be among \(\), got \['target'\]",
    ),
    "shape": (
        lambda self, key, world, batch: (batch.reward[..., :-1], cost()),
        {},
        r"credit must be \[P, N, T\], got \(2, 3, 4\)",
    ),
    "not finite": (
        by_step(lambda world, batch: jnp.log(batch.reward)),
        {},
        "credit must be finite",
    ),
    "after the end": (
        lambda self, key, world, batch: (jnp.ones_like(batch.reward), cost()),
        {},
        "credit must be 0 where not live",
    ),
    "cost": (
        lambda self, key, world, batch: (batch.reward, cost(env_steps=-1.0)),
        {},
        "costs must be scalars >= 0",
    ),
    "narrow": (
        by_step(lambda world, batch: batch.observation * 2 + batch.action),
        {},
        "must not compute in int8",
    ),
    "state": (by_step(lambda world, batch: batch.state), {}, "must not read the latent state"),
    "same state": (by_step(same_state), {}, "must not read the latent state"),
    "state of a rollout": (by_step(gain_of_rollout), {}, "must not read the latent state"),
    "state of a branch": (by_step(state_of_branch), RESET, "must not read the latent state"),
    "privileged": (
        by_step(lambda world, batch: world.privileged(batch)),
        {},
        "world.privileged must not be used without 'privileged'",
    ),
    "process": (
        by_step(lambda world, batch: batch.reward * world.mdp.prob.max()),
        {},
        "world.mdp must not be used without 'privileged'",
    ),
    "truth of the judge": (
        by_step(lambda world, batch: batch.reward + world.judges["judge"].expected_return),
        {"needs": frozenset({"judge"})},
        "world.judges must not be used without 'privileged'",
    ),
    "branch": (by_step(state_of_branch), {}, "world.branch must not be used without 'reset'"),
    "judge": (
        by_step(lambda world, batch: world.judge(jax.random.key(0), batch)),
        {},
        "world.judge must not be used without 'judge'",
    ),
    "reference": (
        by_step(lambda world, batch: world.reference_probability(batch)[..., 0]),
        {},
        "world.reference_probability must not be used without 'reference'",
    ),
    "needs a world": (
        by_step(lambda world, batch: batch.reward * world.discount),
        {},
        r"needs \[\] must do with world=None, got AttributeError",
    ),
    "another without a world": (
        by_step(lambda world, batch: batch.reward * (1.0 if world is None else 2.0)),
        {},
        "credit with world=None must be that at discount 1",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_what_breaks_the_contract_fails_for_its_own_reason(name):
    call, attributes, message = BAD[name]
    with pytest.raises(AssertionError, match=message):
        check_estimator(written(call, **attributes), num_groups=20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "attributes", "message"),
    [
        (
            by_step(lambda world, batch: returns_to_go(batch.reward, 1.0, batch.live) / 2),
            GRADIENT,
            "the policy gradient at discount 0.8 must be unbiased",
        ),
        (returns, GRADIENT, "the policy gradient at discount 0.8 must be unbiased"),
        (returns, {"unbiased": frozenset({"target"})}, "target in every cell at discount 0.8"),
        (
            returns,
            {"target": Subgoal(), "unbiased": frozenset({"target"})},
            "target must not be claimed: it has no exact value",
        ),
    ],
    ids=["half", "discounted", "target", "without a value"],
)
def test_false_claims_fail_the_contract(call, attributes, message):
    with pytest.raises(AssertionError, match=message):
        check_estimator(written(call, **attributes), num_groups=2000)


@pytest.mark.slow
def test_a_claim_that_holds_at_discount_1_only_may_say_so():
    def claims(self, discount):
        return self.unbiased if discount == 1 else frozenset()

    check_estimator(written(returns, claims=claims, **GRADIENT), num_groups=1000)


@pytest.mark.parametrize(
    ("call", "needs"),
    [
        (by_step(reward), frozenset()),
        (by_step(judged), frozenset({"reset", "judge", "reference"})),
        (by_step(lambda world, batch: world.privileged(batch)), frozenset({"privileged"})),
        (
            by_step(lambda world, batch: batch.state + world.mdp.discount[0]),
            frozenset({"privileged"}),
        ),
    ],
    ids=["nothing", "doors", "privileged", "state"],
)
def test_declared_needs_and_a_methodology_of_ones_own_pass(call, needs):
    check_estimator(written(call, needs=needs, methodology="causal"), num_groups=20)


def test_a_class_in_place_of_an_instance_fails(unhooked):
    with pytest.raises(AssertionError, match="estimator must be an instance"):
        check_estimator(casim.Vine)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*casim.ESTIMATORS, Whole, ToGo])
def test_every_estimator_passes_its_contract(kind, request):
    if kind is casim.Shapley:  # which runs for longer than it compiles
        request.getfixturevalue("optimised")
    check_estimator(kind())


@pytest.mark.slow
@pytest.mark.parametrize("method", BROADCAST, ids=lambda method: method.name)
def test_methods_of_groups_pass_the_contract(method):
    check_estimator(method.recipe)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [ToGo(0.9), casim.Vine(2, "step", 0.9)], ids=repr)
def test_claims_at_a_discount_of_ones_own_are_tested_there(estimator):
    assert estimator.claims(0.9)
    assert not estimator.claims(1.0)
    check_estimator(estimator)
