"""The answers of lesson 1: what is credit."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import numpy as np

import casim
from casim.oracle.moments import Moments, exact_scores, peer_baseline, recursion_moments
from casim.scores import matters_mask
from casim.teaching import Answer, Lesson

GOOD, LOST, RIGHT, WRONG, PIVOT, LATE = 0, 1, 0, 1, 4, 7
GROUP, BRANCHES = 8, 4
TASK = casim.Bifurcation(horizon=12, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=12)


@functools.cache
def _solved(horizon: int = TASK.horizon) -> tuple[casim.MDP, jax.Array, casim.Truth]:
    """The chain at a horizon, the coin flip's table in it, and its truth."""
    mdp = TASK.with_horizon(horizon).build()
    policy = casim.Uniform().table(mdp)
    return mdp, policy, casim.solve(mdp, policy)


@functools.cache
def _rloo(horizon: int = TASK.horizon) -> Moments:
    """The exact moments of RLOO."""
    mdp, policy, _ = _solved(horizon)
    return recursion_moments(mdp, policy, peer_baseline(), num=GROUP)


def advantages() -> dict[str, Answer]:
    """1.1: values and advantages, one by one."""
    _, _, truth = _solved()
    value, q_value, advantage = truth.value, truth.q_value, truth.advantage
    kept, lost = q_value[PIVOT, GOOD]
    mistakes = {
        "that is Q, the success probability after action 0, and not yet A": kept,
        "that is Q, the success probability after action 1, and not yet A": lost,
        "that is V, the success probability before the choice, and not A": value[PIVOT, GOOD],
        "that is the gap between the two; A compares with V, which is between them": kept - lost,
        "that is the gap from the other action down to this one; A compares with V": lost - kept,
    }
    before = {
        "that is V on the right track; before the pivot the coin is yet to fall": value[LATE, GOOD],
        "that is V off the track; before the pivot the coin is yet to fall": value[LATE, LOST],
    }
    late = {
        "that is A at the pivot; at step 7 both lead to the same": advantage[PIVOT, GOOD, 0],
        "that is V: much is to come, and none of it depends on the action": value[LATE, GOOD],
    }
    return {
        "V before the pivot": Answer(value[0, GOOD], before),
        "A(right) at the pivot": Answer(advantage[PIVOT, GOOD, RIGHT], mistakes),
        "A(wrong) at the pivot": Answer(advantage[PIVOT, GOOD, WRONG], mistakes),
        "A(right) at step 7": Answer(advantage[LATE, GOOD, RIGHT], late),
    }


def all_advantages() -> Answer:
    """1.2: the advantage everywhere."""
    _, _, truth = _solved()
    value, q_value = np.asarray(truth.value[:-1]), np.asarray(truth.q_value)
    mistakes = {
        "that is Q, and not A": q_value,
        "V is subtracted along the wrong axis: they are steps, states, actions": q_value
        - value[:, None, :],
        "that is V - Q: the other way round": value[:, :, None] - q_value,
    }
    return Answer(truth.advantage, mistakes)


def price_of_branches() -> Answer:
    """1.3: the steps that Vine plays beyond its batch, as it charges them."""
    mdp, policy, _ = _solved()
    world = casim.World.make(mdp, policy)
    vine = casim.Vine(unit="step", num_branches=BRANCHES)

    @jax.jit
    def charged(key: jax.Array) -> jax.Array:
        batch = world.groups(key, 1, GROUP)
        return vine.credit(key, world, batch).cost.env_steps

    price = charged(jax.random.key(0))
    horizon = TASK.horizon
    to_the_end = horizon * (horizon + 1) / 2
    batch_steps = GROUP * horizon
    branches = batch_steps * BRANCHES
    mistakes = {
        "that is the batch itself": batch_steps,
        "those are the branches, and not their steps": branches,
        "a branch runs from its step to the end, and not through the whole answer": branches
        * horizon,
        "that is for one of the 8 trajectories": BRANCHES * to_the_end,
        "that is for one of the 4 branches": GROUP * to_the_end,
        "the first branch has 12 steps and the last has 1": GROUP
        * BRANCHES
        * (to_the_end - horizon),
    }
    return Answer(price, mistakes, "Add up how far it is to the end from each step.")


