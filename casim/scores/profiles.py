"""Profiles: where along an episode credit is wrong. Bias, variance and SNR by step or by distance.

In maths, with the cells (t, s, a) in bins B, p = P(s_t = s) pi(a | s) at decisions, mu the bias in
a cell and S = sum p A^2 over all cells,

    signal(B)   = sum_B p A^2 / S,          what of the signal is in the bin, exact,
    bias(B)     = sum_B p mu^2 / S,
    variance(B) = sum_B p Var(c) / S,
    snr(B)      = signal(B) / (bias(B) + variance(B)),

so that the first three add up over the bins to 1 and to the scores `bias` and `variance`. The SNR
is that of the credit: what a bin's decisions are worth, beside the square of the error there.

Bins by step are runs of steps of equal length. Bins by distance are runs of equal length of the
expected number of steps to the next reward (`casim.oracle.distance`), rounded; what no reward can
follow is in no bin, and has no signal. There are at most 64, so that they can be seen and kept.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from casim.blocks import ceil
from casim.oracle.distance import reward_distance
from casim.scores.crossing import BlocksCell, Found, PerBin, cross
from casim.scores.entry import RESOLUTION
from casim.scores.numbers import Quantity, divide, interval, over_pairs
from casim.scores.pairs import (
    CELLS,
    Exact,
    Fixed,
    arguments_of,
    finite_of,
    known_of,
    on_one_device,
    over_slabs,
    slab_width,
)
from casim.scores.score import PROFILE_NUMBERS, Profile
from casim.scores.sums import Sums
from casim.sums import label_sum
from casim.types import MDP, Truth

MAX_BINS = 64
"""Bins of a profile, at most."""


class BinSums(NamedTuple):
    """Sums over the cells of each bin; all add up over slabs of time."""

    bias: Any  # [B, bins] of p mu^2, over the pairs that hold each block
    variance: Any  # [B, bins] of p Var(c), likewise
    signal: Any  # [bins] of p A^2
    worth: Any  # [bins] of p V^2


class _Labelled(NamedTuple):
    """What is known of each step, and the bin of each state there; one beyond the last is none."""

    exact: Exact
    label: Int[Array, "T S"]


def profiles(
    mdp: MDP,
    truth: Truth,
    blocks: Sums,
    wanted: tuple[str, ...],
) -> dict[str, Profile]:
    """The profiles that are asked for, by name.

    Args:
        mdp: the process.
        truth: the exact values of the policy, at the exact visits of whoever acts.
        blocks: sums with a leading block axis.
        wanted: of `casim.scores.PROFILES`.
    """
    return {name: profile(mdp, truth, blocks, name) for name in wanted}


def profile(
    mdp: MDP,
    truth: Truth,
    blocks: Sums,
    by: str,
) -> Profile:
    """One profile, with 95% intervals over blocks."""
    first, label = bins_of(mdp, truth, by)
    sums = _bin_sums(mdp, truth, blocks, label, len(first))
    groups = float(np.asarray(blocks.groups).sum())
    found: Profile = {"first": first, **{name: [] for name in PROFILE_NUMBERS}}
    total = sums.signal.sum()
    no_signal = total <= RESOLUTION * sums.worth.sum()
    for i in range(len(first)):
        for name, value in _numbers(sums, i, np.nan if no_signal else total).items():
            score = interval(value, groups)
            found[name].append([score.value, score.low, score.high])
    return found


def without_value(found: dict[str, Profile]) -> dict[str, Profile]:
    """The same bins and signals, all that judges the value missing."""
    nothing = [np.nan] * 3
    of_value = [name for name in PROFILE_NUMBERS if name != "signal"]
    blank = {}
    for by, one in found.items():
        missing = {name: [nothing] * len(one["first"]) for name in of_value}
        blank[by] = {**one, **missing}
    return blank


def bins_of(
    mdp: MDP,
    truth: Truth,
    by: str,
) -> tuple[list[int], Int[np.ndarray, "T S"]]:
    """The first step or distance of each bin, and the bin of each state at each step.

    Bins after the last that any state is in are left out; a state in no bin has the number after
    the last.
    """
    steps, states = truth.occupancy.shape
    if by == "step":
        places = np.broadcast_to(np.arange(steps)[:, None], (steps, states))
    else:
        away = np.asarray(_distance(mdp, truth.state_policy))
        places = np.where(np.isfinite(away), np.round(away), -1)
    reached = np.asarray(truth.occupancy) > 0
    places = np.where(reached, places, -1).astype(np.int64)
    number = int(places.max()) + 1
    width = max(1, ceil(number, MAX_BINS))
    first = list(range(0, number, width))
    label = np.where(places < 0, len(first), places // width)
    return first, label.astype(np.int32)


_distance = jax.jit(reward_distance)


def _numbers(sums: BinSums, i: int, total: float) -> dict[str, Quantity]:
    """The numbers of one bin; NaN where there is nothing to be relative to."""
    num = len(sums.bias)
    bias = over_pairs(sums.bias[:, i])
    variance = over_pairs(sums.variance[:, i])
    error = bias + variance
    # An error that is rounding leaves nothing to divide by.
    largest = max(sums.worth[i], sums.signal[i])
    known = error[0] > RESOLUTION * largest
    signal = np.full(num + 1, sums.signal[i])
    return {
        "signal": signal / total,
        "bias": bias / total,
        "variance": variance / total,
        "snr": divide(signal, error if known else np.nan),
    }


def _bin_sums(
    mdp: MDP,
    truth: Truth,
    blocks: Sums,
    label: Int[np.ndarray, "T S"],
    bins: int,
) -> BinSums:
    """The sums of every bin, in double precision, on the first device of this process."""
    with jax.enable_x64(True):
        mdp, truth, blocks = on_one_device((mdp, truth, blocks))
        cells = tuple(jnp.asarray(getattr(blocks, name), jnp.float64) for name in CELLS)
        trajectories = jnp.asarray(blocks.trajectories, jnp.float64)
        fixed, exact, cells = arguments_of(mdp, truth, cells, trajectories)
        width = slab_width(exact.advantage.shape)
        labelled = _Labelled(exact, jnp.asarray(label))
        sums = _add_up(width, bins, fixed, labelled, cells)
        return jax.tree.map(np.asarray, sums)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _add_up(
    width: int,
    bins: int,
    known: Fixed,
    exact: _Labelled,
    cells: tuple,
) -> BinSums:
    (num,) = known.trajectories.shape
    of_block = jnp.zeros((num, bins))
    single = jnp.zeros(bins)
    zero = BinSums(of_block, of_block, single, single)
    of_slab = functools.partial(_of_slab, bins)
    return over_slabs(width, known, exact, cells, of_slab, zero)


def _of_slab(
    bins: int,
    known: Fixed,
    labelled: _Labelled,
    found: Found,
    fresh: Bool[Array, " T"],
) -> BinSums:
    """The sums over the cells of some steps, apart for each bin."""
    exact = labelled.exact
    here = known_of(known, exact, fresh)
    label = labelled.label.reshape(1, -1)

    def over(x: BlocksCell) -> PerBin:
        of_state = jnp.sum(x, axis=-1)
        rows = of_state.reshape(x.shape[0], -1)
        return label_sum(rows, jnp.broadcast_to(label, rows.shape), bins)

    crossed = cross(here, finite_of(found), over)
    advantage = exact.advantage.astype(jnp.float64) / known.unit
    value = exact.value.astype(jnp.float64) / known.unit
    square = here.probability * advantage**2
    worth = here.probability * value[..., None] ** 2
    return BinSums(
        crossed.bias,
        crossed.variance,
        over(square[None])[0],
        over(worth[None])[0],
    )
