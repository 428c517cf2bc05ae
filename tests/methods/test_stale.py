"""Weights of methods for stale rollouts: on one nasty log by loops, on a bandit, by enumeration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import Chain, OverLength, Ratio, Retrace, VTrace, Whole
from casim.estimators.base import begin
from casim.estimators.chain import parts_of
from casim.estimators.sources.offpolicy import retrace, vtrace
from casim.graders import PerAction
from casim.judges import Judge
from casim.oracle.moments import exact_scores, group_moments, precise_truth
from casim.simulate import World
from casim.types import recorded, to_rows
from tests.enumeration import solve
from tests.estimators.test_ratios import scene
from tests.methods import reference_trainers as ref
from tests.methods.test_trainers import agree, batch_of, rows
from tests.methods.test_turns import valued
from tests.methods.tree import tree
from tests.quick import QUICK

NAMES = (
    "IMPORTANCE_SAMPLING",
    "PPO_CLIP",
    "GSPO",
    "CISPO",
    "TIS",
    "ICEPOP",
    "SEQUENCE_MASK_TIS",
    "TURN_CLIP",
    "SORL",
    "SORL_UNCLIPPED",
    "SORL_PRODUCT",
    "SORL_TOKEN",
)


def stale_log(spread=1.5):
    """The nasty log, its turns, and a policy that is not who acted."""
    log = ref.nasty()
    rng = np.random.default_rng(5)
    steps = log["mask"].shape[1]
    turn = np.cumsum(np.arange(steps) % 3 == 2) + np.zeros(log["mask"].shape, int)
    moved = log["log_prob"] + spread * rng.normal(size=log["mask"].shape) * log["mask"]
    return {**log, "turn": turn, "policy_log_prob": moved}


def clipped(ratio, value, low, high):
    """The derivative of min(w c, clip(w) c) with respect to w, over c."""
    bounded = np.clip(ratio, low, high)
    return np.where(ratio * value <= bounded * value, ratio, 0.0)


def loops(log, unit, geometric=False):
    """The ratio of the unit of each of the policy's tokens; 0 elsewhere."""
    out = np.zeros(log["mask"].shape)
    rho = np.exp(log["policy_log_prob"] - log["log_prob"])
    for i, mask in enumerate(log["mask"]):
        own = np.nonzero(mask)[0]
        for t in own:
            those = [u for u in own if unit(log, i, u) == unit(log, i, t)]
            out[i, t] = np.prod([rho[i, u] for u in those])
            if geometric:
                out[i, t] = out[i, t] ** (1 / len(those))
    return out


def by_token(log, i, t):
    return t


def by_turn(log, i, t):
    return log["turn"][i, t]


def by_sequence(log, i, t):
    return 0


def wanted_weights(name, log, value):
    """From the table of the trainers' formulas."""
    token, sequence = loops(log, by_token), loops(log, by_sequence, True)
    mask = log["mask"]
    within = (sequence >= 0.5) & (sequence <= 5)
    return {
        "IMPORTANCE_SAMPLING": loops(log, by_sequence),
        "PPO_CLIP": clipped(token, value, 0.8, 1.2),
        "GSPO": clipped(sequence, value, 1 - 3e-4, 1 + 4e-4) / mask.sum(axis=1, keepdims=True),
        "CISPO": np.clip(token, 0.8, 1.28) * mask,
        "TIS": np.clip(token, 0.5, 5) * mask,
        "ICEPOP": token * ((token >= 0.5) & (token <= 5)),
        "SEQUENCE_MASK_TIS": token * within,
        "TURN_CLIP": clipped(loops(log, by_turn), value, 0.8, 1.2),
        "SORL": clipped(loops(log, by_turn, True), value, 0.8, 1.2),
        "SORL_UNCLIPPED": loops(log, by_turn, True),
        "SORL_PRODUCT": loops(log, by_turn),
        "SORL_TOKEN": clipped(token, value, 0.8, 1.2),
    }[name]


def weights_of(name):
    """The parts of a recipe that set weights."""
    recipe = methods.named_methods()[name].recipe
    return [part for part in parts_of(recipe) if isinstance(part, Ratio | OverLength)]


def weights(parts, log, value):
    """What they make of a value, step by step, which compiles less than the recipe."""
    with jax.enable_x64(True):
        batch = batch_of(log)
        given = batch_of({**log, "reward": value}).reward
        credit = begin(batch)._replace(value=given)
        for part in parts:
            credit = part.apply(None, batch, credit)
        return to_rows(credit.weight, batch)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_stale_rollouts_are_the_formula(name):
    log = stale_log()
    value = np.random.default_rng(1).normal(size=log["mask"].shape) * log["mask"]
    weight = weights(weights_of(name), log, value)
    agree(weight, wanted_weights(name, log, value), log, 1e-12, name)
    assert np.ptp(weight[log["mask"]]) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_where_who_acted_is_the_policy_only_the_length_is_left(name):
    log = stale_log(0.0)
    share = ref.own_share(log) if name == "GSPO" else log["mask"]
    found = weights(weights_of(name), log, log["reward"])
    np.testing.assert_allclose(found, share, rtol=1e-15)


