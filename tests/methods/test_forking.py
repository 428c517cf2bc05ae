"""Trees that are forked where it seems to matter: against loops, and what is known exactly."""

from __future__ import annotations

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import Baseline, Chain, Forks, Siblings, Whole
from casim.estimators.sources.forks import grow
from casim.judges import Judge
from casim.simulate import World
from casim.tasks import VariableTurns
from casim.testing import check_estimator
from casim.types import MDP, Kind
from tests import reference
from tests.enumeration import QUICK, solve
from tests.methods.test_anchor_groups import bandit

KEY = jax.random.key(3)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def grown(recipe, key, world, batch):
    """A tree, and the credit that it gives under the same key."""
    return grow(recipe, key, world, batch), recipe.credit(key, world, batch)


give = jax.jit(
    lambda recipe, key, world, batch: recipe.credit(key, world, batch),
    static_argnums=0,
    compiler_options=QUICK,
)
draw = jax.jit(World.groups, static_argnums=(2, 3), compiler_options=QUICK)


@functools.cache
def turns():
    """Episodes of unequal length, with steps of the environment and rewards on the way."""
    mdp = VariableTurns(
        num_turns=4, tokens_per_turn=2, stop_rewards=(0.2, 1.0, 0.4), noise=0.3
    ).build()
    policy = jnp.asarray(reference.random_policy(2, mdp))
    critical = Judge("spread", fidelity=0.8).model(mdp, solve(mdp, policy))
    world = World.make(mdp, policy, judges={"critical": critical})
    return world, draw(world, KEY, 2, 3)


def plain(tree):
    return jax.tree.map(np.asarray, tree)


def entropies(world, path):
    chance = np.asarray(world.probability(path), np.float64)
    own = -np.sum(np.where(chance > 0, chance * np.log(np.maximum(chance, 1e-30)), 0.0), axis=-1)
    return np.where(np.asarray(path.live), own, 0.0)


class Nodes:
    """The tree of one group by its definition: a point is known by who owns it and when."""

    def __init__(self, tree, group, leaf, surprise=None):
        self.parent, self.leave = tree.parent[group], tree.leave[group]
        self.live = tree.path.live[group]
        self.leaf, self.surprise = leaf, surprise

    def owner(self, row, step):
        while step <= self.leave[row]:
            row = self.parent[row]
        return row

    def children(self, row, step):
        """Rows whose actions were taken at a point of a row."""
        row = self.owner(row, step)
        joins = [
            j
            for j in range(len(self.parent))
            if j != row and self.leave[j] == step and self.parent[j] == row
        ]
        return [row, *joins]

    def child(self, row, step):
        """What a row's action at a step leads to is worth."""
        if step + 1 == self.live.shape[1] or not self.live[row, step + 1]:
            return self.leaf[row]
        return self.value(row, step + 1)

    def value(self, row, step):
        rows = self.children(row, step)
        values = np.array([self.child(j, step) for j in rows])
        if self.surprise is None:
            return values.mean()
        weight = np.exp([self.surprise[j, step] for j in rows])
        return weight @ values / weight.sum()


def surprises(tree, batch):
    """The mean -log pi of the decisions of each turn, on all steps of it."""
    turn, decision = (np.asarray(x)[0, 0] for x in (batch.turn, batch.decision))
    out = np.zeros(tree.path.live.shape)
    for g, i in np.ndindex(out.shape[:2]):
        for k in np.unique(turn):
            mine = tree.path.live[g, i] & decision & (turn == k)
            if mine.any():
                out[g, i, turn == k] = -tree.path.log_prob[g, i, mine].mean()
    return out


def outcomes(tree):
    return np.where(tree.path.live, tree.path.reward, 0.0).sum(axis=-1).astype(np.float64)


