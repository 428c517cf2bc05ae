"""COCOA's key-to-door and tree against the released layout and the published counts.

Some formulas are of their own.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from casim.tasks.classics import KeyToDoor, Tree
from casim.tasks.classics.key_to_door import LEFT, RELEASED, RIGHT
from tests import reference
from tests.enumeration import solve
from tests.reference import EPS, enumerate_paths, optimal_value, random_policy


def distinct_states(mdp) -> int:
    """Pairs of time and state that can be met, those after the last step among them."""
    mdp = reference.as_float64(mdp)
    now, total = mdp.start > 0, int((mdp.start > 0).sum())
    for kernel in mdp.schedule:
        after = np.zeros_like(now)
        after[mdp.successor[kernel][now][mdp.prob[kernel][now] > 0]] = True
        now, total = after, total + int(after.sum())
    return total


@pytest.mark.parametrize(("length", "apples"), [(3, 0), (13, 6), (23, 16), (43, 27), (103, 77)])
def test_the_layout_has_the_published_numbers_of_apples(length, apples):
    code = KeyToDoor(length=length).layout().code
    assert np.isin(code, (LEFT, RIGHT)).sum() == apples


def test_the_layout_is_the_released_draw():
    """default_rng(2022).choice([0, 1, 2], p=[.2, .4, .4]), written out on the bit generator.

    The stream of that is fixed.
    """
    raw = np.random.PCG64(2022).random_raw(100)
    cell = np.searchsorted(
        np.cumsum([0.2, 0.4, 0.4]), (raw >> np.uint64(11)) * 2.0**-53, side="right"
    )
    assert "".join(".LR"[i] for i in cell) == RELEASED


def test_the_layout_repeats_beyond_its_100_cells():
    code = KeyToDoor(length=253).layout().code[1:-2]
    np.testing.assert_array_equal(code[100:200], code[:100])
    np.testing.assert_array_equal(code[200:], code[:50])


@pytest.mark.parametrize("apples", [0, 1, 3, 7, 20])
def test_the_number_of_apples_is_a_knob_of_its_own(apples):
    for length in (23, 60):
        cells = KeyToDoor(length=length, num_apples=apples).layout().code[1:-2]
        where = np.flatnonzero(np.isin(cells, (LEFT, RIGHT)))
        assert len(where) == apples
        np.testing.assert_array_equal(
            cells[where], [LEFT, RIGHT] * (apples // 2) + [LEFT] * (apples % 2)
        )
        gaps = np.diff(where)
        assert not len(gaps) or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("length", [3, 13, 23])
def test_the_corridor_has_the_published_number_of_states(length):
    assert distinct_states(KeyToDoor(length=length).build()) == 2 * length + 3


def test_exact_values_of_the_corridor():
    mdp = KeyToDoor(length=23).build()
    truth = solve(mdp, jnp.full((6, 3, 4), 0.25))
    # c = 1: an apple is picked one time in four and pays 0.5 in the mean, of 16; the treasure
    # pays 0.2.
    assert float(truth.expected_return) == pytest.approx(16 / 8 + 0.2 / 16, abs=23 * 2 * EPS)
    assert float(truth.advantage[0, 0, 0]) == pytest.approx(0.2 * 3 / 16, abs=23 * 2 * EPS)
    np.testing.assert_allclose(truth.advantage[0, 0, 1:], -0.2 / 16, atol=23 * 2 * EPS)
    assert optimal_value(mdp)[0, 0] == pytest.approx(16 / 2 + 0.2, abs=1e-5)


def test_rewards_shrink_with_the_length_as_in_the_source_unless_the_scale_is_set():
    for length, task in ((43, KeyToDoor(length=43)), (43, KeyToDoor(length=43, scale=2.0))):
        unit = 23 / length if task.scale is None else 2.0
        reward = np.asarray(task.build().reward)
        np.testing.assert_allclose(
            sorted(set(reward[reward > 0])), np.array([0.1, 0.2, 0.9]) * unit, rtol=2 * EPS
        )


def test_the_treasure_needs_the_key_and_the_door():
    mdp = KeyToDoor(length=4, num_apples=0, scale=1.0).build()
    for key, door in itertools.product(range(4), range(4)):
        imposed = np.array([key, -1, door, -1])
        paths = enumerate_paths(mdp, random_policy(1, mdp), imposed=imposed)
        wanted = 0.2 if (key, door) == (0, 3) else 0.0
        np.testing.assert_allclose(paths.returns(1.0), wanted, atol=1e-6)


def test_the_door_opens_with_all_keys_and_no_fewer():
    """Under the uniform policy a key of three is worth 3 / 4 of what its absence leaves out."""
    task = KeyToDoor(length=8, num_apples=0, num_keys=3, scale=1.0)
    np.testing.assert_array_equal(np.flatnonzero(task.layout().code == 0), [0, 2, 4])
    mdp = task.build()
    paths = enumerate_paths(mdp, np.full((mdp.prob.shape[0], mdp.emission.shape[2], 4), 0.25))
    took = (paths.action[:, [0, 2, 4]] == 0).all(-1) & (paths.action[:, 6] == 3)
    np.testing.assert_allclose(paths.returns(1.0), 0.2 * took, atol=1e-7)
    first = paths.action[:, 0] == 0
    gain = paths.probability[first] @ paths.returns(1.0)[first] / paths.probability[first].sum()
    assert gain == pytest.approx(0.2 / 4**3, abs=1e-8)


def test_apples_raise_the_second_moment_of_the_return_quadratically_and_not_the_credit_of_the_key():
    """Uniform policy: E[G^2] = (n m + g)^2 + n v + w.

    Here m, v are of an apple and g, w of the treasure.
    """
    second, key = [], []
    for apples in range(4):
        mdp = KeyToDoor(length=6, num_apples=apples, scale=1.0).build()
        policy = np.full((mdp.prob.shape[0], 3, 4), 0.25)
        paths = enumerate_paths(mdp, policy)
        gain = paths.returns(1.0)
        second.append(paths.probability @ gain**2)
        took = paths.probability * (paths.action[:, 0] == 0)
        key.append(took @ gain / took.sum() - paths.probability @ gain)
    m, g = (0.1 + 0.9) / 8, 0.2 / 16
    v, w = (0.1**2 + 0.9**2) / 8 - m**2, 0.2**2 / 16 - g**2
    np.testing.assert_allclose(second, [(n * m + g) ** 2 + n * v + w for n in range(4)], rtol=1e-6)
    np.testing.assert_allclose(np.diff(second, n=2), 2 * m**2, rtol=1e-5)
    np.testing.assert_allclose(key, 0.2 * 3 / 16, atol=1e-7)


@pytest.mark.slow
def test_distractors_add_their_square_to_the_variance_of_returns_and_nothing_to_any_credit():
    plain, noisy = (
        KeyToDoor(length=6, num_apples=2, scale=2.0, distractor=size).build() for size in (0.0, 0.3)
    )
    policy = np.full((plain.prob.shape[0], 3, 4), 0.25)
    one, other = (solve(mdp, jnp.asarray(policy)) for mdp in (plain, noisy))
    np.testing.assert_allclose(one.advantage, other.advantage, atol=1e-6)
    spread = []
    for mdp in (plain, noisy):
        paths = enumerate_paths(mdp, policy)
        gain = paths.returns(1.0)
        mean = paths.probability @ gain
        spread.append(paths.probability @ (gain - mean) ** 2)
    # Three cells lie between.
    assert spread[1] - spread[0] == pytest.approx(3 * (0.3 * 2.0) ** 2, rel=1e-6)


@pytest.mark.parametrize(("overlap", "number"), list(enumerate([260, 195, 140, 95, 60, 35, 20])))
def test_the_tree_has_the_published_number_of_states(overlap, number):
    assert distinct_states(Tree(overlap=overlap).build()) == number


@pytest.mark.parametrize("overlap", [0, 1, 3, 6])
def test_every_path_of_the_tree_follows_the_formula(overlap):
    task = Tree(overlap=overlap, offset=3)
    mdp = reference.as_float64(task.build())
    actions = np.array(list(itertools.product(range(6), repeat=4)))
    fork, width = 6 - overlap, [1]
    for _ in range(3):
        # Positions p fork + a - fork // 2 for p < width and a < 6 are consecutive: as many as
        # the largest plus one.
        width.append((width[-1] - 1) * fork + 6)
    position, state = np.zeros(len(actions), int), np.full(len(actions), int(mdp.start.argmax()))
    for depth, action in enumerate(actions.T):
        index = sum(width[:depth]) + position
        kernel = mdp.schedule[depth]
        np.testing.assert_array_equal(
            mdp.reward[kernel, state, action, 0], (index + 9973 * action + 3) % 5 - 2
        )
        state = mdp.successor[kernel, state, action, 0]
        if depth < 3:
            position = (position * fork + action - fork // 2) % width[depth + 1]
            np.testing.assert_array_equal(state, position)
    assert not state.any()


def test_only_the_offset_mod_5_matters():
    for offset in range(5):
        one, two = (Tree(depth=2, offset=x).build() for x in (offset, offset + 5))
        assert np.array_equal(one.reward, two.reward)
    assert (
        len({np.asarray(Tree(depth=2, offset=x).build().reward).tobytes() for x in range(5)}) == 5
    )


@pytest.mark.parametrize("overlap", [0, 3])
def test_a_state_names_the_first_action_without_overlap_and_forgets_it_with_full_overlap(overlap):
    # Uniform but for the first action: a later choice that looks at the position would carry
    # the first one on.
    mdp = Tree(depth=3, branching=3, overlap=overlap).build()
    policy = np.full((mdp.prob.shape[0], mdp.emission.shape[2], 3), 1 / 3)
    policy[int(mdp.schedule[0]), 0] = first = np.array([0.2, 0.3, 0.5])
    paths = enumerate_paths(mdp, policy)
    joint = np.zeros((mdp.start.shape[0], 3))
    np.add.at(joint, (paths.state[:, 2], paths.action[:, 0]), paths.probability)
    given = joint[joint.sum(1) > 0]
    given = given / given.sum(1, keepdims=True)
    if overlap == 0:
        np.testing.assert_array_equal(np.sort(given, axis=1), np.tile([0.0, 0.0, 1.0], (9, 1)))
    else:
        np.testing.assert_allclose(given, np.tile(first, (3, 1)), atol=1e-12)
