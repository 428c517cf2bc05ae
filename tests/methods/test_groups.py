"""Methods without a critic, on 5 prompts x 6 rollouts, against loops in NumPy float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim import methods
from casim.estimators import Baseline, Chain, OverLength, ToGo, TopEntropy, Whole
from casim.estimators.base import begin
from casim.types import Batch
from tests.enumeration import QUICK
from tests.reference import groups

P, N = 5, 6
KEY = jax.random.key(3)
run = jax.jit(
    lambda recipe, world, batch: recipe.credit(KEY, world, batch),
    static_argnums=0,
    compiler_options=QUICK,
)


TASKS = {
    "turns": casim.VariableTurns(
        num_turns=4, tokens_per_turn=2, stop_rewards=(0.2, 1.0, 0.4), noise=0.3, discount=0.9
    ),
    "prompts": casim.ReasoningChain(
        num_steps=3, tokens_per_step=4, difficulty=(0.1, 0.9), discount=0.9
    ),
}


@pytest.fixture(scope="module", params=["turns", pytest.param("prompts", marks=pytest.mark.slow)])
def drawn(request):
    """Episodes of unequal length.

    The first task has steps of the environment and rewards on the way; the second a reward of 0 or
    1 at the end, and prompts of different difficulty.
    """
    mdp = TASKS[request.param].build()
    world = casim.World.make(mdp, casim.Softmax(seed=2).table(mdp))
    batch = groups(world, KEY, P, N)
    assert len(np.unique(np.asarray(batch.live).sum(-1))) > 2
    return world, batch


def plain(batch):
    """The arrays in NumPy, floats in double precision."""
    return {
        name: np.asarray(x, np.float64) if np.issubdtype(x.dtype, np.floating) else np.asarray(x)
        for name, x in batch._asdict().items()
        if x is not None
    }


def to_go(batch, discount):
    future = np.zeros(batch["reward"].shape)
    after = 0.0
    for t in reversed(range(future.shape[-1])):
        after = np.where(batch["live"][..., t], batch["reward"][..., t] + discount * after, 0.0)
        future[..., t] = after
    return future


def whole(batch, discount):
    return to_go(batch, discount)[..., :1] * batch["live"]


def grpo(batch, discount):
    returns = to_go(batch, discount)[..., 0]
    out = np.zeros(batch["reward"].shape)
    for p in range(P):
        for i in range(N):
            score = (returns[p, i] - returns[p].mean()) / (returns[p].std(ddof=1) + 1e-6)
            out[p, i] = score * batch["live"][p, i]
    return out


def dr_grpo(batch, discount):
    returns = to_go(batch, discount)[..., 0]
    return (returns - returns.mean(axis=1, keepdims=True))[..., None] * batch["live"]


def rloo(batch, discount):
    returns = to_go(batch, discount)[..., 0]
    out = np.zeros(batch["reward"].shape)
    for p in range(P):
        for i in range(N):
            others = np.delete(returns[p], i)
            out[p, i] = (returns[p, i] - others.mean()) * batch["live"][p, i]
    return out


def reinforce_pp(batch, discount):
    future = to_go(batch, discount)
    decided = batch["live"] & batch["decision"]
    votes = future[decided]
    white = (future - votes.mean()) / np.sqrt(votes.var(ddof=1) + 1e-8)
    return white * batch["live"]


def gigpo(batch, discount):
    decided = batch["live"] & batch["decision"]
    episode, steps = whole(batch, discount), to_go(batch, 0.95)
    out = np.zeros(episode.shape)
    for p in range(P):
        group = episode[p] - episode[p][decided[p]].mean()
        for i in range(N):
            for t in range(episode.shape[-1]):
                if not batch["live"][p, i, t]:
                    continue
                same = decided[p] & (batch["observation"][p] == batch["observation"][p, i, t])
                # A step alone has no peers; steps of one's own trajectory are peers.
                step = steps[p, i, t] - steps[p][same].mean() if same.any() else 0.0
                out[p, i, t] = group[i, t] + step
    return out


@pytest.mark.parametrize(
    ("method", "formula"),
    [
        (methods.GRPO, grpo),
        (methods.DR_GRPO, dr_grpo),
        (methods.RLOO, rloo),
        (methods.REINFORCE_PP, reinforce_pp),
        (methods.GIGPO, gigpo),
        (methods.REINFORCE, whole),
        (methods.REWARD_TO_GO, to_go),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_the_recipe_is_the_formula(drawn, method, formula):
    world, batch = drawn
    given = run(method.recipe, world, batch)
    arrays = plain(batch)
    wanted = formula(arrays, 0.9)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(given.value, wanted, atol=2e-6)
    np.testing.assert_array_equal(given.weight, arrays["live"] & arrays["decision"])
    assert not any(map(float, given.cost))


def test_the_entropy_mask_keeps_a_fifth_of_the_decisions(drawn):
    world, batch = drawn
    given = run(methods.ENTROPY_80_20.recipe, world, batch)
    np.testing.assert_allclose(given.value, grpo(plain(batch), 0.9), atol=2e-6)
    arrays = plain(batch)
    chance = np.asarray(world.probability(batch), np.float64)
    entropy = -np.sum(np.where(chance > 0, chance * np.log(np.maximum(chance, 1e-30)), 0.0), -1)
    decided = arrays["live"] & arrays["decision"]
    ranked = np.sort(entropy[decided])[::-1]
    least = ranked[int(np.ceil(0.2 * decided.sum())) - 1]
    assert 0 < (entropy[decided] >= least).mean() < 0.9
    np.testing.assert_array_equal(given.weight > 0, decided & (entropy >= least - 1e-6))


@pytest.mark.parametrize("name", ["GRPO", "RLOO", "REINFORCE_PP", "GIGPO", "ENTROPY_80_20"])
def test_no_number_where_nothing_counts_stays_there(drawn, name):
    """Padding, and a rollout that cannot be scored, may hold anything."""
    world, batch = drawn
    recipe = methods.named_methods()[name].recipe
    scorable = jnp.ones((P, N), bool).at[1, 2].set(False)
    lost = batch._replace(scorable=scorable)
    dirty = lost.live & scorable[..., None]
    reward = jnp.where(dirty, lost.reward, jnp.nan)
    got, wanted = (run(recipe, world, x) for x in (lost._replace(reward=reward), lost))
    np.testing.assert_array_equal(got.value, wanted.value)
    np.testing.assert_array_equal(got.weight, wanted.weight)
    assert not np.asarray(got.value[1, 2]).any()
    assert np.isfinite(got.value).all()


def test_parts_that_add_up_or_compare_refuse_credit_of_all_actions(drawn, unhooked):
    world, batch = drawn
    every = begin(batch)._replace(value=jnp.ones((*batch.reward.shape, 3)))
    for part in (Whole(), ToGo(), Baseline()):
        with pytest.raises(ValueError, match=f"{type(part).__name__} must be given credit of the"):
            part.apply(world, batch, every)


def test_without_a_world_the_log_is_enough(drawn):
    """A log says what its steps discount, and its own entropies."""
    world, batch = drawn
    chance = world.probability(batch)
    log = batch._replace(entropy=-jnp.sum(chance * jnp.log(jnp.maximum(chance, 1e-30)), -1))
    for method in (methods.GRPO, methods.REINFORCE_PP, methods.GIGPO, methods.ENTROPY_80_20):
        alone, seen = run(method.recipe, None, log), run(method.recipe, world, batch)
        np.testing.assert_allclose(alone.value, seen.value, atol=2e-6, err_msg=method.name)
        np.testing.assert_array_equal(alone.weight > 0, seen.weight > 0)


LOG = {
    "reward": np.array([[0, 0, 2.0], [0, 1.0, 0], [0, 0, 5.0], [3.0, 0, 0], [0, 0, 7.0]]),
    "mask": np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]]),
    "prompt": np.array([4, 9, 4, 9, 9]),
}


def test_a_log_in_any_order_with_groups_of_unequal_size():
    """RLOO by hand: prompt 4 has returns 2 and 5, prompt 9 has 1, 3 and 7."""
    batch = Batch.from_arrays(**LOG)
    assert batch.live.shape == (2, 3, 3)
    np.testing.assert_array_equal(batch.prompt, [4, 9])
    given = run(methods.RLOO.recipe, None, batch)
    rows = casim.types.to_rows(given.value, batch)
    wanted = np.array([2 - 5, 1 - 5, 5 - 2, 3 - 4, 7 - 2.0])
    live = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(rows, wanted[:, None] * live, atol=1e-6)
    weight = casim.types.to_rows(given.weight, batch)
    np.testing.assert_array_equal(weight, LOG["mask"])


def test_what_cannot_be_scored_is_no_peer_and_gets_nothing():
    scorable = np.array([True, True, True, True, False])
    batch = Batch.from_arrays(**LOG, scorable=scorable)
    given = run(methods.DR_GRPO.recipe, None, batch)
    rows = casim.types.to_rows(given.value, batch)
    np.testing.assert_allclose(rows[:, 0], [-1.5, -1.0, 1.5, 1.0, 0.0], atol=1e-6)
    assert not casim.types.to_rows(given.weight, batch)[4].any()


def test_whole_numbers_are_rewards_like_any_other():
    """Their discount stays a fraction."""
    whole = Batch.from_arrays(**LOG | {"reward": LOG["reward"].astype(int)}, discount=0.5)
    given = run(methods.REWARD_TO_GO.recipe, None, whole)
    rows = casim.types.to_rows(given.value, whole)
    np.testing.assert_allclose(rows[0], [0.5, 1.0, 2.0])


def test_a_row_lives_until_it_has_earned_what_it_earns():
    """A score on a token of the environment after the last of the policy counts."""
    log = {"reward": np.array([[0, 0, 1.0], [0, 0, 0]]), "mask": np.array([[1, 1, 0], [1, 1, 0]])}
    batch = Batch.from_arrays(**log, prompt=np.zeros(2, int))
    given = run(methods.RLOO.recipe, None, batch)
    np.testing.assert_allclose(given.value[0, :, 0], [1.0, -1.0])
    np.testing.assert_array_equal(given.weight[0], log["mask"])
    padded = Batch.from_arrays(
        reward=np.array([[0, 1.0, np.nan], [0, 0, 0]]), mask=log["mask"], prompt=np.zeros(2, int)
    )
    np.testing.assert_array_equal(padded.live[0], log["mask"])


def test_rows_without_any_component_cannot_be_scored():
    nan = np.nan
    component = np.array([[1, 2], [nan, nan], [0, 3]])[:, None]
    log = {"reward": np.zeros((3, 1)), "mask": np.ones((3, 1)), "prompt": np.zeros(3, int)}
    batch = Batch.from_arrays(**log, component=component)
    np.testing.assert_array_equal(batch.scorable, [[True, False, True]])
    given = run(methods.GDPO_REVERSED.recipe, None, batch)
    np.testing.assert_allclose(given.value[0, :, 0], 0.0, atol=1e-6)
    one = Batch.from_arrays(**log, component=np.array([[1, 2], [nan, 1], [0, 3]])[:, None])
    assert one.scorable is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        *(m.recipe for m in (methods.GRPO, methods.DR_GRPO, methods.RLOO)),
        *(
            Chain(Whole(), Baseline(peers, votes, own, scale))
            for peers in ("group", "batch", "step", "turn", "anchor", "state", "length", "prefix")
            for votes, own, scale in (("trajectory", False, False), ("step", True, True))
        ),
    ],
    ids=repr,
)
def test_equal_returns_earn_exactly_nothing(drawn, recipe):
    world, batch = drawn
    for value in (0.9, 2.3, 1000.1):
        equal = batch._replace(reward=jnp.zeros_like(batch.reward).at[..., 0].set(value))
        same = batch.live[:, :, :1] & jnp.ones_like(batch.live)
        given = run(recipe, world, equal._replace(live=same))
        assert not np.asarray(given.value).any()


def by_pairs(batch, value, alike):
    """Each step's value less the mean of the others that are alike, 0 without any."""
    decided = batch["live"] & batch["decision"]
    out = np.zeros(value.shape)
    for p, i, t in zip(*np.nonzero(batch["live"]), strict=True):
        means = []
        for j in range(N):
            if j == i:
                continue
            votes = decided[p, j] & alike(p, i, t, j)
            if votes.any():
                means.append(value[p, j][votes].mean())
        out[p, i, t] = value[p, i, t] - np.mean(means) if means else 0.0
    return out


