"""The exact scores of an estimator, from its exact moments: what a study's rows converge to.

In maths, as in `casim.metrics`, with A the exact advantage, g* the exact gradient, w = P(s_t = s, a_t = a) over
decisions and signal = sum_w A^2 / sum_w: bias = sum_w (E[c] - A)^2, centred_bias the same after subtracting
sum_a pi(a | s) (E[c | t, s, a] - A), variance = sum_w Var(c), all over sum_w signal; gradient_bias =
|E g - g*|^2 / |g*|^2, gradient_variance = sum Var(g) / |g*|^2, and 1 / snr is their sum; snr_aligned =
cos^2 / (1 - cos^2) with cos^2 = <E g, g*>^2 / (|g*|^2 (|E g|^2 + sum Var(g))).

References:
    Meulemans et al. 2023, arXiv:2306.16803 (bias, variance and SNR of the gradient). The SNR after the best scalar is
    derived for casim.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from casim.oracle.moments.group import Moments
from casim.oracle.moments.paths import precise_truth
from casim.types import MDP

ROUNDING = 2.0**-80
"""Squares below this share of what they were computed from are rounding, in double precision: they count as 0."""
SAME = 1e-12
"""Moments of a gradient that differ by less than this share are the same."""


def exact_scores(mdp: MDP, policy: Any, moments: Moments) -> dict[str, float]:
    """Scores by the names of `Row.scores`.

    NaN where undefined: relative scores where the exact advantage or gradient is 0, the cosine of no gradient, the SNR
    of one without error.

    Args:
        mdp: the process.
        policy: the table `[M, O, A]`.
        moments: of an estimator on them, with gradients in the parameters of that table.

    Raises:
        ValueError: as `casim.oracle.moments.precise`, or gradients of another shape than the table's.
    """
    truth = precise_truth(mdp, policy)
    if moments.gradient.shape != truth.gradient.shape:
        wanted, got = truth.gradient.shape, moments.gradient.shape
        raise ValueError(f"gradient must have shape {wanted}, got {got}")
    return _identification(truth, moments) | _gradient(mdp, truth, moments)


def _identification(truth: Any, moments: Moments) -> dict[str, float]:
    """Scores over cells."""
    weight = moments.probability / moments.probability.sum()
    met = weight > 0
    advantage = np.where(met, truth.advantage, 0.0)
    error = np.where(met, moments.expectation - advantage, 0.0)
    spread = np.where(met, moments.variance, 0.0)
    state = weight.sum(axis=-1, keepdims=True)
    offset = (weight * error).sum(axis=-1, keepdims=True) / np.where(state > 0, state, 1.0)
    signal = np.sum(weight * advantage**2)
    worth = np.sum(weight * truth.value[:-1, :, None] ** 2)
    signal = signal if signal > ROUNDING * worth else 0.0
    return {
        "bias": _divide(np.sum(weight * error**2), signal),
        "centred_bias": _divide(np.sum(weight * (error - offset) ** 2), signal),
        "variance": _divide(np.sum(weight * spread), signal),
        "rmse": float(np.sqrt(np.sum(weight * (error**2 + spread)))),
    }


def _gradient(mdp: MDP, truth: Any, moments: Moments) -> dict[str, float]:
    """Scores of the gradient."""
    norm = np.sum(truth.gradient**2)
    steps = moments.probability.shape[0]
    discounting = float(np.asarray(mdp.discount)) ** np.arange(steps)
    parts = moments.probability * np.abs(truth.advantage) * discounting[:, None, None]
    norm = norm if norm > ROUNDING * np.sum(parts) ** 2 else 0.0
    along, length = np.sum(moments.gradient * truth.gradient), np.sum(moments.gradient**2)
    bias = np.sum((moments.gradient - truth.gradient) ** 2)
    variance = np.sum(moments.gradient_variance)
    error, size = bias + variance, length + variance
    aligned = _divide(along**2, norm)
    noise = size - aligned
    return {
        "gradient_cosine": _divide(along, np.sqrt(norm * length)),
        "gradient_slope": _divide(along, norm),
        "gradient_error": float(np.sqrt(_divide(bias, norm))),
        "gradient_bias": _divide(bias, norm),
        "gradient_variance": _divide(variance, norm),
        "snr": _divide(norm, error if error > SAME * (norm + size) and norm > 0 else 0.0),
        "snr_aligned": _divide(aligned, noise if noise > SAME * size else 0.0),
    }


def _divide(x: float, y: float) -> float:
    """X / y, NaN where y is 0 or x undefined."""
    return float(x / y) if y > 0 else float("nan")
