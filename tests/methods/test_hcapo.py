"""HCAPO: its formulas in NumPy on an awkward log, and what it gives to turns without a choice."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import Baseline, Blend, ByHindsight, Chain, Clipped, FadeUnits, Whole
from casim.estimators.base import begin
from casim.graders import Posterior
from casim.simulate import World
from casim.tasks import Bifurcation, Forced
from casim.types import Batch, to_rows
from tests import reference
from tests.enumeration import case, cell_mean, run, solved
from tests.methods import reference_trainers as ref
from tests.methods.every_action import judged

KEY = jax.random.key(2)


class Reader:
    """Passes for a world in which a judge says how likely each action of a log was."""

    __class__ = property(lambda _: World)
    num_turns = 11

    def __init__(self, said):
        self.said, self.chance = said, jnp.ones_like(said)

    def judge(self, key, batch, name):
        return self.said

    def probability(self, batch):
        return self.chance


@functools.cache
def log():
    """The awkward log in turns, and what a judge says of the actions taken."""
    made = ref.nasty()
    rng = np.random.default_rng(4)
    mask = made["mask"]
    after_tool = mask & ~np.pad(mask, ((0, 0), (1, 0)))[:, :-1]
    cut = mask & (rng.uniform(size=mask.shape) < 0.3)
    turn = np.cumsum(after_tool | cut, axis=1)
    turn = turn - turn[:, :1]
    return {**made, "turn": turn, "hindsight": rng.uniform(0.02, 1.0, mask.shape)}


def given(recipe):
    """What a recipe gives to the rows of the log, in double precision."""
    data = dict(log())
    hindsight = data.pop("hindsight")
    data["policy_log_prob"] = data["log_prob"]
    with jax.enable_x64(True):
        batch = Batch.from_arrays(**data, observation=None)
        said = Batch.from_arrays(**{**data, "value": hindsight}).value
        every = jax.nn.one_hot(batch.action, 3) * said[..., None]
        found = recipe.credit(KEY, Reader(every), batch)
        return to_rows(found.value, batch), found


def turns(row):
    """The steps of each turn of a row that decides something, and the number of all live turns."""
    data = log()
    every = [np.flatnonzero(data["live"][row] & (data["turn"][row] == k)) for k in range(12)]
    return [steps for steps in every if len(steps)]


def score(row, steps, beside):
    data = log()
    decided = steps[data["mask"][row, steps]]
    logs = np.log(data["hindsight"][row, decided])
    if beside == "policy":
        logs = logs - data["log_prob"][row, decided]
    return np.exp(logs.mean() / 5.0) if len(decided) else 1.0


def refined(beside, success):
    """Q^H of every turn of every row."""
    out = []
    for row, outcome in enumerate(ref.scores(log())):
        each = turns(row)
        value = np.array([score(row, steps, beside) for steps in each])
        ratio = value if beside == "policy" else value / value.mean()
        ratio = np.clip(ratio, 0.8, 1.2)
        fade = 0.95 ** np.arange(len(each) - 1, -1, -1)
        out.append(ratio * fade * success * outcome)
    return out


def next_smoothed(q):
    return [np.append(0.5 * x[:-1] + 0.5 * x[1:], x[-1]) for x in q]


def both_smoothed(q):
    out = []
    for x in q:
        near = [
            np.mean([x[j] for j in (k - 1, k + 1) if 0 <= j < len(x)]) if len(x) > 1 else x[k]
            for k in range(len(x))
        ]
        out.append(0.5 * x + 0.5 * np.array(near))
    return out


def spread(q):
    """Values of turns on their tokens."""
    out = np.zeros(log()["mask"].shape)
    for row, values in enumerate(q):
        for steps, value in zip(turns(row), values, strict=True):
            out[row, steps] = value
    return out


def over_turns(q, ddof, epsilon):
    """(q - mean) / (deviation + epsilon) over all turns of the group."""
    out = [np.zeros(len(x)) for x in q]
    for rows in ref.groups(log()):
        every = np.concatenate([q[row] for row in rows])
        if np.ptp(every) == 0:
            continue
        for row in rows:
            out[row] = (q[row] - every.mean()) / (ref.deviation(every, ddof) + epsilon)
    return out


def over_same_turn(q):
    out = [np.zeros(len(x)) for x in q]
    for rows in ref.groups(log()):
        for k in range(max(len(q[row]) for row in rows)):
            there = [row for row in rows if len(q[row]) > k]
            every = np.array([q[row][k] for row in there])
            if len(there) > 1 and np.ptp(every) > 0:
                for row in there:
                    out[row][k] = (q[row][k] - every.mean()) / (ref.deviation(every) + 1e-6)
    return out


def spared(q):
    return [
        np.where((x < 0) & (outcome > 0), 0.0, x)
        for x, outcome in zip(q, ref.scores(log()), strict=True)
    ]


def wanted(name):
    macro = ref.spread(ref.z_score(log(), score=10 * ref.scores(log())), log())
    q = refined("trajectory", 10.0)
    if name == "HCAPO":
        return macro + spread(spared(over_turns(q, 1, 1e-6)))
    if name == "HCAPO_STEP":
        return macro + spread(spared(over_same_turn(q)))
    if name == "HCAPO_SMOOTH":
        return macro + spread(spared(over_turns(next_smoothed(q), 1, 1e-6)))
    outcome = [np.full(len(turns(row)), r) for row, r in enumerate(ref.scores(log()))]
    micro = over_turns(both_smoothed(refined("policy", 1.0)), 0, 1e-3)
    return np.clip(spread(over_turns(outcome, 0, 1e-3)) + spread(micro), -5.0, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HCAPO", "HCAPO_STEP", "HCAPO_SMOOTH", "HCAPO_AGENTIC_RL_CA"])
def test_values_are_the_formula(name):
    found, credit = given(getattr(methods, name))
    mask = log()["mask"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[mask], wanted(name)[mask], rtol=1e-9, atol=1e-9)
    assert np.abs(found[mask]).max() > 0.5
    asked = sum(len(turns(row)) for row in range(len(mask)))
    assert float(credit.cost.judge_calls) == asked


@functools.cache
def forced():
    """Two pivots, each step a turn, and a turn without a choice between any two."""
    task = Forced(
        Bifurcation(horizon=3, pivots=(0, 2), gap=0.7, recovery=0.5, noise=0.1),
        unit="step",
    )
    mdp = task.build()
    steps = np.arange(mdp.schedule.shape[0])
    return solved(mdp._replace(turn=jnp.asarray(steps)), reference.random_policy(3, mdp))


class OfOnes:
    """A part, handed 1 at every step."""

    def __init__(self, part):
        self.part = part

    def credit(self, key, world, batch):
        ones = begin(batch)._replace(value=jnp.ones(batch.action.shape))
        return self.part(key, world, batch, ones, ())[0]


@functools.cache
def ratios(**settings):
    """rho of every step of every trajectory, unbounded."""
    one = forced()
    part = OfOnes(ByHindsight("posterior", bounds=None))
    return np.asarray(
        run(part, KEY, judged(one, posterior=Posterior(**settings)), one.all.batch).value,
        np.float64,
    )


def scores_by_bayes():
    """p of every turn, from Q and V alone: h = pi Q / V of a success, pi (1 - Q) / (1 - V) else."""
    one = forced()
    batch = jax.tree.map(np.asarray, one.all.batch)
    time = np.arange(batch.state.shape[1])
    schedule = np.asarray(one.mdp.schedule)
    success = batch.reward.sum(-1, keepdims=True) > 0.5
    q_value = one.exact.q_value[time, batch.state, batch.action]
    value = one.exact.value[time, batch.state]
    chance = np.asarray(one.policy, np.float64)[schedule, batch.observation, batch.action]
    ratio = np.where(success, q_value, 1 - q_value) / np.where(success, value, 1 - value)
    decided = np.asarray(one.mdp.decision)[schedule]
    return np.where(decided, chance * ratio, 1.0) ** 0.2, decided


@pytest.mark.slow
def test_a_turn_without_a_choice_has_the_largest_ratio_of_its_trajectory():
    """Fact A4, while its true credit is 0; against Bayes' rule in float64."""
    one = forced()
    rho = ratios()
    score, decided = scores_by_bayes()
    np.testing.assert_allclose(rho, score / score.mean(-1, keepdims=True), atol=1e-5)
    idle = ~decided
    assert idle.sum() == 2
    assert (rho[:, idle] >= rho.max(-1, keepdims=True) - 1e-6).all()
    assert (rho[:, idle] > 1.01).all()
    assert not np.abs(one.advantage[idle][:, :, 0]).any()
    # Whatever is known of the outcome: with nothing known too.
    assert (ratios(trust=0.0)[:, idle] > 1.01).all()


