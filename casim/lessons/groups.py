"""The answers of lesson 3: groups, RLOO, GRPO and what normalising does."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import casim
from casim.estimators import Baseline, Chain, Whole
from casim.methods import DR_GRPO, GRPO, REINFORCE, RLOO
from casim.oracle import expected_return
from casim.oracle.moments import exact_scores, group_moments
from casim.teaching import Answer, Lesson
from casim.types import Batch

GROUP = 8
HARD, EVEN, EASY = 0.1, 0.5, 0.9
RETURNS = np.array([1.0, 0, 0, 1, 1, 0, 0, 0])


def prompt(success: float) -> casim.Bifurcation:
    """A prompt with one decision, which a coin flip answers with this success probability."""
    return casim.Bifurcation(horizon=1, pivots=(0,), gap=0.1, base=success, num_segments=1)


@functools.cache
def _scores(method: Any, success: float, num: int = GROUP) -> dict[str, float]:
    """The exact scores of a method on groups of a prompt."""
    mdp = prompt(success).build()
    policy = casim.Uniform().table(mdp)
    return exact_scores(mdp, policy, group_moments(mdp, policy, method, num))


def _slope(method: Any, success: float, num: int = GROUP) -> float:
    """By how much the mean gradient is longer than the exact one."""
    return _scores(method, success, num)["gradient_slope"]


def _credit(method: Any) -> np.ndarray:
    """What a method gives to the episodes of a group with these returns."""
    ours = np.ones((len(RETURNS), 1), bool)
    batch = Batch.from_arrays(RETURNS[:, None], mask=ours, prompt=np.zeros(len(RETURNS), int))
    return np.asarray(method.credit(jax.random.key(0), None, batch).value)[0, :, 0]


def _on_returns(function: Callable[[np.ndarray], Any]) -> Any:
    """A reader's function of returns, on a copy."""
    return function(RETURNS.copy())


def leave_one_out() -> Answer:
    """3.1: RLOO as a function of the returns of a group."""
    others = len(RETURNS) - 1
    mean_of_others = RETURNS - _credit(RLOO)
    near = {
        "that is Dr. GRPO: your mean has the episode itself in it": _credit(DR_GRPO),
        "that is REINFORCE: nothing is subtracted": _credit(REINFORCE),
        "that is the mean of the others, and not yet what is left": mean_of_others,
        "the sum of all is divided by N - 1: one's own return is still in it": RETURNS
        - RETURNS.sum() / others,
    }
    return Answer(_credit(RLOO), near, "(sum of R - R_i) / (N - 1).", of=_on_returns)


def shrinking() -> dict[str, Answer]:
    """3.2: the slope of Dr. GRPO's gradient."""
    slopes = {num: _slope(DR_GRPO, EVEN, num) for num in (8, 2)}
    answers = {}
    for num, slope in slopes.items():
        near = {
            "that is RLOO's, which is right; here one's own return is in the mean": _slope(
                RLOO, EVEN, num
            ),
            "the other way round: the gradient is too short, not too long": 1 / slope,
        }
        if num > 2:
            near["that is what is lost, and not what is left"] = 1 - slope
        answers[f"N = {num}"] = Answer(slope, near, "Write R_i - mean as a multiple of RLOO's.")
    return answers


def normalised() -> Answer:
    """3.3: GRPO as a function of the returns of a group."""
    by_count = Chain(Whole(), Baseline("group", scale=True, ddof=0))
    deviation = RETURNS.std(ddof=1)
    near = {
        "the variance is divided by N; GRPO's by N - 1 (ddof=1)": _credit(by_count),
        "that is Dr. GRPO: it is not divided by the deviation": _credit(DR_GRPO),
        "that is divided by the variance, and not by the deviation": _credit(GRPO) / deviation,
        "that is RLOO over the deviation: GRPO's mean has the episode itself in it": _credit(RLOO)
        / deviation,
        "the mean is still to be subtracted": RETURNS / deviation,
    }
    return Answer(_credit(GRPO), near, "(R - mean) / std, with ddof=1.", of=_on_returns)


def _success(chance: float) -> float:
    """The exact success probability of a prompt."""
    mdp = prompt(chance).build()
    return float(expected_return(mdp, casim.Uniform().table(mdp)))


def silent_groups() -> dict[str, Answer]:
    """3.4: how often all outcomes of a group are equal."""
    answers = {}
    for chance in (EASY, EVEN):
        success = _success(chance)
        right, wrong = success**GROUP, (1 - success) ** GROUP
        near = {
            "that is how often there is something to learn": 1 - right - wrong,
            "that is how often one episode succeeds": success,
        }
        if chance == EASY:
            near["that is how often two are equal: all 8 must be"] = success**2 + (1 - success) ** 2
        else:
            near["all may be right, or all wrong"] = right
        answers[f"p = {chance}"] = Answer(right + wrong, near, "All right, or all wrong.")
    return answers


