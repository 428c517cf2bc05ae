"""Critics and rewards of turns: loops on a nasty log, identities, exact values by enumeration."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    BilevelGae,
    Chain,
    FittedValues,
    JudgedComponents,
    JudgedValues,
    LessOwnMean,
    Place,
    Promise,
    Sum,
    Times,
    TopGroups,
    TwinCritics,
    UnitGae,
)
from casim.estimators.base import begin
from casim.estimators.sources.twins import lower
from casim.judges import Judge
from casim.oracle.moments import exact_scores, group_moments, precise_truth
from casim.simulate import World
from casim.types import to_rows
from tests.enumeration import exam, solve
from tests.methods import reference_trainers as ref
from tests.methods import reference_turns as turns
from tests.methods.test_trainers import agree, batch_of, rows
from tests.quick import QUICK

EXACT = 1e-10
KEY = jax.random.key(0)


def recipe(name):
    return methods.named_methods()[name].recipe


def raw(name):
    """A recipe without its whitening."""
    return recipe(name).parts[0]


FORMS = {
    "turns": UnitGae(0.7, unit="turn"),
    "turns, own discount": UnitGae(0.7, discount=0.8, clock="turn"),
    "tokens": UnitGae(0.7, unit="step"),
    "POAD": raw("POAD"),
    "NTPO": raw("NTPO"),
    "ARCHER_TPPO": raw("ARCHER_TPPO"),
    "RAGEN": BilevelGae(0.7),
    "RAGEN_TURNS": BilevelGae(0.7, ends="turn"),
    "MT_GRPO": recipe("MT_GRPO"),
}
SLOW = {
    "TURN_GAE": recipe("TURN_GAE"),
    "RAGEN": recipe("RAGEN"),
    "MT_GRPO_CUMULATIVE": recipe("MT_GRPO_CUMULATIVE"),
    "MT_PPO": recipe("MT_PPO"),
    "VETTA": recipe("VETTA"),
    "HYGAE": recipe("HYGAE"),
}


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def every(names, batch):
    """What each form gives, by one program."""
    forms = SLOW if names == tuple(SLOW) else FORMS
    return {name: forms[name].credit(KEY, None, batch).value for name in names}


@functools.cache
def found(kind, discount=1.0, slow=False):
    """A log, and what all forms give to its rows."""
    log = LOGS[kind]()
    return log, given_to(log, discount, slow)


def given_to(log, discount=1.0, slow=False):
    with jax.enable_x64(True):
        batch = batch_of(log, discount=discount)
        given = every(tuple(SLOW if slow else FORMS), batch)
        return {name: to_rows(x, batch) for name, x in given.items()}


def single_tokens():
    """A turn for every decision and the answer to it, which earns nothing."""
    log = turns.turn_log()
    turn = np.maximum(log["mask"].cumsum(axis=1) - 1, 0)
    return {**log, "reward": log["reward"] * log["mask"], "turn": turn}


def one_turn():
    """One turn, and one reward, on its last token."""
    log = turns.turn_log()
    reward = np.zeros(log["reward"].shape)
    reward[np.arange(len(reward)), ref.last_token(log)] = 1.0 + np.arange(len(reward)) / 8
    return {**log, "reward": reward, "turn": np.zeros(log["mask"].shape, int)}


LOGS = {
    "nasty": turns.turn_log,
    "at ends": lambda: turns.at_ends(turns.turn_log()),
    "single tokens": single_tokens,
    "one turn": one_turn,
}


def steps_of(log, discount):
    return np.full(log["mask"].shape, discount)


def turn_clock(log, discount):
    """The discount at the last step of each turn, 1 elsewhere."""
    ends = np.diff(log["turn"], axis=1, append=-1) != 0
    return np.where(ends, discount, 1.0)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_advantages_of_turns_and_tokens_are_the_formula(discount):
    """With rewards on the way, also on tokens of the environment, which belong to a turn."""
    log, given = found("nasty", discount)
    each = steps_of(log, discount)
    ends = turns.at_ends(log)
    wanted = {
        "turns": turns.unit_gae(log, 0.7, each),
        "turns, own discount": turns.unit_gae(log, 0.7, turn_clock(log, 0.8)),
        "tokens": turns.unit_gae(log, 0.7, each, "step"),
        "RAGEN": turns.bilevel(log, discount, 0.7, 0.95),
        "RAGEN_TURNS": turns.bilevel(ends, discount, 0.7, 0.95, every=True),
    }
    for name, value in wanted.items():
        agree(given[name], value, log, 1e-12, name)
    overlooked = np.abs(given["RAGEN"] - given["RAGEN_TURNS"])[log["mask"]]
    assert overlooked.max() > 0.1


@pytest.mark.slow
def test_sums_of_turns_and_tokens_are_the_formula():
    log, given = found("nasty", 0.9, slow=True)
    each = steps_of(log, 0.9)
    tokens = turns.unit_gae(log, 1.0, steps_of(log, 1.0), "step")
    centred = turns.less_own_mean(log, tokens)
    vetta = turns.unit_gae(log, 0.95, turn_clock(log, 0.95)) + centred
    agree(given["VETTA"], vetta, log, 1e-12, "VETTA")
    halves = [turns.unit_gae(log, 0.95, each, unit) for unit in ("turn", "step")]
    agree(given["HYGAE"], sum(halves) / 2, log, 1e-12, "HyGAE")
    future = np.zeros(each.shape)
    for i, t in zip(*np.nonzero(log["mask"]), strict=True):
        begins = next(unit[0] for unit in turns.units(log, i, "turn") if t in unit)
        rest = log["reward"][i, begins:]
        future[i, t] = 0.9 ** np.arange(len(rest)) @ rest - log["value"][i, begins]
    agree(given["TURN_GAE"], future, log, 1e-12, "G - V")
    ragen = ref.whiten(turns.bilevel(log, 0.9, 1.0, 0.95), log["mask"])
    agree(given["RAGEN"], ragen, log, 1e-7, "RAGEN")
    both = {**log, "reward": log["component"].sum(axis=-1)}
    agree(given["MT_PPO"], ref.gae_verl(both, 0.9), log, 1e-7, "MT_PPO")
    agree(given["MT_GRPO_CUMULATIVE"], turns.mt_grpo_cumulative(log), log, 1e-12, "cumulative")


@pytest.mark.parametrize("name", ["POAD", "NTPO", "ARCHER_TPPO"])
def test_tokens_inside_turns_are_as_in_their_code(name):
    log, given = found("at ends")
    agree(given[name], turns.adrl(log, 0.95, 0.95, name), log, 1e-12, name)


def test_streams_of_turns_and_outcomes_are_their_code():
    """Equal rewards of turns give nothing, and a stream is divided by its own deviation."""
    log, given = found("nasty")
    agree(given["MT_GRPO"], turns.mt_grpo(log), log, 1e-12, "MT_GRPO")
    turn, outcome = np.moveaxis(log["component"], -1, 0)
    answered = np.array([turns.first_answer(log, i) is not None for i in range(len(turn))])
    kept = answered[:, None] & log["mask"]
    flat = np.zeros(turn.shape)
    flat[:, 0] = 0.5
    equal = given_to({**log, "component": np.stack([flat, outcome], axis=-1)})
    alone = ref.spread(ref.z_score(log, epsilon=1e-4, score=outcome.sum(axis=1)), log)
    np.testing.assert_allclose(equal["MT_GRPO"][kept], alone[kept], atol=1e-12)
    larger = given_to({**log, "component": np.stack([1e3 * turn, outcome], axis=-1)})
    np.testing.assert_allclose(larger["MT_GRPO"][kept], given["MT_GRPO"][kept], atol=2e-3)


def test_where_every_turn_is_one_token_turns_are_tokens():
    log, given = found("single tokens")
    for one, other in (("POAD", "NTPO"), ("POAD", "ARCHER_TPPO"), ("turns", "tokens")):
        agree(given[one], given[other], log, 1e-12, one)
    verl = turns.unit_gae(log, 0.7, steps_of(log, 1.0), "step")
    agree(given["tokens"], verl, log, 1e-12, "tokens")
    agree(given["tokens"], ref.gae_verl(log, 1.0, 0.7, white=False), log, 1e-12, "PPO")


def test_of_one_turn_two_levels_are_gae_of_its_tokens():
    log, given = found("one turn", 0.9)
    wanted = ref.gae_verl(log, 0.9, 0.7, white=False)
    for name in ("RAGEN", "RAGEN_TURNS"):
        agree(given[name], wanted, log, 1e-12, name)


def test_tokens_of_poad_add_up_to_their_turn_and_those_of_ntpo_shrink():
    """The first of L tokens decides, and the last one is paid: exact values, lambda 0."""
    chance, gamma = 0.3, 0.9
    length = np.array([1, 2, 5])
    place = np.arange(5)
    left = length[:, None] - 1 - place
    known = np.where(place > 0, 1.0, chance)
    log = {
        "reward": (left == 0).astype(float),
        "mask": left >= 0,
        "prompt": np.zeros(3, int),
        "turn": np.zeros(left.shape, int),
    }
    poad = UnitGae(0.0, discount=gamma, unit="step", clock="turn")
    ntpo = UnitGae(0.0, discount=gamma, unit="step", clock="decision")
    # At its own clock each has exact values.
    whole = rows(Chain(poad), {**log, "value": known * (left >= 0)})
    shrunk = rows(Chain(ntpo), {**log, "value": known * gamma ** np.maximum(left, 0)})
    np.testing.assert_allclose(whole.sum(axis=1), 1 - chance, atol=1e-12)
    np.testing.assert_allclose(whole[:, 0], 1 - chance, atol=1e-12)
    np.testing.assert_allclose(shrunk[:, 0], gamma ** (length - 1) * (1 - chance), atol=1e-12)


@dataclasses.dataclass(frozen=True)
class Valued:
    """A recipe on batches that bring the exact values of the policy, `[T, S]`."""

    recipe: object
    table: tuple

    def credit(self, key, world, batch):
        table = jnp.asarray(self.table)
        time = jnp.broadcast_to(jnp.arange(table.shape[0]), batch.state.shape)
        return self.recipe.credit(key, world, batch._replace(value=table[time, batch.state]))


def valued(mdp, policy, form, error=0.0):
    truth = precise_truth(mdp, policy)
    table = np.asarray(truth.value)[:-1]
    wrong = error * np.random.default_rng(0).normal(size=table.shape)
    return Valued(form, tuple(map(tuple, (table + wrong).tolist()))), truth


BY_TURN = (1.0, 0.9, 1.0)
"""The step at which the first turn of `exam` ends discounts, those inside turns do not."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "error"),
    [
        (UnitGae(0.3, unit="step"), 0.0),
        (UnitGae(0.3, discount=0.9, unit="step", clock="turn"), 0.0),
        (UnitGae(0.3), 0.0),
        (UnitGae(1.0), 0.5),
        (UnitGae(1.0, unit="step"), 0.5),
        (Sum(Chain(UnitGae(0.3), Times(0.2)), Chain(UnitGae(0.6, unit="step"), Times(0.8))), 0.0),
    ],
)
def test_the_gradient_is_exact_with_exact_values_or_with_lambda_1(form, error):
    """Where discounts are of turns; HyGAE's mixture too."""
    mdp, policy = exam(binary=False, actions=2, prompt=False, discount=BY_TURN)
    rule, truth = valued(mdp, policy, form, error)
    found = group_moments(mdp, policy, rule, 1)
    bias = exact_scores(mdp, policy, found)["gradient_bias"]
    assert bias < EXACT
    if error == 0 and getattr(form, "unit", "") == "step":
        met = found.probability > 0
        advantage = np.asarray(truth.advantage)
        np.testing.assert_allclose(found.expectation[met], advantage[met], atol=1e-10)


