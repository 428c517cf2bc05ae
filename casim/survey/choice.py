"""Which method to choose: what the survey's tree proposes, and what casim measures.

Methods that a situation allows are ranked by the aligned signal-to-noise ratio of the policy
gradient that the budget buys: with B environment steps and batches that cost c each,

    snr(B) = 1 / error(B) - 1,

error(B) as in `casim.compare.measures`: for one batch it is `snr_aligned`, without bias it grows
like B, and what bias does not mend bounds it. Every method is compared with the first by pairs, as
all are measured on the same trajectories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from casim.compare import by_budget, compare, worth
from casim.report import Row, label, rebuild
from casim.survey.inventory import inventory, record_of
from casim.survey.record import Record
from casim.survey.shipped import (
    GROUP,
    SETTINGS,
    Candidate,
    candidates,
    length_of,
    nearest,
    rows_of,
    world_of,
)
from casim.survey.tree import Leaf, Situation, leaf_of
from casim.tables import Lines

GIVEN = "verifier"
"""A model that everybody has: what says whether the outcome is right."""
KNOWN = ("gold answer", "reference solution")
"""What a paper needs that only training knows."""
Interval = tuple[float, float, float]
"""A number, and the ends of its 95% interval."""
Outcome = Literal["agree", "not told apart", "disagree", "nothing proposed"]


class Ranked(NamedTuple):
    """A method that the situation allows."""

    name: str
    """In `casim.methods`."""
    label: str
    proposed: bool
    """Whether the leaf has it."""
    judged: bool
    """Whether it asks a judge: its rank is a statement on that judge, whose error is casim's."""
    cost: float
    """What a batch of it costs, in groups of rollouts without anything extra."""
    snr: Interval
    """What the budget buys, with its 95% interval; NaN where one batch costs more."""
    gap: Interval
    """Its error less that of the first, by pairs, with its 95% interval; 0 of the first itself.

    Errors are between 0 and 1, so what is estimated beyond -1 or 1 is put there.
    """
    verdict: str
    """Against the first, corrected for the number of methods."""


class Refused(NamedTuple):
    """A method that the situation does not allow, or that casim does not have."""

    label: str
    proposed: bool
    reason: str


class Answer(NamedTuple):
    """What the tree says, what casim measures, and whether they agree."""

    situation: Situation
    leaf: Leaf
    length: int
    """At which it was measured: tokens, turns or agents."""
    world: str
    """The label of the task that it was measured in."""
    ranked: list[Ranked]
    refused: list[Refused]
    outcome: Outcome


def choose(
    situation: Situation,
    rows: Sequence[Row] | None = None,
) -> Answer:
    """The answer for a situation.

    Args:
        situation: what is known.
        rows: of `casim.survey.measured.measure`; those that came with casim, at the nearest
            length, if left out.

    Raises:
        ValueError: no method is allowed, or none can be paid for.
    """
    leaf = leaf_of(situation)
    measured = _shipped(situation) if rows is None else _given(situation, rows)
    by_label = {row.label: row for row in reversed(measured.rows)}
    allowed, refused = [], []
    for one in candidates(situation.setting):
        reason = refusal(one, situation)
        if reason:
            refused.append(Refused(one.label, _is_proposed(one.name, leaf), reason))
        elif one.label in by_label:
            allowed.append(by_label[one.label])
    ranked = _ranked(allowed, situation, leaf)
    return Answer(
        situation,
        leaf,
        measured.length,
        measured.world,
        ranked,
        refused + _absent(situation),
        _outcome(ranked),
    )


class _Measured(NamedTuple):
    """Rows of one world."""

    rows: Sequence[Row]
    length: int
    world: str


def _shipped(situation: Situation) -> _Measured:
    """What came with casim, at the nearest length."""
    setting, length = situation.setting, nearest(situation)
    return _Measured(rows_of(setting, length), length, world_of(setting, length))


def _given(
    situation: Situation,
    rows: Sequence[Row],
) -> _Measured:
    """Rows that were measured at the situation's own length."""
    world = label(rebuild(rows[0].task)) if rows else ""
    return _Measured(rows, length_of(situation), world)


def refusal(
    candidate: Candidate,
    situation: Situation,
) -> str:
    """Why a method is not allowed; nothing if it is.

    A model that a method asks counts as another model unless its paper asks the policy itself.
    """
    record = record_of(candidate.name)
    if not situation.reset and "reset" in candidate.needs:
        return "needs to go back to a step"
    if not situation.privileged and _is_privileged(candidate, record):
        return "needs what only training knows"
    models = _models(candidate, record)
    if models and not situation.auxiliary:
        return f"needs another model: {', '.join(models)}"
    return ""


def _models(
    candidate: Candidate,
    record: Record | None,
) -> list[str]:
    """Other models that a method needs: those of its paper, where its recipe asks any."""
    asked = sorted(candidate.needs & {"critic", "judge"})
    if not asked or record is None:
        return asked
    return [model for model in record.models if not model.endswith("?") and model != GIVEN]


def _is_privileged(
    candidate: Candidate,
    record: Record | None,
) -> bool:
    said = "" if record is None else " ".join(record.needs)
    return "privileged" in candidate.needs or any(words in said for words in KNOWN)


def _is_proposed(
    name: str,
    leaf: Leaf,
) -> bool:
    record = record_of(name)
    return name in leaf.baselines or (record is not None and record.id in leaf.records)


