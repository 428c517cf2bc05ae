"""The answers of lesson 4: bootstrapping."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import casim
from casim import ops
from casim.oracle.moments import Moments, exact_scores, gae, recursion_moments
from casim.teaching import Answer, Lesson

GOOD, BAD, RIGHT, PIVOT, GROUP = 0, 1, 0, 4, 8
TASK = casim.Bifurcation(horizon=32, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=1)
LAST = TASK.horizon - 1
WAIT = LAST - PIVOT
"""Steps from the pivot to the outcome."""
LAMBDA = 0.95


@functools.cache
def _world() -> tuple[casim.MDP, jax.Array, np.ndarray]:
    """The chain, the coin flip's table in it, and the exact values."""
    mdp = TASK.build()
    policy = casim.Uniform().table(mdp)
    return mdp, policy, np.asarray(casim.solve(mdp, policy).value)


def _critic(kind: str) -> np.ndarray:
    """What a critic says: 0 after the end, and before it exact, lifted, timid or blind."""
    exact = _world()[2]
    middle = exact[0, GOOD]
    said = {
        "exact": exact,
        "lifted": exact + 0.2,
        "timid": middle + 0.5 * (exact - middle),
        "blind": np.full_like(exact, middle),
    }[kind].copy()
    said[-1] = 0.0
    return said


@functools.cache
def _moments(lambda_: float, kind: str = "exact") -> Moments:
    """The exact moments of GAE over a critic."""
    mdp, policy, _ = _world()
    return recursion_moments(mdp, policy, gae(lambda_, _critic(kind)), num=GROUP)


def _mean(
    time: int,
    lambda_: float,
    kind: str = "exact",
) -> float:
    """The mean credit of action 0 on the right track."""
    return _moments(lambda_, kind).expectation[time, GOOD, RIGHT]


def _episode() -> tuple[np.ndarray, np.ndarray]:
    """The rewards and the exact values of an episode that goes right and is verified."""
    reward = np.zeros(TASK.horizon)
    reward[-1] = 1.0
    return reward, _world()[2][:, GOOD].copy()


def _gae(lambda_: float) -> np.ndarray:
    """The credit of that episode, as estimators compute it."""
    reward, value = _episode()
    before = jnp.asarray(value[:-1])
    live = jnp.ones(TASK.horizon, bool)
    return np.asarray(ops.gae(jnp.asarray(reward), before, live, 1.0, lambda_))


def errors() -> Answer:
    """4.1: temporal-difference errors as a function of rewards and values."""
    reward, value = _episode()
    before, after = value[:-1], value[1:]
    near = {
        "that is V_t - V_{t+1}: credit is what got better": reward - after + before,
        "the reward of the step is missing": after - before,
        "that is r_t + V_{t+1}: what was expected before is still to be subtracted": reward + after,
        "that is r_t - V_t: what is still to come counts, too": reward - before,
    }
    of = _on(reward, value)
    return Answer(_gae(0.0), near, "r_t + V_{t+1} - V_t, with arrays shifted by one.", of=of)


def traces() -> Answer:
    """4.2: GAE as a function of temporal-difference errors."""
    error = _gae(0.0)
    forward = np.zeros_like(error)
    total = 0.0
    for t in range(len(error)):
        total = error[t] + LAMBDA * total
        forward[t] = total
    near = {
        "that is the sum of all later errors: lambda is missing": _gae(1.0),
        "that is the error alone": error,
        "that runs forward in time: credit comes from what is later": forward,
        "the error of the step itself is multiplied by lambda, too": LAMBDA * _gae(LAMBDA),
    }
    of = _on(error, LAMBDA)
    return Answer(_gae(LAMBDA), near, "From the end: delta_t + lambda c_{t+1}.", of=of)


def _on(*given: np.ndarray | float) -> Callable[[Callable], np.ndarray]:
    """What a reader's function makes of these."""
    return lambda function: function(*given)


def exact_critic() -> dict[str, Answer]:
    """4.3: mean and variance at the pivot, where V is exact."""
    after = _moments(1.0)
    mean = _mean(PIVOT, 0.0)
    variance = after.variance[PIVOT, GOOD, RIGHT]
    of_mean = {
        "that is V after it: what was it before?": _mean(PIVOT, 0.0) + _critic("exact")[0, GOOD],
        "that is the gap between the actions": 2 * mean,
        "an exact V jumps where it is decided, and not at the end": 0.0,
    }
    of_errors = {
        "that is the luck of being verified, which comes 27 steps later": variance,
        "that is the variance of an outcome before the pivot": after.variance[0, GOOD, RIGHT],
    }
    of_outcome = {
        "that is the variance of an outcome before the pivot": after.variance[0, GOOD, RIGHT],
        "the outcome is in it, and it is not known at the pivot": 0.0,
        "that is a deviation": variance**0.5,
    }
    return {
        "mean, lambda = 0": Answer(mean, of_mean),
        "mean, lambda = 1": Answer(_mean(PIVOT, 1.0), of_mean),
        "variance, lambda = 0": Answer(_moments(0.0).variance[PIVOT, GOOD, RIGHT], of_errors),
        "variance, lambda = 1": Answer(variance, of_outcome),
    }