@pytest.mark.slow
def test_two_levels_are_exact_where_turns_are_paid_and_end_as_planned():
    """With exact values; a reward inside a turn, or a turn that may be cut short, biases them."""
    form = BilevelGae(0.3, turn_discount=0.9, ends="turn")

    def bias(**settings):
        mdp, policy = exam(actions=2, prompt=False, discount=BY_TURN, **settings)
        found = group_moments(mdp, policy, valued(mdp, policy, form)[0], 1)
        return exact_scores(mdp, policy, found)["gradient_bias"]

    assert bias(terminal=False) < EXACT
    assert bias(terminal=False, binary=False) > 1e-3
    assert bias() > 1e-4


@pytest.mark.slow
def test_wrong_values_and_lambda_below_1_are_biased():
    mdp, policy = exam(binary=False, actions=2, prompt=False, discount=BY_TURN)
    for form in (UnitGae(0.3, unit="step"), UnitGae(0.3), BilevelGae(0.3, ends="turn")):
        found = group_moments(mdp, policy, valued(mdp, policy, form, 0.5)[0], 1)
        assert exact_scores(mdp, policy, found)["gradient_bias"] > 1e-4


@pytest.mark.slow
def test_vetta_weighs_early_tokens_of_a_turn_more():
    """C_j = (1 + alpha (L - j) / L) A_j but for a function of the state, all discounts 1."""
    mdp, policy = exam(binary=False, actions=2, prompt=False, terminal=False)
    alpha = 3.0
    tokens = Chain(UnitGae(1.0, unit="step"), LessOwnMean("turn"), Times(alpha))
    rule, truth = valued(mdp, policy, Sum(UnitGae(1.0), tokens))
    found = group_moments(mdp, policy, rule, 1)
    # Turns of one and of two decisions, at step 0 and at steps 2 and 3.
    factor = {0: 1.0, 2: 1 + alpha / 2, 3: 1.0}
    advantage = np.asarray(truth.advantage)
    for t, wanted in factor.items():
        met = (found.probability[t] > 0).all(axis=-1)
        assert met.any()
        chance = np.asarray(truth.state_policy)[np.asarray(mdp.schedule)[t]]
        mean = np.where(met[:, None], found.expectation[t], 0.0)
        centred = mean - (chance * mean).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(centred[met], wanted * advantage[t][met], atol=1e-9)


