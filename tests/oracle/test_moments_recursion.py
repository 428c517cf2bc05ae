"""Moments by recursion, against all trajectories written out and closed forms at 10,000 steps."""

from __future__ import annotations

import time

import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.oracle.moments import (
    Product,
    Trace,
    advantage,
    all_action,
    by_return,
    control_variate,
    exact_scores,
    gae,
    group_moments,
    hindsight,
    peer_baseline,
    recursion_moments,
    reward_to_go,
    td_error,
    value_baseline,
    whole_return,
)
from casim.types import MDP, Kind
from tests.chains import rloo
from tests.enumeration import Rule
from tests.reference import (
    BY_KERNEL,
    by_step,
    discounting,
    enumerate_paths,
    exact,
    random_mdp,
    weights,
)

EXACT = 1e-11
"""Relative; double precision and sums of a few thousand terms."""


def world(seed, **sizes):
    mdp, policy = random_mdp(seed, discount=BY_KERNEL, **sizes)
    policy = np.asarray(policy, np.float64)
    return mdp, policy / policy.sum(axis=-1, keepdims=True)


# Hidden states, kernels in the order 2 0 1 2 0 of which 1 is no decision: some logits are
# shared, some are not.
TIED = world(3, schedule=(2, 0, 1, 2, 0), states=4, observations=3, successors=3)
# A kernel for every step, out of order.
OWN = world(6, schedule=(2, 1, 0), states=4, observations=3, successors=3)


class Written:
    """Every trajectory of a world, with its values; moments of any credit by their definitions."""

    def __init__(self, mdp, policy):
        self.mdp, self.policy = mdp, policy
        self.paths = enumerate_paths(mdp, policy)
        known = exact(mdp, policy)
        steps = self.paths.live.shape[1]
        live = ~np.asarray(mdp.terminal)
        self.value = known.value * live
        self.q_value = known.q_value * live[:, None]
        time = np.arange(steps)[None]
        self.q_along = self.q_value[time, self.paths.state, self.paths.action]
        self.schedule, self.discount = np.asarray(mdp.schedule), by_step(mdp)
        self.weight = discounting(mdp)

    def along(self, value):
        """A table `[T+1, S]` at s_t and at s_{t+1}, 0 after the end."""
        time = np.arange(self.paths.live.shape[1])[None]
        here = value[time, self.paths.state] * self.paths.live
        return here, np.concatenate([here[:, 1:], np.zeros_like(here[:, :1])], axis=1)

    def future(self, earned, decay):
        """Sums of earned_u over u >= t, weighed by the product of the decays from t to u - 1."""
        out, steps = np.zeros_like(earned), earned.shape[1]
        each = np.broadcast_to(decay, steps)
        for t in range(steps):
            out[:, t] = earned[:, t:] @ weights(each[t:], steps - t)
        return out

    def gae(self, value, decay):
        here, after = self.along(value)
        return self.future(self.paths.reward + self.discount * after - here, decay)

    def moments(self, credit, every=None, tied=True):
        """Of credit `[P, T]` for the action taken, and of `every` `[T, S, A]` for all of them."""
        paths, policy = self.paths, self.policy
        steps, actions = paths.live.shape[1], policy.shape[2]
        every = np.zeros_like(self.q_value) if every is None else every
        mass, first, second = np.zeros((3, *self.q_value.shape))
        shape = policy.shape if tied else (steps, *policy.shape[1:])
        gradient = np.zeros((len(credit), *shape))
        row = np.arange(len(credit))
        for t in range(steps):
            m = self.schedule[t]
            if not self.mdp.decision[m]:
                continue
            s, o, a, live = (
                x[:, t] for x in (paths.state, paths.observation, paths.action, paths.live)
            )
            given = credit[:, t] + every[t, s, a]
            for total, x in ((mass, 1.0), (first, given), (second, given**2)):
                np.add.at(total, (t, s, a), paths.probability * live * x)
            chosen = policy[m, o]
            score = (np.arange(actions) == a[:, None]) - chosen
            share = chosen * (every[t, s] - (chosen * every[t, s]).sum(axis=1, keepdims=True))
            scale = self.weight[t] * live[:, None]
            gradient[row, m if tied else t, o] += scale * (credit[:, t, None] * score + share)
        flat = gradient.reshape(len(credit), -1)
        mean = paths.probability @ flat
        spread = paths.probability @ (flat - mean) ** 2
        with np.errstate(invalid="ignore"):
            expectation = first / mass
            variance = second / mass - expectation**2
        return mass, expectation, variance, mean.reshape(shape), spread.reshape(shape)


