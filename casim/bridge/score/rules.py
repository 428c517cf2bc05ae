"""The contract of an advantage function: a rule a line, each looking for a batch that breaks it.

A rule is asked of the function, and of the method that it claims to be: it binds the function only
where the method keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from casim.bridge.conventions.base import from_left, to_left
from casim.bridge.rows import Rows
from casim.bridge.score.asked import Asked, OfFunction
from casim.bridge.score.samples import Sample, last_token
from casim.bridge.score.verdicts import Breach

SAME = 1e-6
"""Credits that differ by less, or by less than this share of the largest, are the same."""
NEARLY = 1e-3
"""The same where rewards were scaled: an epsilon beside a deviation does not scale with them."""
FACTOR = 3.0
"""What rewards are multiplied by."""
SHIFT = 1.0
"""What is added to every outcome."""
MORE = 2
"""Columns of padding that are added."""
EQUAL = 7
OUTCOME = 0.35
"""Of so many rollouts: a number whose mean single precision misses by one rounding."""


class Rule(NamedTuple):
    """A line of the contract."""

    name: str
    broken: Callable[[Any, Sample], Breach | None]
    """A breach on this batch, if there is one."""
    suits: Callable[[OfFunction, Sample], bool]
    """Whether it can be asked of this function and batch."""
    of_layout: bool = False
    """Whether it is about how rows are laid out, which no method of casim depends on."""
    binds: bool = False
    """Whether it binds whatever the function claims."""
    advisory: bool = False
    """Whether it is a remark whatever the function claims."""


def same(
    one: np.ndarray,
    other: np.ndarray,
    share: float = SAME,
) -> bool:
    """Whether two credits are equal to rounding."""
    if one.shape != other.shape or not np.isfinite(one).all():
        return False
    size = max(1.0, float(np.abs(other).max(initial=0.0)))
    return bool(np.abs(one - other).max(initial=0.0) <= share * size)


def any_batch(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    """Suits all."""
    return True


def has_company(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    """Suits batches whose groups have several rows each."""
    return min(sample.sizes) > 1


def are_alone(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    """Suits batches with a group of one row."""
    return min(sample.sizes) == 1


def two_groups(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    """Suits batches of two groups of several rows."""
    return len(sample.sizes) == 2 and has_company(asked, sample)


def _sees_mask(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    return asked.called.convention.zero_on is not None


def _pads(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    return asked.called.convention.side is not None


def _pads_right(
    asked: OfFunction,
    sample: Sample,
) -> bool:
    return asked.called.convention.side == "right" and _sees_mask(asked, sample)


def is_finite(
    asked: Asked,
    sample: Sample,
) -> Breach | None:
    """Numbers on every token of the policy."""
    came = asked(sample)
    rows = sample.rows
    wrong = rows.mask & ~np.isfinite(came)
    if not wrong.any():
        return None
    return Breach(rows, came, None, "a number is not finite", rows.mask)


def masked_are_zero(
    asked: OfFunction,
    sample: Sample,
) -> Breach | None:
    """Exactly 0 on tokens that the mask leaves out."""
    rows = sample.rows
    came = asked(sample)
    left_out = ~rows.mask if asked.called.convention.zero_on == "mask" else ~rows.live
    wrong = left_out & (came != 0)
    if not wrong.any():
        return None
    why = "tokens outside the mask have credit: multiply by the mask at the end"
    return Breach(rows, came, np.zeros_like(came), why, wrong)


def padding_counts_not(
    asked: OfFunction,
    sample: Sample,
) -> Breach | None:
    """Two more columns of padding change nothing."""
    rows = sample.rows
    right = asked(sample)
    steps = right.shape[1]
    came = asked.of_rows(rows.wider(MORE))[:, :steps]
    if same(came[rows.mask], right[rows.mask]):
        return None
    why = f"with {MORE} more columns of padding the credit is another"
    return Breach(rows, came, right, why, rows.mask)


def side_counts_not(
    asked: OfFunction,
    sample: Sample,
) -> Breach | None:
    """Padding on the left of each row instead of the right changes nothing."""
    rows = sample.rows
    right = asked(sample)
    moved = _on_the_left(rows)
    came = from_left(asked.of_rows(moved), rows.live)
    if same(came[rows.mask], right[rows.mask]):
        return None
    why = "with its padding on the left the same batch gets other credit"
    return Breach(rows, came, right, why, rows.mask)


def _on_the_left(rows: Rows) -> Rows:
    """The same rows with their padding before them."""
    names = ("reward", "mask", "turn", "observation", "action", "discount", "value", "log_prob")
    moved = {name: to_left(getattr(rows, name), rows.live) for name in names}
    energy = to_left(rows.sum_pi_squared, rows.live)
    return rows._replace(
        live=to_left(rows.live, rows.live),
        sum_pi_squared=energy,
        **moved,
    )


def order_counts_not(
    asked: OfFunction,
    sample: Sample,
) -> Breach | None:
    """Groups in another order, and rows within them, keep their credit."""
    rows = sample.rows
    right = asked(sample)
    order = np.arange(len(right))[::-1]
    came = np.empty_like(right)
    came[order] = asked.of_rows(rows.taken(order))
    if same(came[rows.mask], right[rows.mask]):
        return None
    why = "with its rows in the opposite order the same batch gets other credit"
    return Breach(rows, came, right, why, rows.mask)


def masked_nan_stays_out(
    asked: OfFunction,
    sample: Sample,
) -> Breach | None:
    """What is no number on padding reaches no token of the policy."""
    rows = sample.rows
    right = asked(sample)
    dirty = np.where(rows.live, rows.reward, np.nan)
    value = None if rows.value is None else np.where(rows.mask, rows.value, np.nan)
    came = asked.of_rows(rows._replace(reward=dirty, value=value))
    if same(came[rows.mask], right[rows.mask]):
        return None
    why = "NaN on padding spreads: 0 times NaN is NaN, so choose by the mask instead of multiplying"
    return Breach(rows, came, right, why, rows.mask)


def equal_get_nothing(
    asked: Asked,
    sample: Sample,
) -> Breach | None:
    """Groups in which all outcomes are equal have credit 0.

    The outcomes are sums of powers of 2, which no precision rounds; `single_is_enough` has others.
    """
    outcome = np.array([0.25, 0.75])[:, None, None]
    reward = np.where(last_token(sample.fields), outcome, 0.0)
    equal = sample.changed(reward=reward)
    came = asked(equal)
    right = np.zeros_like(came)
    rows = equal.rows
    if same(came[rows.mask], right[rows.mask]):
        return None
    why = "all outcomes of a prompt are equal, so there is nothing to learn from it"
    return Breach(rows, came, right, why, rows.mask)


def single_is_enough(
    asked: OfFunction,
    sample: Sample,
) -> Breach | None:
    """Single precision makes no credit of equal outcomes that double precision gives none."""
    rows = sample.rows.taken(np.zeros(EQUAL, int))
    rows = rows._replace(reward=np.where(last_token({"live": rows.live}), OUTCOME, 0.0))
    right = asked.of_rows(rows)
    came = asked.of_rows(_single(rows))
    if same(came[rows.mask], right[rows.mask], NEARLY):
        return None
    gap = float(np.abs(came - right)[rows.mask].max())
    why = f"rounding: {EQUAL} outcomes of {OUTCOME} get {gap:.2g} more or less in single precision"
    return Breach(rows, came, right, why, rows.mask)


def _single(rows: Rows) -> Rows:
    """The same rows as most trainers have them: in single precision."""
    fields: Any = [
        x.astype(np.float32) if x is not None and x.dtype.kind == "f" else x for x in rows
    ]
    return Rows(*fields)


def groups_are_apart(
    asked: Asked,
    sample: Sample,
) -> Breach | None:
    """What another prompt's rollouts earn changes nothing."""
    right = asked(sample)
    reward = sample.fields["reward"].copy()
    reward[1, 0] += 0.5 * last_token(sample.fields)[1, 0]
    other = sample.changed(reward=reward)
    came = asked(other)
    rows = other.rows
    own = rows.mask & (rows.group == 0)[:, None]
    if same(came[own], right[own]):
        return None
    why = "the credit of prompt 0 depends on what a rollout of prompt 1 earned"
    return Breach(rows, came, right, why, own)


