"""Where a baseline's epsilon stands, and numbers of any size, against NumPy."""

from __future__ import annotations

import functools

import numpy as np

from casim.estimators import Baseline, Chain, ToGo, Whole
from tests.methods.derived_log import groups, of_turns, outcome, to_go
from tests.methods.derived_run import agree, found

LARGE = 1e200
"""Its square is no number."""
ROWS = len(of_turns()["prompt"])
RECIPES = {
    "inside": Chain(Whole(1.0), Baseline(scale=True, epsilon=0.04, epsilon_at="inside")),
    "floor": Chain(Whole(1.0), Baseline(scale=True, epsilon=0.6, epsilon_at="floor")),
    "both": Chain(Whole(1.0), Baseline(scale=True, epsilon=0.1, floor=0.6)),
    "exact": Chain(Whole(1.0), Baseline(scale=True, epsilon=0.0)),
    "steps": Chain(ToGo(1.0), Baseline(votes="step", scale=True, epsilon=0.0)),
    "ended": Chain(
        ToGo(1.0), Baseline("turn", votes="step", scale=True, epsilon=0.0, ended="zero")
    ),
}


@functools.cache
def given():
    """A log, and the same in rewards of another size beside it, as prompts of their own."""
    log = of_turns(3)
    large = dict(log, prompt=log["prompt"] + 100, reward=log["reward"] * LARGE)
    both = {name: np.concatenate([log[name], large[name]]) for name in log}
    return log, {name: value for name, (value, _) in found(both, RECIPES).items()}


def z_scores(log, divisor) -> np.ndarray:
    """(R - mean) / divisor(deviation with n - 1) in the group, 0 of one alone."""
    out = np.zeros(log["mask"].shape)
    for rows in groups(log):
        each = np.array([outcome(log, i) for i in rows])
        if len(rows) > 1 and np.ptp(each):
            out[rows] = ((each - each.mean()) / divisor(each.std(ddof=1)))[:, None]
    return out


def test_epsilon_stands_inside_the_root_or_below_the_deviation_or_beside_it():
    log, value = given()
    divisors = {
        "inside": lambda x: np.sqrt(x**2 + 0.04),
        "floor": lambda x: max(x, 0.6),
        "both": lambda x: max(x, 0.6) + 0.1,
        "exact": lambda x: x,
    }
    for name, divisor in divisors.items():
        agree(value[name][:ROWS], z_scores(log, divisor), log)
    # One is below the floor, and one above.
    several = [rows for rows in groups(log) if len(rows) > 1]
    spreads = [np.std([outcome(log, i) for i in rows], ddof=1) for rows in several]
    assert sorted(x > 0.6 for x in spreads if x > 1e-9) == [False, True]


def test_votes_of_steps_and_zeros_of_those_that_have_ended():
    log, value = given()
    ahead = to_go(np.where(log["live"], log["reward"], 0.0))
    by_step, by_turn = np.zeros(ahead.shape), np.zeros(ahead.shape)
    for rows in groups(log):
        mine = log["mask"][rows]
        each = ahead[rows][mine]
        if np.ptp(each):
            by_step[rows] = (ahead[rows] - each.mean()) / each.std(ddof=1)
        for k in np.unique(log["turn"][rows][mine]):
            here = mine & (log["turn"][rows] == k)
            silent = int((~here.any(axis=1)).sum())
            votes = np.append(ahead[rows][here], np.zeros(silent))
            if len(votes) > 1 and np.ptp(votes):
                score = (ahead[rows] - votes.mean()) / votes.std(ddof=1)
                by_turn[rows] = np.where(here, score, by_turn[rows])
    agree(value["steps"][:ROWS], by_step, log)
    agree(value["ended"][:ROWS], by_turn, log)


def test_scores_do_not_depend_on_the_size_of_rewards():
    log, value = given()
    for name in ("exact", "steps", "ended"):
        agree(value[name][ROWS:], value[name][:ROWS], log)