def test_a_quarter_of_the_groups_is_kept_by_deviation_and_all_are_paid_for():
    """Of five groups one; of binary outcomes that with most failures and successes alike."""
    wins = np.array([4, 2, 0, 3, 1])
    reward = (np.arange(4) < wins[:, None]).astype(float).reshape(-1, 1)
    log = {
        "reward": reward,
        "mask": np.ones((20, 1), bool),
        "prompt": np.repeat(np.arange(5), 4),
    }
    batch = batch_of(log)
    wanted = {0.25: [1], 0.6: [1, 3, 4], 1.0: range(5)}

    def run(batch):
        return [TopGroups(share).apply(None, batch, begin(batch)).weight for share in wanted]

    weights = jax.jit(run, compiler_options=QUICK)(batch)
    for kept, x in zip(wanted.values(), weights, strict=True):
        weight = np.asarray(x)
        assert list(np.nonzero(weight.any(axis=(1, 2)))[0]) == list(kept)
        effective = weight.sum() ** 2 / (weight**2).sum() / np.asarray(batch.live).sum()
        assert effective == pytest.approx(len(kept) / 5)
    assert recipe("STARPO_S").parts[-1] == TopGroups(0.25)


@pytest.mark.slow
def test_a_judge_without_error_is_an_exact_critic_and_one_table_serves_all():
    """Values before each step are what it says after the one before; each is charged once."""
    mdp, policy = exam(binary=False, actions=2, prompt=False, discount=0.875)
    truth = solve(mdp, policy)
    world = World.make(mdp, policy, judges={"judge": Judge("value").model(mdp, truth)})
    form = UnitGae(0.3, unit="step")

    def run(world):
        batch = world.groups(KEY, 2, 5)
        time = jnp.broadcast_to(jnp.arange(4), batch.state.shape)
        known = batch._replace(value=truth.value[time, batch.state])
        halves = Sum(Chain(form, Times(0.5)), Chain(form, Times(0.5)))
        return (
            batch,
            form.credit(KEY, world, known),
            JudgedValues(form).credit(KEY, world, batch),
            FittedValues(halves, form).credit(KEY, world, batch),
            FittedValues(form, form).credit(KEY, world, batch),
            methods.MT_GRPO_JUDGED.credit(KEY, world, batch),
        )

    batch, wanted, judged, halves, whole, streams = jax.jit(run, compiler_options=QUICK)(world)
    np.testing.assert_allclose(judged.value, wanted.value, atol=1e-5)
    assert float(judged.cost.judge_calls) == np.asarray(batch.live).sum() + 10
    assert float(judged.cost.env_steps) == 0
    np.testing.assert_allclose(halves.value, whole.value, atol=1e-5)
    assert 0 < float(whole.cost.env_steps) <= 16 * 4
    assert float(halves.cost.env_steps) == float(whole.cost.env_steps)
    assert np.isfinite(streams.value).all()
    assert float(streams.cost.judge_calls) > 0


