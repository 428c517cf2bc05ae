"""The answers of lesson 5: branching and Shapley."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

import casim
from casim.oracle.games import all_coalitions, team_game
from casim.oracle.moments import exact_scores, peer_baseline, recursion_moments
from casim.oracle.moments.paths import precise_truth
from casim.oracle.shapley import difference_rewards, shapley_values
from casim.teaching import Answer, Lesson

Joint = Literal["any", "all"]
GOOD, LOST, RIGHT, PIVOT, LATE = 0, 1, 0, 4, 7
GROUP, BRANCHES = 8, 4
TASK = casim.Bifurcation(horizon=12, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=12)


@functools.cache
def solved() -> tuple[casim.MDP, jax.Array, Any]:
    """The chain, the coin flip's table in it, and its truth in double precision."""
    mdp = TASK.build()
    policy = casim.Uniform().table(mdp)
    return mdp, policy, precise_truth(mdp, policy)


def _coin(chance: Any) -> Any:
    """The variance of an outcome of 0 or 1."""
    return chance * (1 - chance)


def noise_of_branches() -> dict[str, Answer]:
    """5.1: the variance that the luck of its branches leaves in the credit of Vine."""
    _, _, truth = solved()
    before = _coin(truth.value[PIVOT, GOOD])
    kept = _coin(truth.value[LATE, GOOD])
    one = kept / BRANCHES
    late = {
        "that is one of the two estimates; credit is their difference": one,
        "that is for one branch at either end, and there are 4": 2 * kept,
        "both estimates have the same mean, and each its own luck: variances add up": 0.0,
        "that is the standard deviation, and not the variance": np.sqrt(2 * one),
    }
    pivot = (kept + before) / BRANCHES
    at_pivot = {
        "that is what step 7 has; before the pivot V is 0.5, and its coin is noisier": 2 * one,
        "that is the estimate before the pivot alone": before / BRANCHES,
        "that is the estimate after the pivot alone": one,
        "that is for one branch at either end, and there are 4": kept + before,
        "that is the standard deviation, and not the variance": np.sqrt(pivot),
    }
    return {
        "at step 7": Answer(2 * one, late),
        "at the pivot": Answer(pivot, at_pivot),
    }


def noise_of_pairs() -> dict[str, Answer]:
    """5.2: the variance of one paired difference, by noise of its own and by common noise."""
    _, _, truth = solved()
    right, wrong = truth.q_value[PIVOT, GOOD]
    apart = _coin(right) + _coin(wrong)
    together = _coin(right - wrong)
    late = 2 * _coin(truth.q_value[LATE, GOOD, RIGHT])
    own = {
        "that is one of the two branches": _coin(right),
        "that is with common noise": together,
        "that is the mean of the difference": right - wrong,
    }
    common = {
        "that is with noise of its own for each branch": apart,
        "that is the mean of the difference, which is 0 or 1: p (1 - p) is its variance": right
        - wrong,
        "where the action decides, the same luck does not always end the same": 0.0,
    }
    at_late = {
        "that is with noise of its own for each branch": late,
        "that is one branch; here both get the same noise, the same state, the same end": late / 2,
    }
    return {
        "pivot, own noise": Answer(apart, own),
        "pivot, common noise": Answer(together, common),
        "step 7, common noise": Answer(0.0, at_late),
    }


@functools.cache
def coalitions(joint: Joint) -> np.ndarray:
    """What each coalition of three agents is worth where all of them were right."""
    task = casim.Team(num_agents=3, coupling=1.0, joint=joint, order="simultaneous")
    mdp = task.build()
    coin = casim.Uniform().table(mdp)
    right = jax.nn.one_hot(jnp.zeros(coin.shape[:-1], int), coin.shape[-1])

    @jax.jit
    def worth() -> jax.Array:
        return all_coalitions(team_game(mdp, right, coin, mdp.agent, 3), 3)[0]

    return np.asarray(worth(), float)


def _uneven() -> np.ndarray:
    """A game of three players who are all different."""
    return np.array([0.0, 0.1, 0.2, 0.5, 0.1, 0.2, 0.6, 1.0])


def _left_out(worth: np.ndarray) -> np.ndarray:
    """What is lost when one player is absent."""
    return np.asarray(difference_rewards(jnp.asarray(worth)), float)


def _bits(worth: np.ndarray) -> dict[frozenset, float]:
    """A game as readers have it: by the sets of those who are in."""
    found = {}
    for index, value in enumerate(worth):
        found[frozenset(i for i in range(3) if index >> i & 1)] = float(value)
    return found


def _marginals(worth: np.ndarray, weight: Callable[[int], float]) -> np.ndarray:
    """Weighted sums of what a player adds, by the size of the coalition that it joins."""
    value = _bits(worth)
    total = np.zeros(3)
    for player in range(3):
        others = [i for i in range(3) if i != player]
        for size in range(3):
            for joined in itertools.combinations(others, size):
                before = frozenset(joined)
                total[player] += weight(size) * (value[before | {player}] - value[before])
    return total


