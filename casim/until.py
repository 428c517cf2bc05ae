"""Replicates until an interval is narrow: what is too wide is measured again with more of them.

In maths: a row is narrow if (high - low) / 2 <= width |value|. One that is not is measured again
with the least R' = R 2^k, k >= 1, with R' >= R ((high - low) / (2 width |value|))^2, which is about
enough, as widths fall like 1 / sqrt(R). The groups of the fewer replicates are among those of more,
so the cost of the former is spent in vain: rows keep no sums.

Stopping is optional, and that costs coverage: what stops is more often than not a row whose
interval came out narrow by luck. Where a score is normal and every row stops, the 95% intervals of
the last rows cover about 94%, against 93% if replicates were doubled and looked at each time
(simulated, ten blocks); of the rows alone that just made it below `at_most`, less: 88%.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from casim.checks import check_choice, check_integer, check_range
from casim.estimators import Estimator
from casim.methods import Method, recipe_of
from casim.report import Row, describe, split_judges
from casim.scores import NAMES
from casim.study import Study


@dataclasses.dataclass(frozen=True)
class Goal:
    """How narrow the interval of a score is to be.

    Attributes:
        score: which.
        width: half the width of its 95% interval over the size of its value, at most; positive.
        at_most: replicates of a row that are not exceeded.

    Raises:
        ValueError: an unknown score, or a number out of its range.
    """

    score: str
    width: float
    at_most: int

    def __post_init__(self) -> None:
        check_choice("score", self.score, NAMES)
        check_range("width", self.width, 1e-6, 1e6)
        check_integer("at_most", self.at_most, 2)

    def excess(
        self,
        row: Row,
    ) -> float:
        """How many times too wide the interval of a row is; NaN where it has none."""
        score = row.scores[self.score]
        half = (score.high - score.low) / 2
        if half == 0:
            return 0.0
        size = abs(score.value)
        return half / (self.width * size) if size > 0 else math.nan

    def more(
        self,
        rows: Sequence[Row],
    ) -> int | None:
        """The replicates that rows of one method, seed by seed, are to be measured with next.

        None where all are narrow, where more would exceed the limit, or where some row has no
        interval, which more replicates do not give it.
        """
        excess = [self.excess(row) for row in rows]
        if any(map(math.isnan, excess)) or max(excess) <= 1:
            return None
        replicates = rows[0].replicates
        needed = replicates * max(excess) ** 2
        doubled = 2 * replicates
        while doubled < needed and 2 * doubled <= self.at_most:
            doubled *= 2
        return doubled if doubled <= self.at_most else None


class Outcome(NamedTuple):
    """What came of a goal."""

    rows: list[Row]
    """In the order of the study: of each measurement the one with most replicates."""
    wide: list[Row]
    """Those of methods, without controls, that are not narrow."""


def run_until(
    study: Study,
    goal: Goal,
    run: Callable[[Study], list[Row]],
) -> Outcome:
    """Runs a study, and again what is too wide, with more replicates.

    Controls are measured once. Seeds of a method on a task have the same number of replicates, so
    that they can be averaged.

    Args:
        study: what to measure; its replicates are the first.
        goal: how narrow.
        run: measures a study; also one of the same name with a part of the tasks and methods and
            with more replicates.
    """
    # Later rows take the places of earlier ones, so they stay in the order of the study.
    best = {_key(row): row for row in run(study)}
    tried: set[Study] = set()
    # What fails is not tried twice.
    while parts := [part for part in _parts(study, goal, best) if part not in tried]:
        tried.update(parts)
        for part in parts:
            best |= {_key(row): row for row in run(part)}
    rows = list(best.values())
    measured = [row for row in rows if row.methodology != "control"]
    wide = [row for row in measured if not goal.excess(row) <= 1]
    return Outcome(rows, wide)


def with_most_replicates(
    chosen: Iterable[Row],
    rows: Iterable[Row],
) -> list[Row]:
    """Chosen rows, or those of the same study that differ in having more replicates.

    Args:
        chosen: rows of one study.
        rows: among which there may be some with more; of equals the last.
    """
    best = {(row.study, _key(row)): row for row in chosen}
    for row in rows:
        name = row.study, _key(row)
        if name in best and row.replicates > best[name].replicates:
            best[name] = row
    return list(best.values())


def _parts(
    study: Study,
    goal: Goal,
    best: dict[str, Row],
) -> Iterator[Study]:
    """Studies of what is still too wide: methods on one task that need as many replicates."""
    for task, policy in itertools.product(study.tasks, study.policies):
        needs: dict[int, list[Estimator | Method]] = {}
        for estimator in study.estimators:
            recipes = (task, policy, study.behaviour, study.reference, recipe_of(estimator))
            described = [describe(each) for each in recipes]
            setting = [*described, *split_judges(study.judges)]
            keys = [_name(setting, _groups(study), seed) for seed in study.seeds]
            if all(key in best for key in keys):
                replicates = goal.more([best[key] for key in keys])
                if replicates is not None:
                    needs.setdefault(replicates, []).append(estimator)
        for replicates, estimators in needs.items():
            yield dataclasses.replace(
                study,
                tasks=(task,),
                policies=(policy,),
                estimators=tuple(estimators),
                replicates=replicates,
                controls=(),
            )


def _key(row: Row) -> str:
    """What a row measures, whatever its replicates and its code."""
    recipes = (row.task, row.policy, row.behaviour, row.reference, row.estimator)
    setting = [*recipes, row.judge, row.judges]
    return _name(setting, _groups(row), row.seed)


def _groups(of: Row | Study) -> tuple[int, int, str]:
    return int(of.num_prompts), int(of.num_trajectories), of.share


def _name(
    setting: list,
    groups: tuple[int, int, str],
    seed: int,
) -> str:
    return json.dumps([setting, *groups, int(seed)], sort_keys=True)