BANDIT = {
    "TIS": (Ratio(bounds=(0.5, 2.0)),),
    "ICEPOP": (Ratio(), Ratio(bounds=(0.5, 2.0), kind="gate")),
    "CISPO": weights_of("CISPO"),
}
"""The same parts with tighter bounds, where three arms would not feel the trainers'."""


def of_bandit(parts, base):
    """E_mu[w (Q - b) grad log pi] of three arms, and the exact gradient."""
    mu, pi, q = (np.array(x) for x in ([0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.2, 0.7, 0.9]))
    log = {
        "reward": q[:, None],
        "mask": np.ones((3, 1), bool),
        "prompt": np.zeros(3, int),
        "log_prob": np.log(mu)[:, None],
        "policy_log_prob": np.log(pi)[:, None],
    }
    weight = weights(parts, log, log["reward"] - base)[:, 0]
    score = np.eye(3) - pi
    return np.einsum("a,a,a,ab->b", mu, weight, q - base, score), pi * (q - pi @ q)


@pytest.mark.parametrize(
    ("name", "cosine", "slope"),
    [("TIS", 0.952, 0.92), ("ICEPOP", 0.878, 0.15), ("CISPO", 0.842, 0.90)],
)
def test_what_bounds_cut_off_depends_on_the_baseline(name, cosine, slope):
    """With the mean of Q as baseline, and with another."""
    found, exact = of_bandit(BANDIT[name], 0.6)
    lengths = np.linalg.norm(found) * np.linalg.norm(exact)
    assert found @ exact / lengths == pytest.approx(cosine, abs=5e-4)
    assert found @ exact / (exact @ exact) == pytest.approx(slope, abs=5e-3)
    other = of_bandit(BANDIT[name], 0.42)[0] @ exact / (exact @ exact)
    assert abs(other - slope) > 0.1
    sound = [of_bandit([Ratio()], base)[0] for base in (0.6, 0.42)]
    np.testing.assert_allclose(sound, [exact, exact], atol=1e-12)


@pytest.mark.slow
def test_a_product_over_the_only_turn_is_exact_and_its_geometric_mean_is_not():
    """One turn of two tokens."""
    given = tree(False)
    rng = np.random.default_rng(3)
    acting = given.policy * rng.uniform(0.5, 1.5, given.policy.shape)
    acting = acting / acting.sum(axis=-1, keepdims=True)

    def bias(recipe):
        found = group_moments(given.mdp, given.policy, recipe, 1, behaviour=acting)
        return exact_scores(given.mdp, given.policy, found)["gradient_bias"]

    assert bias(Chain(Whole(), Ratio("turn"))) < 1e-12
    assert bias(methods.IMPORTANCE_SAMPLING) < 1e-12
    assert bias(Chain(Whole(), Ratio("turn", "geometric"))) > 1e-3
    assert bias(Chain(Whole(), Ratio("token"))) > 1e-3


def vtrace_by_sums(log, rho, lam, rho_bar, c_bar, gamma):
    """V_s + sum_t gamma^(t-s) (prod_{s <= i < t} c_i) rho_t delta_t less V_s, and the credit."""
    reward, value, live = log["reward"], log["value"], log["live"]
    error = np.zeros(reward.shape)
    delta = np.zeros(reward.shape)
    for i, s in zip(*np.nonzero(live), strict=True):
        delta[i, s] = reward[i, s] - value[i, s]
        if s + 1 < live[i].sum():
            delta[i, s] += gamma * value[i, s + 1]
    for i, s in zip(*np.nonzero(live), strict=True):
        for t in range(s, live[i].sum()):
            traces = lam * np.minimum(rho[i, s:t], c_bar)
            error[i, s] += gamma ** (t - s) * traces.prod() * min(rho[i, t], rho_bar) * delta[i, t]
    after = np.pad(error[:, 1:], ((0, 0), (0, 1)))
    return error, (delta + gamma * lam * after) * live