def lifted() -> dict[str, Answer]:
    """4.4: the errors of a critic that says 0.2 too much everywhere."""
    at_pivot, at_end = _mean(PIVOT, 0.0, "lifted"), _mean(LAST, 0.0, "lifted")
    of_pivot = {
        "both V_{t+1} and V_t are 0.2 too large": at_pivot - 0.2,
        "V_{t+1} is 0.2 too large, and so is V_t": at_pivot + 0.2,
    }
    of_end = {
        "after the end there is no V: what it said too much is taken back there": 0.0,
        "it said too much before the outcome: is that good or bad news?": -at_end,
        "that is for an outcome of 0; what is it on average?": -_critic("lifted")[LAST, GOOD],
    }
    return {
        "at the pivot": Answer(at_pivot, of_pivot),
        "at the last step": Answer(at_end, of_end),
    }


def blind() -> dict[str, Answer]:
    """4.5: the credit at the pivot over a critic that sees no difference."""
    outcome = _mean(PIVOT, 1.0, "blind")
    answers = {}
    for lambda_ in (0.0, LAMBDA, 1.0):
        exact = _mean(PIVOT, lambda_, "blind")
        near = {
            "that is how much arrives; of what?": lambda_**WAIT,
            "that is one step too many: from the pivot to the last step it is 27": outcome
            * lambda_ ** (WAIT + 1),
            "that is an exact critic's; this one says the same before and after": outcome,
            "with lambda = 1 the critic drops out": 0.0,
        }
        distinct = {}
        for words, value in near.items():
            if min(abs(value - other) for other in (exact, *distinct.values())) > 2e-3:
                distinct[words] = value
        hint = "The only error is at the last step."
        answers[f"lambda = {lambda_:g}"] = Answer(exact, distinct, hint)
    return answers


def reach() -> Answer:
    """4.6: the lambda at which half of the credit comes through a thousand steps."""
    steps = 1000
    exact = 0.5 ** (1 / steps)
    near = {
        "that reaches 20 steps back": LAMBDA,
        "over 1,000 steps exp(-1) = 0.37 of it comes through that": 1 - 1 / steps,
        "over 1,000 steps exp(-0.5) = 0.61 of it comes through that": 1 - 0.5 / steps,
        "with that all of it comes through": 1.0,
    }
    return Answer(exact, near, "lambda^1000 = 1/2.", tolerance=5e-5)


def timid() -> dict[str, Answer]:
    """4.7: the slope of the gradient over a critic that sees half of each difference."""
    slopes = {}
    mdp, policy, _ = _world()
    for lambda_ in (0.0, 1.0):
        scores = exact_scores(mdp, policy, _moments(lambda_, "timid"))
        slopes[lambda_] = scores["gradient_slope"]
    of_errors = {
        "its V jumps by half as much as it should": 1.0,
        "it is timid, and not blind": 0.0,
    }
    of_outcome = {"with lambda = 1 the critic is a baseline and nothing else": slopes[0.0]}
    hint = "The mean credit over the advantage."
    return {
        "lambda = 0": Answer(slopes[0.0], of_errors, hint),
        "lambda = 1": Answer(slopes[1.0], of_outcome, hint),
    }


def best_lambda() -> dict[str, Answer]:
    """4.8: which lambda has the best signal-to-noise ratio."""
    mdp, policy, _ = _world()
    words = {
        "exact": "an exact V knows where nothing is decided; the outcome adds luck",
        "timid": "a slope of one half is repaired by the learning rate; noise is not",
        "blind": "what such a critic gives early arrives late: the pivot gets next to nothing",
    }
    answers = {}
    for kind, why in words.items():
        ratios = {}
        for lambda_ in (0.0, LAMBDA, 1.0):
            moments = _moments(lambda_, kind)
            ratios[lambda_] = exact_scores(mdp, policy, moments)["snr_aligned"]
        best = max(ratios, key=lambda lambda_: ratios[lambda_])
        near = {}
        for lambda_ in ratios:
            if lambda_ != best:
                near[f"{why} (lambda = {lambda_:g})"] = lambda_
        answers[kind] = Answer(best, near, "One of 0, 0.95 and 1.")
    return answers


LESSON = Lesson(
    number=4,
    title="Bootstrapping: TD, lambda, critics that lie",
    minutes=75,
    goals=(
        "write TD errors and GAE, and say where each puts credit and noise",
        "say which errors of a critic do harm, and which do none",
        "say how far back credit reaches at a lambda, and choose one for a length",
        "choose lambda by what is known of the critic",
    ),
    needs="lessons 1 and 2; a recursion in time",
    source=Path(__file__).parent / "sources" / "04_bootstrapping.py",
    questions={
        "4.1": errors,
        "4.2": traces,
        "4.3": exact_critic,
        "4.4": lifted,
        "4.5": blind,
        "4.6": reach,
        "4.7": timid,
        "4.8": best_lambda,
    },
)
