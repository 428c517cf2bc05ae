"""`casim.oracle.contrast` against both branches written out, in float64.

Proposition 1 is tested on sampled pairs.
"""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import oracle
from casim.dynamics import observe, untie
from casim.oracle.contrast import Protocol
from casim.simulate import World
from casim.types import Replay
from tests import reference
from tests.enumeration import QUICK, assert_mean, trajectories

SCHEDULE = (0, 2, 1, 2)
UNIT = np.array([0, 1, 1, 2])
STEPS, STATES, ROWS = 4, 5, 10
compiled = jax.jit(oracle.contrast, static_argnames="num_units", compiler_options=QUICK)
sampled = jax.jit(oracle.sample_contrast, static_argnames=("num", "common"), compiler_options=QUICK)
branch = jax.jit(World.branch, static_argnames="num", compiler_options=QUICK)


def contrast(mdp, protocol, batch, unit):
    """The exact contrast in float64, of all units there are; one compilation serves all tests."""
    with jax.enable_x64(True):
        tables = (np.asarray(x, np.float64) for x in (protocol.reference, protocol.downstream))
        protocol = Protocol(
            *(x / x.sum(-1, keepdims=True) for x in tables), float(protocol.lost), protocol.horizon
        )
        out = compiled(
            reference.as_float64(mdp), protocol, as_numpy(batch), np.asarray(unit), STEPS
        )
        fields = {
            **out._asdict(),
            "value": out.value,
            "pair_variance": out.pair_variance,
            "floor": out.noise_floor,
        }
        return SimpleNamespace(
            **{name: np.asarray(x)[:, : unit[-1] + 1] for name, x in fields.items()}
        )


def sample(*arguments):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), sampled(*arguments))


def as_numpy(batch):
    wide = jax.tree.map(np.asarray, batch)
    return wide._replace(
        **{name: getattr(wide, name).astype(float) for name in ("log_prob", "reward")}
    )


def some(mdp, policy):
    """A few trajectories, of which some end early."""
    every = trajectories(mdp, policy)
    early = np.flatnonzero(np.asarray(every.batch.live).sum(1) < STEPS)
    rng = np.random.default_rng(0)
    rows = np.append(
        rng.choice(len(every.weight), ROWS - 4, replace=False), rng.choice(early, 4, replace=False)
    )
    return jax.tree.map(lambda x: x[rows], every.batch)


@pytest.fixture(scope="module")
def given():
    """A process with hidden state, two policies, and trajectories of the first of them."""
    mdp, policy = reference.random_mdp(
        8, schedule=SCHEDULE, observations=STATES, successors=4, discount=reference.BY_KERNEL
    )
    return mdp, policy, reference.random_policy(9, mdp), some(mdp, policy)


@pytest.fixture(scope="module")
def shown(given):
    """The same process with the state shown, a policy, and trajectories."""
    mdp = observe(given[0])
    policy = reference.random_policy(3, mdp)
    return mdp, policy, some(mdp, policy)


def moments(paths, discount, steps):
    """Mean and variance of the return over the first `steps` steps."""
    weight = paths.probability / paths.probability.sum()
    counted = paths.reward[:, : max(steps, 0)]
    number = counted.shape[1]
    gain = counted @ reference.weights(discount[:number], number)
    return float(weight @ gain), float(weight @ gain**2) - float(weight @ gain) ** 2


def by_hand(mdp, behaviour, protocol, batch, unit, row, index):
    """Mean and variance of both branches, by writing out all continuations.

    They start from every state that may be restored.
    """
    first = int(np.searchsorted(unit, index))
    inside = unit == index
    live, state = np.asarray(batch.live)[row], np.asarray(batch.state)[row]
    action, observation = np.asarray(batch.action)[row], np.asarray(batch.observation)[row]
    if not live[first]:
        return np.zeros(4)
    schedule = np.asarray(mdp.schedule)
    single = untie(mdp)
    after = np.asarray(protocol.downstream, np.float64)[schedule]
    before = np.where(
        inside[:, None, None], np.asarray(protocol.reference, np.float64)[schedule], after
    )
    imposed = np.where(inside & live, action, -1)
    belief = reference.belief(mdp, behaviour, observation, action, first)
    law = (1 - protocol.lost) * np.eye(len(belief))[state[first]] + protocol.lost * belief
    out = []
    for policy, actions in ((after, imposed), (before, None)):
        means = []
        for s in np.flatnonzero(law):
            start = np.eye(len(law))[s]
            common = {
                "first": first,
                "start": start,
                "first_observation": observation[first],
                "imposed": actions,
            }
            paths = reference.enumerate_paths(single, policy, **common)
            means.append(
                (law[s], *moments(paths, reference.by_step(mdp, first), protocol.horizon - first))
            )
        weight, mean, variance = np.array(means).T
        out.append((weight @ mean, weight @ (variance + mean**2) - (weight @ mean) ** 2))
    (taken, taken_variance), (other, other_variance) = out
    return np.array([taken, other, taken_variance, other_variance])


