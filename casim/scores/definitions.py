"""What each score is, in words: the definitions that tables, reports and pages link to.

`docs/scores.md` says the same, with the reasons.
"""

from __future__ import annotations

from typing import NamedTuple

IDENTIFICATION = "Is the credit right?"
GRADIENT = "Does it train?"
COST = "What did it cost?"


class Definition(NamedTuple):
    """A score."""

    family: str
    """What it is one answer to: `IDENTIFICATION`, `GRADIENT` or `COST`."""
    words: str


READING = {
    IDENTIFICATION: (
        "A cell is (t, s, a); expectations in it are over fresh groups of N trajectories. c is the "
        "credit, A the exact advantage. Cells are weighted by w = P(s_t = s) pi(a | s) over the "
        "steps at which the policy decides something. The signal is the weighted mean of A²."
    ),
    GRADIENT: (
        "g = (1/N) sum_i sum_t discount^t c_it grad log pi(a_it) is the gradient of one group, and "
        "g* the exact policy gradient."
    ),
    COST: "Of one batch.",
}
"""What the definitions of a family speak of."""


def _right(words: str) -> Definition:
    return Definition(IDENTIFICATION, words)


def _trains(words: str) -> Definition:
    return Definition(GRADIENT, words)


_USED = Definition(COST, "what one call used beyond its batch, measured")

DEFINITIONS = {
    "bias": _right(
        "weighted mean of (E[c | cell] - A)², over the signal. 1 is as large as the signal; zero "
        "scores exactly 1"
    ),
    "centred_bias": _right(
        "the same after subtracting its mean under pi in each state: an offset that no action can "
        "change is harmless"
    ),
    "target_bias": _right(
        "bias against the estimator's own target instead of A; missing where that target has no "
        "exact value"
    ),
    "variance": _right("weighted mean of Var(c | cell), over the signal"),
    "rmse": _right("root mean squared difference to A along trajectories, in units of reward"),
    "sign_accuracy": _right(
        "share of steps with |A| above 0.1% of the largest, where c has the sign of A; c = 0 is "
        "wrong"
    ),
    "rank_correlation": _right(
        "Spearman's correlation of c and A within a trajectory; undefined where either is constant"
    ),
    "precision_at_k": _right(
        "share of pivotal steps among the k largest |c|, k their number; ties share places, so a "
        "constant scores chance"
    ),
    "leakage": _right(
        "share of the absolute credit of a trajectory on steps where no action matters"
    ),
    "effective_sample": _right(
        "(Σ w)² / Σ w² over the decisions of a batch, as a share of their number: 1 where all "
        "weigh alike"
    ),
    "support": _right("share of the decisions that the loss takes at all (weight other than 0)"),
    "gradient_slope": _trains(
        "projection of the mean gradient on the exact one, <E g, g*> / |g*|²: kappa if c is kappa "
        "times right"
    ),
    "gradient_bias": _trains("|E g - g*|², over |g*|²"),
    "gradient_variance": _trains("E|g - E g|², over |g*|²"),
    "gradient_error": _trains(
        "root of gradient_bias, with its sign: below 0 where noise happened to be larger"
    ),
    "gradient_cosine": _trains("cosine of the mean gradient and the exact one"),
    "snr": _trains("|g*|² / E|g - g*|² = 1 / (gradient_bias + gradient_variance)"),
    "snr_aligned": _trains(
        "the SNR of k g with the best number k: cos² / (1 - cos²), cos² = <E g, g*>² / (|g*|² "
        "E|g|²); below 0 where k is, because the mean gradient points away from the exact one"
    ),
    "env_steps": _USED,
    "judge_calls": _USED,
    "critic_updates": _USED,
    "batch_steps": Definition(COST, "live steps of the batch itself"),
}
"""Every score of a row, see `casim.scores.NAMES`."""