@pytest.mark.parametrize("peers", ["step", "turn", "anchor", "length", "prefix"])
def test_each_kind_of_peers_is_who_it_says(drawn, peers):
    """Leave-one-out, a vote for each trajectory: the mean of its steps among the peers."""
    world, batch = drawn
    arrays = plain(batch)
    time = np.arange(arrays["live"].shape[-1])
    length = arrays["live"].sum(-1)
    seen, done = arrays["observation"], arrays["action"]

    def prefix(p, i, t, j):
        same = (seen[p, i, : t + 1] == seen[p, j, : t + 1]).all()
        return (time == t) & same & (done[p, i, :t] == done[p, j, :t]).all()

    alike = {
        "step": lambda p, i, t, j: time == t,
        "turn": lambda p, i, t, j: arrays["turn"][p, j] == arrays["turn"][p, i, t],
        "anchor": lambda p, i, t, j: seen[p, j] == seen[p, i, t],
        "length": lambda p, i, t, j: (time >= 0) & (length[p, i] == length[p, j]),
        "prefix": prefix,
    }
    given = run(Chain(ToGo(), Baseline(peers, own=False)), world, batch)
    wanted = by_pairs(arrays, to_go(arrays, 0.9), alike[peers])
    np.testing.assert_allclose(given.value, wanted, atol=2e-6)