def weight_of_prompts() -> Answer:
    """3.5: how much more a large group's GRPO weighs a hard prompt than an even one."""
    variance = {chance: _success(chance) * (1 - _success(chance)) for chance in (HARD, EVEN)}
    ratio = math.sqrt(variance[EVEN] / variance[HARD])
    near = {
        "the other way round: a small deviation divides to a large weight": 1 / ratio,
        "that is the ratio of the variances": ratio**2,
        "that is the weight itself: how many times that of p = 0.5?": 1 / math.sqrt(variance[HARD]),
        "the deviation of a coin that is often wrong is smaller than that of an even one": 1.0,
        "that is what dividing by p would do (MaxRL)": _success(EVEN) / _success(HARD),
    }
    return Answer(ratio, near, "sqrt(p (1 - p)) of both.", tolerance=0.01)


def weight_in_pairs() -> Answer:
    """3.6: the same in groups of two."""
    ratio = _slope(GRPO, HARD, 2) / _slope(GRPO, EVEN, 2)
    large = math.sqrt(0.25 / (_success(HARD) * (1 - _success(HARD))))
    near = {
        "that is for large groups: which deviations can two outcomes have?": large,
        "that is for groups of 8": _slope(GRPO, HARD) / _slope(GRPO, EVEN),
    }
    return Answer(ratio, near, "List the four groups of two outcomes.", tolerance=0.01)


OBJECTIVES: dict[str, Callable[[float], float]] = {
    "p": lambda p: p,
    "arcsin(sqrt(p))": lambda p: math.asin(math.sqrt(p)),
    "log(p)": math.log,
    "log(p / (1 - p))": lambda p: math.log(p / (1 - p)),
}


def objective() -> Answer:
    """3.7: whose gradient GRPO follows in large groups."""
    chances = np.array([0.05, 0.3, 0.5, 0.8])
    weight = 1 / np.sqrt(chances * (1 - chances))

    def misfit(name: str) -> float:
        """How far the slope of an objective is from a multiple of the weight."""
        value = OBJECTIVES[name]
        slope = np.array([(value(p + 1e-5) - value(p - 1e-5)) / 2e-5 for p in chances])
        return float(np.std(slope / weight) / np.mean(slope / weight))

    exact = min(OBJECTIVES, key=misfit)
    words = {
        "p": "its derivative is 1: that is RLOO, where all prompts weigh alike",
        "arcsin(sqrt(p))": "its derivative is 1 / (2 sqrt(p (1 - p)))",
        "log(p)": "its derivative is 1 / p: that is MaxRL",
        "log(p / (1 - p))": "its derivative is 1 / (p (1 - p)): one over the variance",
    }
    return Answer(exact, {words[name]: name for name in OBJECTIVES if name != exact})


def noise_of_normalising() -> Answer:
    """3.8: whether dividing by the deviation changes the noise of one prompt's gradient."""
    ratio = _scores(GRPO, EVEN)["snr_aligned"] / _scores(RLOO, EVEN)["snr_aligned"]
    choices = {"halves it": 0.5, "leaves it within 5%": 1.0, "doubles it": 2.0}
    exact = min(choices, key=lambda name: abs(choices[name] - ratio))
    words = {
        "halves it": "signal and noise are divided by the same number, nearly",
        "leaves it within 5%": "compare the exact ratios of both",
        "doubles it": "signal and noise are divided by the same number: what is longer is no surer",
    }
    return Answer(exact, {words[name]: name for name in choices if name != exact})


def large_or_many() -> Answer:
    """3.9: one group of 8 beside four groups of 2."""
    one, two = (_scores(RLOO, EVEN, num)["snr_aligned"] for num in (8, 2))
    ratio = one / (4 * two)
    near = {
        "you compare with one group of 2; four have four times its ratio": one / two,
        "the other way round: the mean of seven others is the better baseline": 1 / ratio,
        "the baseline of a pair is one other outcome, as noisy as one's own": 1.0,
        "that would be a baseline without any noise": 2.0,
    }
    hint = "The credit has variance p (1 - p) (1 + 1 / (N - 1))."
    return Answer(ratio, near, hint, tolerance=0.03)


LESSON = Lesson(
    number=3,
    title="Groups: RLOO, GRPO and what normalising does",
    minutes=60,
    goals=(
        "write RLOO, Dr. GRPO and GRPO in a line each, and say how they differ",
        "say which prompts teach nothing, and how often",
        "say which objective is climbed when credit is divided by its deviation",
        "choose between large groups and many groups",
    ),
    needs="lessons 1 and 2; the binomial distribution, a derivative",
    source=Path(__file__).parent / "sources" / "03_groups.py",
    questions={
        "3.1": leave_one_out,
        "3.2": shrinking,
        "3.3": normalised,
        "3.4": silent_groups,
        "3.5": weight_of_prompts,
        "3.6": weight_in_pairs,
        "3.7": objective,
        "3.8": noise_of_normalising,
        "3.9": large_or_many,
    },
)
