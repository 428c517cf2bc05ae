"""Which way a gradient points, and how surely that is told: by drawn gradients, without a world.

Gradients of groups are drawn around a mean whose cosine with the exact one is chosen, in NumPy and
double precision.
"""

import numpy as np
import pytest

from casim.scores import gradient
from casim.scores.numbers import interval
from casim.scores.sums import Sums

BLOCKS = 10
GROUPS = 40
SIZE = 50
"""Of a gradient."""
REACH = np.asarray(1.0)
EXACT = np.zeros((1, SIZE, 1))
EXACT[0, 0] = 1.0


def scores_of(rng, cosine, strength):
    """The scores of drawn gradients.

    Args:
        rng: draws them.
        cosine: of their mean with the exact gradient; both have length 1.
        strength: the square of the mean's length over that of the noise which all groups leave.
    """
    mean = np.zeros(SIZE)
    mean[0] = cosine
    mean[1] = np.sqrt(1 - cosine**2)
    variance = GROUPS / strength / SIZE
    noise = rng.normal(size=(BLOCKS, GROUPS // BLOCKS, SIZE))
    each = mean + np.sqrt(variance) * noise
    return gradient.gradient_scores(EXACT, REACH, sums_of(each))


def sums_of(each):
    """What a study sums up of gradients `[B, C, D]`."""
    error = each - EXACT.ravel()
    square_of_error = np.sum(error**2, axis=(1, 2))
    square = np.sum(each**2, axis=(1, 2))
    fields = dict.fromkeys(Sums._fields)
    fields["groups"] = np.full(BLOCKS, GROUPS / BLOCKS)
    fields["gradient_error"] = error.sum(axis=1).reshape(BLOCKS, *EXACT.shape)
    fields["gradient_square"] = np.stack([square_of_error, square], axis=1)
    return Sums(**fields)


def cosines(cosine, strength):
    """The cosine in each of 200 studies."""
    rng = np.random.default_rng(0)
    studies = [scores_of(rng, cosine, strength) for _ in range(200)]
    return [study["gradient_cosine"] for study in studies]


@pytest.mark.parametrize("cosine", [1.0, 0.5, -0.5])
@pytest.mark.parametrize("strength", [0.07, 0.3])
def test_a_cosine_that_noise_hides_has_no_interval(cosine, strength):
    """It had 0.27 with an interval from 0.23 to 0.31 where 1 was right."""
    entries = cosines(cosine, strength)
    values = [entry.value[0] for entry in entries]
    assert np.isfinite(values).all()
    hidden = 0
    for entry in entries:
        if entry.note:
            assert entry.note == gradient.ATTENUATED.format(groups=GROUPS)
            assert np.isnan(interval(entry.value, entry.count).low)
            hidden += 1
    # Few means come out long by chance.
    assert hidden > 0.9 * len(entries)


@pytest.mark.parametrize("cosine", [1.0, 0.5, -0.5])
def test_a_cosine_that_is_told_has_an_interval_that_holds_it(cosine):
    entries = cosines(cosine, strength=4.0)
    found = [interval(entry.value, entry.count) for entry in entries]
    held = [score.low <= cosine <= score.high for score in found]
    assert not any(entry.note for entry in entries)
    assert np.mean(held) > 0.92


def test_a_gradient_that_points_away_has_an_aligned_snr_below_0():
    signs = {0.5: 1.0, -0.5: -1.0}
    for cosine, sign in signs.items():
        scores = scores_of(np.random.default_rng(0), cosine, strength=40.0)
        entry = scores["snr_aligned"]
        # cos^2 of one group: the square of its mean's length along g* over its mean square.
        square = cosine**2 / (1 + GROUPS / 40.0)
        right = sign * square / (1 - square)
        found = interval(entry.value, entry.count)
        assert found.low <= right <= found.high
        assert found.low * sign > 0
        assert found.high * sign > 0