RECIPES = {
    "surprisal": Forks(5, 5),
    "judge": Forks(5, 5, "judge", judge="critical"),
    "at2po": dataclasses.replace(methods.AT2PO.recipe, num=6),
    "parent": dataclasses.replace(
        methods.AT2PO_PARENT.recipe, num=6, by="entropy", where="decision"
    ),
    "above": Forks(4, 2, "random", give="above", only_forked=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_credit_is_that_of_the_tree_by_its_definition(name):
    world, batch = turns()
    recipe = RECIPES[name]
    tree, credit = grown(recipe, KEY, world, batch)
    tree = plain(tree)
    surprise = surprises(tree, batch) if recipe.children == "surprisal" else None
    leaves = outcomes(tree)
    if recipe.leaves == "scaled":
        away = leaves - leaves.mean(axis=1, keepdims=True)
        leaves = away / (leaves.std(axis=1, keepdims=True) + 1e-6)
    live, decided = np.asarray(batch.live), np.asarray(batch.decided)
    wanted, forked = np.zeros(live.shape), np.zeros(live.shape, bool)
    for g in range(len(live)):
        nodes = Nodes(tree, g, leaves[g], None if surprise is None else surprise[g])
        for i, t in zip(*np.nonzero(live[g]), strict=True):
            wanted[g, i, t] = nodes.child(i, t)
            if recipe.give == "gain":
                wanted[g, i, t] -= nodes.value(i, t)
            if recipe.give == "above":
                wanted[g, i, t] -= nodes.value(0, 0)
            forked[g, i, t] = len(nodes.children(i, t)) > 1
    np.testing.assert_allclose(credit.value, wanted, atol=1e-5)
    assert np.abs(wanted).max() > 0.05
    kept = decided & forked if recipe.only_forked else decided
    np.testing.assert_array_equal(credit.weight, kept)
    # What was played is what each fork has of its own.
    members = live.shape[1]
    steps = np.arange(live.shape[-1])
    own = tree.path.live[:, members:] & (steps >= tree.leave[:, members:, None])
    assert float(credit.cost.env_steps) == own.sum()
    asked = live.sum() + own.sum() if recipe.by == "judge" else 0
    assert float(credit.cost.judge_calls) == asked


@pytest.mark.slow
@pytest.mark.parametrize("name", ["surprisal", "judge", "parent"])
def test_it_forks_at_the_point_of_largest_score(name):
    """From the rows that there were: mean surprisal, entropy or the judge's word, damped."""
    world, batch = turns()
    recipe = RECIPES[name]
    tree, _ = grown(recipe, KEY, world, batch)
    entropy = entropies(world, tree.path)
    tree = plain(tree)
    members, can = batch.action.shape[1], np.asarray(batch.decision)[0, 0]
    per_round = -(-recipe.num // recipe.rounds)
    for g in range(batch.action.shape[0]):
        for first in range(members, members + recipe.num, per_round):
            taken = collections.Counter()
            for row in range(first, min(first + per_round, members + recipe.num)):
                scores = {}
                for i in range(first):
                    for t in np.nonzero(tree.path.live[g, i] & can)[0]:
                        if t <= tree.leave[g, i]:
                            continue
                        there = [
                            j
                            for j in range(first)
                            if j != i and tree.parent[g, j] == i and tree.leave[g, j] == t
                        ]
                        did = [-tree.path.log_prob[g, j, t] for j in (i, *there)]
                        base = {
                            "surprisal": np.mean(did),
                            "entropy": entropy[g, i, t],
                            "judge": tree.crucial[g, i, t],
                        }[recipe.by]
                        over = base / len(did) if recipe.damping == "over" else None
                        scores[i, t] = base - 0.05 * len(there) if over is None else over
                least = min(taken[at] for at in scores)
                open_ = {at: s for at, s in scores.items() if taken[at] == least}
                chosen = (tree.parent[g, row], tree.leave[g, row])
                assert chosen in open_
                assert open_[chosen] >= max(open_.values()) - 1e-5
                taken[chosen] += 1


@pytest.mark.slow
def test_less_all_children_is_a_share_of_less_the_others():
    """(n - 1) / n, exactly, of n rows that are drawn alike: here all forks are at the prompt."""
    paid, chance = np.array([0.2, 1.0, -0.5]), np.array([0.5, 0.3, 0.2])
    mdp, policy = bandit(chance, paid)
    world = World.make(mdp, policy)
    batch = draw(world, KEY, 4, 2)
    tree, credit = grown(Forks(3, 3, "random"), KEY, world, batch)
    earned = outcomes(plain(tree))
    assert earned.shape == (4, 5)
    assert float(credit.cost.env_steps) == 12
    for i in range(2):
        others = np.delete(earned, i, axis=1).mean(axis=1)
        wanted = 4 / 5 * (earned[:, i] - others)
        np.testing.assert_allclose(credit.value[:, i, 0], wanted, atol=1e-6)
    assert np.ptp(earned, axis=1).max() > 0.1


@pytest.mark.slow
def test_its_mean_is_a_share_of_the_advantage():
    """Within 3 standard errors over 2,000 groups."""
    paid, chance = np.array([0.2, 1.0, -0.5]), np.array([0.5, 0.3, 0.2])
    mdp, policy = bandit(chance, paid)
    world = World.make(mdp, policy)
    batch = draw(world, KEY, 2000, 2)
    credit = give(Forks(3, 3, "entropy"), jax.random.key(1), world, batch)
    value, action = np.asarray(credit.value)[..., 0], np.asarray(batch.action)[..., 0]
    for a in range(3):
        own = value[:, 0][action[:, 0] == a]
        error = own.std(ddof=1) / np.sqrt(len(own))
        assert abs(own.mean() - 4 / 5 * (paid[a] - chance @ paid)) <= 3 * error


@functools.cache
def decisive():
    """First 95 to 5 and all depends on it; then four actions of one value."""
    shape = (2, 1, 4, 1)
    reward = np.zeros(shape)
    reward[0, 0, 0, 0] = 1.0
    mdp = MDP(
        start=np.ones(1),
        schedule=np.arange(2),
        successor=np.zeros(shape, int),
        prob=np.ones(shape),
        reward=reward,
        emission=np.ones((2, 1, 1)),
        terminal=np.zeros(1, bool),
        decision=np.ones(2, bool),
        kind=np.array([Kind.THINK] * 2, int),
        segment=np.arange(2),
        turn=np.arange(2),
        agent=np.zeros(2, int),
        discount=np.ones(2),
        prompt=np.zeros(1, int),
    )
    policy = np.array([[[0.95, 0.05, 0.0, 0.0]], [[0.25] * 4]])
    truth = solve(mdp, policy)
    judges = {
        "critical": Judge("spread").model(mdp, truth),
        "noise": Judge("spread", fidelity=0.0).model(mdp, truth),
    }
    return World.make(mdp, jnp.asarray(policy), judges=judges)


@pytest.mark.slow
def test_entropy_forks_where_nothing_depends_and_criticality_where_all_does():
    """One trajectory and three forks, in each of 40 groups."""
    world = decisive()
    batch = draw(world, KEY, 40, 1)
    by_entropy = give(Forks(3, 3, "entropy"), KEY, world, batch)
    # H / n: ln 4 = 1.39, .69 and .46 at the second step against .20 at the first.
    np.testing.assert_array_equal(by_entropy.weight[:, 0], [[0.0, 1.0]] * 40)
    np.testing.assert_allclose(by_entropy.value[:, 0, 1], 0.0, atol=1e-6)
    recipe = Forks(3, 3, "judge", judge="critical")
    judged = give(recipe, KEY, world, batch)
    np.testing.assert_array_equal(judged.weight[:, 0], [[1.0, 0.0]] * 40)
    assert np.abs(judged.value[:, 0, 0]).max() > 0.2


@pytest.mark.slow
def test_a_judge_without_fidelity_forks_anywhere():
    world = decisive()
    batch = draw(world, KEY, 60, 1)
    for recipe in (Forks(1, 1, "judge", judge="noise"), Forks(1, 1, "random")):
        weight = np.asarray(give(recipe, KEY, world, batch).weight)[:, 0]
        np.testing.assert_array_equal(weight.sum(axis=1), 1.0)
        assert 10 < weight[:, 0].sum() < 50


@pytest.mark.slow
def test_at2po_without_forks_is_grpo_and_where_all_is_as_likely_takes_the_mean():
    world, batch = turns()
    bare = give(dataclasses.replace(methods.AT2PO.recipe, num=0), KEY, world, batch)
    grpo = Chain(Whole(1.0), Baseline("group", scale=True, ddof=0))
    np.testing.assert_allclose(bare.value, give(grpo, KEY, world, batch).value, atol=1e-5)
    assert float(bare.cost.env_steps) == 0
    mdp = decisive().mdp
    flat = World.make(mdp, jnp.full((2, 1, 4), 0.25))
    batch = draw(flat, KEY, 5, 3)
    both = [
        give(dataclasses.replace(methods.AT2PO.recipe, num=6, children=children), KEY, flat, batch)
        for children in ("surprisal", "mean")
    ]
    np.testing.assert_allclose(both[0].value, both[1].value, atol=1e-5)
    assert np.abs(both[0].value).max() > 0.1


@pytest.mark.slow
def test_siblings_teach_what_comes_before_them_nothing():
    """The outcome is decided first, and the highest entropy is second: all siblings agree."""
    world = decisive()
    batch = draw(world, KEY, 40, 2)
    given = give(Siblings(1, 3, fade=0.9), KEY, world, batch)
    assert np.ptp(np.asarray(batch.reward).sum(axis=-1)) == 1
    np.testing.assert_allclose(given.value, 0.0, atol=1e-6)
    assert float(given.cost.env_steps) == 40 * 2 * 2 * 1
    # With two forks the first step has siblings of its own.
    both = give(Siblings(2, 3), KEY, world, batch)
    assert np.abs(both.value[..., 0]).max() > 0.3
    assert float(both.cost.env_steps) == 40 * 2 * 2 * (1 + 2)


@pytest.mark.slow
def test_one_fork_at_the_start_is_rloo_with_siblings():
    """On a bandit: R less the mean of two others of its prompt, whose mean is the advantage."""
    paid, chance = np.array([0.2, 1.0, -0.5]), np.array([0.5, 0.3, 0.2])
    mdp, policy = bandit(chance, paid)
    world = World.make(mdp, policy)
    batch = draw(world, KEY, 2000, 1)
    given = give(Siblings(1, 3), jax.random.key(2), world, batch)
    value, action = np.asarray(given.value)[:, 0, 0], np.asarray(batch.action)[:, 0, 0]
    others = (paid[action] - value) * 2
    pairs = (paid[:, None] + paid[None, :]).reshape(-1)
    assert np.abs(others[:, None] - pairs[None, :]).min(axis=1).max() < 1e-5
    for a in range(3):
        own = value[action == a]
        error = own.std(ddof=1) / np.sqrt(len(own))
        assert abs(own.mean() - (paid[a] - chance @ paid)) <= 3 * error


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [Forks(3, 3), Siblings(2, 2)], ids=lambda r: type(r).__name__)
def test_the_doors_that_a_recipe_opens_are_named_in_its_needs(recipe):
    check_estimator(recipe, num_groups=100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Forks(-1), "num must be in"),
        (lambda: Forks(rounds=0), "rounds must be in"),
        (lambda: Forks(by="value"), "by must be one of"),
        (lambda: Forks(damping="times"), "damping must be one of"),
        (lambda: Forks(where="token"), "where must be one of"),
        (lambda: Forks(leaves="white"), "leaves must be one of"),
        (lambda: Forks(children="max"), "children must be one of"),
        (lambda: Forks(give="loss"), "give must be one of"),
        (lambda: Siblings(0), "num must be in"),
        (lambda: Siblings(siblings=1), "siblings must be in"),
        (lambda: Siblings(fade=2.0), "fade must be in"),
        (lambda: Siblings(discount=-1.0), "discount must be in"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
