"""`casim.oracle.belief` against averages over enumerated trajectories of the same history.

The averages are in float64.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import belief
from casim.tasks.base import table
from casim.types import MDP, Kind, Trajectory
from tests import enumeration, reference
from tests.precise import compiled, wide

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"rtol": 0, "atol": 1e-10}
LATENT = np.array([1, 0, 2, 1, 0])


beliefs = compiled(belief.beliefs)
history_values = compiled(belief.history_values)
critics = compiled(belief.critics, "num_classes")


def advantage(values):
    """The property `advantage` of JAX arrays."""
    return np.asarray(jax.tree.map(jnp.asarray, values).advantage)


def process():
    mdp, policy = wide(*reference.random_mdp(5, observations=3, discount=reference.BY_KERNEL))
    return mdp._replace(start=np.array([0.25, 0.125, 0.125, 0.1875, 0.3125])), policy


def trajectories(mdp, policy):
    """All trajectories, as recorded in float64, with any state at all after the end."""
    paths = reference.enumerate_paths(mdp, policy)
    batch = enumeration.as_batch(mdp, policy, paths)
    state, log_prob = np.where(paths.live, paths.state, 3), np.asarray(batch.log_prob, float)
    return paths, jax.tree.map(np.asarray, batch)._replace(
        state=state, reward=paths.reward, log_prob=log_prob
    )


def group(*columns):
    """A number for every distinct row."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1]


def mean(weight, given, value):
    """E[value | given = the same as here], for every row."""
    return (np.bincount(given, weight * value) / np.bincount(given, weight))[given]


def by_step(paths):
    """For each step, of the paths that are live: which, their weight, and a number for h_t."""
    for t in range(paths.state.shape[1]):
        live = paths.live[:, t]
        yield (
            t,
            live,
            paths.probability[live],
            group(*paths.observation[live, : t + 1].T, *paths.action[live, :t].T),
        )


@pytest.fixture(scope="module")
def all_critics():
    with jax.enable_x64(True):
        mdp, policy = process()
        paths, batch = trajectories(mdp, policy)
        out = critics(mdp, policy, batch, LATENT, 5)  # two of the classes are empty
        return mdp, policy, paths, batch, out


def test_beliefs_equal_counting():
    mdp, policy = process()
    paths, batch = trajectories(mdp, policy)
    out = np.asarray(beliefs(mdp, batch))
    for t, live, weight, history in by_step(paths):
        wanted = np.stack(
            [mean(weight, history, paths.state[live, t] == s) for s in range(5)], axis=1
        )
        np.testing.assert_allclose(out[live, t], wanted, **EXACT)
    assert ((out > 0.01) & (out < 0.99)).mean() > 0.1
    assert not out[~paths.live].any()
    assert (~paths.live).any()


def test_beliefs_are_nan_from_where_the_history_is_impossible():
    mdp, policy = process()
    _, batch = trajectories(mdp, policy)
    # Never shows 2.
    mdp = mdp._replace(emission=np.stack([*mdp.emission[:2], np.eye(3)[[0, 1, 1, 0, 0]]]))
    out = np.asarray(beliefs(mdp, batch))
    impossible = np.cumsum((mdp.schedule == 2) & (np.asarray(batch.observation) == 2), axis=1) > 0
    live = np.asarray(batch.live)
    assert (impossible & live).any()
    assert np.isnan(out[impossible & live]).all()
    assert np.isfinite(out[:, 0]).all()


def test_history_values_equal_counting(all_critics):
    mdp, policy, paths, batch, out = all_critics
    alone = history_values(mdp, policy, batch)
    for name in ("value", "q_value", "mean_advantage"):
        np.testing.assert_allclose(getattr(alone, name), getattr(out.history, name), **EXACT)
    for t, live, weight, history in by_step(paths):
        gain, action = (
            paths.returns(reference.by_step(mdp, t), first=t)[live],
            paths.action[live, t],
        )
        np.testing.assert_allclose(out.history.value[live, t], mean(weight, history, gain), **EXACT)
        wanted = mean(weight, group(history, action), gain)
        q_value = out.history.q_value[live, t]
        np.testing.assert_allclose(q_value[np.arange(len(action)), action], wanted, **EXACT)
    assert not out.history.q_value[~paths.live].any()
    np.testing.assert_array_equal(out.history.mean_advantage, advantage(out.history))


