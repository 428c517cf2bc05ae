"""What each score is: reports, the explorer and `docs/scores.md` are made of these definitions."""

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
    text: str = ""
    """The same as a formula in plain text, where words are not exact enough alone."""
    formula: str = ""
    """The same as a formula in LaTeX, for pages that typeset it."""

    @property
    def full(self) -> str:
        """The words, and behind a colon the formula as text."""
        return f"{self.words}: {self.text}" if self.text else self.words


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


def _right(words: str, text: str = "", formula: str = "") -> Definition:
    return Definition(IDENTIFICATION, words, text, formula)


def _trains(words: str, text: str = "", formula: str = "") -> Definition:
    return Definition(GRADIENT, words, text, formula)


_USED = Definition(COST, "what one call used beyond its batch, measured")

DEFINITIONS = {
    "bias": _right(
        "weighted mean of the squared error of the mean credit, over the signal. 1 is as large as "
        "the signal; zero scores exactly 1",
        "mean (E[c | cell] - A)² / mean A²",
        r"\langle (\mathrm{E}[c \mid t, s, a] - A)^2 \rangle \,/\, \langle A^2 \rangle",
    ),
    "centred_bias": _right(
        "the same after subtracting its mean under pi in each state: an offset that no action can "
        "change is harmless",
        "mean (e - E_pi[e | s])² / mean A², e = E[c | cell] - A",
        r"\langle (e - \mathrm{E}_\pi[e \mid t, s])^2 \rangle \,/\, \langle A^2 \rangle, \quad "
        r"e = \mathrm{E}[c \mid t, s, a] - A",
    ),
    "target_bias": _right(
        "bias against the estimator's own target instead of A; missing where that target has no "
        "exact value"
    ),
    "variance": _right(
        "weighted mean of the variance of the credit in a cell, over the signal",
        "mean Var(c | cell) / mean A²",
        r"\langle \mathrm{Var}(c \mid t, s, a) \rangle \,/\, \langle A^2 \rangle",
    ),
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
        "of the weights v of the n decisions of a batch, as a share of their number: 1 where all "
        "weigh alike",
        "(Σ v)² / (n Σ v²)",
        r"(\sum v)^2 \,/\, (n \sum v^2)",
    ),
    "support": _right("share of the decisions that the loss takes at all (weight other than 0)"),
    "gradient_slope": _trains(
        "projection of the mean gradient on the exact one; kappa if c is kappa times right",
        "<E g, g*> / |g*|²",
        r"\mathrm{E} g \cdot g^* \,/\, |g^*|^2",
    ),
    "gradient_bias": _trains(
        "squared distance of the mean gradient from the exact one, over the square of the exact",
        "|E g - g*|² / |g*|²",
        r"|\mathrm{E} g - g^*|^2 \,/\, |g^*|^2",
    ),
    "gradient_variance": _trains(
        "mean squared distance of a gradient from the mean one, over the square of the exact",
        "E|g - E g|² / |g*|²",
        r"\mathrm{E} |g - \mathrm{E} g|^2 \,/\, |g^*|^2",
    ),
    "gradient_error": _trains(
        "root of gradient_bias, with its sign: below 0 where noise happened to be larger"
    ),
    "gradient_cosine": _trains(
        "cosine of the mean gradient and the exact one",
        "<E g, g*> / (|E g| |g*|)",
        r"\mathrm{E} g \cdot g^* \,/\, (|\mathrm{E} g| \, |g^*|)",
    ),
    "snr": _trains(
        "square of the exact gradient over the mean squared error of one group's",
        "|g*|² / E|g - g*|² = 1 / (gradient_bias + gradient_variance)",
        r"|g^*|^2 \,/\, \mathrm{E} |g - g^*|^2",
    ),
    "snr_aligned": _trains(
        "the SNR of k g with the best number k; below 0 where k is, because the mean gradient "
        "points away from the exact one",
        "cos² / (1 - cos²), cos² = <E g, g*>² / (|g*|² E|g|²)",
        r"\frac{\cos^2}{1 - \cos^2}, \quad "
        r"\cos^2 = \frac{(\mathrm{E} g \cdot g^*)^2}{|g^*|^2 \, \mathrm{E} |g|^2}",
    ),
    "env_steps": _USED,
    "judge_calls": _USED,
    "critic_updates": _USED,
    "batch_steps": Definition(COST, "live steps of the batch itself"),
}
"""Every score of a row, see `casim.scores.NAMES`."""
