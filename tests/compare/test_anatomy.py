"""Parts of methods as players: what coalitions are, and how gains are shared out."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

import casim
from casim import methods
from casim.compare.game import anatomy, exact_anatomy, shares
from casim.compare.parts import coalitions, players, without_parts
from casim.estimators import Whole
from casim.oracle.moments import by_reward, exact_scores, group_moments
from tests.quick import QUICK

KEY = jax.random.key(1)
run = jax.jit(
    lambda recipe, world, batch: recipe.credit(KEY, world, batch),
    static_argnums=0,
    compiler_options=QUICK,
)


@pytest.fixture(scope="module")
def drawn():
    task = casim.VariableTurns(num_turns=3, stop_rewards=(0.2, 1.0, 0.4), noise=0.3, discount=0.9)
    mdp = task.build()
    world = casim.World.make(mdp, casim.Softmax(seed=2).table(mdp))
    return world, world.groups(KEY, 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "names"),
    [
        (methods.GRPO, ["scale", "baseline"]),
        (methods.GRPO_TRL_BATCH, ["scale", "baseline"]),
        (methods.REINFORCE_PP, ["ToGo", "scale", "baseline"]),
        (methods.ENTROPY_80_20, ["scale", "baseline", "TopEntropy"]),
        (methods.GIGPO, ["Whole baseline", "ToGo baseline"]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_all_parts_are_the_method_and_none_is_the_whole_return(method, names, drawn):
    world, batch = drawn
    assert [player.name for player in players(method)] == names
    every = coalitions(method)
    assert len(every) == 2 ** len(names)
    (null,) = every[frozenset()].parts
    assert isinstance(null, Whole)
    got = run(every[frozenset(names)], world, batch)
    wanted = run(method.recipe, world, batch)
    np.testing.assert_allclose(got.value, wanted.value, atol=2e-5)
    np.testing.assert_array_equal(got.weight, wanted.weight)


def test_shares_are_the_means_over_all_orders():
    names = ("a", "b", "c")
    rng = np.random.default_rng(0)
    worth = {
        frozenset(some): rng.normal(size=2)
        for size in range(4)
        for some in itertools.combinations(names, size)
    }
    found = shares(worth)
    for name in names:
        gains = []
        for order in itertools.permutations(names):
            before = frozenset(order[: order.index(name)])
            gains.append(worth[before | {name}] - worth[before])
        np.testing.assert_allclose(found[name], np.mean(gains, axis=0))
    total = worth[frozenset(names)] - worth[frozenset()]
    np.testing.assert_allclose(sum(found.values()), total)
    del worth[frozenset()]
    with pytest.raises(ValueError, match="worth must hold 8 coalitions, got 7"):
        shares(worth)


@pytest.mark.slow
def test_a_study_of_coalitions_shares_out_the_gain():
    """Of Dr. GRPO's chain with a deviation: the gain is that of the rows."""
    study = casim.Study(
        "parts",
        (casim.Bifurcation(horizon=5, pivots=(2,)),),
        without_parts([methods.GRPO, methods.DR_GRPO]),
        num_trajectories=4,
        replicates=20,
        controls=(),
    )
    rows = study.run(progress=False)
    found = anatomy(methods.GRPO, rows)
    assert list(found) == ["scale", "baseline"]
    assert len(rows) == 4
    by_label = {row.label: row.scores["snr_aligned"].value for row in rows}
    gain = by_label["GRPO: scale + baseline"] - by_label["GRPO: no part"]
    np.testing.assert_allclose(sum(x.value for x in found.values()), gain, rtol=1e-6)
    assert found["baseline"].low <= found["baseline"].value <= found["baseline"].high
    with pytest.raises(ValueError, match="one for each of the 4 coalitions of GRPO, got 3"):
        anatomy(methods.GRPO, rows[1:])


@pytest.mark.slow
def test_exact_shares_sum_to_the_exact_gain():
    """GRPO on the tiny chain: the mean gains, the deviation does not."""
    task = casim.ReasoningChain(num_steps=1, tokens_per_step=2, num_actions=2, difficulty=(0.5,))
    mdp = task.build()
    policy = np.broadcast_to([0.6, 0.4], (*mdp.emission.shape[::2], 2))
    found = exact_anatomy(methods.GRPO, mdp, policy, 4, sees=by_reward)
    gain = {}
    for method in (methods.GRPO, methods.DR_GRPO, methods.REINFORCE):
        moments = group_moments(mdp, policy, method, 4, by_reward)
        gain[method.name] = exact_scores(mdp, policy, moments)["snr_aligned"]
    np.testing.assert_allclose(sum(found.values()), gain["GRPO"] - gain["REINFORCE"], rtol=1e-9)
    assert found["baseline"] > 0
    assert gain["Dr. GRPO"] > gain["REINFORCE"]


def test_a_deviation_alone_leaves_out_groups_without_one(drawn):
    """Else all-equal groups were divided by epsilon."""
    world, batch = drawn
    equal = batch._replace(reward=batch.reward.at[0].set(0.0).at[0, :, 0].set(1.0))
    recipe = coalitions(methods.GRPO)[frozenset({"scale"})]
    given = run(recipe, world, equal)
    assert not np.asarray(given.weight)[0].any()
    assert np.asarray(given.weight)[1:].any()
