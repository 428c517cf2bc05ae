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
AT_ONCE = 2000
"""Groups that are measured at once, a multiple of all numbers of replicates."""
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


def simulate(
    case: Case, replicates: tuple[int, ...], seeds: int
) -> dict[tuple[casim.Estimator, int], dict[str, Sampled]]:
    """The scores of `seeds` studies of each of the estimators, for each number of replicates.

    All see the same groups, and a study of more replicates sees those of smaller ones again.
    """
    mdp = case.task.build()
    policy = case.policy.table(mdp)
    truth = casim.solve(mdp, policy)
    world = casim.World.make(mdp, policy)

    def group(key):
        batch = world.rollout(jax.random.fold_in(key, 0), case.num)
        every = []
        for estimator in ESTIMATORS:
            credit = estimator(jax.random.fold_in(key, 1), world, batch)
            target = estimator.scored_target
            aim = path_target(target, mdp, policy, truth, batch, world.num_segments)
            one = jax.tree.map(lambda x: x[None], (batch, credit, aim))
            every.append(measure(mdp, policy, truth, *one))
        return every

    some = jax.jit(jax.vmap(group))
    found = {}
    for num in replicates:
        keys = jax.random.split(jax.random.key(0), seeds * num)
        parts = [some(keys[first : first + AT_ONCE]) for first in range(0, len(keys), AT_ONCE)]
        for place, estimator in enumerate(ESTIMATORS):
            to_blocks = functools.partial(in_blocks, replicates=num)
            blocks = [jax.tree.map(to_blocks, part[place]) for part in parts]
            sums = jax.tree.map(lambda *x: np.concatenate(x), *blocks)
            rows = [finalise(mdp, truth, Sums(*one)).scores for one in zip(*sums, strict=True)]
            found[estimator, num] = {name: Sampled(*np.array([row[name][:3] for row in rows]).T) for name in SCORES}
    return found


def in_blocks(x: jax.Array, replicates: int) -> np.ndarray:
    """Sums of groups as sums of the blocks of studies, `[studies, blocks, ...]`."""
    x = np.asarray(x, np.float64)
    return x.reshape(-1, NUM_BLOCKS, replicates // NUM_BLOCKS, *x.shape[1:]).sum(axis=2)


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
    seeds = 50 if quick else 2000
    print(f"{'estimator':<28}{'score':<19}{'R':>4}{'exact':>10}{'mean':>10}{'error':>9}{'sd':>9}{'cover':>7}")
    replicates = (10, 20, 100)
    found = simulate(Case(), replicates, seeds)
    for estimator in ESTIMATORS:
        wanted = exact(Case(), estimator)
        for name in SCORES:
            goal = wanted.get(name, np.nanmean(found[estimator, max(replicates)][name].value))
            mark = " " if name in wanted else "*"
            for num in replicates:
                sampled = found[estimator, num][name]
                print(line(casim.report.label(estimator), name, num, goal, mark, sampled))


def line(estimator: str, name: str, replicates: int, goal: float, mark: str, sampled: Sampled) -> str:
    """One line of the table; * marks a value that is itself sampled."""
    value = sampled.value[np.isfinite(sampled.value)]
    covered = (sampled.low <= goal) & (goal <= sampled.high)
    error = value.std() / len(value) ** 0.5
    numbers = f"{goal:>9.4g}{mark}{value.mean():>10.4g}{error:>9.2g}{value.std():>9.3g}"
    return f"{estimator:<28}{name:<19}{replicates:>4}{numbers}{covered.mean():>7.3f}"


if __name__ == "__main__":
    main()
