"""The answers of lesson 7: judges and process rewards."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import casim
from casim.oracle.moments import precise_truth
from casim.tasks.base import per_occasion
from casim.teaching import Answer, Lesson

PROCESS = casim.HackableProcess(horizon=6, lure=0.9, damage=0.9, success=0.7)
CHAIN = casim.Bifurcation(horizon=12, pivots=(4,), gap=0.6, base=0.5, num_segments=12)
WORK, HACK, ERR = range(3)
GOOD, PIVOT = 0, 4
PRAISE = 0.95
UPDATES, RATE = 800, 2.0
ARMS = {
    "sum": (False, False),
    "minimum": (True, False),
    "sum, end verified": (False, True),
    "minimum, end verified": (True, True),
}
"""Whether the least score counts instead of their sum, and whether the last is the outcome."""

Policies = Float[np.ndarray, "P T 3"]


class Ends(NamedTuple):
    """All ways in which a chain can go: it stops working after a step, or works to its end.

    What a judge says, and so what is made of it, depends on the way alone, and the way's
    probability on the policy.
    """

    step: Float[np.ndarray, " E"]
    """The step that broke or hacked it; T if none did."""
    cause: Float[np.ndarray, " E"]
    """`HACK` or `ERR`, or `WORK` if none did."""
    chance: Float[np.ndarray, " E"]
    """Of the outcome, given the rest."""
    score: Float[np.ndarray, "P E T"]
    """What the judge says of each step; a row of P for each judge."""


def stops() -> Float[np.ndarray, "3 3"]:
    """P(still working, hacked, broken after a step | working before, action)."""
    hazard = np.zeros((3, 3))
    hazard[HACK, HACK] = per_occasion(PROCESS.lure, PROCESS.horizon)
    hazard[ERR, ERR] = per_occasion(PROCESS.damage, PROCESS.horizon)
    hazard[WORK] = 1 - hazard.sum(axis=0)
    return hazard


def uniform(judges: int = 1) -> Policies:
    """Each action alike, at every step."""
    return np.full((judges, PROCESS.horizon, 3), 1 / 3)


def _chances(policy: Policies) -> Float[np.ndarray, "P T 3"]:
    """P(still working, hacked, broken after a step | working before)."""
    return np.einsum("xa,pta->ptx", stops(), policy)


def success(policy: Policies) -> Float[np.ndarray, " P"]:
    """The probability of success."""
    return PROCESS.success * np.prod(_chances(policy)[..., WORK], axis=1)


def honest_scores() -> Float[np.ndarray, " T"]:
    """The chance of success of a chain that works after each step, under the first policy."""
    works = _chances(uniform())[0, :, WORK]
    backwards = works[:0:-1]
    later = np.cumprod(backwards)[::-1]
    return PROCESS.success * np.append(later, 1.0)


def ends(praises: Float[np.ndarray, " P"], verified: bool) -> Ends:
    """All ends, as judges see them who score a hacked state so much."""
    steps = PROCESS.horizon
    working = honest_scores()
    time = np.arange(steps)
    stopped = [(step, cause, 1.0, 0.0) for step in time for cause in (HACK, ERR)]
    rows = [
        *stopped,
        (steps, WORK, PROCESS.success, 1.0),
        (steps, WORK, 1 - PROCESS.success, 0.0),
    ]
    score = np.empty((len(praises), len(rows), steps))
    for place, (step, cause, _, outcome) in enumerate(rows):
        liked = praises[:, None] if cause == HACK else 0.0
        score[:, place] = np.where(time < step, working, liked)
        if verified:
            score[:, place, -1] = outcome
    step, cause, chance, _ = np.array(rows).T
    return Ends(step, cause, chance, score)


def returns(score: Float[np.ndarray, "*shape T"], least: bool) -> Float[np.ndarray, "*shape T"]:
    """The sum of the scores from each step on, or the least of them."""
    add = np.minimum if least else np.add
    return add.accumulate(score[..., ::-1], axis=-1)[..., ::-1]


def credit(policy: Policies, known: Ends, least: bool) -> Policies:
    """E[what the scores from here on make | still working, action], exactly."""
    made = returns(known.score, least)
    chance = _chances(policy)
    hazard = stops()
    cause = known.cause.astype(int)
    found = np.zeros_like(policy)
    for step in range(PROCESS.horizon):
        likely = _later(chance, known, step)
        for action in range(3):
            now = hazard[cause, action]
            later = hazard[WORK, action] * likely
            # What ended before this step can't be any more.
            reached = np.where(known.step == step, now, later)
            possible = np.where(known.step >= step, reached, 0.0)
            weight = possible * known.chance
            found[:, step, action] = np.sum(weight * made[..., step], axis=1)
    return found


def _later(
    chance: Float[np.ndarray, "P T 3"],
    known: Ends,
    step: int,
) -> Float[np.ndarray, "P E"]:
    """The probability of each end if the chain works after a step."""
    likely = np.ones((len(chance), len(known.step)))
    for place, (last, cause) in enumerate(zip(known.step, known.cause, strict=True)):
        if last <= step:
            continue
        until = int(last)
        works = chance[:, step + 1 : until, WORK]
        at_last = 1.0
        if cause != WORK:
            at_last = chance[:, until, int(cause)]
        likely[:, place] = at_last * np.prod(works, axis=1)
    return likely


@functools.cache
def trained(arm: str, praises: tuple[float, ...] = (PRAISE,)) -> Float[np.ndarray, " P"]:
    """The success that is reached by following the exact expected gradient of the scores."""
    least, verified = ARMS[arm]
    known = ends(np.array(praises), verified)
    logit = np.zeros((len(praises), PROCESS.horizon, 3))
    for _ in range(UPDATES):
        policy = _softmax(logit)
        given = credit(policy, known, least)
        weighed = policy * given
        among = weighed.sum(axis=2, keepdims=True)
        works = _chances(policy)[..., WORK]
        before = np.cumprod(works, axis=1) / works
        gradient = before[..., None] * policy * (given - among)
        logit = logit + RATE * gradient
    return success(_softmax(logit))


def _softmax(logit: np.ndarray) -> Policies:
    largest = logit.max(axis=2, keepdims=True)
    weight = np.exp(logit - largest)
    return weight / weight.sum(axis=2, keepdims=True)


def least_of_scores() -> dict[str, Answer]:
    """7.1: credit by the minimum, and what an error of the judge does to both forms."""
    score = np.array([0.5, 0.6, 0.3, 0.4, 0.7, 0.45])
    exact = returns(score, least=True)
    mistakes = {
        "that is the sum of the scores from each step on": returns(score, least=False),
        "that is the least score of the whole episode, for every step": np.full(6, score.min()),
        "that is the least score up to each step: later ones count, not earlier ones": (
            np.minimum.accumulate(score)
        ),
        "those are the scores themselves": score,
    }

    def applied(written: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.asarray(written(score), float)

    function = Answer(
        exact,
        mistakes,
        "Start from the end.",
        of=applied,
    )
    error = 0.05
    moved = {}
    for name, least in (("sum", False), ("minimum", True)):
        exactly = returns(score, least)
        wrongly = returns(score + error, least)
        moved[name] = float(wrongly[0] - exactly[0])
    return {
        "minimum": function,
        "error of the sum": Answer(
            moved["sum"],
            {
                "that is the error of one score; six are added": error,
                "the first step's own score is wrong, too": 5 * error,
            },
        ),
        "error of the minimum": Answer(
            moved["minimum"],
            {
                "that is the sum's: of a minimum one score counts": moved["sum"],
                "the least score is wrong by as much as any other": 0.0,
            },
        ),
    }


def survivor() -> Answer:
    """7.2: the form that withstands a judge which likes hacked states."""
    first = float(success(uniform())[0])
    reached = {arm: float(trained(arm)[0]) for arm in ARMS}
    best = max(reached, key=lambda arm: reached[arm])
    near = {}
    for arm, end in reached.items():
        # Four digits, since two of them end nearly alike and need words of their own.
        said = f"with the {arm}, success goes from {first:.3f} at first to {end:.4f}"
        if arm != best:
            near[said] = arm
    return Answer(best, near)


@functools.cache
def labels() -> Float[np.ndarray, "T 2"]:
    """The exact advantages of both actions at each step of a chain on the right track."""
    mdp = CHAIN.build()
    return precise_truth(mdp, casim.Uniform().table(mdp)).advantage[:, GOOD]


def snr(noise: float, mixed: bool) -> float:
    """The SNR of one episode's gradient by labels with noise, shuffled or not, exactly.

    The squared gradient of a step is half its squared credit, as |grad log pi|^2 = 1/2. Shuffled
    credit has 1 / T of the mean, and the squares of an episode in another order. After the best
    scalar.
    """
    advantage = labels()
    steps = len(advantage)
    of_step = np.mean(advantage**2, axis=1)
    square = np.sum(of_step) / 2
    noisy = square + steps * noise**2 / 2
    signal = square / steps**2 if mixed else square
    return signal / (noisy - signal)


def shuffled_labels() -> dict[str, Answer]:
    """7.3: what shuffling the labels of an episode does."""
    advantage = labels()
    steps = len(advantage)
    right = advantage[PIVOT, 0]
    kept = {
        "that is of the labels in their own order": right,
        "its label is worth 0.3 and lands here once in 12 times": 0.0,
        "that is how often the label lands here": 1 / steps,
    }
    # Each step gets each label alike often: its own, or one of another step's action.
    usual = np.mean(advantage, axis=1, keepdims=True)
    mean = (advantage + usual.sum() - usual) / steps
    lengths = np.linalg.norm(mean) * np.linalg.norm(advantage)
    cosine = np.sum(mean * advantage) / lengths
    direction = {
        "that is how much shorter it is: its direction is asked for": 1 / steps,
        "it is short, and it still points somewhere": 0.0,
    }
    in_order = snr(1.0, mixed=False)
    loud = in_order / snr(1.0, mixed=True)
    factor = {
        "that is the factor of the mean; the ratio has its square": steps,
        "the noise is about the same, and the signal is not": 1.0,
    }
    return {
        "mean credit": Answer(mean[PIVOT, 0], kept),
        "cosine": Answer(cosine, direction),
        "factor of the SNR": Answer(loud, factor, "Square what happens to the mean.", 3.0),
    }


LESSON = Lesson(
    number=7,
    title="Judges and process rewards: hacking and shuffled labels",
    minutes=50,
    goals=(
        "say how a sum and a minimum of process rewards carry a judge's error",
        "say what protects from a judge that can be pleased, and what does not",
        "test whether a judge's labels know anything, by shuffling them, with the right score",
    ),
    needs="lesson 1",
    source=Path(__file__).parent / "sources" / "07_judges.py",
    questions={
        "7.1": least_of_scores,
        "7.2": survivor,
        "7.3": shuffled_labels,
    },
)