@pytest.mark.parametrize(
    ("lost", "horizon", "unit"),
    [(0.0, 4, UNIT), (1.0, 3, UNIT), (0.3, 9, np.arange(4)), (1.0, 4, np.zeros(4, int))],
)
def test_contrast_equals_both_branches_written_out(given, lost, horizon, unit):
    mdp, behaviour, other, batch = given
    protocol = Protocol(other, behaviour, lost, horizon)
    got = contrast(mdp, protocol, batch, unit)
    got = np.stack([got.taken, got.reference, got.taken_variance, got.reference_variance], axis=-1)
    wide = Protocol(
        *(
            np.asarray(x, np.float64) / np.sum(x, -1, dtype=float, keepdims=True)
            for x in protocol[:2]
        )
    )
    protocol = protocol._replace(reference=wide.reference, downstream=wide.downstream)
    wanted = [
        [by_hand(mdp, behaviour, protocol, batch, unit, row, g) for g in range(unit[-1] + 1)]
        for row in range(ROWS)
    ]
    np.testing.assert_allclose(got, np.array(wanted), rtol=0, atol=1e-10)
    assert np.abs(got[..., 0] - got[..., 1]).max() > 0.1
    assert (got[..., 2] > 0.01).any()


def test_on_policy_contrast_of_steps_is_the_advantage_where_the_state_is_shown(shown):
    mdp, policy, batch = shown
    got = contrast(mdp, Protocol(policy, policy), batch, np.arange(STEPS)).value
    exact, (state, action, live) = (
        reference.exact(mdp, policy),
        (np.asarray(x) for x in (batch[0], batch[2], batch[5])),
    )
    time = np.arange(STEPS)[None, :]
    advantage = exact.q_value[time, state, action] - exact.value[time, state]
    # The rows of a float32 policy sum to 1 within 1e-7.
    np.testing.assert_allclose(got, np.where(live, advantage, 0), atol=1e-6)


def test_under_hidden_states_its_mean_over_what_is_observed_is_the_advantage(given):
    """E[Q(s, a) - sum_a' pi(a' | o) Q(s, a') | s] is Q(s, a) - V(s), o drawn from the emission."""
    mdp, _, policy, batch = given
    exact, live = reference.exact(mdp, policy), np.asarray(batch.live)[:, 1]
    state, action = np.asarray(batch.state)[:, 1], np.asarray(batch.action)[:, 1]
    mean, spread = np.zeros(ROWS), []
    for o in range(STATES):
        seen = batch._replace(observation=batch.observation.at[:, 1].set(o))
        credit = contrast(mdp, Protocol(policy, policy), seen, np.arange(STEPS)).value[:, 1]
        mean += np.asarray(mdp.emission, np.float64)[SCHEDULE[1], state, o] * credit
        spread.append(credit)
    wanted = exact.q_value[1, state, action] - exact.value[1, state]
    np.testing.assert_allclose(mean[live], wanted[live], atol=1e-6)
    assert np.ptp(spread, axis=0).max() > 0.05


def test_against_a_default_action_it_is_the_difference_reward(shown):
    mdp, policy, batch = shown
    default = np.broadcast_to(np.array([0.0, 1.0], np.float32), policy.shape)
    got = contrast(mdp, Protocol(default, policy), batch, np.arange(STEPS)).value
    q = reference.exact(mdp, policy).q_value[np.arange(STEPS)[None, :], np.asarray(batch.state)]
    taken = np.take_along_axis(q, np.asarray(batch.action)[..., None], axis=2)[..., 0]
    decides = np.asarray(batch.live) & np.asarray(mdp.decision)[np.asarray(SCHEDULE)][None, :]
    np.testing.assert_allclose(got, np.where(decides, taken - q[..., 1], 0), atol=1e-6)


