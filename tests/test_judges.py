"""The knobs of a judge, one by one, along many episodes of a small world."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from casim.judges import Judge
from tests import reference
from tests.enumeration import QUICK, case, solve, solved

EPISODES = 20_000
KEY = jax.random.key(2)


@functools.cache
def setting():
    """A world with rewards on the way, early ends and a discount; its truth; many episodes."""
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    batch = reference.rollout(given.world, jax.random.key(1), EPISODES)
    return given, solve(given.mdp, given.policy), batch


def model(judge):
    given, truth, _ = setting()
    return judge.model(given.mdp, truth)


score = jax.jit(lambda model, key, batch: model(key, batch), compiler_options=QUICK)
prompt = jax.jit(lambda model, key, batch: model.prompt(key, batch), compiler_options=QUICK)


def scores(judge, key=KEY):
    """Scores of the live steps `[L]`."""
    batch = setting()[2]
    return np.asarray(score(model(judge), key, batch), np.float64)[np.asarray(batch.live)]


@functools.cache
def labels(signal):
    """Labels of the live steps `[L]`, from the enumerated values."""
    given, _, batch = setting()
    batch = jax.tree.map(np.asarray, batch)
    time = np.arange(4)[None, :]
    if signal == "advantage":
        return given.advantage[time, batch.state, batch.action][batch.live]
    next_state = np.concatenate([batch.state[:, 1:], batch.state[:, :1]], axis=1)
    alive = np.concatenate([batch.live[:, 1:], np.zeros((EPISODES, 1), bool)], axis=1)
    later = np.where(alive, given.exact.value[np.minimum(time + 1, 4), next_state], 0.0)
    return (batch.reward + 0.875 * later)[batch.live]


@functools.cache
def exact_moments(signal):
    """Mean, standard deviation and extremes of the label of a live step, over all trajectories."""
    given = setting()[0]
    batch = jax.tree.map(np.asarray, given.all.batch)
    time = np.arange(4)[None, :]
    if signal == "advantage":
        label = given.advantage[time, batch.state, batch.action]
    else:
        label = np.zeros(batch.state.shape)
        for i, t in zip(*np.nonzero(batch.live), strict=True):
            after = (
                given.exact.value[t + 1, batch.state[i, t + 1]]
                if t < 3 and batch.live[i, t + 1]
                else 0.0
            )
            label[i, t] = batch.reward[i, t] + 0.875 * after
    weight = (given.all.weight[:, None] * batch.live)[batch.live]
    label, weight = label[batch.live], weight / weight.sum()
    mean = weight @ label
    return mean, np.sqrt(weight @ (label - mean) ** 2), label.min(), label.max()


def returns():
    batch = setting()[2]
    total = np.asarray(batch.reward, np.float64) @ 0.875 ** np.arange(4)
    return np.broadcast_to(total[:, None], (EPISODES, 4))[np.asarray(batch.live)]


@pytest.mark.parametrize("signal", ["value", "advantage"])
def test_a_perfect_judge_tells_the_label(signal):
    np.testing.assert_allclose(scores(Judge(signal)), labels(signal), atol=1e-5)


@pytest.mark.parametrize("signal", ["value", "advantage"])
def test_mean_spread_and_range_of_the_label_are_those_along_on_policy_episodes(signal):
    made = model(Judge(signal))
    got = [float(x) for x in (made.mean, made.spread, made.low, made.high)]
    np.testing.assert_allclose(got, exact_moments(signal), atol=1e-5)


@pytest.mark.parametrize("signal", ["value", "advantage"])
@pytest.mark.parametrize(
    "fidelity",
    [pytest.param(0.0, marks=pytest.mark.slow), pytest.param(0.3, marks=pytest.mark.slow), 0.8],
)
def test_fidelity_is_the_correlation_of_the_score_with_the_label(signal, fidelity):
    mean, spread, _, _ = exact_moments(signal)
    error = (labels(signal) - mean) / spread
    noise = (scores(Judge(signal, fidelity=fidelity)) - mean) / spread - fidelity * error
    noise = noise / np.sqrt(1 - fidelity**2)
    # What is left is standard normal noise, independent of the label: each statistic within
    # 5 standard errors.
    count = len(noise)
    assert abs(noise.mean()) < 5 / np.sqrt(count)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / count)
    assert abs(np.mean(noise * error)) < 5 * np.sqrt(np.mean(error**2) / count)
    assert stats.kstest(noise, "norm").pvalue > 1e-6
    assert np.corrcoef(scores(Judge(signal, fidelity=fidelity)), labels(signal))[
        0, 1
    ] == pytest.approx(fidelity, abs=5 / np.sqrt(count) + 0.01)


def test_noise_is_independent_between_steps():
    batch = setting()[2]
    noise = np.asarray(score(model(Judge(fidelity=0.0)), KEY, batch), np.float64)
    both = np.asarray(batch.live).all(axis=1)
    correlation = np.corrcoef(noise[both].T) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(both.sum())


def test_bias_is_added_to_every_score():
    np.testing.assert_allclose(
        scores(Judge(fidelity=0.6, bias=-0.7)), scores(Judge(fidelity=0.6)) - 0.7, atol=1e-5
    )


def test_leak_adds_a_share_of_the_episodes_outcome():
    expected = setting()[0].exact.expected_return
    wanted = scores(Judge(fidelity=0.6)) - 0.4 * (returns() - expected)
    np.testing.assert_allclose(scores(Judge(fidelity=0.6, leak=-0.4)), wanted, atol=1e-5)


@pytest.mark.parametrize("signal", ["value", "advantage"])
@pytest.mark.parametrize(
    "resolution",
    [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow)],
)
def test_resolution_rounds_to_levels_over_the_range_of_the_label(signal, resolution):
    _, _, low, high = exact_moments(signal)
    levels = np.linspace(low, high, resolution)
    fine = scores(Judge(signal, fidelity=0.9, bias=0.05))
    coarse = scores(Judge(signal, fidelity=0.9, bias=0.05, resolution=resolution))
    distance = np.abs(fine[:, None] - levels)
    middle = np.sort(distance, axis=1)
    clear = middle[:, 1] - middle[:, 0] > 1e-4  # not halfway between two levels
    np.testing.assert_allclose(coarse[clear], levels[distance.argmin(axis=1)][clear], atol=1e-4)
    assert clear.mean() > 0.95
    assert len(np.unique(np.round(coarse, 3))) == resolution


def test_a_label_that_never_varies_has_one_level():
    mdp, policy = setting()[0].mdp, setting()[0].policy
    flat = mdp._replace(reward=jnp.zeros_like(mdp.reward))
    made = Judge("advantage", fidelity=0.5, resolution=3).model(flat, solve(flat, policy))
    batch = setting()[2]
    got = np.asarray(score(made, KEY, batch))[np.asarray(batch.live)]
    np.testing.assert_allclose(got, 0.0, atol=1e-6)


def test_density_is_the_share_of_the_steps_that_it_scores():
    got = scores(Judge(fidelity=0.6, density=0.3))
    scored = np.isfinite(got)
    assert abs(scored.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / len(got))
    np.testing.assert_allclose(got[scored], scores(Judge(fidelity=0.6))[scored], atol=1e-5)
    assert np.isfinite(scores(Judge(density=1.0))).all()


def test_steps_after_the_end_have_no_score():
    batch = setting()[2]
    got = np.asarray(score(model(Judge()), KEY, batch))
    np.testing.assert_array_equal(np.isnan(got), ~np.asarray(batch.live))
    assert not np.asarray(batch.live).all()


def test_scores_are_addressed_by_key_episode_and_step():
    batch = setting()[2]
    whole = np.asarray(score(model(Judge(fidelity=0.5, density=0.5)), KEY, batch))
    again = np.asarray(score(model(Judge(fidelity=0.5, density=0.5)), KEY, batch))
    few = jax.tree.map(lambda x: x[:7], batch)
    np.testing.assert_array_equal(whole, again)
    np.testing.assert_allclose(
        whole[:7], score(model(Judge(fidelity=0.5, density=0.5)), KEY, few), rtol=1e-6
    )
    other = np.asarray(score(model(Judge(fidelity=0.5, density=0.5)), jax.random.key(3), batch))
    assert np.nanmax(np.abs(whole - other)) > 0


def test_the_prompt_score_is_the_value_of_its_state_distorted_like_any_other():
    given, _, batch = setting()
    value = given.exact.value[0, np.asarray(batch.state)[:, 0]]
    np.testing.assert_allclose(prompt(model(Judge()), KEY, batch), value, atol=1e-5)
    mean, spread, _, _ = exact_moments("value")
    got = np.asarray(prompt(model(Judge(fidelity=0.6, bias=0.2)), KEY, batch), np.float64)
    noise = (got - mean - 0.2 - 0.6 * (value - mean)) / spread / 0.8
    assert abs(noise.mean()) < 5 / np.sqrt(EPISODES)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / EPISODES)
    steps = np.asarray(score(model(Judge(fidelity=0.0)), KEY, batch), np.float64)
    both = np.asarray(batch.live).all(axis=1)
    correlation = [np.corrcoef(noise[both], steps[both, t])[0, 1] for t in range(4)]
    assert np.abs(correlation).max() < 5 / np.sqrt(both.sum())


def test_no_outcome_leaks_into_the_prompt_score():
    batch = setting()[2]
    both = [prompt(model(Judge(fidelity=0.6, leak=leak)), KEY, batch) for leak in (0.0, 0.9)]
    np.testing.assert_allclose(*both, atol=1e-6)


def test_a_judge_of_advantages_has_no_prompt_score():
    with pytest.raises(
        ValueError, match="signal must be 'value' to score a prompt, got 'advantage'"
    ):
        model(Judge("advantage")).prompt(KEY, setting()[2])


@pytest.mark.slow
def test_the_world_shows_the_hidden_state_to_the_judge_and_not_to_the_policy():
    """Labels are values of the latent state, also under partial observability."""
    hidden = solved(*reference.random_mdp(4, schedule=(0, 1, 2), observations=3, successors=4))
    made = Judge("advantage").model(hidden.mdp, solve(hidden.mdp, hidden.policy))
    batch = hidden.all.batch
    wanted = hidden.advantage[
        np.arange(3)[None, :], np.asarray(batch.state), np.asarray(batch.action)
    ]
    got, live = np.asarray(score(made, KEY, batch)), np.asarray(batch.live)
    np.testing.assert_allclose(got[live], wanted[live], atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("signal", "reward"),
        ("fidelity", 1.1),
        ("bias", float("inf")),
        ("leak", -1.5),
        ("resolution", 1),
        ("resolution", 2.0),
        ("density", 0.0),
        ("noise", "token"),
        ("systematic", 1.5),
        ("state_bias", -0.1),
        ("position", float("inf")),
        ("verbosity", float("nan")),
    ],
)
def test_bad_settings_raise(field, value, unhooked):
    with pytest.raises(ValueError, match=f"{field} must be"):
        Judge(**{field: value})


def test_a_judge_is_a_hashable_recipe():
    judge = Judge("advantage", 0.7, 0.1, -0.2, 3, 0.5)
    assert hash(judge) == hash(Judge("advantage", 0.7, 0.1, -0.2, 3, 0.5))
    assert eval(repr(judge)) == judge


def mean_and_scale(signal, fidelity):
    """What turns scores into standard normal errors."""
    mean, spread, _, _ = exact_moments(signal)
    return (1 - fidelity) * mean, spread * np.sqrt(1 - fidelity**2)


def every(judge, key=KEY):
    """Scores of all steps `[N, T]`, NaN after the end."""
    return np.asarray(score(model(judge), key, setting()[2]), np.float64)


@pytest.mark.parametrize(
    ("noise", "unit"),
    [("turn", [0, 0, 1, 1]), pytest.param("episode", [0] * 4, marks=pytest.mark.slow)],
)
def test_steps_of_a_turn_or_an_episode_can_share_their_error(noise, unit):
    assert list(setting()[0].mdp.turn) == [0, 0, 1, 1]
    judge = Judge("advantage", fidelity=0.0, noise=noise)
    mean, scale = mean_and_scale("advantage", 0.0)
    error = (every(judge) - mean) / scale
    whole = np.isfinite(error).all(axis=1)
    error = error[whole]
    for t in range(4):
        for u in range(t):
            if unit[t] == unit[u]:
                np.testing.assert_allclose(error[:, t], error[:, u], atol=1e-4)
            else:
                assert abs(np.corrcoef(error[:, t], error[:, u])[0, 1]) < 5 / np.sqrt(len(error))
    assert stats.kstest(error[:, 0], "norm").pvalue > 1e-6


@pytest.mark.parametrize("share", [1.0, pytest.param(0.25, marks=pytest.mark.slow)])
def test_a_systematic_error_is_a_function_of_history_and_action(share):
    """The same under any key, and apart for any two histories or actions."""
    batch = jax.tree.map(np.asarray, setting()[2])
    judge = Judge("advantage", fidelity=0.0, systematic=share)
    mean, scale = mean_and_scale("advantage", 0.0)
    one, other = ((every(judge, jax.random.key(n)) - mean) / scale for n in (2, 3))
    for t in range(4):
        live = batch.live[:, t]
        history = np.concatenate([batch.observation[:, : t + 1], batch.action[:, : t + 1]], axis=1)
        _, first, label = np.unique(history[live], axis=0, return_index=True, return_inverse=True)
        number = len(first)
        fixed = np.abs(one - other)[live, t] < 1e-6
        # Whether a history is fixed is systematic too.
        held = np.array([fixed[label == n].mean() for n in range(number)])
        assert np.isin(held, (0, 1)).all()
        if share == 1:
            assert held.all()
            error = one[live, t]
            np.testing.assert_allclose(error, error[first][label], atol=1e-6)
            assert len(np.unique(np.round(error[first], 5))) == number
        elif number > 40:
            assert abs(held.mean() - share) < 5 * np.sqrt(share * (1 - share) / number)


def test_errors_that_are_not_systematic_are_what_they_were():
    np.testing.assert_array_equal(
        scores(Judge(fidelity=0.5)), scores(Judge(fidelity=0.5, noise="step", systematic=0.0))
    )


@pytest.mark.slow
def test_scores_can_depend_on_place_lateness_and_length():
    batch = jax.tree.map(np.asarray, setting()[2])
    plain = every(Judge("advantage"))
    length = batch.live.sum(axis=1, keepdims=True)
    late = every(Judge("advantage", position=0.6, verbosity=-0.5)) - plain
    wanted = 0.6 * np.arange(4) / 3 - 0.5 * length / 4
    np.testing.assert_allclose(late[batch.live], wanted[batch.live], atol=1e-5)
    placed = every(Judge("advantage", state_bias=0.3)) - plain
    table = [placed[batch.live & (batch.state == s)] for s in range(5)]
    means = [x.mean() for x in table if len(x)]
    for x in table:
        assert len(x) == 0 or np.ptp(x) < 1e-5
    assert len(np.unique(np.round(means, 4))) == len(means) > 2


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["td_error", "clairvoyant"])
def test_a_perfect_judge_of_luck_or_of_the_best_play_tells_it(signal):
    given, _, batch = setting()
    batch = jax.tree.map(np.asarray, batch)
    time = np.broadcast_to(np.arange(4), batch.state.shape)
    if signal == "td_error":
        value = given.exact.value[time, batch.state]
        wanted = labels("value") - value[batch.live]
        made = model(Judge(signal))
        error = 5 * wanted.std() / np.sqrt(len(wanted))
        assert abs(float(made.mean) - wanted.mean()) < error
        assert abs(float(made.spread) / wanted.std() - 1) < 0.05
    else:
        value, q_value = best_values(given.mdp)
        lost = q_value[time, batch.state, batch.action] - value[time, batch.state]
        wanted = lost[batch.live]
        assert wanted.max() < 1e-6
    np.testing.assert_allclose(scores(Judge(signal)), wanted, atol=1e-5)


def best_values(mdp):
    """V* and Q* by backward induction in NumPy."""
    mdp = reference.as_float64(mdp)
    value, values, q_values = np.zeros(5), [], []
    for m in mdp.schedule[::-1]:
        later = np.where(mdp.terminal, 0.0, value)[mdp.successor[m]]
        q_value = (mdp.prob[m] * (mdp.reward[m] + mdp.discount[m] * later)).sum(-1)
        q_value[mdp.terminal] = 0.0
        value = q_value.max(-1) if mdp.decision[m] else q_value[:, 0]
        values.append(value)
        q_values.append(q_value)
    return np.array(values[::-1]), np.array(q_values[::-1])
