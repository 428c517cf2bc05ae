"""Three engines, one trajectory: identical to the last bit, and chosen for a reason to be read."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.simulate import Engine, World, choose_engine, fused, routines
from casim.simulate.tables import Sizes, count_passed, label_type, path_types
from tests import reference
from tests.enumeration import QUICK
from tests.simulate.samples import assert_same

KEY = jax.random.key(11)
quick = functools.partial(jax.jit, compiler_options=QUICK)
HORIZON = 101
SCHEDULE = tuple((0, 2, 1, 2, 0, 2, 2)[t % 7] for t in range(HORIZON))
OTHERS = [Engine.make("parallel", 4), Engine.make("fused"), Engine.make("fused", 3)]


@pytest.fixture(scope="module")
def hidden():
    """Hidden state, a terminal state, a kernel without decision."""
    mdp, policy = reference.random_mdp(45, schedule=SCHEDULE)
    return World.make(mdp, jnp.asarray(policy))


@pytest.fixture(scope="module")
def shown():
    mdp, policy = reference.random_mdp(22, schedule=SCHEDULE, hidden=False, terminal=False)
    return World.make(mdp, jnp.asarray(policy))


@quick
def rollouts(world: World, key):
    """Of several keys at once, from an episode that is not the first."""
    return jax.vmap(lambda key: world.rollout(key, 5, first=3))(jax.random.split(key, 2))


@quick
def everything(world: World, key, batch):
    """All else that an engine is asked for: branches and interventions."""
    one = jax.tree.map(lambda x: x[0], batch)
    step = jnp.asarray([0, 33, 50, 99, 100])
    keep = (jnp.arange(HORIZON)[None, :] + jnp.arange(5)[:, None]) % 3 == 0
    return (
        world.branch(key, one, step, 2),
        world.branch(key, one, 41, 1, action=jnp.asarray([1, 0, 1, 0, 1])),
        world.intervene(key, one, keep, 2),
    )


def by_scan(world):
    return dataclasses.replace(world, engine=Engine.make("scan"))


@pytest.fixture(scope="module")
def batch(hidden):
    return rollouts(by_scan(hidden), KEY)


@pytest.mark.parametrize(
    "engine", [OTHERS[0], pytest.param(OTHERS[2], marks=pytest.mark.slow)], ids=str
)
def test_rollouts_agree_to_the_last_bit(hidden, batch, engine):
    assert hidden.noisy_emission
    assert_same(rollouts(dataclasses.replace(hidden, engine=engine), KEY), batch)
    assert 0.05 < np.asarray(batch.live).mean() < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("engine", OTHERS, ids=str)
def test_branches_and_interventions_agree_to_the_last_bit(hidden, batch, engine):
    wanted = everything(by_scan(hidden), KEY, batch)
    for one, two in zip(
        everything(dataclasses.replace(hidden, engine=engine), KEY, batch), wanted, strict=True
    ):
        assert_same(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("engine", OTHERS, ids=str)
def test_engines_agree_where_the_state_is_shown(shown, engine):
    assert not shown.noisy_emission
    batch = rollouts(by_scan(shown), KEY)
    other = dataclasses.replace(shown, engine=engine)
    assert_same(rollouts(other, KEY), batch)
    for one, two in zip(
        everything(other, KEY, batch), everything(by_scan(shown), KEY, batch), strict=True
    ):
        assert_same(one, two)


@pytest.mark.slow
def test_blocks_are_right_where_start_states_never_meet():
    """A process whose state is a permutation of its start: every map of a block is one to one."""
    mdp, policy = reference.random_mdp(23, schedule=SCHEDULE, terminal=False)
    states = mdp.start.shape[0]
    turned = (
        np.arange(states)[None, :, None, None] + 1 + np.arange(3)[:, None, None, None]
    ) % states
    turned = np.broadcast_to(turned, mdp.successor.shape).astype(np.int32)
    world = World.make(mdp._replace(successor=turned), jnp.asarray(policy))
    assert world.noisy_emission  # as of `hidden`, whose programs serve here too
    wanted = rollouts(by_scan(world), KEY)
    for engine in (OTHERS[0], OTHERS[2]):
        assert_same(rollouts(dataclasses.replace(world, engine=engine), KEY), wanted)
    shift = 1 + np.asarray(SCHEDULE)[:-1]
    moved = np.diff(np.asarray(wanted.state, int), axis=-1) % states
    np.testing.assert_array_equal(moved, np.broadcast_to(shift % states, moved.shape))


@pytest.mark.slow
def test_a_block_is_finished_by_the_routine_of_maps_once_its_states_have_met():
    """A process that forgets its state at every step.

    The second routine writes the first line of a block only.
    """
    mdp, policy = reference.random_mdp(23, schedule=SCHEDULE, terminal=False)
    alike = {
        name: np.broadcast_to(getattr(mdp, name)[:, :1, :1], mdp.prob.shape)
        for name in ("prob", "successor")
    }
    world = World.make(mdp._replace(**alike), jnp.asarray(policy))
    roll = quick(lambda world: world.rollout(KEY, 6))
    assert_same(
        roll(dataclasses.replace(world, engine=Engine.make("fused", 2))), roll(by_scan(world))
    )


@pytest.mark.slow
def test_wide_labels_are_packed_and_unpacked():
    """More than 256 observations and outcomes: two bytes in the routine, int16 outside it."""
    rng = np.random.default_rng(3)
    mdp, _ = reference.random_mdp(45, schedule=(0, 0, 1) * 7)
    s, a, k, o, m = 130, 3, 2, 300, 2
    mdp = mdp._replace(
        start=np.full(s, 1 / s),
        successor=rng.integers(s, size=(m, s, a, k)),
        prob=rng.dirichlet(np.ones(k), (m, s, a)),
        reward=rng.normal(size=(m, s, a, k)),
        emission=rng.dirichlet(np.ones(o), (m, s)),
        terminal=np.arange(s) == 7,
        decision=np.ones(m, bool),
        kind=np.zeros(m, int),
        discount=mdp.discount[:m],
        prompt=np.zeros(s, int),
    )
    mdp = jax.tree.map(jnp.asarray, mdp)
    world = World.make(mdp, jnp.asarray(rng.dirichlet(np.ones(a), (m, o)), float))
    run = quick(lambda world: world.rollout(KEY, 200))
    batch = run(world)
    assert_same(run(dataclasses.replace(world, engine=Engine.make("fused"))), batch)
    assert (batch.state.dtype, batch.observation.dtype, batch.action.dtype) == (
        jnp.int16,
        jnp.int16,
        jnp.int8,
    )
    assert batch.state.max() > 127
    assert batch.observation.max() > 255
    assert batch.state.min() >= 0


def plain_world(states, actions, slots, observations, steps):
    """A random world of any sizes, also of one label each."""
    rng = np.random.default_rng(5)
    mdp, _ = reference.random_mdp(45, schedule=(0,) * steps)
    mdp = mdp._replace(
        start=np.full(states, 1 / states),
        successor=rng.integers(states, size=(1, states, actions, slots)),
        prob=rng.dirichlet(np.ones(slots), (1, states, actions)),
        reward=rng.normal(size=(1, states, actions, slots)),
        emission=rng.dirichlet(np.ones(observations), (1, states)),
        terminal=np.zeros(states, bool),
        decision=np.ones(1, bool),
        kind=np.zeros(1, int),
        discount=mdp.discount[:1],
        prompt=np.zeros(states, int),
    )
    return World.make(
        jax.tree.map(jnp.asarray, mdp),
        jnp.asarray(rng.dirichlet(np.ones(actions), (1, observations))),
    )


@pytest.mark.parametrize(
    "sizes", [(3, 2, 1, 2), pytest.param((3, 1, 2, 1), marks=pytest.mark.slow)], ids=str
)
def test_a_single_label_needs_no_search(sizes):
    world = plain_world(*sizes, steps=5)
    roll = quick(lambda world: world.rollout(KEY, 4))
    wanted = roll(by_scan(world))
    assert_same(roll(dataclasses.replace(world, engine=Engine.make("fused"))), wanted)
    assert_same(roll(dataclasses.replace(world, engine=Engine.make("parallel", 7))), wanted)
    assert np.ptp(wanted.state) == 2


@pytest.mark.slow
def test_engines_run_in_double_precision():
    with jax.enable_x64(True):
        world = plain_world(3, 2, 2, 2, steps=70)
        roll = quick(lambda world: world.rollout(KEY, 2))
        assert_same(
            roll(dataclasses.replace(world, engine=Engine.make("parallel", 2))),
            roll(by_scan(world)),
        )


def test_no_episodes_are_an_empty_trajectory(hidden):
    none = quick(lambda world: world.rollout(KEY, 0))
    for world in (hidden, dataclasses.replace(hidden, engine=Engine.make("fused"))):
        assert none(world).state.shape == (0, HORIZON)


@pytest.mark.slow
def test_the_fused_engine_refuses_the_maps_of_too_many_states():
    world = dataclasses.replace(plain_world(40, 2, 2, 2, steps=40), engine=Engine.make("fused", 2))
    with pytest.raises(ValueError, match=r"states must be .* got 40"):
        world.rollout(KEY, 2)


def test_padding_counts_towards_the_indices_of_the_routine():
    assert fused.padded(3, 17, 1) == 3 * 32
    assert fused.padded(3, 17, 2) == 3 * 2 * 16
    assert choose_engine(2**27, 1, SMALL, "gpu").name == "scan"
    assert choose_engine(2**26, 16, SMALL, "gpu").name == "fused"


def test_labels_are_stored_in_the_narrowest_types():
    assert [label_type(n) for n in (2, 127, 128, 32767, 32768)] == [
        np.int8,
        np.int8,
        np.int16,
        np.int16,
        np.int32,
    ]
    kinds = path_types(Sizes(states=16, observations=257, actions=4, slots=4))
    assert kinds == (np.uint16, np.uint8)


@functools.partial(quick, static_argnums=1)
def descend(cut, width, row, noise):
    """The search of the routine, outside it."""
    return routines.descend(fused.levels_of(cut), width, row, noise)


counted = quick(count_passed, static_argnums=1)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_the_search_of_the_routine_counts_like_the_scan(bits):
    """At every threshold and its neighbours on the grid.

    It does so also where thresholds repeat or are never reached.
    """
    rng, width = np.random.default_rng(bits), 2**bits - 1
    cut = np.sort(rng.integers(0, 2**24, (6, width)), axis=1) / 2.0**24
    cut[1:3, width // 2 :] = 2.0
    cut[4] = cut[4, 0]
    cut = cut.astype(np.float32) * np.float32(1 - 2**-30)
    grid = np.concatenate([np.floor(np.minimum(cut, 1) * 2**24) + d for d in (-1, 0, 1)], axis=1)
    noise = np.clip(
        np.concatenate([grid, np.full((6, 1), 2**24 - 1)], axis=1), 0, 2**24 - 1
    ).astype(np.int32)
    row, noise = np.repeat(np.arange(6), noise.shape[1]), noise.ravel()
    found = descend(jnp.asarray(cut), width, jnp.asarray(row), jnp.asarray(noise))
    wanted = np.sum(noise[..., None] / 2.0**24 >= cut[row].astype(float), axis=-1)
    np.testing.assert_array_equal(found, wanted)
    uniform = noise.astype(np.float32) * np.float32(2.0**-24)
    passed = counted(jnp.asarray(cut.ravel()), width, jnp.asarray(row), jnp.asarray(uniform))
    np.testing.assert_array_equal(passed, wanted)


SMALL, LARGE = Sizes(4, 4, 2, 2), Sizes(60, 60, 2, 2)


@pytest.mark.parametrize(
    ("num", "steps", "sizes", "platform", "name", "blocked"),
    [
        (4096, 128, SMALL, "cpu", "scan", False),
        (2, 100_000, SMALL, "cpu", "parallel", True),
        (2, 100_000, LARGE, "cpu", "parallel", True),
        (2, 100_000, Sizes(80, 60, 2, 2), "cpu", "scan", False),
        (65_536, 512, SMALL, "gpu", "fused", False),
        (1024, 1_000_000, SMALL, "gpu", "fused", True),
        (64, 1_000_000, LARGE, "gpu", "fused", False),
        (4096, 128, SMALL, "gpu", "fused", False),
        (4096, 1_024, Sizes(16, 16, 4, 4), "gpu", "fused", False),
        (4096, 4_096, Sizes(16, 16, 4, 4), "gpu", "fused", True),
        (100_000, 1_000_000, SMALL, "gpu", "scan", False),
        (8, 1_000_000, SMALL, "tpu", "parallel", True),
        (0, 64, LARGE, "gpu", "scan", False),
    ],
)
def test_the_engine_is_chosen_by_shape_and_device(num, steps, sizes, platform, name, blocked):
    engine = choose_engine(num, steps, sizes, platform)
    assert engine.name == name
    assert (engine.blocks > 1) == blocked
    assert engine.blocks <= max(1, steps // (128 if platform == "gpu" else 32))
    assert f"{num} x {steps} steps on {platform}" in engine.reason


def test_without_the_compiler_of_the_routines_a_gpu_scans(monkeypatch):
    monkeypatch.setattr("casim.simulate.engine.HAS_ROUTINES", False)
    assert choose_engine(65_536, 512, SMALL, "gpu").name == "scan"
    assert choose_engine(64, 100_000, SMALL, "gpu").name == "parallel"


@pytest.mark.parametrize(("name", "blocks"), [("scan", 2), ("parallel", 0)])
def test_an_engine_that_does_not_exist_is_refused(name, blocks):
    with pytest.raises(ValueError, match="blocks must be"):
        Engine.make(name, blocks)