@pytest.fixture(scope="module")
def written():
    return {"tied": Written(*TIED), "own": Written(*OWN)}


def same(moments, wanted):
    for name, actual, value in zip(moments._fields, moments, wanted, strict=True):
        scale = max(1.0, np.nanmax(np.abs(value)))
        np.testing.assert_allclose(actual, value, rtol=0, atol=EXACT * scale, err_msg=name)


def wrong(shape, seed):
    return np.random.default_rng(seed).normal(size=shape)


def cases(w):
    """Each form, and the credit of the written trajectories by its definition.

    The credit is a pair: (for the action taken, for all).
    """
    earned = w.paths.reward
    critic = wrong(w.value.shape, 1)
    masked = critic * ~np.asarray(w.mdp.terminal)
    masked[-1] = 0.0
    guess = wrong(w.q_value.shape, 2)
    held = guess * ~np.asarray(w.mdp.terminal)[:, None]
    whole = w.paths.returns(0.8)[:, None]
    at = np.arange(earned.shape[1])[None], w.paths.state, w.paths.action

    def variate(q_value):
        acting = np.einsum("mso,moa->msa", np.asarray(w.mdp.emission), _forced(w))[w.schedule]
        value = np.concatenate([(acting * q_value).sum(axis=2), np.zeros((1, q_value.shape[1]))])
        _, after = w.along(value)
        return w.future((earned + w.discount * after - q_value[at]) * w.paths.live, w.discount)

    nothing = np.zeros_like(earned)
    return {
        "whole_return": (whole_return(0.4, 0.8), (whole - 0.4) * np.ones_like(earned), None),
        "reward_to_go": (reward_to_go, w.future(earned, w.discount), None),
        "value_baseline": (value_baseline, w.gae(w.value, w.discount), None),
        "td_error": (td_error, w.gae(w.value, 0.0), None),
        "gae": (gae(0.6), w.gae(w.value, 0.6 * w.discount), None),
        "gae_wrong_critic": (gae(0.6, critic), w.gae(masked, 0.6 * w.discount), None),
        "advantage": (advantage, w.q_along - w.along(w.value)[0], None),
        "all_action": (all_action(), nothing, w.q_value),
        "all_action_wrong": (all_action(guess), nothing, guess),
        "control_variate": (control_variate(), variate(w.q_value), w.q_value),
        "control_variate_wrong": (control_variate(guess), variate(held), held),
    }


def _forced(w):
    first = np.arange(w.policy.shape[2]) == 0
    return np.where(np.asarray(w.mdp.decision)[:, None, None], w.policy, first)


NAMES = (
    "whole_return",
    "reward_to_go",
    "value_baseline",
    "td_error",
    "gae",
    "gae_wrong_critic",
    "advantage",
)
NAMES += ("all_action", "all_action_wrong", "control_variate", "control_variate_wrong")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_moments_equal_those_over_all_trajectories(written, name):
    for place in ("tied", "own"):
        w = written[place]
        form, credit, every = cases(w)[name]
        same(recursion_moments(w.mdp, w.policy, form), w.moments(credit, every))
        same(
            recursion_moments(w.mdp, w.policy, form, tied=False),
            w.moments(credit, every, tied=False),
        )


@pytest.mark.parametrize(
    "form", [reward_to_go, value_baseline, all_action(), control_variate(), advantage]
)
def test_the_gradient_of_unbiased_forms_is_exact(form):
    scores = exact_scores(*TIED, recursion_moments(*TIED, form))
    assert scores["gradient_bias"] < EXACT


def test_a_control_variate_is_unbiased_whatever_its_q_and_all_actions_are_not():
    guess = wrong((5, 4, 2), 2)
    assert (
        exact_scores(*TIED, recursion_moments(*TIED, control_variate(guess)))["gradient_bias"]
        < EXACT
    )
    assert exact_scores(*TIED, recursion_moments(*TIED, all_action(guess)))["gradient_bias"] > 0.1


def test_the_exact_advantage_has_no_noise_in_a_cell():
    scores = exact_scores(*TIED, recursion_moments(*TIED, advantage))
    assert scores["bias"] < EXACT
    assert scores["variance"] < EXACT
    assert scores["gradient_variance"] > 0.1  # of where the trajectory goes


