"""Importance ratios: weights against loops, exact bias and variance against staleness."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import Chain, Part, Ratio, ToGo, Whole
from casim.estimators.base import begin
from casim.methods import GRPO
from casim.oracle.moments import group_moments, precise, precise_truth
from casim.policies import Stale
from casim.simulate import World
from casim.types import Batch, Trajectory, recorded
from tests import reference
from tests.enumeration import exam
from tests.reference import groups

STALENESS = (0, 1, 4, 16)
STEP_SIZE = 0.25
EXACT = 1e-11
"""Of numbers in double precision that are sums of thousands."""

FORMS = [
    Ratio(),
    Ratio("turn"),
    Ratio("prefix"),
    Ratio("sequence"),
    Ratio("turn", "geometric"),
    Ratio("prefix", "geometric"),
    Ratio("sequence", "geometric"),
    Ratio(bounds=(0.8, 1.25)),
    Ratio("sequence", bounds=(0.0, 1.5)),
    Ratio(bounds=(0.8, 1.25), kind="ppo"),
    Ratio("sequence", "geometric", (0.9, 1.1), "ppo"),
    Ratio("turn", "geometric", (0.9, 1.1), "gate"),
]


class Scene(NamedTuple):
    """A world of two policies in double precision, with every trajectory of the behaviour."""

    mdp: object
    policy: np.ndarray
    behaviour: np.ndarray
    probability: np.ndarray
    batch: Trajectory
    """`[P, T]`, NumPy."""


@functools.cache
def scene(steps: int, discount: float = 1.0) -> Scene:
    """The world of four steps, one of them forced, after so many updates of its policy."""
    mdp, table = exam(binary=False, actions=2, prompt=False, discount=discount)
    with jax.enable_x64(True):
        wide, start = jax.tree.map(jnp.asarray, precise(mdp, table))
        acting = jax.jit(Stale(steps, STEP_SIZE).beside)(wide, start)
        policy, behaviour = map(np.asarray, acting)
    exact = precise(mdp, table)[0]
    paths = reference.enumerate_paths(mdp, behaviour)
    kernel = np.asarray(exact.schedule)[None]
    decided = paths.live & np.asarray(exact.decision)[kernel]
    taken = behaviour[kernel, paths.observation, paths.action]
    log_prob = np.where(decided, np.log(taken), 0.0)
    batch = Trajectory(
        paths.state, paths.observation, paths.action, log_prob, paths.reward, paths.live
    )
    return Scene(exact, policy, behaviour, paths.probability, batch)


def ratio_by_loops(one: Scene, form: Ratio, value: np.ndarray) -> np.ndarray:
    """The factor of each step, from the definitions."""
    mdp, batch = one.mdp, one.batch
    out = np.zeros(batch.action.shape)
    for i, row in enumerate(batch.action):
        decided = [t for t in range(len(row)) if batch.live[i, t] and mdp.decision[mdp.schedule[t]]]
        rho = {}
        for t in decided:
            place = mdp.schedule[t], batch.observation[i, t], row[t]
            rho[t] = one.policy[place] / one.behaviour[place]
        for t in decided:
            unit = {
                "token": [t],
                "turn": [u for u in decided if mdp.turn[u] == mdp.turn[t]],
                "prefix": [u for u in decided if u <= t],
                "sequence": decided,
            }[form.level]
            w = np.prod([rho[u] for u in unit])
            if form.mean == "geometric":
                w = w ** (1 / len(unit))
            out[i, t] = bounded(form, w, value[i, t])
    return out


def bounded(form: Ratio, w: float, value: float) -> float:
    if form.bounds is None:
        return w
    low, high = form.bounds
    if form.kind == "truncate":
        return min(max(w, low), high)
    if form.kind == "gate":
        return float(low <= w <= high)
    # The derivative of PPO's min(w c, clip(w) c) with respect to w, over c.
    clipped = min(max(w, low), high)
    return w if w * value <= clipped * value else 0.0


def gradients(one: Scene, credit: np.ndarray) -> np.ndarray:
    """sum_t w_t c_t grad log pi(a_t | o_t) of every trajectory, by loops: `[P, M, O, A]`."""
    mdp, batch = one.mdp, one.batch
    weight = reference.discounting(mdp)
    out = np.zeros((len(credit), *one.policy.shape))
    for i, t in np.ndindex(batch.action.shape):
        m, o = mdp.schedule[t], batch.observation[i, t]
        if batch.live[i, t] and mdp.decision[m]:
            score = (np.arange(2) == batch.action[i, t]) - one.policy[m, o]
            out[i, m, o] += weight[t] * credit[i, t] * score
    return out


def to_go(one: Scene) -> np.ndarray:
    """G_t, by loops."""
    discount = reference.by_step(one.mdp)
    out = np.array(one.batch.reward)
    for t in reversed(range(out.shape[1] - 1)):
        out[:, t] += discount[t] * out[:, t + 1]
    return out


@dataclasses.dataclass(frozen=True)
class Known(Part):
    """The exact advantages of the policy, as a table."""

    table: tuple

    def apply(self, world, batch, credit):
        table = jnp.asarray(self.table)
        time = jnp.arange(batch.action.shape[-1])
        return credit._replace(value=table[time, batch.state, batch.action] * batch.live)


def known(one: Scene) -> Known:
    advantage = np.asarray(precise_truth(one.mdp, one.policy).advantage)
    return Known(tuple(tuple(map(tuple, state)) for state in advantage.tolist()))


def moments(one: Scene, *parts):
    """Bias and variance of the gradient of one trajectory, over |g*|^2."""
    found = group_moments(one.mdp, one.policy, Chain(*parts), 1, behaviour=one.behaviour)
    exact = np.asarray(precise_truth(one.mdp, one.policy).gradient)
    size = np.sum(exact**2)
    bias = np.sum((found.gradient - exact) ** 2) / size
    return bias, np.sum(found.gradient_variance) / size


@pytest.mark.parametrize(
    "form",
    [*FORMS[::4], *(pytest.param(x, marks=pytest.mark.slow) for x in FORMS if x not in FORMS[::4])],
    ids=repr,
)
def test_weights_are_those_of_the_loops(form):
    """On every trajectory of a world with forced steps, early ends and turns; as a log as well."""
    one = scene(4)
    value = to_go(one)
    with jax.enable_x64(True):
        tables = map(jnp.asarray, (one.policy, one.behaviour))
        world = World.make(jax.tree.map(jnp.asarray, one.mdp), *tables)
        batch = world.attach(jax.tree.map(lambda x: jnp.asarray(x)[None], one.batch))
        credit = begin(batch)._replace(value=jnp.asarray(value)[None])
        given = form.apply(world, batch, credit)
        log = batch._replace(policy_log_prob=world.policy_log_prob(batch))
        alone = form.apply(None, log, credit)
    wanted = ratio_by_loops(one, form, value)
    np.testing.assert_allclose(given.weight[0], wanted, rtol=1e-12)
    np.testing.assert_array_equal(alone.weight, given.weight)
    np.testing.assert_array_equal(given.value, credit.value)
    assert np.unique(np.round(wanted, 9)).size > 2 or form.kind == "gate"


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_where_both_policies_are_one_every_ratio_is_exactly_one(form):
    mdp, table = exam(binary=False, actions=2, prompt=False)
    for acting in (None, table):
        world = World.make(mdp, table, acting)
        batch = groups(world, jax.random.key(0), 2, 5)
        before = begin(batch)._replace(value=batch.reward - 0.1)
        np.testing.assert_array_equal(form.apply(world, batch, before).weight, before.weight)


@pytest.mark.slow
@pytest.mark.parametrize("discount", [1.0, 0.875])
def test_whole_products_are_unbiased_at_any_staleness_and_their_variance_grows(discount):
    """With returns to go; with the whole return at discount 1, where that is right on policy."""
    source = Whole() if discount == 1.0 else ToGo()
    variances = []
    for steps in STALENESS:
        bias, variance = moments(scene(steps, discount), source, Ratio("sequence"))
        assert bias < EXACT
        variances.append(variance)
    assert np.all(np.diff(variances) > 0)


@pytest.mark.parametrize("discount", [1.0, 0.875])
def test_products_up_to_a_step_are_unbiased_with_advantages_of_the_policy(discount):
    for steps in STALENESS:
        one = scene(steps, discount)
        bias, _ = moments(one, known(one), Ratio("prefix"))
        assert bias < EXACT


BIASED = {
    "token": (Whole(), Ratio()),
    "turn": (Whole(), Ratio("turn")),
    "prefix of a return of the behaviour": (Whole(), Ratio("prefix")),
    "geometric": (Whole(), Ratio("sequence", "geometric")),
    "none": (Whole(),),
    "truncated": (Whole(), Ratio("sequence", bounds=(0.0, 1.0))),
    "ppo": (Whole(), Ratio("sequence", bounds=(0.99, 1.01), kind="ppo")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BIASED)
def test_other_forms_are_biased_but_where_both_policies_are_one(name):
    for steps in STALENESS:
        bias, _ = moments(scene(steps), *BIASED[name])
        assert (bias < EXACT) == (steps == 0), (steps, bias)


def test_ratios_of_tokens_are_biased_with_right_advantages_too():
    """They correct the actions and not the states that the behaviour comes to."""
    one = scene(16)
    assert moments(one, known(one), Ratio())[0] > 1e-4
    assert moments(one, known(one))[0] > 1e-4


@pytest.mark.parametrize("form", [Ratio("sequence"), Ratio(bounds=(0.8, 1.25), kind="ppo")])
def test_exact_moments_under_a_behaviour_are_those_of_the_loops(form):
    """Mean and variance of the gradient over all trajectories of the behaviour."""
    one = scene(4)
    value = to_go(one)
    found = group_moments(one.mdp, one.policy, Chain(ToGo(), form), 1, behaviour=one.behaviour)
    each = gradients(one, value * ratio_by_loops(one, form, value))
    share = one.probability / one.probability.sum()
    mean = np.einsum("n,nmoa->moa", share, each)
    square = np.einsum("n,nmoa->moa", share, each**2)
    np.testing.assert_allclose(found.gradient, mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.gradient_variance, square - mean**2, rtol=0, atol=1e-9)


def log_of(log_prob, policy_log_prob=None, reward=0.0, action=0) -> Batch:
    """One group of a log, every step of which decides."""
    given = np.zeros_like(log_prob, np.float32)
    label = jnp.asarray(given + action, jnp.int8)
    numbers = (jnp.asarray(given + x) for x in (log_prob, reward))
    batch = Batch.of(Trajectory(label, label, label, *numbers, jnp.ones(given.shape, bool)))
    if policy_log_prob is None:
        return batch
    return batch._replace(policy_log_prob=jnp.asarray(given + policy_log_prob))


def weight_of(form: Ratio, log: Batch) -> np.ndarray:
    return np.asarray(form.apply(None, log, begin(log)).weight)[0]


def test_one_bandit_by_hand():
    """Three arms and no baseline: only the whole ratio gives the policy's gradient."""
    mu, pi, q = (np.array(x) for x in ([0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.7, 0.9]))
    score = np.eye(3) - pi
    weights = {
        Ratio(): pi / mu,
        Ratio(bounds=(0.5, 2.0)): np.array([2.0, 1.0, 0.5]),
        Ratio(bounds=(0.5, 2.0), kind="gate"): np.array([0.0, 1.0, 0.0]),
        Ratio(bounds=(0.5, 2.0), kind="ppo"): np.array([0.0, 1.0, 0.2]),
    }
    logs = (np.log(x).reshape(1, 3, 1) for x in (mu, pi))
    log = log_of(*logs, reward=q.reshape(1, 3, 1))
    exact = pi * (q - pi @ q)
    for form, wanted in weights.items():
        np.testing.assert_allclose(weight_of(form, log)[:, 0], wanted, rtol=1e-6)
        mean = np.einsum("a,a,a,ab->b", mu, wanted, q, score)
        assert np.allclose(mean, exact) == (form == Ratio())