def test_the_lower_of_two_estimates_is_pessimistic():
    """E[min Q - min V] = A - (sigma_Q - sigma_V) / sqrt(pi), by quadrature."""
    node = np.linspace(-9, 9, 1201)
    weight = np.exp(-(node**2) / 2)
    pair = np.stack(np.meshgrid(node, node))
    share = np.outer(weight, weight) / weight.sum() ** 2

    def mean(centre, deviation):
        with jax.enable_x64(True):
            lowest = lower(jnp.asarray(centre + deviation * pair))
            return (share * np.asarray(lowest)).sum()

    for noise_q, noise_v in ((0.3, 0.1), (0.2, 0.2), (0.0, 0.5)):
        found = mean(0.7, noise_q) - mean(0.45, noise_v)
        assert found == pytest.approx(0.25 - (noise_q - noise_v) / np.sqrt(np.pi), abs=1e-3)


def two_turns(acting=False):
    """Rewards at the end only; the behaviour is another policy, or none."""
    mdp, policy = exam(actions=2, prompt=False, terminal=False)
    behaviour = (policy[:, :, ::-1] + 0.5) / 2 if acting else None
    return World.make(mdp, policy, behaviour), precise_truth(mdp, policy)


def ends_and_starts(batch, truth):
    """Q of the last decision of each turn, and V of the first: turns 0 and 1 of steps 0, 2 to 3."""
    state, action = np.asarray(batch.state), np.asarray(batch.action)
    q_value, value = np.asarray(truth.q_value), np.asarray(truth.value)
    last = [q_value[t, state[..., t], action[..., t]] for t in (0, 3)]
    first = [value[t, state[..., t]] for t in (0, 2)]
    return last, first


