"""The exact scores of an estimator, from its exact moments: what a study's rows converge to.

In maths, as in `casim.scores`, with A the exact advantage, g* the exact gradient,
w = P(s_t = s, a_t = a) over decisions and signal = sum_w A^2 / sum_w: bias = sum_w (E[c] - A)^2,
centred_bias the same after subtracting sum_a pi(a | s) (E[c | t, s, a] - A),
variance = sum_w Var(c), all over sum_w signal; gradient_bias = |E g - g*|^2 / |g*|^2,
gradient_variance = sum Var(g) / |g*|^2, and 1 / snr is their sum;
snr_aligned = sign(<E g, g*>) cos^2 / (1 - cos^2) with
cos^2 = <E g, g*>^2 / (|g*|^2 (|E g|^2 + sum Var(g))).

References:
    Meulemans et al. 2023, arXiv:2306.16803 (bias, variance and SNR of the gradient). The SNR after
    the best scalar is derived for casim.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from casim.oracle.moments.group import Moments
from casim.oracle.moments.paths import precise_truth, weights
from casim.types import MDP

ROUNDING = 2.0**-80
"""Squares below this share of what they were computed from count as 0.

They are rounding, in double precision.
"""
SAME = 1e-12
"""Moments of a gradient that differ by less than this share are the same."""


def exact_scores(
    mdp: MDP,
    policy: Any,
    moments: Moments,
) -> dict[str, float]:
    """Scores by the names of `Row.scores`.

    NaN where undefined: relative scores where the exact advantage or gradient is 0, the cosine of
    no gradient, the SNR of one without error.

    Args:
        mdp: the process.
        policy: the table `[M, O, A]`.
        moments: of an estimator on them, with gradients in the parameters of that table.

    Raises:
        ValueError: as `casim.oracle.moments.precise`, or gradients of another shape than the
            table's.
    """
    truth = precise_truth(mdp, policy)
    wanted = truth.gradient.shape
    got = moments.gradient.shape
    if got != wanted:
        raise ValueError(f"gradient must have shape {wanted}, got {got}")
    return {
        **_identification(truth, moments),
        **_gradient(mdp, truth, moments),
    }


def _identification(truth: Any, moments: Moments) -> dict[str, float]:
    """Scores over cells."""
    total = moments.probability.sum()
    weight = moments.probability / total
    met = weight > 0
    advantage = np.where(met, truth.advantage, 0.0)
    expectation = np.where(met, moments.expectation, 0.0)
    error = expectation - advantage
    centred = error - _offset(weight, error)
    spread = np.where(met, moments.variance, 0.0)
    value = truth.value[:-1, :, None]

    def mean(x: np.ndarray) -> float:
        return np.sum(weight * x)

    worth = mean(value**2)
    signal = _unless_rounding(mean(advantage**2), worth)
    mean_square = mean(error**2 + spread)
    return {
        "bias": _divide(mean(error**2), signal),
        "centred_bias": _divide(mean(centred**2), signal),
        "variance": _divide(mean(spread), signal),
        "rmse": float(np.sqrt(mean_square)),
    }


def _offset(
    weight: Float[np.ndarray, "T S A"],
    error: Float[np.ndarray, "T S A"],
) -> Float[np.ndarray, "T S 1"]:
    """The mean error in each state, over what the policy does there."""
    total = weight * error
    of_state = weight.sum(axis=-1, keepdims=True)
    in_state = total.sum(axis=-1, keepdims=True)
    safe = np.where(of_state > 0, of_state, 1.0)
    return in_state / safe


def _gradient(
    mdp: MDP,
    truth: Any,
    moments: Moments,
) -> dict[str, float]:
    """Scores of the gradient."""
    exact = truth.gradient
    mean = moments.gradient
    reach = _reach(mdp, truth, moments)
    norm = _unless_rounding(np.sum(exact**2), reach**2)
    along = np.sum(mean * exact)
    length = np.sum(mean**2)
    bias = np.sum((mean - exact) ** 2)
    variance = np.sum(moments.gradient_variance)
    size = length + variance
    error = bias + variance
    has_error = norm > 0 and error > SAME * (norm + size)
    aligned = _divide(along**2, norm)
    misaligned = size - aligned
    has_misaligned = misaligned > SAME * size
    snr_aligned = _divide(aligned, misaligned if has_misaligned else 0.0)
    return {
        "gradient_cosine": _divide(along, np.sqrt(norm * length)),
        "gradient_slope": _divide(along, norm),
        "gradient_error": float(np.sqrt(_divide(bias, norm))),
        "gradient_bias": _divide(bias, norm),
        "gradient_variance": _divide(variance, norm),
        "snr": _divide(norm, error if has_error else 0.0),
        "snr_aligned": float(np.sign(along)) * snr_aligned,
    }


def _reach(
    mdp: MDP,
    truth: Any,
    moments: Moments,
) -> float:
    """What the length of the exact gradient cannot exceed by more than a factor."""
    steps = len(moments.probability)
    weight = weights(np.asarray(mdp.discount)[np.asarray(mdp.schedule)], steps)
    size = np.abs(truth.advantage)
    parts = moments.probability * size
    discounted = parts * weight[:, None, None]
    return np.sum(discounted)


def _unless_rounding(square: float, computed_from: float) -> float:
    """A square, 0 if it is only rounding of what it was computed from."""
    least = ROUNDING * computed_from
    return square if square > least else 0.0


def _divide(x: float, y: float) -> float:
    """X / y, NaN where y is 0 or x undefined."""
    return float(x / y) if y > 0 else float("nan")