def test_latent_history_critic_equals_counting(all_critics):
    mdp, _, paths, _, out = all_critics
    for t, live, weight, history in by_step(paths):
        gain, action = (
            paths.returns(reference.by_step(mdp, t), first=t)[live],
            paths.action[live, t],
        )
        known = group(history, LATENT[paths.state[live, t]])
        np.testing.assert_allclose(
            out.latent_history.value[live, t], mean(weight, known, gain), **EXACT
        )
        q_value = out.latent_history.q_value[live, t][np.arange(len(action)), action]
        np.testing.assert_allclose(q_value, mean(weight, group(known, action), gain), **EXACT)


def test_latent_only_critic_equals_counting(all_critics):
    mdp, _, paths, _, out = all_critics
    for t, live, weight, _ in by_step(paths):
        gain, action = (
            paths.returns(reference.by_step(mdp, t), first=t)[live],
            paths.action[live, t],
        )
        known = group(LATENT[paths.state[live, t]])
        np.testing.assert_allclose(out.latent.value[live, t], mean(weight, known, gain), **EXACT)
        q_value = out.latent.q_value[live, t][np.arange(len(action)), action]
        np.testing.assert_allclose(q_value, mean(weight, group(known, action), gain), **EXACT)
    assert np.isnan(out.latent.q_value[paths.live[:, 2], 2, 1]).all()  # forced to 0 at step 2


def test_clairvoyant_judge_is_the_optimal_value_of_the_shown_process(all_critics):
    mdp, _, paths, _, out = all_critics
    value = reference.optimal_value(mdp)
    wanted = np.where(paths.live, value[np.arange(paths.state.shape[1]), paths.state], 0)
    np.testing.assert_allclose(out.clairvoyant.value, wanted, **EXACT)
    decides = paths.live & mdp.decision[mdp.schedule][None, :]
    np.testing.assert_allclose(advantage(out.clairvoyant).max(-1)[decides], 0, **EXACT)
    assert advantage(out.clairvoyant)[decides].min() < -0.1


def test_mean_advantages_are_the_averages_of_the_advantages_over_what_is_hidden(all_critics):
    _, _, paths, _, out = all_critics
    for critic in out:
        credit = advantage(critic)
        for t, live, weight, history in by_step(paths):
            for a in range(2):
                wanted = mean(weight, history, credit[live, t, a])
                np.testing.assert_allclose(critic.mean_advantage[live, t, a], wanted, **EXACT)


def test_a_critic_on_latent_and_history_is_right_on_average_and_only_there(all_critics):
    _, _, paths, _, out = all_critics
    right = advantage(out.history)
    np.testing.assert_allclose(out.latent_history.mean_advantage, right, **EXACT)
    assert np.abs(advantage(out.latent_history) - right)[paths.live].max() > 0.1


def contrast(credit):
    """What of an advantage changes the gradient: the difference of the two actions."""
    return credit[..., 0] - credit[..., 1]


def test_a_critic_on_the_whole_state_is_off_by_a_number_without_the_action_and_a_coarse_one_by_more(
    all_critics,
):
    mdp, policy, paths, batch, coarse = all_critics
    whole = critics(mdp, policy, batch, np.arange(5), 5)
    right, decides = advantage(coarse.history), paths.live & (mdp.schedule != 1)[None, :]
    error = np.abs(whole.latent.mean_advantage - right)[decides]
    assert error.max() > 0.02
    np.testing.assert_allclose(
        contrast(whole.latent.mean_advantage)[decides], contrast(right)[decides], rtol=0, atol=1e-10
    )
    assert np.abs(contrast(coarse.latent.mean_advantage) - contrast(right))[decides].max() > 0.02
    assert (
        np.abs(contrast(coarse.clairvoyant.mean_advantage) - contrast(right))[decides].max() > 0.02
    )


ACCURACY, PRICE, PRIOR, LOOK, GUESS = 0.85, 0.125, 0.7, 0.4, 0.6