@pytest.mark.slow
def test_what_it_gives_to_such_turns_is_known_exactly():
    """E[rho R | the turn] in every state, bounds and all, where A = 0."""
    one = forced()
    recipe = Chain(Whole(1.0), ByHindsight("posterior"))
    said = run(recipe, KEY, judged(one, posterior=Posterior()), one.all.batch)
    found = np.asarray(said.value, np.float64).reshape(-1, said.value.shape[-1])
    score, decided = scores_by_bayes()
    rho = np.clip(score / score.mean(-1, keepdims=True), 0.8, 1.2)
    returns = np.asarray(one.all.batch.reward, np.float64).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, rho * returns, atol=1e-5)
    weight = one.all.weight
    state = np.asarray(one.all.batch.state)
    for t in np.flatnonzero(~decided):
        for s in np.unique(state[:, t]):
            here = weight * (state[:, t] == s)
            mean = here @ found[:, t] / here.sum()
            assert mean > 1.02 * one.exact.value[t, s] > 0.02


@pytest.mark.slow
def test_before_fading_it_never_puts_them_below_the_average_of_the_trajectory():
    one = forced()
    recipe = Chain(
        Whole(1.0), ByHindsight("posterior"), Baseline("group", votes="step", scale=True)
    )
    value = np.asarray(
        run(recipe, KEY, judged(one, posterior=Posterior()), one.all.batch).value, np.float64
    )
    _, decided = scores_by_bayes()
    average = value.mean(-1, keepdims=True)
    assert (value[:, ~decided] >= average - 1e-6).all()
    assert (value[:, ~decided] > average + 0.01).any()


