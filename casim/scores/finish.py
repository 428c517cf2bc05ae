"""A row's scores, with their intervals and with what is missing and why, from its sums per block.

The formulas of the scores are in `casim.metrics`, how squares are freed of noise in `casim.scores.pairs`. What is
undefined is missing: NaN, with a note that says why. A number that is only rounding counts as 0, so that what is
divided by it is undefined: the signal, where it is below RESOLUTION times the mean square of the values; the exact
gradient, where it is below the same share of the sum of its parts; the noise of a gradient below its own rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from casim.metrics import CREDIT_BITS, Sums
from casim.scores.numbers import Finished, Quantity, divide, interval, over_blocks, over_pairs, products, ratio
from casim.scores.pairs import CELLS, CellPairs, cell_pairs
from casim.types import MDP, Truth

NAMES = (
    "bias",
    "centred_bias",
    "target_bias",
    "variance",
    "rmse",
    "sign_accuracy",
    "rank_correlation",
    "precision_at_k",
    "leakage",
    "gradient_cosine",
    "gradient_slope",
    "gradient_error",
    "gradient_bias",
    "gradient_variance",
    "snr",
    "snr_aligned",
    "env_steps",
    "judge_calls",
    "critic_updates",
    "batch_steps",
)
"""Every score of a row, in its order."""
RESOLUTION = 2.0**-44
"""Squares of numbers that are 2^-22 (2.4e-7) of what they were computed from are rounding, in single precision."""
SAME = 2.0**-20
"""Two sums of squares in single precision that differ by less than this share are the same."""

NO_DECISION = "the policy meets no step at which it decides anything"
NO_SIGNAL = "no action that the policy takes changes the expected return: there is nothing to be relative to"
NO_GRADIENT = "the exact policy gradient is 0: there is nothing to be relative to"
NO_CREDIT = "the credit, and so its gradient, is 0"
NO_NOISE = "infinite: the gradient has no error above rounding"
NO_TARGET = "what the method estimates has no exact value here"
NO_SIGN = "no step has an advantage whose sign could be right"
CONSTANT = "undefined in every trajectory: credit or truth is constant there"
NO_PIVOT = "no step matters in any trajectory"
ATTENUATED = "too close to 0: the mean gradient of {groups:g} groups is mostly noise"


class NotFiniteError(ValueError):
    """An estimator gave credit that is NaN or infinite."""


class _Entry(NamedTuple):
    """A score before its interval is made."""

    value: Quantity
    count: float
    note: str = ""


def finalise(mdp: MDP, truth: Truth, blocks: Sums) -> Finished:
    """All scores with their intervals, from sums per block (leading axis), blocks of as many groups each.

    Raises:
        ValueError: fewer than two groups in all, or blocks of different numbers of groups.
        NotFiniteError: credit was not finite: its sums of errors are not.
    """
    groups = np.asarray(blocks.groups, np.float64)
    if groups.sum() < 2:
        raise ValueError(f"replicates must be at least 2, got {groups.sum():g}")
    if (groups != groups[0]).any():
        raise ValueError(f"blocks must hold equal numbers of groups, got {groups.tolist()}")
    cells = cell_pairs(mdp, truth, blocks)
    if cells.infinite > 0:
        raise NotFiniteError("credit must be finite, got NaN or infinity")
    rest = {name: np.asarray(x, np.float64) for name, x in blocks._asdict().items() if name not in CELLS}
    sums = Sums(**dict.fromkeys(CELLS), **rest)
    exact = np.asarray(truth.gradient, np.float64) / cells.unit
    entries = {
        **_identification(cells, groups.sum()),
        **_trajectories(sums),
        **_gradient(exact, cells, sums),
        **_costs(sums),
    }
    return Finished(
        scores={name: interval(entry.value, entry.count) for name, entry in entries.items()},
        left_out={name: entry.value[1:].tolist() for name, entry in entries.items()},
        notes={name: entry.note for name, entry in entries.items() if entry.note},
    )


def _identification(cells: CellPairs, groups: float) -> dict[str, _Entry]:
    """Is the credit of a cell right, on average?"""
    nothing = _missing(len(cells.square), NO_DECISION)
    sums = {
        "bias": cells.bias,
        "centred_bias": cells.centred,
        "target_bias": cells.target,
        "variance": cells.variance,
    }
    names = (*sums, "rmse")
    if not cells.decisions > 0:
        return dict.fromkeys(names, nothing)
    mean_square = over_blocks(cells.square) / cells.decisions
    rmse = _Entry(cells.unit * np.sqrt(np.maximum(mean_square, 0.0)), groups)
    if cells.signal <= RESOLUTION * cells.worth:
        return dict.fromkeys(sums, _missing(len(cells.square), NO_SIGNAL)) | {"rmse": rmse}
    entries = {name: _Entry(over_pairs(x) / cells.signal, groups) for name, x in sums.items()}
    if cells.aimless > 0:
        entries["target_bias"] = _missing(len(cells.square), NO_TARGET)
    return entries | {"rmse": rmse}


def _trajectories(sums: Sums) -> dict[str, _Entry]:
    """Is the credit of a trajectory where it should be? Means over trajectories or steps where that is defined."""
    counted = _sizes_that_count(sums.sizes)
    right = np.where(counted, sums.sign[..., 0], 0.0).sum(axis=1)
    signed = sums.sign[..., 1].sum(axis=1)
    leaked = np.where(counted[:, None], sums.leakage, 0.0).sum(axis=1)
    return {
        "sign_accuracy": _share(right, signed, NO_SIGN),
        "rank_correlation": _share(sums.rank[:, 0], sums.rank[:, 1], CONSTANT),
        "precision_at_k": _share(sums.precision[:, 0], sums.precision[:, 1], NO_PIVOT),
        "leakage": _share(leaked[:, 0], leaked[:, 1], NO_CREDIT),
    }


def _sizes_that_count(sizes: Float[np.ndarray, "B E"]) -> np.ndarray:
    """Which exponents of a group's largest credit are no rounding beside that of the group with the largest."""
    exponent = np.arange(sizes.shape[1])
    met = (sizes.sum(axis=0) > 0) & (exponent > 0)
    largest = exponent[met].max(initial=0)
    return (exponent > 0) & (exponent >= largest - CREDIT_BITS)