@pytest.mark.slow
def test_twin_critics_find_the_advantage_of_turns_from_what_another_policy_did():
    world, truth = two_turns(acting=True)
    part = TwinCritics(4000, num_epochs=60, polyak=0.5)

    def run(world):
        batch = world.groups(KEY, 1, 40)
        return batch, part.credit(jax.random.key(3), world, batch)

    batch, credit = jax.jit(run, compiler_options=QUICK)(world)
    last, first = ends_and_starts(batch, truth)
    value = np.asarray(credit.value)
    for turn, steps in ((0, [0]), (1, [2, 3])):
        for t in steps:
            error = value[..., t] - (last[turn] - first[turn])
            assert np.abs(error).max() < 0.08
    assert np.ptp(last[1] - first[1]) > 0.3
    assert not value[..., 1].any()
    # The buffer, and the policy's own turns of one and two decisions.
    assert float(credit.cost.env_steps) == 4000 * (4 + 3)
    assert float(credit.cost.critic_updates) == 2 * 2 * 60 * 4000 * 2


@pytest.mark.slow
def test_promises_of_many_rollouts_are_q():
    world, truth = two_turns()
    num = 4000
    part = Promise(1.0, num_rollouts=num, beta=0.0, num_updates=3000, step_size=0.02)

    def run(world):
        batch = world.groups(KEY, 1, 40)
        return batch, part.give(jax.random.key(3), world, batch)

    batch, (given, used) = jax.jit(run, compiler_options=QUICK)(world)
    given = np.asarray(given)
    assert float(used.env_steps) == 4 * num
    assert float(used.critic_updates) == 4 * num + 3000 * 2 * num
    last, first = ends_and_starts(batch, truth)
    assert np.abs(given[..., 0] - (last[0] - first[0])).max() < 0.08
    for t in (2, 3):
        assert np.abs(given[..., t] - (last[1] - last[0])).max() < 0.08


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Promise(gives="hope"), "gives must be one of"),
        (lambda: Promise(beta=-1.0), "beta must be in"),
        (lambda: Promise(num_updates=0), "num_updates must be"),
        (lambda: Promise(step_size=0.0), "step_size must be in"),
        (lambda: TwinCritics(0), "num_rollouts must be"),
        (lambda: TwinCritics(num_epochs=0), "num_epochs must be"),
        (lambda: TwinCritics(learning_rate=2.0), "learning_rate must be in"),
        (lambda: TwinCritics(polyak=0.0), "polyak must be in"),
        (lambda: UnitGae(unit="agent"), "unit must be one of"),
        (lambda: UnitGae(clock="token"), "clock must be one of"),
        (lambda: UnitGae(bootstrap="next"), "bootstrap must be one of"),
        (lambda: UnitGae(2.0), "lambda_ must be in"),
        (lambda: BilevelGae(turn_discount=1.5), "turn_discount must be in"),
        (lambda: BilevelGae(ends="eos"), "ends must be one of"),
        (lambda: Place("there"), "at must be one of"),
        (lambda: LessOwnMean("agent"), "unit must be one of"),
        (lambda: TopGroups(0.0), "share must be in"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_log_must_bring_what_turns_are_made_of(unhooked):
    log = turns.turn_log()
    for name, column in (("MT_GRPO", "component"), ("TURN_PPO", "value")):
        short = {key: x for key, x in log.items() if key != column}
        with pytest.raises(ValueError, match="must"):
            rows(name, short)
    silent = {key: x for key, x in log.items() if key != "component"}
    judged = JudgedComponents(recipe("MT_GRPO"))
    with pytest.raises(ValueError, match="world must be given to JudgedComponents"):
        rows(judged, silent)
