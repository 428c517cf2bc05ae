"""Groups whose members share the start state, or have one each: the exact bias and variance.

The tables of docs/group-bias.md are tested too.
"""

from __future__ import annotations

import functools
import itertools
import pathlib

import jax
import numpy as np
import pytest

from casim.estimators import Baseline, Chain, ToGo
from casim.methods import DR_GRPO, GRPO, RLOO
from casim.oracle.moments import by_anchor, by_reward, exact_scores, group_moments
from casim.tasks.tool_chain import ToolChain
from tests.reference import discounting, enumerate_paths, random_mdp

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "group-bias.md"
TITLE = "Hidden start states, shared by a group or not"
RULES = {
    "RLOO": (RLOO.recipe, by_reward),
    "anchor leave-one-out": (
        Chain(ToGo(), Baseline("anchor", own=False, single="raw")),
        by_anchor,
    ),
    "Dr. GRPO": (DR_GRPO.recipe, by_reward),
    "GRPO": (GRPO.recipe, by_reward),
    "anchor mean": (Chain(ToGo(), Baseline("anchor", votes="step")), by_anchor),
}
SIZES = {"RLOO": (2, 4, 8), "Dr. GRPO": (2, 4, 8), "GRPO": (2, 4, 8)}
"""Of the others only pairs are enumerated."""
SHARES = {"each its own": "prompt", "shared": "state"}


@functools.cache
def world():
    """Two turns with a tool whose mode is hidden at first, and a policy that prefers action 0."""
    with jax.enable_x64(True):
        chain = ToolChain(num_turns=2, tokens_per_turn=1, output_tokens=1, observation_noise=0.2)
        mdp = jax.tree.map(np.asarray, chain.build())
    policy = np.broadcast_to([0.9, 0.1], (*mdp.emission.shape[::2], 2))
    return mdp, policy


@functools.cache
def scores(name, num, share):
    estimator, sees = RULES[name]
    return exact_scores(*world(), group_moments(*world(), estimator, num, sees, share=share))


@pytest.mark.parametrize("share", SHARES.values())
@pytest.mark.parametrize("name", ["RLOO", "anchor leave-one-out"])
def test_a_baseline_of_others_is_unbiased_whatever_the_group_shares(name, share):
    assert scores(name, 2, share)["gradient_bias"] < 1e-20


def test_a_deviation_of_binary_returns_keeps_the_direction_of_mixed_groups_only():
    """Given what the group shares, each start state has a factor c_p of its own."""
    np.testing.assert_allclose(scores("GRPO", 8, "prompt")["gradient_cosine"], 1.0, atol=1e-9)
    assert scores("GRPO", 8, "state")["gradient_cosine"] < 0.9985


def test_sharing_leaves_the_variance_between_start_states_undivided():
    """Var(g) = Var_z(G_z) + E_z[Var(g | z)], the first of which no group size makes smaller.

    G_z is the gradient of the process that starts in z.
    """
    mdp, policy = world()
    start = np.asarray(mdp.start)
    within = np.zeros_like(policy)
    second, mean = np.zeros((2, *policy.shape))
    for state in np.flatnonzero(start):
        alone = mdp._replace(start=np.eye(len(start))[state])
        moments = group_moments(alone, policy, RLOO.recipe, 3, by_reward)
        mean = mean + start[state] * moments.gradient
        second = second + start[state] * moments.gradient**2
        within = within + start[state] * moments.gradient_variance
    between = second - mean**2
    shared = group_moments(mdp, policy, RLOO.recipe, 3, by_reward, share="state")
    np.testing.assert_allclose(shared.gradient, mean, atol=1e-12)
    np.testing.assert_allclose(shared.gradient_variance, between + within, atol=1e-12)
    assert between.max() > 1e-4


def test_groups_that_share_a_state_are_those_of_all_ordered_tuples():
    """Pairs of trajectories from one start state, weighed by hand."""
    mdp, policy = random_mdp(8, schedule=(2, 0), states=3, observations=2, successors=3)
    policy = np.asarray(policy, np.float64)
    policy = policy / policy.sum(axis=-1, keepdims=True)
    paths = enumerate_paths(mdp, policy)
    start = paths.state[:, 0]
    number = range(len(start))
    pairs = np.array([p for p in itertools.product(number, number) if len({*start[list(p)]}) == 1])
    chance = np.bincount(start, weights=paths.probability)
    weight = paths.probability[pairs].prod(axis=1) / chance[start[pairs[:, 0]]]
    np.testing.assert_allclose(weight.sum(), 1.0, rtol=1e-6)
    returns = ((paths.reward * paths.live) @ discounting(mdp))[pairs]
    got = group_moments(mdp, policy, DR_GRPO.recipe, 2, share="state")
    credit = (returns - returns.mean(axis=1, keepdims=True))[..., None]
    seen = (paths.live[pairs] & np.asarray(mdp.decision)[np.asarray(mdp.schedule)]).astype(float)
    total, mass = np.zeros((2, *got.expectation.shape))
    for member, step in np.ndindex(2, seen.shape[2]):
        row = pairs[:, member]
        cell = (step, paths.state[row, step], paths.action[row, step])
        each = weight * seen[:, member, step]
        np.add.at(mass, cell, each)
        np.add.at(total, cell, each * credit[:, member, 0])
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(got.expectation, total / mass, atol=1e-7)


def test_an_unknown_share_is_refused(unhooked):
    with pytest.raises(ValueError, match=r"share must be one of .*'prompt', 'state'.* got 'seed'"):
        group_moments(*world(), RLOO.recipe, 2, by_reward, share="seed")


def cells(name, share, show):
    """The cells of a rule in a table of the page."""
    sizes = SIZES.get(name, (2,))
    shown = [show(scores(name, num, share)) for num in sizes]
    return shown + ["-"] * (3 - len(sizes))


def tables():
    """Both tables of the page, as lines."""
    shows = (
        lambda x: f"{x['gradient_slope']:.3f} / {x['gradient_cosine']:.4f}",
        lambda x: f"{x['gradient_variance']:.2f}",
    )
    for show in shows:
        for name, (words, share) in itertools.product(RULES, SHARES.items()):
            yield f"| {name}, {words} | {' | '.join(cells(name, share, show))} |"


@pytest.mark.slow
def test_the_page_states_the_exact_numbers():
    section = PAGE.read_text().split(f"## {TITLE}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    stated = [row for row in rows if not row.startswith("| rule")]
    assert stated == list(tables())