def _absent(situation: Situation) -> list[Refused]:
    """What the leaf proposes and casim has no recipe of."""
    proposed = leaf_of(situation).records
    missing = [each for each in inventory() if each.id in proposed and not each.methods]
    return [
        Refused(record.name, True, f"not simulated: {record.not_simulated}") for record in missing
    ]


def _ranked(
    rows: list[Row],
    situation: Situation,
    leaf: Leaf,
) -> list[Ranked]:
    """The rows by what the budget buys, the best first; what cannot be paid for comes last."""
    if not rows:
        raise ValueError("a situation must allow a method that was measured, got none")
    steps = _steps(rows[0], situation.budget)
    bought = {row.label: _bought(row, steps) for row in rows}
    # What cannot be paid for is no number, and comes last.
    order = sorted(rows, key=lambda row: _rank(bought[row.label]))
    first = order[0].label
    if math.isnan(bought[first][0]):
        least = math.ceil(min(map(_cost, rows)))
        wanted = f"at least {least}, the groups that the cheapest batch costs"
        raise ValueError(f"budget must be {wanted}, got {situation.budget}")
    gaps = _gaps(rows, steps, first)
    known = {one.label: one for one in candidates(situation.setting)}
    found = []
    for row in order:
        name, _, needs = known[row.label]
        one = Ranked(
            name,
            row.label,
            proposed=_is_proposed(name, leaf),
            judged="judge" in needs,
            cost=_cost(row),
            snr=bought[row.label],
            gap=gaps[row.label][0],
            verdict=gaps[row.label][1],
        )
        found.append(one)
    return found


def _rank(snr: Interval) -> float:
    """What is sorted by: the largest first."""
    return math.inf if math.isnan(snr[0]) else -snr[0]


def _gaps(
    rows: list[Row],
    steps: float,
    first: str,
) -> dict[str, tuple[Interval, str]]:
    """Every method against the first, by pairs: its error less the first's, and the verdict."""
    gaps: dict[str, tuple[Interval, str]] = {first: ((0.0, 0.0, 0.0), "first")}
    if len(rows) == 1:
        return gaps
    for one in compare(rows, by_budget(steps), first):
        label = one.rows[0].label
        value, low, high = np.clip(one.estimate[:3], -1.0, 1.0).tolist()
        gaps[label] = (value, low, high), one.verdict
    return gaps


def _steps(
    row: Row,
    budget: int,
) -> float:
    """Environment steps that this many groups of `GROUP` take without anything extra."""
    rollouts = row.num_prompts * row.num_trajectories
    return budget * GROUP * row.scores["batch_steps"].value / rollouts


def _cost(row: Row) -> float:
    """A batch and all that its method rolls out, in groups without anything extra."""
    taken = row.scores["batch_steps"].value + row.scores["env_steps"].value
    return taken / _steps(row, 1)


def _bought(
    row: Row,
    steps: float,
) -> Interval:
    """snr(B), with its interval."""
    found = worth([row], steps)
    return found.value - 1, found.low - 1, found.high - 1


def _outcome(ranked: list[Ranked]) -> Outcome:
    """Whether the first is one that the leaf proposes, or not told apart from one."""
    if _best_proposed(ranked) is None:
        return "nothing proposed"
    if ranked[0].proposed:
        return "agree"
    verdicts = [each.verdict for each in ranked if each.proposed]
    near = any(verdict in ("same", "not told apart") for verdict in verdicts)
    return "not told apart" if near else "disagree"


def _best_proposed(ranked: list[Ranked]) -> Ranked | None:
    """The best that the leaf proposes and the budget pays for."""
    found = (each for each in ranked if each.proposed and not math.isnan(each.snr[0]))
    return next(found, None)


ALLOWED = {
    "nothing": {},
    "reset": {"reset": True},
    "a model": {"auxiliary": True},
    "all": {"auxiliary": True, "reset": True, "privileged": True},
}
"""What the situations of the page allow, by a word for each."""
HEADS: tuple[str, ...] = (
    *("length", "allowed", "leaf", "best", "SNR"),
    *("best without a judge", "SNR", "best of the leaf", "SNR", "outcome"),
)


def situations(setting: str) -> dict[tuple[int, str], Situation]:
    """The situations whose answers are on the page, by their length and what they allow."""
    chosen = SETTINGS[setting]
    found = {}
    for length in chosen.lengths:
        for word, allowed in ALLOWED.items():
            knobs = {chosen.knob: length}
            found[length, word] = Situation(setting, **knobs, **allowed)  # pyright: ignore
    return found


def summary(setting: str) -> Lines:
    """The answers of a setting as cells: the best, the best that the leaf has, and the outcome."""
    cells: Lines = [list(HEADS)]
    for (length, word), situation in situations(setting).items():
        answer = choose(situation)
        place = [f"{length:,}", word, answer.leaf.name]
        first = answer.ranked[0]
        plain = next((each for each in answer.ranked if not each.judged), None)
        proposed = _best_proposed(answer.ranked)
        said = [*_summed(first), *_summed(plain), *_summed(proposed)]
        cells.append([*place, *said, answer.outcome])
    return cells


def _summed(ranked: Ranked | None) -> tuple[str, str]:
    """A method, and what the budget buys with it; dashes for none."""
    if ranked is None:
        return "-", "-"
    value, low, high = ranked.snr
    return ranked.label, f"{value:.3g} [{low:.3g}, {high:.3g}]"