@pytest.mark.slow
def test_products_of_very_many_ratios_stay_in_range():
    """A hundred thousand steps in turns of a thousand: each likelier, or less so, or impossible."""
    rises = np.array([np.log(10.0), -np.log(10.0), -np.inf], np.float32)
    log = log_of(np.zeros((1, 3, 100_000)), rises[None, :, None])
    turn = jnp.broadcast_to(jnp.arange(100_000) // 1000, log.turn.shape)
    log = log._replace(turn=turn)
    for level in ("prefix", "sequence", "turn"):
        last = weight_of(Ratio(level), log)[:, -1]
        assert np.isfinite(last**2 * 10).all()
        assert last[0] > 1e15
        np.testing.assert_array_equal(last[1:], 0.0)
        mean = weight_of(Ratio(level, "geometric"), log)[:, -1]
        np.testing.assert_allclose(mean, [10.0, 0.1, 0.0], rtol=1e-4)


def test_what_imposes_an_impossible_action_gives_no_nan():
    """Both logarithms are minus infinity: the policy does not do it."""
    never = np.full((1, 1, 2), -np.inf)
    np.testing.assert_array_equal(weight_of(Ratio(), log_of(never, never)), 0.0)


def test_a_log_must_bring_the_logarithms_of_the_policy():
    with pytest.raises(ValueError, match=r"batch.policy_log_prob must be given where there is no"):
        weight_of(Ratio(), log_of(np.zeros((1, 1, 2))))


@pytest.mark.slow
def test_a_log_must_bring_the_logarithms_of_the_behaviour():
    """One that does not say them is not read as one of probability 1."""
    one = {"reward": np.ones((1, 2)), "mask": np.ones((1, 2)), "prompt": [0]}
    given = {"policy_log_prob": np.zeros((1, 2)), "value": np.zeros((1, 2))}
    silent = Batch.from_arrays(**one, **given)
    with pytest.raises(ValueError, match=r"batch.log_prob must hold the logarithms of the behav"):
        weight_of(Ratio(), silent)
    assert not np.asarray(recorded(silent).log_prob).any()
    assert np.isfinite(GRPO.recipe.credit(jax.random.key(0), None, silent).value).all()
    said = Batch.from_arrays(**one, **given, log_prob=np.full((1, 2), -1.0))
    np.testing.assert_allclose(weight_of(Ratio(), said), np.exp(1.0), rtol=1e-6)


def test_credit_of_all_actions_has_no_ratio_of_the_one_taken():
    log = log_of(np.zeros((1, 1, 2)))
    credit = begin(log)._replace(value=jnp.zeros((1, 1, 2, 3)))
    with pytest.raises(ValueError, match="Ratio must be given credit of the action taken"):
        Ratio().apply(None, log, credit)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": "word"}, r"level must be one of \('token', 'turn', 'prefix', 'sequence'\)"),
        ({"mean": "harmonic"}, r"mean must be one of"),
        ({"bounds": (1.2, 0.8)}, r"bounds\[1\] must be in \[1.2, inf\], got 0.8"),
        ({"bounds": (-0.1, 1.0)}, r"bounds\[0\] must be in \[0.0, inf\], got -0.1"),
        ({"kind": "ppo"}, r"bounds must be two numbers for kind 'ppo', got None"),
        ({"bounds": (0.5, 2.0), "kind": "clip"}, r"kind must be one of"),
    ],
)
def test_bad_settings_raise(settings, message, unhooked):
    with pytest.raises(ValueError, match=message):
        Ratio(**settings)


def test_a_chain_with_a_ratio_says_so():
    assert Chain(GRPO.recipe, Ratio()).ratio_weighted
    assert not GRPO.recipe.ratio_weighted