def test_scale_over_the_batch_is_the_deviation_of_all_returns_from_their_mean(drawn):
    """TRL's batch scale: the mean of the group, the deviation of the batch."""
    world, batch = drawn
    arrays = plain(batch)
    returns = to_go(arrays, 0.9)[..., 0]
    centred = returns - returns.mean(axis=1, keepdims=True)
    for where, divisor in {
        "outside": returns.std(ddof=1) + 0.01,
        "inside": np.sqrt(returns.var(ddof=1) + 0.01),
        "floor": max(returns.std(ddof=1), 0.01),
    }.items():
        part = Baseline(scale=True, scale_over="batch", epsilon=0.01, epsilon_at=where)
        given = run(Chain(Whole(), part), world, batch)
        wanted = (centred / divisor)[..., None] * arrays["live"]
        np.testing.assert_allclose(given.value, wanted, atol=2e-6, err_msg=where)


def test_over_length_leaves_values_and_shares_weights(drawn):
    world, batch = drawn
    arrays = plain(batch)
    decided = arrays["live"] & arrays["decision"]
    length = decided.sum(-1)
    for of, size in {
        "own": length,
        "longest": np.full_like(length, length.max()),
        "mean": np.full(length.shape, length.mean()),
    }.items():
        given = run(Chain(Whole(), OverLength(of)), world, batch)
        np.testing.assert_allclose(given.weight, decided / size[..., None], rtol=1e-6)
        np.testing.assert_allclose(given.value, whole(arrays, 0.9), atol=2e-6)


