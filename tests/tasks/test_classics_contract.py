"""What all classics have in common: the contract of a task, long horizons, bad settings."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest

from casim.tasks import classics
from casim.tasks.classics import (
    CLASSICS,
    AmbiguousBandit,
    ContextChain,
    DelayedEffect,
    DiscountingChain,
    KeyToDoor,
    RandomWalk,
    Recovery,
    Shortcut,
    TMaze,
    Tree,
    UmbrellaChain,
    WatchRepair,
)
from casim.testing import check_task
from casim.wellformed import check_mdp
from tests.enumeration import solve
from tests.reference import EPS, optimal_value

# The recovery has the shapes of the discounting chain, and the maze those of the context
# chain: compiled once.
SMALL = {
    RandomWalk: RandomWalk(horizon=4, num_states=3, discount=0.9),
    DiscountingChain: DiscountingChain(horizon=3, early=(1,), favoured=0, bonus=0.3, discount=0.9),
    UmbrellaChain: UmbrellaChain(horizon=3, num_distractors=1, discount=0.9),
    ContextChain: ContextChain(memory_length=3, discount=0.9),
    Shortcut: Shortcut(
        num_positions=5, slip=0.2, cost=0.5, final_reward=2.0, num_actions=3, discount=0.9
    ),
    DelayedEffect: DelayedEffect(horizon=3, noise=0.4, num_actions=3, discount=0.9),
    AmbiguousBandit: AmbiguousBandit(
        horizon=4, means=(0.5, -1.0), std=0.7, crossover=0.3, discount=0.9
    ),
    KeyToDoor: KeyToDoor(
        length=6, num_apples=2, scale=1.5, treasure=2.0, apple=(-0.1, 0.7), discount=0.9
    ),
    Tree: Tree(depth=4, branching=3, overlap=2, offset=1, discount=0.9),
    WatchRepair: WatchRepair(
        horizon=4,
        price=(3.0, 5.0),
        repair=(1.0, 2.0),
        delivery=(0.5, 0.2),
        general=1.0,
        noise=0.6,
        num_actions=3,
    ),
    Recovery: Recovery(horizon=3, discount=0.8),
    TMaze: TMaze(corridor=3, discount=0.7),
}
LONG = SMALL | {Tree: Tree(depth=4, branching=3, overlap=3)}


def test_every_classic_is_listed_once_and_exported():
    assert set(SMALL) == set(CLASSICS)
    assert len(CLASSICS) == len(set(CLASSICS))
    assert {task.__name__ for task in CLASSICS} | {"CLASSICS"} == set(classics.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("family", CLASSICS, ids=lambda family: family.__name__)
def test_the_contract_of_a_task(family):
    check_task(SMALL[family], SMALL[family], num=2000)


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        (RandomWalk(horizon=5, num_states=3), 0.0),
        (DiscountingChain(horizon=6, early=(2, 3), favoured=1, discount=0.9), 0.9),
        (
            DiscountingChain(horizon=6, early=(1, 3), favoured=2, bonus=0.8, discount=0.9),
            1.8 * 0.9**5,
        ),
        (UmbrellaChain(horizon=3), 1.0),
        (ContextChain(memory_length=3, num_bits=2), 1.0),
        (Shortcut(num_positions=6, cost=0.5, final_reward=2.0), 1.5),
        (DelayedEffect(horizon=3, noise=0.4, num_actions=3), 1.0),
        (AmbiguousBandit(horizon=3, means=(0.5, -1.0), std=0.7, crossover=0.3), 0.7 * 0.5 - 0.3),
        (
            KeyToDoor(length=9, num_apples=4, scale=1.5, treasure=2.0, apple=(-0.1, 0.7)),
            1.5 * (2 + 4 * 0.3),
        ),
        (WatchRepair(horizon=3), 1.75),
        (Recovery(horizon=3, num_actions=3), 1.0),
        (TMaze(corridor=3), 1.0),
    ],
    ids=lambda x: type(x).__name__,
)
def test_the_optimum_is_the_one_that_the_docstring_states(task, wanted):
    mdp = task.build()
    # A lattice normal has its mean up to 1e-5 of its deviation.
    assert float(np.asarray(mdp.start) @ optimal_value(mdp)[0]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("family", CLASSICS, ids=lambda family: family.__name__)
def test_a_horizon_of_30000_costs_few_kernels_and_few_states(family):
    mdp = check_mdp(LONG[family].with_horizon(30_000).build())
    assert mdp.schedule.shape[0] in (29_999, 30_000, 30_001)
    kernels, states = mdp.prob.shape[:2]
    assert kernels <= 7
    assert states <= 12


def test_the_exact_return_of_a_corridor_of_30000_cells():
    """Uniform policy: an apple is picked one time in four, key and door succeed one in sixteen.

    A pick must be on the right side of its apple.
    """
    task = KeyToDoor(length=30_000, num_apples=20_000, scale=1.0, treasure=4000.0)
    mdp = task.build()
    policy = jnp.full((6, 3, 4), 0.25)
    wanted = 4000 / 16 + 20_000 * (0.1 + 0.9) / 2 / 4
    # Every one of the 30,000 sums rounds by half an eps of the largest partial sum.
    assert float(solve(mdp, policy).expected_return) == pytest.approx(wanted, rel=30_000 * EPS)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (RandomWalk, {"horizon": 0}, "horizon must be in [1, inf], got 0"),
        (RandomWalk, {"num_states": 0}, "num_states must be in [1, inf], got 0"),
        (RandomWalk, {"num_states": 4}, "num_states must be odd, got 4"),
        (RandomWalk, {"num_actions": 0}, "num_actions must be in [1, inf], got 0"),
        (DiscountingChain, {"early": ()}, "number of early must be in [1, inf], got 0"),
        (DiscountingChain, {"early": (0,)}, "early (an entry) must be in [1, inf], got 0"),
        (DiscountingChain, {"early": (4, 4)}, "early (an entry) must be in [5, inf], got 4"),
        (DiscountingChain, {"horizon": 30}, "horizon must be in [31, inf], got 30"),
        (DiscountingChain, {"favoured": 5}, "favoured must be in [0, 4], got 5"),
        (DiscountingChain, {"bonus": -0.1}, "bonus must be in [0.0, inf], got -0.1"),
        (UmbrellaChain, {"horizon": 0}, "horizon must be in [1, inf], got 0"),
        (UmbrellaChain, {"num_distractors": 9}, "num_distractors must be in [0, 8], got 9"),
        (ContextChain, {"memory_length": 0}, "memory_length must be in [1, inf], got 0"),
        (ContextChain, {"num_bits": 9}, "num_bits must be in [1, 8], got 9"),
        (Shortcut, {"num_positions": 2}, "num_positions must be in [3, inf], got 2"),
        (Shortcut, {"slip": 1.1}, "slip must be in [0.0, 1.0], got 1.1"),
        (Shortcut, {"cost": -1.0}, "cost must be in [0.0, inf], got -1.0"),
        (Shortcut, {"final_reward": float("nan")}, "final_reward must be in [-inf, inf], got nan"),
        (Shortcut, {"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        (DelayedEffect, {"horizon": 1}, "horizon must be in [2, inf], got 1"),
        (DelayedEffect, {"noise": -1.0}, "noise must be in [0.0, inf], got -1.0"),
        (DelayedEffect, {"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        (AmbiguousBandit, {"horizon": 1}, "horizon must be in [2, inf], got 1"),
        (AmbiguousBandit, {"means": (1.0,)}, "number of means must be in [2, 2], got 1"),
        (
            AmbiguousBandit,
            {"means": (1.0, float("inf"))},
            "means (an entry) must be in [-inf, inf], got inf",
        ),
        (AmbiguousBandit, {"std": -1.0}, "std must be in [0.0, inf], got -1.0"),
        (AmbiguousBandit, {"crossover": 1.5}, "crossover must be in [0.0, 1.0], got 1.5"),
        (KeyToDoor, {"length": 2}, "length must be in [3, inf], got 2"),
        (KeyToDoor, {"length": 9, "num_apples": 7}, "num_apples must be in [0, 6], got 7"),
        (KeyToDoor, {"scale": -1.0}, "scale must be in [0.0, inf], got -1.0"),
        (KeyToDoor, {"treasure": -1.0}, "treasure must be in [0.0, inf], got -1.0"),
        (KeyToDoor, {"apple": (0.1,)}, "number of apple must be in [2, 2], got 1"),
        (
            KeyToDoor,
            {"apple": (0.1, float("nan"))},
            "apple (an entry) must be in [-inf, inf], got nan",
        ),
        (Tree, {"depth": 0}, "depth must be in [1, inf], got 0"),
        (Tree, {"branching": 1}, "branching must be in [2, inf], got 1"),
        (Tree, {"overlap": 7}, "overlap must be in [0, 6], got 7"),
        (Tree, {"offset": -1}, "offset must be in [0, inf], got -1"),
        (WatchRepair, {"horizon": 1}, "horizon must be in [2, inf], got 1"),
        (
            WatchRepair,
            {"price": (), "repair": (), "delivery": ()},
            "number of price must be in [1, inf], got 0",
        ),
        (WatchRepair, {"repair": (1.0,)}, "number of repair must be in [4, 4], got 1"),
        (WatchRepair, {"delivery": (1.0,)}, "number of delivery must be in [4, 4], got 1"),
        (
            WatchRepair,
            {"delivery": (1.0, 2.0, 3.0, float("nan"))},
            "delivery (an entry) must be in [-inf, inf], got",
        ),
        (WatchRepair, {"general": float("inf")}, "general must be in [-inf, inf], got inf"),
        (WatchRepair, {"noise": -1.0}, "noise must be in [0.0, inf], got -1.0"),
        (WatchRepair, {"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        (Recovery, {"horizon": 1}, "horizon must be in [2, inf], got 1"),
        (Recovery, {"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        (TMaze, {"corridor": 0}, "corridor must be in [1, inf], got 0"),
        (TMaze, {"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        *(
            (family, {"discount": 1.5}, "discount must be in [0.0, 1.0], got 1.5")
            for family in CLASSICS
        ),
        *(
            (family, {family.knob: 2.5}, f"{family.knob} must be an integer in")
            for family in CLASSICS
        ),
    ],
)
def test_a_bad_setting_is_named_with_its_range_and_value(family, settings, message, unhooked):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        family(**settings)


@pytest.mark.parametrize(
    ("task", "steps"),
    [
        (RandomWalk(horizon=7), 7),
        (DiscountingChain(horizon=31), 31),
        (UmbrellaChain(horizon=1), 1),
        (ContextChain(memory_length=1), 2),
        (Shortcut(num_positions=3), 2),
        (DelayedEffect(horizon=2), 2),
        (AmbiguousBandit(horizon=2), 2),
        (KeyToDoor(length=3), 3),
        (Tree(depth=1), 1),
        (WatchRepair(horizon=2), 2),
        (Recovery(horizon=2), 2),
        (TMaze(corridor=1), 2),
    ],
    ids=lambda x: type(x).__name__,
)
def test_the_shortest_horizons_build(task, steps):
    mdp = check_mdp(task.build())
    assert mdp.schedule.shape == (steps,)
    np.testing.assert_array_less(-1, mdp.segment)
