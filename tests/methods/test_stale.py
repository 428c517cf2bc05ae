"""Weights of methods for stale rollouts: on one nasty log by loops, on a bandit, by enumeration."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim import methods
from casim.estimators import Chain, OverLength, Ratio, Whole
from casim.estimators.base import begin
from casim.estimators.chain import parts_of
from casim.oracle.moments import exact_scores, group_moments
from casim.types import to_rows
from tests.methods import reference_trainers as ref
from tests.methods.test_trainers import agree, batch_of
from tests.methods.tree import tree

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
