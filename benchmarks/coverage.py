"""Are sampled scores unbiased, and do their intervals cover what they should? Studies of one row, thousands of them.

Run with `python benchmarks/coverage.py [--quick]`. For each estimator and each number of replicates, `seeds` studies
are made, their scores compared with the exact value (from `casim.oracle.moments`; the mean over all seeds at the
largest number of replicates where there is none), and a line is printed for every score: exact value, mean and its
standard error, standard deviation, and the share of 95% intervals that hold the exact value.
"""

from __future__ import annotations

import argparse
import functools
from typing import NamedTuple

import jax
import numpy as np

import casim
from casim.metrics import Sums, measure
from casim.oracle import path_target
from casim.oracle.moments import by_return, exact_scores, group_moments
from casim.scores import finalise

NUM_BLOCKS = 10
SCORES = (
    "bias",
    "centred_bias",
    "target_bias",
    "variance",
    "rmse",
    "sign_accuracy",
    "leakage",
    "gradient_cosine",
    "gradient_slope",
    "gradient_bias",
    "gradient_variance",
    "snr",
    "snr_aligned",
)
ESTIMATORS = (casim.LeaveOneOut(), casim.GroupRelative(scale="none"), casim.GroupRelative())


class Case(NamedTuple):
    """A world and the groups that are drawn in it."""

    task: casim.Task = casim.Bifurcation(horizon=16, pivots=(5,), gap=0.6)
    policy: casim.Policy = casim.Uniform()
    num: int = 8


class Sampled(NamedTuple):
    """One score of many studies."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def simulate(case: Case, estimator: casim.Estimator, replicates: int, seeds: int) -> dict[str, Sampled]:
    """The scores of `seeds` studies of `replicates` groups each."""
    mdp = case.task.build()
    policy = case.policy.table(mdp)
    truth = casim.solve(mdp, policy)
    world = casim.World.make(mdp, policy)

    def group(key):
        batch = world.rollout(jax.random.fold_in(key, 0), case.num)
        credit = estimator(jax.random.fold_in(key, 1), world, batch)
        aim = path_target(estimator.scored_target, mdp, policy, truth, batch, world.num_segments)
        return batch, credit, aim

    def block(keys):
        return measure(mdp, policy, truth, *jax.vmap(group)(keys))

    @jax.jit
    def every(keys):
        return jax.lax.map(jax.vmap(block), keys, batch_size=20)

    keys = jax.random.split(jax.random.key(replicates), seeds * replicates)
    keys = keys.reshape(seeds, NUM_BLOCKS, replicates // NUM_BLOCKS)
    sums = jax.tree.map(np.asarray, every(keys))
    rows = [finalise(mdp, truth, Sums(*(x[seed] for x in sums))).scores for seed in range(seeds)]
    return {name: Sampled(*np.array([row[name][:3] for row in rows]).T) for name in SCORES}


@functools.cache
def exact(case: Case, estimator: casim.Estimator) -> dict[str, float]:
    """The exact scores, by enumeration of all groups; an estimator that aims at its target has no bias for it."""
    mdp = case.task.build()
    policy = np.asarray(case.policy.table(mdp))
    moments = group_moments(mdp, policy, estimator, case.num, sees=by_return())
    return exact_scores(mdp, policy, moments)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    seeds = 20 if quick else 2000
    print(f"{'estimator':<28}{'score':<19}{'R':>4}{'exact':>10}{'mean':>10}{'error':>9}{'sd':>9}{'cover':>7}")
    for estimator in ESTIMATORS[:1] if quick else ESTIMATORS:
        wanted = exact(Case(), estimator)
        found = {r: simulate(Case(), estimator, r, seeds) for r in (10, 20, 100)}
        for name in SCORES:
            goal = wanted.get(name, np.nanmean(found[100][name].value))
            mark = " " if name in wanted else "*"
            for replicates, scores in found.items():
                print(line(casim.report.label(estimator), name, replicates, goal, mark, scores[name]))


def line(estimator: str, name: str, replicates: int, goal: float, mark: str, sampled: Sampled) -> str:
    """One line of the table; * marks a value that is itself sampled."""
    value = sampled.value[np.isfinite(sampled.value)]
    covered = (sampled.low <= goal) & (goal <= sampled.high)
    error = value.std() / len(value) ** 0.5
    numbers = f"{goal:>9.4g}{mark}{value.mean():>10.4g}{error:>9.2g}{value.std():>9.3g}"
    return f"{estimator:<28}{name:<19}{replicates:>4}{numbers}{covered.mean():>7.3f}"


if __name__ == "__main__":
    main()
