"""Are sampled scores unbiased, do their intervals cover what they should? Thousands of studies.

Run with `python benchmarks/coverage.py [--quick]`. For each estimator and each number of
replicates, `seeds` studies are made, their scores compared with the exact value (from
`casim.oracle.moments`; the mean over all seeds at the largest number of replicates where there is
none), and a line is printed for every score: exact value, mean and its standard error, standard
deviation, and the share of 95% intervals that hold the exact value.
"""

from __future__ import annotations

import argparse
import functools
from typing import NamedTuple

import jax
import numpy as np

import casim
from casim.oracle import path_target
from casim.oracle.moments import by_return, exact_scores, group_moments
from casim.scores import Score, Sums, finalise, measure
from casim.types import recorded

NUM_BLOCKS = 10
AT_ONCE = 2000
"""Groups that are measured at once, a multiple of all numbers of replicates."""
REPLICATES = (10, 20, 100)
SEEDS, SEEDS_QUICK = 2000, 50
"""Studies of each number of replicates."""
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
ESTIMATORS = (
    casim.methods.RLOO,
    casim.methods.DR_GRPO,
    casim.methods.GRPO,
)


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


Found = dict[tuple[casim.Estimator, int], dict[str, Sampled]]
"""The scores of studies, by their estimator and their number of replicates."""


def simulate(
    case: Case,
    replicates: tuple[int, ...],
    seeds: int,
) -> Found:
    """The scores of `seeds` studies of each of the estimators, for each number of replicates.

    All see the same groups, and a study of more replicates sees those of smaller ones again.
    """
    mdp = case.task.build()
    policy = case.policy.table(mdp)
    truth = casim.solve(mdp, policy)
    world = casim.World.make(mdp, policy)

    def group(key: jax.Array) -> list[Sums]:
        """One group, as every estimator sees it."""
        rollout_key = jax.random.fold_in(key, 0)
        credit_key = jax.random.fold_in(key, 1)
        batch = world.groups(rollout_key, 1, case.num)
        group = jax.tree.map(lambda x: x[0], recorded(batch))
        every = []
        for estimator in ESTIMATORS:
            credit = estimator.credit(credit_key, world, batch)
            aim = path_target(estimator.target, world, truth, group)
            chunk = (recorded(batch), credit, aim[None])
            one = jax.tree.map(lambda x: x[None], chunk)
            every.append(measure(mdp, policy, truth, *one))
        return every

    some = jax.jit(jax.vmap(group))
    found = {}
    for num in replicates:
        keys = jax.random.split(jax.random.key(0), seeds * num)
        starts = range(0, len(keys), AT_ONCE)
        parts = [some(keys[start : start + AT_ONCE]) for start in starts]
        for place, estimator in enumerate(ESTIMATORS):
            chunks = [part[place] for part in parts]
            studies = in_studies(chunks, num)
            rows = [finalise(mdp, truth, sums).scores for sums in studies]
            found[estimator, num] = sampled_scores(rows)
    return found


def in_studies(chunks: list[Sums], replicates: int) -> list[Sums]:
    """Sums of groups, chunk by chunk, as sums per block of each study."""

    def join(*fields: jax.Array) -> np.ndarray:
        return np.concatenate([in_blocks(x, replicates) for x in fields])

    joined = jax.tree.map(join, *chunks)
    return [Sums(*one) for one in zip(*joined, strict=True)]


def in_blocks(x: jax.Array, replicates: int) -> np.ndarray:
    """Sums of groups as sums of the blocks of studies, `[studies, blocks, ...]`."""
    each = np.asarray(x, np.float64)
    per_block = replicates // NUM_BLOCKS
    blocks = each.reshape(
        -1,
        NUM_BLOCKS,
        per_block,
        *each.shape[1:],
    )
    return blocks.sum(axis=2)


def sampled_scores(rows: list[dict[str, Score]]) -> dict[str, Sampled]:
    """Every score of many studies."""
    sampled = {}
    for name in SCORES:
        intervals = np.array([row[name][:3] for row in rows])
        sampled[name] = Sampled(*intervals.T)
    return sampled


@functools.cache
def exact(case: Case, estimator: casim.Estimator) -> dict[str, float]:
    """The exact scores, by enumeration of all groups.

    An estimator that aims at its target has no bias for it.
    """
    mdp = case.task.build()
    table = case.policy.table(mdp)
    policy = np.asarray(table)
    moments = group_moments(
        mdp,
        policy,
        estimator,
        case.num,
        sees=by_return(),
    )
    return exact_scores(mdp, policy, moments)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seeds = SEEDS_QUICK if arguments.quick else SEEDS
    print(header())
    found = simulate(Case(), REPLICATES, seeds)
    for estimator in ESTIMATORS:
        for name in SCORES:
            print_score(found, estimator, name)


def print_score(
    found: Found,
    estimator: casim.Estimator,
    name: str,
) -> None:
    """Prints a line for each number of replicates."""
    wanted = exact(Case(), estimator)
    most = found[estimator, max(REPLICATES)][name]
    goal = wanted.get(name, np.nanmean(most.value))
    mark = " " if name in wanted else "*"
    label = casim.report.label(estimator)
    for num in REPLICATES:
        sampled = found[estimator, num][name]
        print(line(label, name, num, goal, mark, sampled))


def header() -> str:
    """The first line of the table."""
    left = f"{'estimator':<28}{'score':<19}"
    exact_value = f"{'R':>4}{'exact':>10}"
    sampled = f"{'mean':>10}{'error':>9}{'sd':>9}{'cover':>7}"
    return left + exact_value + sampled


def line(
    estimator: str,
    name: str,
    replicates: int,
    goal: float,
    mark: str,
    sampled: Sampled,
) -> str:
    """One line of the table; * marks a value that is itself sampled."""
    value = sampled.value[np.isfinite(sampled.value)]
    mean = value.mean()
    spread = value.std()
    error = spread / len(value) ** 0.5
    not_below = sampled.low <= goal
    not_above = goal <= sampled.high
    covered = (not_below & not_above).mean()
    left = f"{estimator:<28}{name:<19}"
    exact_value = f"{replicates:>4}{goal:>9.4g}{mark}"
    numbers = f"{mean:>10.4g}{error:>9.2g}{spread:>9.3g}{covered:>7.3f}"
    return left + exact_value + numbers


if __name__ == "__main__":
    main()
