"""Sums that scores are made of: is the credit right, does it train, what does it cost.

Every replicate is a fresh group of N trajectories. `measure` turns one chunk of replicates into
sums; sums add up, per block of replicates, so memory does not grow with their number;
the rest of `casim.scores` turns them into scores with 95% intervals.

In maths, over decision steps, cells (t, s, a) weighted by w = P(s_t = s) pi(a | s), normalised by
the signal sum_w A^2: bias = sum_w (E[c | cell] - A)^2; centred_bias the same after subtracting
sum_a pi(a | s) E[c - A | t, s, a] (a state-only offset is harmless); variance =
sum_w Var(c | cell). For the gradient, with
g = (1/N) sum_i sum_t d_t c_it grad log pi(a_it) of a group, d_t the product of the discounts of the
steps before t, and g* the exact one:
gradient_bias = |E g - g*|^2 / |g*|^2, gradient_variance = E|g - E g|^2 / |g*|^2,
snr = |g*|^2 / E|g - g*|^2, so 1 / snr = gradient_bias + gradient_variance; snr_aligned is the snr
of k g with the best number k: cos^2 / (1 - cos^2) with cos^2 = <E g, g*>^2 / (|g*|^2 E|g|^2), and
below 0 where k is.

Credit, advantages and gradients are measured in a unit of the task (`unit_of`), so that squares of
very large or very small rewards stay in the range of single precision.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (bias, variance and SNR of the gradient). The SNR after
    the best number is derived for casim.
"""

from casim.scores.sums.exact import exact_sum
from casim.scores.sums.gradient import group_gradient, of_taken, weighted
from casim.scores.sums.matters import (
    TOLERANCE,
    advantage_on_path,
    matters_mask,
    pivotal_steps,
)
from casim.scores.sums.measure import Sums, measure
from casim.scores.sums.sizes import CREDIT_BITS, EXPONENTS
from casim.scores.sums.trajectory import (
    leakage,
    precision_at_k,
    rank_correlation,
)
from casim.scores.sums.unit import unit_of

__all__ = [
    "CREDIT_BITS",
    "EXPONENTS",
    "TOLERANCE",
    "Sums",
    "advantage_on_path",
    "exact_sum",
    "group_gradient",
    "leakage",
    "matters_mask",
    "measure",
    "of_taken",
    "pivotal_steps",
    "precision_at_k",
    "rank_correlation",
    "unit_of",
    "weighted",
]