@pytest.mark.parametrize("num", [2, 3])
def test_a_baseline_of_peers_equals_the_enumerated_groups(num):
    """RLOO: the recursion's polynomial in moments of one trajectory, against groups of classes."""
    # Returns that often coincide.
    mdp, policy = TIED[0]._replace(reward=np.round(TIED[0].reward / 2)), TIED[1]
    wanted = group_moments(mdp, policy, rloo(1.0), num, by_return())
    same(recursion_moments(mdp, policy, peer_baseline(1.0), num), wanted)


@pytest.mark.slow
def test_own_logits_under_a_baseline_of_peers(written):
    """Where every step has its own kernel the two recursions meet: tied or not is the same."""
    wanted = group_moments(*OWN, casim.methods.RLOO, 2, by_return(by_step(OWN[0])))
    same(recursion_moments(*OWN, peer_baseline(), 2), wanted)
    apart = recursion_moments(*OWN, peer_baseline(), 2, tied=False)
    np.testing.assert_allclose(
        apart.gradient_variance, wanted.gradient_variance[np.asarray(OWN[0].schedule)], atol=1e-12
    )


@pytest.mark.slow
def test_a_table_under_a_baseline_of_peers():
    """c_t = (G_i - mean of the others' G) table_t(s_t, a_t).

    Here E[Z] is not 0, and all of the polynomial counts.
    """
    mdp, policy = world(8, schedule=(2, 0), states=3, observations=2, successors=3)
    table = wrong((2, 3, 2), 5)

    def estimator(_key, _world, batch):
        gain = jnp.sum(batch.reward * 0.9 ** jnp.arange(2)[None, :], axis=1)
        off = gain - (jnp.sum(gain) - gain) / (gain.shape[0] - 1)
        at = jnp.broadcast_to(jnp.arange(2)[None, :], batch.state.shape), batch.state, batch.action
        return jnp.where(batch.live, off[:, None] * jnp.asarray(table)[at], 0.0)

    for num in (2, 3):
        actual = recursion_moments(
            mdp, policy, lambda _, truth: Product(0.9, 0.0, table, peers=True), num
        )
        same(actual, group_moments(mdp, policy, Rule(estimator), num))


def test_independent_trajectories_divide_the_variance():
    one, three = (recursion_moments(*TIED, value_baseline, num) for num in (1, 3))
    np.testing.assert_allclose(three.gradient_variance, one.gradient_variance / 3, rtol=1e-13)
    np.testing.assert_array_equal(three.variance, one.variance)


def test_hindsight_counts_how_often_each_action_preceded_success():
    """c_t = (1 - pi / h(a | t, s, G)) G with h counted over the enumeration.

    Entering the terminal state is success. Its mean in a cell is Q - V, or 0 where the action rules
    success out.
    """
    mdp, policy = TIED
    enters = (np.asarray(mdp.successor) == 2) & ~np.asarray(mdp.terminal)[None, :, None, None]
    w = Written(mdp._replace(reward=enters * 1.0, discount=np.ones_like(mdp.discount)), policy)
    gain, credit = w.paths.returns(1.0), np.zeros(w.paths.reward.shape)
    assert set(gain) == {0.0, 1.0}
    for t in range(credit.shape[1]):
        cell = w.paths.state[:, t], w.paths.action[:, t]
        counts = np.zeros((2, *w.q_value.shape[1:]))
        for count, weight in zip(counts, (np.ones(len(gain)), gain), strict=True):
            np.add.at(count, cell, w.paths.probability * w.paths.live[:, t] * weight)
        with np.errstate(invalid="ignore"):
            chosen, after = counts / counts.sum(axis=2, keepdims=True)
        sure = gain * w.paths.live[:, t] > 0
        credit[sure, t] = 1 - (chosen[cell] / np.where(sure, after[cell], 1.0))[sure]
    moments = recursion_moments(w.mdp, policy, hindsight)
    same(moments, w.moments(credit))
    met = moments.probability > 0
    mean = np.where(w.q_value > 0, w.q_value - w.value[:-1, :, None], 0.0)
    np.testing.assert_allclose(moments.expectation[met], mean[met], rtol=0, atol=1e-12)
    assert (w.q_value[met] == 0).any()
    assert (w.q_value[met] > 0).any()