def test_reference_state_and_protocol_each_change_the_sign_of_some_contrast(given):
    mdp, behaviour, other, batch = given
    base = Protocol(other, behaviour, 0.0, 4)
    one = np.eye(2, dtype=np.float32)[np.zeros(other.shape[:2], int)]
    for unit, change in (
        (np.zeros(STEPS, int), {"reference": one}),  # of two actions, one step could not do it
        (UNIT, {"downstream": one}),
        (UNIT, {"lost": 1.0}),
        (UNIT, {"horizon": 2}),
    ):
        value, changed = (
            contrast(mdp, x, batch, unit).value for x in (base, base._replace(**change))
        )
        assert (value * changed < -1e-4).any(), change


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0.0, 1.0])
def test_proposition_1_paired_means_are_unbiased_and_common_numbers_change_only_the_variance(
    given, lost
):
    mdp, behaviour, other, batch = given
    protocol = Protocol(jnp.asarray(other), jnp.asarray(behaviour), lost, 4)
    exact = contrast(mdp, protocol, batch, UNIT)
    num, spread = 4000, {}
    for common in (True, False):
        pairs = sample(jax.random.key(3), mdp, protocol, batch, UNIT, 1, num, common)
        assert_mean(pairs.difference.T, exact.value[:, 1])
        spread[common] = pairs.difference.var(axis=1, ddof=1)
        for got, mean, variance in (
            (pairs.taken.T, exact.taken[:, 1], exact.taken_variance[:, 1]),
            (pairs.reference.T, exact.reference[:, 1], exact.reference_variance[:, 1]),
        ):
            assert_mean(got, mean)
            assert_mean((got - mean) ** 2, variance)
    live = np.asarray(batch.live)[:, 1]
    # A variance from 4,000 pairs is within 15% of its mean at 5 standard errors for a
    # kurtosis below 5.
    np.testing.assert_allclose(spread[False][live], exact.pair_variance[live, 1], rtol=0.15)
    assert (
        np.abs(spread[True] / np.where(live, exact.pair_variance[:, 1], 1.0) - 1)[live].max() > 0.2
    )


@pytest.mark.slow
def test_what_is_redrawn_keeps_the_prompt(given):
    """Exactly and in samples, from the belief that starts within the prompt of the trajectory."""
    mdp, behaviour, other, batch = given
    together = mdp._replace(start=jnp.asarray([0.25, 0.25, 0.125, 0.125, 0.25]))
    apart = together._replace(prompt=jnp.asarray([0, 1, 0, 1, 0]))
    protocol = Protocol(jnp.asarray(other), jnp.asarray(behaviour), 1.0, 4)
    exact = contrast(apart, protocol, batch, UNIT).value[:, 0]
    pairs = sample(jax.random.key(3), apart, protocol, batch, UNIT, 0, 4000, True)
    assert_mean(pairs.difference.T, exact)
    mixed = contrast(together, protocol, batch, UNIT).value[:, 0]
    assert np.abs(exact - mixed).max() > 0.01


def test_the_noise_floor_is_the_spread_of_two_replicas_and_grows_with_what_is_redrawn(given):
    mdp, behaviour, other, batch = given
    protocol = Protocol(jnp.asarray(other), jnp.asarray(behaviour), 1.0, 4)
    first, second = (
        sample(jax.random.key(k), mdp, protocol, batch, UNIT, 1, 4000, True).taken for k in (1, 2)
    )
    floor = contrast(mdp, protocol, batch, UNIT).floor[:, 1]
    assert_mean(((first - second) ** 2).T, floor**2)
    assert floor.max() > 1


def test_branches_of_one_step_are_those_of_the_world(given):
    lost = 0.4
    mdp, behaviour, _, batch = given
    policy = jnp.asarray(behaviour)
    world = World.make(mdp, policy, replay=Replay(noise=lost))
    pairs = sample(
        jax.random.key(5),
        mdp,
        Protocol(policy, policy, lost, 4),
        batch,
        np.arange(STEPS),
        1,
        4000,
        True,
    )
    scale = np.append(0.0, reference.weights(reference.by_step(mdp, 1), STEPS - 1))
    new = branch(world, jax.random.key(5), batch, 1, 6)
    wanted = np.asarray(new.reward) @ scale * np.asarray(batch.live)[:, 1:2]
    np.testing.assert_allclose(pairs.reference[:, :6], wanted, atol=4e-6)
    same = np.asarray(new.action)[..., 1] == np.asarray(batch.action)[:, 1:2]
    np.testing.assert_array_equal(pairs.taken[:, :6][same], pairs.reference[:, :6][same])
    assert 0 < same.mean() < 1
    assert np.ptp(wanted, axis=1).max() > 0.1