@pytest.mark.parametrize(("lam", "bound"), [(1.0, 1.0), (0.7, 0.8), (0.9, None)])
def test_vtrace_is_its_sums(lam, bound):
    """On a log of two policies, with tokens of the environment, whose ratio is 1."""
    log = stale_log()
    rho = np.where(log["mask"], loops(log, by_token), 1.0)
    wanted = vtrace_by_sums(log, rho, lam, bound or np.inf, 1.5, 0.9)
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (log["reward"], log["value"], rho, log["live"]))
        given = TRACE(*arrays, 0.9, lam, bound, 1.5)
    error = np.asarray(given.error)
    np.testing.assert_allclose(error[log["live"]], wanted[0][log["live"]], atol=1e-12)
    np.testing.assert_allclose(given.credit, wanted[1], atol=1e-12)


TRACE = jax.jit(vtrace, static_argnums=(5, 6, 7), compiler_options=QUICK)


@pytest.mark.slow
def test_where_who_acted_is_the_policy_vtrace_is_gae():
    log = stale_log(0.0)
    wanted = ref.gae_skyrl(log, 1.0, 0.7, white=False)
    found = rows(Chain(VTrace(0.7)), log)
    agree(found, wanted, log, 1e-12, "GAE")


def retrace_by_sums(log, taken, rho, lam, gamma):
    """Q + sum_t gamma^(t-s) (prod_{s < i <= t} c_i) (r + gamma V - Q) - V."""
    reward, value, live = log["reward"], log["value"], log["live"]
    out = np.zeros(reward.shape)
    for i, s in zip(*np.nonzero(live), strict=True):
        length = live[i].sum()
        out[i, s] = taken[i, s] - value[i, s]
        for t in range(s, length):
            later = gamma * value[i, t + 1] if t + 1 < length else 0.0
            traces = lam * np.minimum(rho[i, s + 1 : t + 1], 1.0)
            delta = reward[i, t] + later - taken[i, t]
            out[i, s] += gamma ** (t - s) * traces.prod() * delta
    return out


def test_retrace_is_its_sums():
    log = stale_log()
    rho = np.where(log["mask"], loops(log, by_token), 1.0)
    taken = np.random.default_rng(2).normal(size=rho.shape)
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (log["reward"], taken, log["value"], rho, log["live"]))
        given = jax.jit(retrace, static_argnums=6, compiler_options=QUICK)(*arrays, 0.9, 0.7)
    wanted = retrace_by_sums(log, taken, rho, 0.7, 0.9)
    np.testing.assert_allclose(given.credit, wanted, atol=1e-12)


@pytest.mark.slow
def test_vtrace_without_bounds_is_exact_for_any_behaviour():
    """With exact values its mean in a cell is the advantage; with any, the gradient is exact."""
    one = scene(16, 0.875)

    def moments(form, error):
        rule, truth = valued(one.mdp, one.policy, form, error)
        found = group_moments(one.mdp, one.policy, rule, 1, behaviour=one.behaviour)
        return found, truth

    free = VTrace(0.6, rho_bar=None, c_bar=None)
    found, truth = moments(free, 0.0)
    met = found.probability > 0
    advantage = np.asarray(truth.advantage)
    np.testing.assert_allclose(found.expectation[met], advantage[met], atol=1e-10)
    weighed = methods.VTRACE_UNBOUNDED.recipe
    for form, error, exact in (
        (weighed, 0.3, True),
        (Chain(free, Ratio("prefix")), 0.0, True),
        (methods.VTRACE.recipe, 0.0, False),
    ):
        found, _ = moments(form, error)
        bias = exact_scores(one.mdp, one.policy, found)["gradient_bias"]
        assert (bias < 1e-11) == exact


@pytest.mark.slow
def test_bounds_of_vtrace_lead_to_the_values_of_a_policy_in_between():
    """E_mu[e_t | s_t] is 0 at the values of pi_rho, and not at those of pi, by enumeration."""
    one = scene(16)
    between = np.minimum(one.policy, one.behaviour)
    between = between / between.sum(axis=-1, keepdims=True)
    policies = {"between": between, "policy": one.policy}
    batch = one.batch
    kernel = np.asarray(one.mdp.schedule)[None]
    place = kernel, batch.observation, batch.action
    decided = batch.live & np.asarray(one.mdp.decision)[kernel]
    rho = np.where(decided, one.policy[place] / one.behaviour[place], 1.0)
    time = np.broadcast_to(np.arange(4), batch.state.shape)
    largest = {}
    for name, table in policies.items():
        value = np.asarray(precise_truth(one.mdp, table).value)[time, batch.state]
        with jax.enable_x64(True):
            arrays = map(jnp.asarray, (batch.reward, value, rho, batch.live))
            error = np.asarray(vtrace(*arrays, 1.0).error)
        total, mass = np.zeros((2, 4, 5))
        share = one.probability[:, None] * batch.live
        np.add.at(total, (time, batch.state), share * error)
        np.add.at(mass, (time, batch.state), share)
        largest[name] = np.abs(total / np.where(mass > 0, mass, 1.0)).max()
    assert largest["between"] < 1e-12
    assert largest["policy"] > 0.01