def test_weighted_votes_count_by_their_weight(drawn):
    world, batch = drawn
    arrays = plain(batch)
    decided = arrays["live"] & arrays["decision"]
    share = decided / np.maximum(decided.sum(-1, keepdims=True), 1)
    future = to_go(arrays, 0.9)
    mean = (share * future).sum((1, 2), keepdims=True) / share.sum((1, 2), keepdims=True)
    recipe = Chain(ToGo(), OverLength("own"), Baseline(votes="step", weighted=True))
    given = run(recipe, world, batch)
    np.testing.assert_allclose(given.value, (future - mean) * arrays["live"], atol=2e-6)


def test_a_group_of_one_keeps_its_return_or_gets_nothing_or_is_refused(drawn):
    world, batch = drawn
    alone = jax.tree.map(lambda x: x[:, :1] if x.ndim > 1 else x, batch)
    returns = whole(plain(alone), 0.9)
    for single, wanted in (("raw", returns), ("zero", 0 * returns)):
        given = run(Chain(Whole(), Baseline(own=False, single=single)), world, alone)
        np.testing.assert_allclose(given.value, wanted, atol=1e-6)
    with pytest.raises(ValueError, match="groups must have at least 2 trajectories"):
        run(Chain(Whole(), Baseline(single="refused")), world, alone)


@pytest.mark.slow
def test_chains_and_sums_hand_credit_on_and_pay_once(drawn):
    world, batch = drawn
    vine = casim.Vine(num_branches=2)
    one = run(vine, world, batch)
    twice = run(casim.estimators.Sum(Chain(vine), Chain(ToGo())), world, batch)
    assert float(twice.cost.env_steps) > 0
    more = run(Chain(vine, Baseline("batch", votes="step")), world, batch)
    assert float(more.cost.env_steps) > 0
    assert float(one.cost.env_steps) > 0
    np.testing.assert_array_equal(begin(batch).weight, more.weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Baseline("nobody"), "peers must be one of"),
        (lambda: Baseline(ddof=2), r"ddof must be in \[0, 1\], got 2"),
        (lambda: Baseline(epsilon=-1.0), r"epsilon must be in \[0.0, 1.0\], got -1.0"),
        (lambda: TopEntropy(0.0), "share must be in"),
        (lambda: OverLength("none"), "of must be one of"),
        (lambda: Chain(), "parts must hold at least one estimator"),
        (lambda: Chain(Whole), "parts must hold estimators"),
        (lambda: Batch.from_arrays(np.zeros(3), np.ones(3), [0]), r"reward must have shape"),
        (lambda: Batch.from_arrays(**LOG | {"mask": np.ones((5, 2))}), r"mask must have shape"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
