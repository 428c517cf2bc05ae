"""The third stage: a sampled study at length, the function beside RLOO and the method."""

from __future__ import annotations

import dataclasses
import math

from casim.bridge.score.asked import is_parted
from casim.bridge.score.exact import last_line
from casim.bridge.score.legend import COLUMNS
from casim.bridge.score.verdicts import Line, Verdict, number
from casim.bridge.trainer import Trainer
from casim.estimators import JudgedComponents, JudgedValues
from casim.estimators.base import Estimator
from casim.failures import StudyError
from casim.judges import Judge
from casim.methods import RLOO, Method
from casim.report import Row, describe
from casim.simulate import JUDGE
from casim.study import Study
from casim.tasks import ReasoningChain

SAME = 1e-3
"""Scores on the same rollouts that differ by less, in single precision, are those of the method."""


@dataclasses.dataclass(frozen=True)
class Length:
    """How long, and how often.

    Attributes:
        num_steps: reasoning steps of 32 tokens.
        replicates: fresh batches of two groups of four rollouts, a multiple of 10.
    """

    num_steps: int = 8
    replicates: int = 40


def sampled(
    trainer: Trainer,
    method: Method | None,
    length: Length,
) -> list[Line]:
    """A line for the whole study.

    Args:
        trainer: the function.
        method: what it claims to be, or None.
        length: of the study.
    """
    called = trainer.called
    parted = is_parted(called, method)
    recipes = {"it": _judged(trainer, called.is_handed("values"), parted), "RLOO": RLOO.recipe}
    if method is not None and method is not RLOO:
        recipes[method.name] = _judged(method.recipe, "critic" in method.needs, parted)
    task = ReasoningChain(num_steps=length.num_steps, tokens_per_step=32)
    tokens = 32 * length.num_steps
    name = f"{tokens} tokens"
    try:
        study = Study(
            "score",
            (task,),
            tuple(recipes.values()),
            judges={JUDGE: Judge()},
            num_prompts=2,
            num_trajectories=4,
            replicates=length.replicates,
            controls=(),
        )
        rows = study.run(progress=False, notify=_silent)
    except StudyError as error:
        return [Line(name, Verdict.FAIL, last_line(error))]
    except ValueError as error:
        return [Line(name, Verdict.SKIPPED, str(error))]
    found = {who: _row_of(rows, recipe) for who, recipe in recipes.items()}
    numbers = {who: _scores(row) for who, row in found.items()}
    claimed = None if method is None else numbers.get(method.name, numbers["RLOO"])
    verdict, said = _verdict(numbers["it"], claimed, method)
    batches = f"{length.replicates} batches of 2 prompts x 4 rollouts"
    return [Line(name, verdict, f"{said}; {batches}", None, numbers)]


def _judged(
    recipe: Estimator,
    needs_critic: bool,
    parted: bool,
) -> Estimator:
    """With what a judge says as the critic's values, or as a component of the reward."""
    recipe = JudgedValues(recipe) if needs_critic else recipe
    return JudgedComponents(recipe) if parted else recipe


def _row_of(
    rows: list[Row],
    recipe: Estimator,
) -> Row:
    wanted = describe(recipe)
    return next(row for row in rows if row.estimator == wanted)


def _scores(row: Row) -> dict[str, float]:
    return {name: row.scores[name].value for name in COLUMNS if name in row.scores}


def _verdict(
    mine: dict[str, float],
    claimed: dict[str, float] | None,
    method: Method | None,
) -> tuple[Verdict, str]:
    """Whether the scores are those of the method on the same rollouts."""
    if claimed is None or method is None:
        return Verdict.PASS, "it is finite at length"
    for score, wanted in claimed.items():
        one = mine[score]
        missing = math.isnan(one) and math.isnan(wanted)
        if not missing and not abs(one - wanted) <= SAME * max(1.0, abs(wanted)):
            theirs = f"that of {method.name} {number(wanted)}"
            return Verdict.FAIL, f"{COLUMNS[score].head} is {number(one)}, and {theirs}"
    return Verdict.PASS, f"as {method.name} on the same rollouts"


def _silent(line: str) -> None:
    """Lines for people are no part of a report."""