def shares() -> dict[str, Answer]:
    """5.3: Shapley values by enumeration, and what shares of agents add up to."""
    worth = _uneven()
    exact = np.asarray(jax.jit(shapley_values)(jnp.asarray(worth)))
    mistakes = {
        "that is what each adds when it is the last to come: leave one out": _left_out(worth),
        "that is what each is worth alone: it is always the first to come": _marginals(
            worth, lambda size: float(size == 0)
        ),
        "that is in the order 0, 1, 2 alone: all six orders count": np.diff(worth[[0, 1, 3, 7]]),
        "that is the sum over the six orders: take their mean": 6 * exact,
        "that is the mean over coalitions (Banzhaf), not over orders: a pair is joined in fewer "
        "orders than it seems": _marginals(worth, lambda _: 0.25),
    }
    function = Answer(
        exact,
        mistakes,
        "Each order gives a player v(those before and it) - v(those before).",
        of=lambda written: np.asarray(written(_bits(worth)), float),
    )
    return {"shapley": function, **_totals()}


def _totals() -> dict[str, Answer]:
    """What three agents get in all."""
    named: dict[str, Mapping[str, float]] = {}
    for joint in get_args(Joint):
        worth = coalitions(joint)
        named[joint] = {
            "all of it": worth[-1] - worth[0],
            "left out": float(np.sum(_left_out(worth))),
            "one": float(_left_out(worth)[0]),
        }
    any_, all_ = named["any"], named["all"]
    return {
        "Shapley, all needed": Answer(
            all_["all of it"],
            {
                "that is v(all); nobody is paid what the team is worth without them": 1.0,
                "that is one agent's share": all_["all of it"] / 3,
                "that is what leaving one out pays": all_["left out"],
            },
        ),
        "left out, all needed": Answer(
            all_["left out"],
            {
                "that is one agent's; there are three": all_["one"],
                "that is what there is to share: leaving one out doesn't add up to it": all_[
                    "all of it"
                ],
                "an agent that is absent draws, and may still be right": 3.0,
            },
        ),
        "left out, any enough": Answer(
            any_["left out"],
            {
                "that is what there is to share: leaving one out doesn't add up to it": any_[
                    "all of it"
                ],
                "that is one agent's share by Shapley": any_["all of it"] / 3,
                "that would be if one of them were needed": all_["one"],
            },
        ),
    }


@functools.cache
def _rloo() -> tuple[float, float]:
    """The SNR of RLOO, exact, and that of the same credit at the pivot alone."""
    mdp, policy, truth = solved()
    rloo = recursion_moments(mdp, policy, peer_baseline(), num=GROUP)
    of_pivot = int(mdp.schedule[PIVOT])
    noise = float(np.sum(rloo.gradient_variance[of_pivot]))
    return exact_scores(mdp, policy, rloo)["snr"], float(np.sum(truth.gradient**2)) / noise


def plans(branches: int = BRANCHES) -> dict[str, tuple[float, float]]:
    """The SNR that a group of 8 buys, and the steps it plays, by four plans; exact.

    The luck of branches is independent of all actions, so that the squared gradients of single
    steps add up: each is half the squared credit, as |grad log pi|^2 = 1/2 of a coin flip.
    """
    _, _, truth = solved()
    broadcast, masked = _rloo()
    horizon = TASK.horizon
    played = GROUP * horizon
    to_the_end = np.arange(horizon, 0, -1)
    everywhere = played + GROUP * branches * np.sum(to_the_end)
    there = played + GROUP * branches * np.sum(to_the_end[[PIVOT, PIVOT + 1]])

    norm = float(np.sum(truth.gradient**2))
    square = _squared_credit(truth, branches) / 2
    noise_everywhere = (np.sum(square) - norm) / GROUP
    noise_there = (square[PIVOT] - norm) / GROUP
    return {
        "RLOO": (broadcast, played),
        "RLOO at the pivot": (masked, played),
        "branches everywhere": (norm / noise_everywhere, float(everywhere)),
        "branches at the pivot": (norm / noise_there, float(there)),
    }


def _squared_credit(truth: Any, branches: int) -> np.ndarray:
    """E[c_t^2] of Vine by step: the advantage, squared, and the variances around it.

    They are those of the estimate before the step and of that after it. After the last step the
    outcome itself is known, which is one draw and not the mean of several.
    """
    met = truth.occupancy
    advantage = np.mean(truth.advantage**2, axis=-1)
    signal = np.sum(met * advantage, axis=-1)
    draw = np.sum(met * _coin(truth.value[:-1]), axis=-1)
    before = draw / branches
    after = np.append(before[1:], draw[-1])
    return signal + before + after


def best_plan() -> Answer:
    """5.4: the plan that buys most SNR for an environment step."""
    bought = {}
    for name, (snr, steps) in plans().items():
        bought[name] = snr / steps
    best = max(bought, key=lambda name: bought[name])
    near = {}
    for name, worth in bought.items():
        if name != best:
            near[f"that buys {bought[best] / worth:.0f} times less than the best of them"] = name
    return Answer(best, near)


LESSON = Lesson(
    number=5,
    title="Branching and Shapley: what a counterfactual costs",
    minutes=50,
    goals=(
        "say what a branch costs, in steps and in noise, and what common random numbers save",
        "compute Shapley values, and say what they share out that leaving one out does not",
        "say when branches are worth their price",
    ),
    needs="lesson 1, variances of independent draws",
    source=Path(__file__).parent / "sources" / "05_branching_and_shapley.py",
    questions={
        "5.1": noise_of_branches,
        "5.2": noise_of_pairs,
        "5.3": shares,
        "5.4": best_plan,
    },
)