def question():
    """Two answers, one hidden truth; the agent can look first.

    Looking costs and may err, and is all that the agent sees. State 3 z + m: the truth z, and the
    memory m, 2 for nothing. The policy looks with probability `LOOK`, answers what it remembers,
    and without a memory says 0 with probability `GUESS`.
    """
    first, second = {}, {}
    for z in (0, 1):
        for m in (0, 1, 2):
            seen = [(3 * z + z, ACCURACY, -PRICE), (3 * z + 1 - z, 1 - ACCURACY, -PRICE)]
            first |= {(3 * z + m, 0): seen, (3 * z + m, 1): [(3 * z + m, 1.0, 0.0)]}
            second |= {(3 * z + m, a): [(3 * z + m, 1.0, float(a == z))] for a in (0, 1)}
    steps = np.arange(2)
    mdp = MDP(
        start=np.array([0, 0, PRIOR, 0, 0, 1 - PRIOR]),
        schedule=steps,
        **table([first, second]),
        emission=np.tile(np.eye(3), (2, 2, 1)),
        terminal=np.zeros(6, bool),
        decision=np.ones(2, bool),
        kind=np.array([Kind.TOOL, Kind.ANSWER], int),
        segment=steps,
        turn=steps,
        agent=np.zeros(2, int),
        discount=np.ones(2),
        prompt=np.zeros(6, int),
    )
    looks, guesses = [LOOK, 1 - LOOK], [GUESS, 1 - GUESS]
    return mdp, np.array([[looks, looks, looks], [[1.0, 0.0], [0.0, 1.0], guesses]])


def test_the_clairvoyant_judge_sees_only_the_price_of_an_action_that_gathers_information():
    mdp, policy = question()
    paths, batch = trajectories(mdp, policy)
    truth = np.array([0, 0, 0, 1, 1, 1])
    out = critics(mdp, policy, batch, truth, 2)
    chance = PRIOR * GUESS + (1 - PRIOR) * (1 - GUESS)
    worth = (1 - LOOK) * (ACCURACY - PRICE - chance)
    assert worth > 0.1
    np.testing.assert_allclose(advantage(out.history)[:, 0, 0], worth, **EXACT)
    np.testing.assert_allclose(advantage(out.clairvoyant)[:, 0, 0], -PRICE, **EXACT)
    np.testing.assert_allclose(out.clairvoyant.mean_advantage[:, 0, 0], -PRICE, **EXACT)
    # A critic that knows the truth and the history compares with the guess that this truth
    # would meet.
    met = np.where(paths.state[:, 0] == 2, GUESS, 1 - GUESS)
    np.testing.assert_allclose(
        advantage(out.latent_history)[:, 0, 0],
        (1 - LOOK) * (ACCURACY - PRICE - met),
        rtol=0,
        atol=1e-10,
    )
    np.testing.assert_allclose(out.latent_history.mean_advantage[:, 0, 0], worth, **EXACT)


def test_a_known_prompt_is_a_start_that_is_certain():
    mdp, policy = process()
    paths, batch = trajectories(mdp, policy)
    out, wanted = (
        history_values(mdp._replace(start=np.eye(5)[1]), policy, batch),
        reference.exact(mdp, policy),
    )
    here = paths.state[:, 0] == 1
    np.testing.assert_allclose(
        out.q_value[here, 0], wanted.q_value[0, 1][None].repeat(here.sum(), 0), **EXACT
    )
    assert np.ptp(out.value[here, 0]) > 0.01  # the observation still decides what is done


def test_the_filter_runs_for_thirty_thousand_steps_in_float32():
    with jax.enable_x64(False):
        steps = 30_000
        mdp, _ = reference.random_mdp(
            5, observations=3, terminal=False, discount=reference.BY_KERNEL
        )
        units = dict.fromkeys(("segment", "turn", "agent"), np.zeros(steps, int))
        mdp = mdp._replace(schedule=np.arange(steps) % 3, **units)
        noise, wide_mdp = np.random.default_rng(0).random((steps, 3)), reference.as_float64(mdp)
        move = np.zeros((3, 2, 5, 5))
        m, s, a, _ = np.indices(mdp.prob.shape)
        np.add.at(move, (m, a, s, wide_mdp.successor), wide_mdp.prob)
        shown, moved = wide_mdp.emission.cumsum(-1), move.cumsum(-1)
        state, prior, columns, wanted = 0, wide_mdp.start, [], []
        for m, (see, act, go) in zip(wide_mdp.schedule, noise, strict=True):
            o, a = shown[m, state].searchsorted(see), int(act < 0.5 and m != 1)
            joint = prior * wide_mdp.emission[m, :, o]
            wanted.append(joint / joint.sum())
            columns.append((state, o, a))
            state, prior = moved[m, a, state].searchsorted(go), wanted[-1] @ move[m, a]
        state, observation, action = (np.asarray(x)[None] for x in np.array(columns).T)
        nothing = np.zeros((1, steps))
        out = beliefs(mdp, Trajectory(state, observation, action, nothing, nothing, nothing == 0))
        assert out.dtype == np.float32
        np.testing.assert_allclose(out[0], np.array(wanted), rtol=0, atol=1e-5)