def scaled(
    asked: Asked,
    sample: Sample,
) -> tuple[str, Breach]:
    """What becomes of the credit where rewards and values are multiplied."""
    before = asked(sample)
    names = ("reward", "component", "value")
    fields = {name: FACTOR * sample.fields[name] for name in names}
    return _response(asked, sample.changed(**fields), before, FACTOR)


def shifted(
    asked: Asked,
    sample: Sample,
) -> tuple[str, Breach]:
    """What becomes of the credit where every outcome is larger by the same."""
    before = asked(sample)
    reward = sample.fields["reward"] + SHIFT * last_token(sample.fields)
    return _response(asked, sample.changed(reward=reward), before, None)


def _response(
    asked: Asked,
    changed: Sample,
    before: Float[np.ndarray, "R T"],
    factor: float | None,
) -> tuple[str, Breach]:
    """A word for what became of the credit, and the batch."""
    came = asked(changed)
    rows = changed.rows
    mask = rows.mask
    breach = Breach(rows, came, before, "", mask)
    if same(came[mask], before[mask], NEARLY):
        return "stays as it is", breach
    if factor is not None and same(
        came[mask],
        factor * before[mask],
        NEARLY,
    ):
        return "is scaled too", breach
    return "is another", breach


RULES = (
    Rule("finite", is_finite, has_company, binds=True),
    Rule("a group of one is finite", is_finite, are_alone),
    Rule("masked tokens are exactly 0", masked_are_zero, _sees_mask, of_layout=True),
    Rule("more padding changes nothing", padding_counts_not, _pads, of_layout=True),
    Rule("padding on the left changes nothing", side_counts_not, _pads_right, of_layout=True),
    Rule("row order changes nothing", order_counts_not, any_batch, of_layout=True, binds=True),
    Rule("equal returns give 0", equal_get_nothing, has_company),
    Rule("single precision is enough", single_is_enough, has_company, True, advisory=True),
    Rule("other prompts change nothing", groups_are_apart, two_groups),
    Rule("NaN on padding stays out", masked_nan_stays_out, _sees_mask, True, advisory=True),
)
"""In the order in which they are asked."""
