"""Does the credit train? The gradient that it gives, relative to the exact one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from casim.scores.entry import NO_MEASURE, RESOLUTION, Entry, missing
from casim.scores.numbers import (
    PerBlock,
    Quantity,
    divide,
    over_blocks,
    over_pairs,
    products,
    ratio,
)
from casim.scores.sums import Sums
from casim.scores.trajectories import NO_CREDIT

NAMES = (
    "gradient_cosine",
    "gradient_slope",
    "gradient_error",
    "gradient_bias",
    "gradient_variance",
    "snr",
    "snr_aligned",
)

SAME = 2.0**-20
"""Two sums of squares in single precision that differ by less than this share are the same."""

NO_GRADIENT = f"the exact policy gradient is 0: {NO_MEASURE}"
NO_NOISE = "infinite: the gradient has no error above rounding"
ATTENUATED = "too close to 0: the mean gradient of {groups:g} groups is mostly noise"


class _Means(NamedTuple):
    """Means over the groups of each block."""

    error: Float[np.ndarray, "B D"]
    """g - g*."""
    square: PerBlock
    """|g - g*|^2 / |g*|^2."""
    size: PerBlock
    """|g|^2 / |g*|^2."""


class _Moments(NamedTuple):
    """What the scores are made of, all relative to the exact gradient."""

    slope: Quantity
    """<E g, g*> / |g*|^2."""
    aligned: Quantity
    """Its square, free of noise."""
    bias: Quantity
    """|E g - g*|^2 / |g*|^2."""
    mean_square: Quantity
    """E|g - g*|^2 / |g*|^2."""
    size: Quantity
    """E|g|^2 / |g*|^2."""

    @property
    def variance(self) -> Quantity:
        """E|g - E g|^2 / |g*|^2."""
        return self.mean_square - self.bias

    @property
    def length(self) -> Quantity:
        """|E g|^2 / |g*|^2."""
        return self.bias + 2 * self.slope - 1

    @property
    def misaligned(self) -> Quantity:
        """What of the mean square no factor of the gradient takes away."""
        return self.size - self.aligned


def gradient_scores(
    exact: Float[np.ndarray, "M O A"],
    reach: Float[np.ndarray, ""],
    sums: Sums,
) -> dict[str, Entry]:
    """The scores of the gradient.

    Args:
        exact: g*, in units of the task.
        reach: what its length cannot exceed by more than a factor.
        sums: of all blocks.
    """
    num = len(sums.groups)
    norm = np.sum(exact**2)
    rounding = RESOLUTION * reach**2
    if norm <= rounding:
        nothing = missing(num, NO_GRADIENT)
        return dict.fromkeys(NAMES, nothing)
    flat = exact.ravel()
    means = _means(flat, norm, sums)
    moments = _moments(flat, norm, means)
    groups = sums.groups.sum()
    entries = _entries(moments, groups)
    entries |= _undefined(moments, num)
    return {name: entries[name] for name in NAMES}


def _means(
    exact: Float[np.ndarray, " D"],
    norm: float,
    sums: Sums,
) -> _Means:
    groups = sums.groups[:, None]
    num = len(groups)
    error = sums.gradient_error.reshape(num, -1)
    squares = sums.gradient_square / groups / norm
    square, size = squares.T
    if size.any():
        return _Means(error / groups, square, size)
    # Without credit, what single precision adds up is 0 - g*, rounded: this is it without rounding.
    return _Means(
        error=-np.tile(exact, (num, 1)),
        square=np.ones(num),
        size=size,
    )


def _moments(
    exact: Float[np.ndarray, " D"],
    norm: float,
    means: _Means,
) -> _Moments:
    along = 1 + means.error @ exact / norm
    error_products = products(means.error) / norm
    slope_products = products(along[:, None])
    return _Moments(
        slope=over_blocks(along),
        aligned=over_pairs(slope_products),
        bias=over_pairs(error_products),
        mean_square=over_blocks(means.square),
        size=over_blocks(means.size),
    )


def _entries(moments: _Moments, groups: float) -> dict[str, Entry]:
    """The scores where all of them are defined."""
    bias = moments.bias
    one = np.ones(len(bias))
    error = np.sign(bias) * np.sqrt(np.abs(bias))
    values = {
        "gradient_slope": moments.slope,
        "gradient_error": error,
        "gradient_bias": bias,
        "gradient_variance": moments.variance,
        "snr": ratio(one, moments.mean_square),
        "snr_aligned": _signed(moments),
    }
    entries = {name: Entry(value, groups) for name, value in values.items()}
    entries["gradient_cosine"] = _cosine(moments, groups)
    return entries


def _signed(moments: _Moments) -> Quantity:
    """The SNR after the best number, with the sign of that number.

    The sign is that of all blocks, also without one of them: where it is in doubt, the square is
    about 0, and a sign of its own for each would tear the interval in two.
    """
    size = ratio(moments.aligned, moments.misaligned)
    return np.sign(moments.slope[0]) * size


def _undefined(moments: _Moments, num_blocks: int) -> dict[str, Entry]:
    """The scores that would be made of rounding."""
    no_noise = missing(num_blocks, NO_NOISE)
    no_credit = missing(num_blocks, NO_CREDIT)
    size = moments.size[0]
    entries = {}
    if moments.mean_square[0] <= RESOLUTION:
        entries["snr"] = no_noise
    if moments.misaligned[0] <= SAME * size:
        entries["snr_aligned"] = no_noise
    if size <= RESOLUTION:
        entries["snr_aligned"] = no_credit
        entries["gradient_cosine"] = no_credit
    return entries


def _cosine(moments: _Moments, groups: float) -> Entry:
    """The cosine of the mean gradient, its length freed of noise.

    But not below the noise that is left in it: without that floor it would be undefined wherever
    the noise happened to come out larger than the length. At the floor it is too close to 0 by an
    unknown factor, which the spread of the blocks does not show, so it has no interval there.
    """
    num = len(moments.slope) - 1
    without = groups - groups / num
    each = np.array([groups, *[without] * num])
    variance = np.maximum(moments.variance, 0.0)
    noise = variance / each
    length = moments.length
    floored = np.maximum(length, noise)
    cosine = divide(moments.slope, np.sqrt(floored))
    if length[0] >= noise[0]:
        return Entry(cosine, groups)
    cosine[1:] = np.nan
    return Entry(cosine, groups, ATTENUATED.format(groups=groups))