@pytest.mark.slow
def test_the_ratio_on_the_action_taken_exaggerates():
    """E[rho z | s, a] = Q^2 / V for the recipe, at every trust between it and Q."""
    one = case(actions=3, prompt=False, terminal=False)
    value = one.exact.value[:-1, :, None]
    q_value = one.exact.q_value
    for trust in (1.0, 0.5, 0.0):
        credit = run(
            methods.HCAPO_TAKEN, KEY, judged(one, posterior=Posterior(trust=trust)), one.all.batch
        ).value
        mean, mass = cell_mean(one.mdp, one.all, credit)
        wanted = trust * q_value**2 / np.where(value > 0, value, 1.0) + (1 - trust) * q_value
        np.testing.assert_allclose(mean[mass > 0], wanted[mass > 0], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FadeUnits(1.5), "discount must be in"),
        (lambda: FadeUnits(unit="word"), "unit must be one of"),
        (lambda: Blend(-0.5), "share must be in"),
        (lambda: Blend(neighbours="last"), "neighbours must be one of"),
        (lambda: Blend(unit="word"), "unit must be one of"),
        (lambda: Clipped((1.0, 0.0)), r"bounds.1. must be in"),
        (lambda: ByHindsight(temperature=0.0), "temperature must be in"),
        (lambda: ByHindsight(beside="group"), "beside must be one of"),
        (lambda: ByHindsight(bounds=(1.2, 0.8)), r"bounds.1. must be in"),
        (lambda: ByHindsight(unit="word"), "unit must be one of"),
    ],
)
def test_bad_settings_raise(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