@pytest.mark.slow
def test_retrace_is_exact_for_any_behaviour_with_exact_values_of_actions():
    """Its mean in a cell is the advantage, at any lambda."""
    one = scene(16, 0.875)
    truth = precise_truth(one.mdp, one.policy)
    q_value, value = np.asarray(truth.q_value), np.asarray(truth.value)
    batch = one.batch
    kernel = np.asarray(one.mdp.schedule)[None]
    place = kernel, batch.observation, batch.action
    decided = batch.live & np.asarray(one.mdp.decision)[kernel]
    rho = np.where(decided, one.policy[place] / one.behaviour[place], 1.0)
    time = np.broadcast_to(np.arange(4), batch.state.shape)
    taken, mean = q_value[time, batch.state, batch.action], value[time, batch.state]
    for lam in (0.0, 0.6, 1.0):
        with jax.enable_x64(True):
            arrays = map(jnp.asarray, (batch.reward, taken, mean, rho, batch.live))
            given = retrace(*arrays, 0.875, lam).credit
        total, mass = np.zeros((2, 4, 5, 2))
        share = one.probability[:, None] * decided
        cell = time, batch.state, batch.action
        np.add.at(total, cell, share * np.asarray(given))
        np.add.at(mass, cell, share)
        met = mass > 0
        wanted = np.asarray(truth.advantage)[met]
        np.testing.assert_allclose(total[met] / mass[met], wanted, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vtrace", "retrace", "judged"])
def test_tables_are_fitted_to_the_fixed_point_from_what_another_policy_did(name):
    """V-trace's to the values between both policies, Retrace's to Q of the policy."""
    one = scene(16)
    between = np.minimum(one.policy, one.behaviour)
    between = between / between.sum(axis=-1, keepdims=True)
    mdp, policy, behaviour = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32) if x.dtype == np.float64 else jnp.asarray(x),
        (one.mdp, one.policy, one.behaviour),
    )
    truth = solve(mdp, policy)
    judges = {"critic": PerAction(Judge("q_value")).model(mdp, truth)}
    world = World.make(mdp, policy, behaviour, judges=judges)
    fit = {"num_rollouts": 6000, "num_sweeps": 12, "learning_rate": 1.0}
    part = {
        "vtrace": VTrace(0.5, **fit),
        "retrace": Retrace(0.5, **fit),
        "judged": Retrace(0.5, judge="critic"),
    }[name]

    def run(world):
        batch = world.groups(jax.random.key(0), 1, 30)
        return batch, part.credit(jax.random.key(1), world, batch)

    batch, credit = jax.jit(run, compiler_options=QUICK)(world)
    batch = jax.tree.map(lambda x: np.asarray(x)[0], recorded(batch))
    time = np.broadcast_to(np.arange(4), batch.state.shape)
    kernel = np.asarray(mdp.schedule)[None]
    place = kernel, batch.observation, batch.action
    decided = batch.live & np.asarray(mdp.decision)[kernel]
    rho = np.where(decided, one.policy[place] / one.behaviour[place], 1.0)
    with jax.enable_x64(True):
        exact = precise_truth(one.mdp, between if name == "vtrace" else one.policy)
        value = jnp.asarray(exact.value)[time, batch.state]
        reward = jnp.asarray(batch.reward, float)
        rest = jnp.asarray(rho), jnp.asarray(batch.live), 1.0, 0.5
        if name == "vtrace":
            wanted = vtrace(reward, value, *rest).credit
        else:
            taken = jnp.asarray(exact.q_value)[time, batch.state, batch.action]
            wanted = retrace(reward, taken, value, *rest).credit
    error = np.abs(np.asarray(credit.value)[0] - np.asarray(wanted))[decided]
    assert error.max() < (1e-4 if name == "judged" else 0.2)
    assert np.mean(error) < 0.05
    if name == "judged":
        assert float(credit.cost.judge_calls) > 0
        assert float(credit.cost.env_steps) == 0
    else:
        assert float(credit.cost.critic_updates) == 12 * float(credit.cost.env_steps) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VTrace(1.5), "lambda_ must be in"),
        (lambda: VTrace(rho_bar=0.0), "rho_bar must be in"),
        (lambda: VTrace(c_bar=-1.0), "c_bar must be in"),
        (lambda: VTrace(num_rollouts=-1), "num_rollouts must be"),
        (lambda: Retrace(num_sweeps=0), "num_sweeps must be"),
        (lambda: Retrace(learning_rate=0.0), "learning_rate must be in"),
        (lambda: Retrace(discount=2.0), "discount must be in"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
