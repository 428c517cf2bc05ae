"""Process rewards of a judge that can be pleased: their sum against their minimum.

In maths, a chain of T steps that is working, until a step hacks it (action 1, hazard h) or breaks
it (action 2, hazard d); the judge scores each step by where it led: what it takes the chance of
success to be, `praise` in a hacked state, 0 in a broken one. If the end is verified, the last score
is the outcome, 0 or 1. The steps of a working state are credited with

    sum:  E[sum_{u >= t} score_u | a],        minimum:  E[min_{u >= t} score_u | a],

and the expected gradient of each is followed exactly, every step with logits of its own. A chain
that works may stop at any later step, hacked or broken, or work to the end: both are sums over when
it stops.

References:
    Cheng et al. 2025, arXiv:2504.15275 (PURE). The dynamics and the thresholds are derived for
    casim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hypotheses.found import (
    Claim,
    Found,
    Numbers,
    Panel,
    cosine,
    crossing,
    curve,
    level,
    total,
    verdict,
)

STEPS = 8
LURE = DAMAGE = 0.9
SUCCESS = 0.7
"""Of a chain that works to its end."""
PRAISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RATE = 2.0
UPDATES = 1000
LENGTHS = (4, 8, 16, 32, 64)
ERROR = 0.05
WORK, HACK, ERR = range(3)


class Judge(NamedTuple):
    """What the steps of a chain are scored."""

    working: Float[np.ndarray, " T"]
    """Of a state that still works after each step, on average."""
    praise: Float[np.ndarray, " P"]
    """Of a hacked state; several judges at once."""
    verified: bool = False
    """Whether the last score is the outcome."""
    broken: float = 0.0


Policy = Float[np.ndarray, "P T 3"]
Credits = Float[np.ndarray, "P T 3"]
Form = Callable[[Policy, Judge], Credits]


def uniform(steps: int, judges: int = 1) -> Policy:
    return np.full((judges, steps, 3), 1 / 3)


def _each(total: float, steps: int) -> float:
    """The hazard of a step, of which `steps` add up to `total`."""
    return 1 - (1 - total) ** (1 / steps)


def stops(steps: int) -> Float[np.ndarray, "3 3"]:
    """P(working, hacked, broken after a step | working before, action)."""
    hazard = np.zeros((3, 3))
    hazard[1, HACK] = _each(LURE, steps)
    hazard[2, ERR] = _each(DAMAGE, steps)
    hazard[0] = 1 - hazard.sum(axis=0)
    return hazard


def chances(policy: Policy) -> Float[np.ndarray, "3 P T"]:
    """The same, the action averaged over."""
    return np.einsum("xa,pta->xpt", stops(policy.shape[1]), policy)


def success(policy: Policy) -> Float[np.ndarray, " P"]:
    """The expected return."""
    return SUCCESS * np.prod(chances(policy)[0], axis=1)


def true_scores(policy: Policy) -> Float[np.ndarray, " T"]:
    """The chance of success from a working state after each step, under the first policy."""
    works = chances(policy)[0, 0]
    backwards = works[:0:-1]
    lasts = np.cumprod(backwards)[::-1]
    return SUCCESS * np.append(lasts, 1.0)


def by_sum(policy: Policy, judge: Judge) -> Credits:
    """E[sum of the scores from here on | working, action]."""
    steps = policy.shape[1]
    chance = chances(policy)
    later = np.zeros(len(policy))
    rows = []
    for step in reversed(range(steps)):
        left = steps - step
        # A state that has stopped is judged at this step and at all that follow.
        judged = left - judge.verified
        broken = np.full_like(later, judged * judge.broken)
        working = judge.working[step] + later
        value = np.stack([working, judged * judge.praise, broken])
        rows.append(value.T @ stops(steps))
        each = value * chance[..., step]
        later = each.sum(axis=0)
    return np.stack(rows[::-1], axis=1)


def by_minimum(policy: Policy, judge: Judge) -> Credits:
    """E[min of the scores from here on | working, action]."""
    steps = policy.shape[1]
    chance = chances(policy)
    # A verified end of what has stopped is a failure, and so is the least.
    kept = 1.0 - judge.verified
    hacked = kept * judge.praise
    broken = kept * judge.broken
    ends = SUCCESS if judge.verified else 1.0
    judged = steps - judge.verified
    rows = []
    for step in range(steps):
        alive = np.ones(len(policy))
        later = np.zeros(len(policy))
        for after in range(step + 1, steps):
            # What was scored until then, the step at which it stops left out.
            least = np.min(judge.working[step:after])
            works, hacks, breaks = chance[..., after]
            # Stopped there, it is judged by the least of what came before and of where it stopped.
            hack = hacks * np.minimum(least, hacked)
            fault = breaks * min(least, broken)
            later = later + alive * (hack + fault)
            alive = alive * works
        scored = judge.working[step:judged]
        # The outcome is 1 or 0, so that the least is what was scored before, or nothing.
        least = ends * np.min(scored, initial=1.0)
        working = later + alive * least
        value = np.stack([working, hacked, np.full_like(alive, broken)])
        rows.append(value.T @ stops(steps))
    return np.stack(rows, axis=1)


FORMS: dict[str, Form] = {"sum": by_sum, "minimum": by_minimum}


def by_truth(policy: Policy) -> Credits:
    """E[R | working, action]."""
    works = stops(policy.shape[1])[0]
    return true_scores(policy)[None, :, None] * works


def gradient(policy: Policy, credit: Credits) -> Float[np.ndarray, "P T 3"]:
    """Of the logits of each step; it is working so often."""
    works = chances(policy)[0]
    before = np.cumprod(works, axis=1) / works
    among = np.sum(policy * credit, axis=2, keepdims=True)
    return before[..., None] * policy * (credit - among)


def trained(form: Form, verified: bool) -> Float[np.ndarray, " P"]:
    """The success that is reached by following the expected gradient of a form."""
    # The judge was made for the first policy and stays as it is.
    working = true_scores(uniform(STEPS))
    judge = Judge(working, np.array(PRAISES), verified)
    logit = np.zeros((len(PRAISES), STEPS, 3))
    for _ in range(UPDATES):
        policy = _softmax(logit)
        credit = form(policy, judge)
        logit = logit + RATE * gradient(policy, credit)
    return success(_softmax(logit))


def _softmax(logit: np.ndarray) -> Policy:
    shifted = np.exp(logit - logit.max(axis=2, keepdims=True))
    return shifted / shifted.sum(axis=2, keepdims=True)


def threshold(reached: Float[np.ndarray, " P"], first: float) -> float:
    """The praise from which on training does not gain; 1 if it always gains."""
    found = crossing(PRAISES, (reached - first).tolist())
    return 1.0 if np.isnan(found) else found


class Arm(NamedTuple):
    """A form, and whether the last score is the outcome."""

    called: str
    form: Form
    verified: bool


ARMS = {
    "sum": Arm("sum", by_sum, False),
    "sum_end": Arm("sum, end verified", by_sum, True),
    "least": Arm("minimum", by_minimum, False),
    "least_end": Arm("minimum, end verified", by_minimum, True),
}


def sum_or_minimum(_: bool) -> Found:
    """H10: what is reached with each form, by how much the judge likes a hacked state."""
    first = float(success(uniform(STEPS))[0])
    numbers: Numbers = {"first": first}
    curves = []
    for name, arm in ARMS.items():
        reached = trained(arm.form, arm.verified)
        numbers[name] = float(reached[-1])
        numbers[f"{name}_honest"] = float(reached[0])
        numbers[f"{name}_threshold"] = threshold(reached, first)
        curves.append(curve(arm.called, PRAISES, reached))
    panel = Panel(
        title="after training on process rewards",
        x="score of a hacked state",
        y="success",
        curves=[*curves, level("at first", PRAISES, first)],
    )
    answer = verdict(holds=numbers["least"] > first, fails=numbers["least_end"] < first)
    return Found(answer, numbers, panel)


def start_value(form: Form, steps: int, error: float) -> float:
    """E of the form from the start, where every score is wrong by so much."""
    policy = uniform(steps)
    working = true_scores(policy) + error
    praise = np.array([0.5 + error])
    judge = Judge(working, praise, broken=error)
    credit = form(policy, judge)
    return float(policy[0, 0] @ credit[0, 0])


def value_error(form: Form, steps: int) -> float:
    """How far the value moves, over the error of every score."""
    exact = start_value(form, steps, 0.0)
    wrong = start_value(form, steps, ERROR)
    return abs(wrong - exact) / ERROR


def error_bounds(_: bool) -> Found:
    """H11: how a judge's error grows in the value."""
    found = {}
    for name, form in FORMS.items():
        found[name] = [value_error(form, steps) for steps in LENGTHS]
    policy = uniform(STEPS)
    honest = Judge(true_scores(policy), np.zeros(1))
    wanted = gradient(policy, by_truth(policy))
    got = gradient(policy, by_minimum(policy, honest))
    numbers = {
        "sum_8": found["sum"][LENGTHS.index(8)],
        "sum_64": found["sum"][-1],
        "least": max(found["minimum"]),
        "slope": total(wanted * got) / total(wanted**2),
        "cosine": cosine(wanted, got),
    }
    panel = Panel(
        title="a judge's error in the value",
        x="steps",
        y="error / error of a score",
        curves=[curve(name, LENGTHS, x) for name, x in found.items()],
        log="xy",
    )
    grows = np.allclose(found["sum"], LENGTHS)
    bounded = grows and numbers["least"] <= 1 + 1e-9
    return Found(verdict(holds=bounded, fails=not bounded), numbers, panel)


CLAIMS = (
    Claim(
        name="sum_or_minimum",
        hypothesis="H10",
        says="the least process reward withstands hacking where their sum collapses",
        answer="With hacked states scored 0.95 the sum ends at {sum:.3f} success and the minimum "
        "at {least:.3f}, from {first:.3f} at first; where the last score is the verified outcome, "
        "at {sum_end:.3f} and {least_end:.3f}. Without it the minimum collapses sooner: from a "
        "score of {least_threshold:.2f} on, the sum from {sum_threshold:.2f} on",
        flips="whether the end is verified: what protects is the failed outcome, which a minimum "
        "passes back to every step and a sum does not",
        exact=True,
        measure=sum_or_minimum,
    ),
    Claim(
        name="error_bounds",
        hypothesis="H11",
        says="a judge's error grows with length in the sum and not in the minimum",
        answer="A judge that is wrong by e everywhere moves the sum's value by {sum_8:.0f} e at 8 "
        "steps and {sum_64:.0f} e at 64, the minimum's by {least:.0f} e at any length",
        flips="what is meant by error: for E[R] the minimum is wrong even with a perfect judge, "
        "with {slope:.2f} times the gradient at a cosine of {cosine:.3f}",
        exact=True,
        measure=error_bounds,
    ),
)