def coin(num_steps, prob):
    """One state; action 1 pays 1 and has probability `prob`; all steps share their logits."""
    shape = (1, 1, 2, 1)
    mdp = MDP(
        start=np.ones(1),
        schedule=np.zeros(num_steps, int),
        successor=np.zeros(shape, int),
        prob=np.ones(shape),
        reward=np.array([0.0, 1.0]).reshape(shape),
        emission=np.ones((1, 1, 1)),
        terminal=np.zeros(1, bool),
        decision=np.ones(1, bool),
        kind=np.full(1, int(Kind.THINK)),
        segment=np.zeros(num_steps, int),
        turn=np.zeros(num_steps, int),
        agent=np.zeros(num_steps, int),
        discount=np.ones(1),
        prompt=np.zeros(1, int),
    )
    return mdp, np.array([1 - prob, prob]).reshape(1, 1, 2)


@pytest.mark.slow
def test_ten_thousand_steps_take_seconds_and_agree_with_closed_forms():
    """A coin: with z = a - p of moments m2, m3, m4, B = sum a and Z = sum z over T steps.

    The central moments of B are u2, u3, u4.
    - The return gives X = B Z = Z^2 + T p Z, so E X = u2 and E X^2 = u4 + 2 T p u3 + (T p)^2 u2.
    - The value baseline gives X = sum_{t <= u} z_t z_u, so E X = T m2 and
      E X^2 = T m4 + 3/2 T (T - 1) m2^2.
    - RLOO with two trajectories gives g = (B_1 - B_2)(Z_1 - Z_2) / 2 = (Z_1 - Z_2)^2 / 2.
    """
    num, p = 10_000, 0.3
    m2, m3, m4 = (p * (1 - p) ** k + (1 - p) * (-p) ** k for k in (2, 3, 4))
    u2, u3, u4 = num * m2, num * m3, num * m4 + 3 * num * (num - 1) * m2**2
    mdp, policy = coin(num, p)
    begin = time.perf_counter()
    plain, based, peers = (
        recursion_moments(mdp, policy, f, 2)
        for f in (whole_return(), value_baseline, peer_baseline())
    )
    assert time.perf_counter() - begin < 60
    wanted = {
        "plain": (plain, u2, (u4 + 2 * num * p * u3 + (num * p) ** 2 * u2 - u2**2) / 2),
        "based": (
            based,
            num * m2,
            (num * m4 + 1.5 * num * (num - 1) * m2**2 - (num * m2) ** 2) / 2,
        ),
        "peers": (peers, u2, (2 * u4 + 6 * u2**2) / 4 - u2**2),
    }
    for name, (moments, mean, variance) in wanted.items():
        np.testing.assert_allclose(moments.gradient[0, 0], [-mean, mean], rtol=1e-10, err_msg=name)
        np.testing.assert_allclose(
            moments.gradient_variance[0, 0], [variance] * 2, rtol=1e-10, err_msg=name
        )


@pytest.mark.parametrize(
    ("form", "num", "message"),
    [
        (peer_baseline(), 1, r"num must be in \[2, inf\]"),
        (gae(0.5, np.zeros((2, 2))), 1, "critic must have shape"),
        (all_action(np.zeros((1, 2, 3))), 1, "every must have shape|before must have shape"),
        (
            lambda mdp, truth: Trace(1.0, 1.0, np.zeros(3), truth.q_value, truth.q_value),
            1,
            "after must have shape",
        ),
        (hindsight, 1, "discount of every kernel must be in"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(form, num, message):
    with pytest.raises(ValueError, match=message):
        recursion_moments(*OWN, form, num)


def test_hindsight_refuses_rewards_along_the_way():
    mdp, policy = coin(3, 0.4)
    with pytest.raises(ValueError, match="only where the episode ends"):
        recursion_moments(mdp, policy, hindsight)


@pytest.mark.parametrize(
    "make", [lambda: gae(1.5), lambda: whole_return(0.0, -0.1), lambda: peer_baseline(2.0)]
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"must be in \[0.0, 1.0\]"):
        make()


def test_a_baseline_of_peers_is_refused_where_prompts_differ():
    mdp, policy = OWN
    mdp = mdp._replace(prompt=np.arange(len(mdp.start)) % 2)
    with pytest.raises(ValueError, match=r"prompt must have one label .*, got \[0, 1\]"):
        recursion_moments(mdp, policy, peer_baseline(), 2)