def _share(found: np.ndarray, of: np.ndarray, note: str) -> _Entry:
    """A mean over the trajectories or steps of all blocks, in which some blocks may have more of them."""
    if not of.sum() > 0:
        return _missing(len(of), note)
    return _Entry(divide(over_blocks(found), over_blocks(of)), float(of.sum()))


def _gradient(exact: Float[np.ndarray, "M O A"], cells: CellPairs, sums: Sums) -> dict[str, _Entry]:
    """Does the credit train? Everything relative to the exact gradient's square."""
    groups, num = sums.groups.sum(), len(sums.groups)
    names = (
        "gradient_cosine",
        "gradient_slope",
        "gradient_error",
        "gradient_bias",
        "gradient_variance",
        "snr",
        "snr_aligned",
    )
    norm = np.sum(exact**2)
    if norm <= RESOLUTION * cells.reach**2:
        return dict.fromkeys(names, _missing(num, NO_GRADIENT))
    error = (sums.gradient_error / sums.groups[:, None, None, None]).reshape(num, -1)
    square, size = (sums.gradient_square / sums.groups[:, None] / norm).T
    if not size.any():
        # What single precision adds up to 0 - g*, and no rounding of it.
        error, square = -np.tile(exact.reshape(1, -1), (num, 1)), np.ones(num)
    along = 1 + error @ exact.ravel() / norm
    bias = over_pairs(products(error) / norm)
    mean_square, size, slope = over_blocks(square), over_blocks(size), over_blocks(along)
    variance = mean_square - bias
    aligned = over_pairs(products(along[:, None]))
    every = {
        "gradient_slope": slope,
        "gradient_error": np.sign(bias) * np.sqrt(np.abs(bias)),
        "gradient_bias": bias,
        "gradient_variance": variance,
        "snr": ratio(np.ones(num + 1), mean_square),
        "snr_aligned": ratio(aligned, size - aligned),
    }
    entries = {name: _Entry(value, groups) for name, value in every.items()}
    entries["gradient_cosine"] = _cosine(slope, bias + 2 * slope - 1, variance, groups)
    if mean_square[0] <= RESOLUTION:
        entries["snr"] = _missing(num, NO_NOISE)
    if size[0] - aligned[0] <= SAME * size[0]:
        entries["snr_aligned"] = _missing(num, NO_NOISE)
    if size[0] <= RESOLUTION:
        entries |= dict.fromkeys(("gradient_cosine", "snr_aligned"), _missing(num, NO_CREDIT))
    return {name: entries[name] for name in names}


def _cosine(slope: Quantity, length: Quantity, variance: Quantity, groups: float) -> _Entry:
    """The cosine of the mean gradient, its length freed of noise, but not below the noise that is left in it.

    Without that floor it would be undefined wherever the noise happened to come out larger than the length.
    """
    num = len(slope) - 1
    without = groups - groups / num
    each = np.array([groups, *[without] * num])
    noise = np.maximum(variance, 0.0) / each
    cosine = divide(slope, np.sqrt(np.maximum(length, noise)))
    note = ATTENUATED.format(groups=groups) if length[0] < noise[0] else ""
    return _Entry(cosine, groups, note)


def _costs(sums: Sums) -> dict[str, _Entry]:
    """What a call used, and the steps of the batch it was given, per group."""
    names = ("env_steps", "judge_calls", "critic_updates", "batch_steps")
    each = (sums.cost / sums.groups[:, None]).T
    return {name: _Entry(over_blocks(x), sums.groups.sum()) for name, x in zip(names, each, strict=True)}


def _missing(num_blocks: int, note: str) -> _Entry:
    return _Entry(np.full(num_blocks + 1, np.nan), 0.0, note)