def leakage() -> dict[str, Answer]:
    """1.4: the share of an even spread that lands where nothing is decided."""
    short = {
        "that is the share that the pivot keeps": 1 - _even_leakage(12),
        "the pivot keeps its share": 1.0,
        "an even spread does not know the pivot: all 12 steps get the same": 0.0,
    }
    long = {
        "the pivot keeps its share, small as it is: write it as a fraction": 1.0,
        "that is the share that the pivot keeps": 1 - _even_leakage(30_000),
    }
    return {
        "12 steps": Answer(_even_leakage(12), short),
        "30,000 steps": Answer(_even_leakage(30_000), long, tolerance=1e-5),
    }


def _even_leakage(horizon: int) -> float:
    """The share of steps at which no action matters, on the right track."""
    mdp, _, truth = _solved(horizon)
    matters = matters_mask(mdp, truth)[:, GOOD]
    return 1 - float(np.mean(matters, dtype=float))


def mean_of_rloo() -> dict[str, Answer]:
    """1.5: what RLOO gives on average."""
    _, _, truth = _solved()
    mean = _rloo().expectation[:, GOOD]
    late = {
        "that is the advantage; what is subtracted is the value of the prompt, and not of this "
        "state": truth.advantage[LATE, GOOD, RIGHT],
        "that is REINFORCE's: the mean of the others is still to be subtracted": truth.value[
            LATE, GOOD
        ],
        "that is what is subtracted: the mean of the others": truth.value[0, GOOD],
    }
    between = {"that is what either action gets: what is their difference?": mean[LATE, RIGHT]}
    at_pivot = {
        "that is what action 0 gets; action 1 loses as much": mean[PIVOT, RIGHT],
        "at the pivot the outcomes differ by the choice": 0.0,
    }
    return {
        "action 0 at step 7": Answer(mean[LATE, RIGHT], late),
        "difference at step 7": Answer(mean[LATE, RIGHT] - mean[LATE, WRONG], between),
        "difference at the pivot": Answer(mean[PIVOT, RIGHT] - mean[PIVOT, WRONG], at_pivot),
    }


def price_of_length() -> Answer:
    """1.6: how many times smaller the SNR of RLOO is at 48 steps."""
    ratios = {}
    for horizon in (12, 48):
        mdp, policy, _ = _solved(horizon)
        ratios[horizon] = exact_scores(mdp, policy, _rloo(horizon))["snr_aligned"]
    factor = ratios[12] / ratios[48]
    mistakes = {
        "the signal stays, and the noise does not: it comes from all steps": 1,
        "that is the factor of the standard deviation; the ratio has the variance": factor**0.5,
        "that would be if each step's noise grew with the length, too": factor**2,
        "how many times smaller: a number above 1": 1 / factor,
    }
    return Answer(factor, mistakes, "Noise is collected from every step.", tolerance=0.25)


LESSON = Lesson(
    number=1,
    title="What is credit?",
    minutes=45,
    goals=(
        "say what the credit of a token is: the advantage, exactly",
        "say why one outcome, given to all tokens, is right on average and noisy",
        "read bias, leakage, signal-to-noise ratio and cost of a method",
    ),
    needs="expectations, and what a policy gradient is",
    source=Path(__file__).parent / "sources" / "01_what_is_credit.py",
    questions={
        "1.1": advantages,
        "1.2": all_advantages,
        "1.3": price_of_branches,
        "1.4": leakage,
        "1.5": mean_of_rloo,
        "1.6": price_of_length,
    },
)
