"""Exact scores of the broadcast family, in closed form from the numbers of `casim.oracle.summary`.

At discount 1 with reward only at the end, c = kappa (R - baseline) has mean kappa (A + offset) in a
cell, so with A averaging to 0 in every state:

    bias = (kappa - 1)^2 signal + kappa^2 offset^2,
    centred_bias = (kappa - 1)^2 signal, both divided by the signal.

kappa is 1 for the return (offset V) and RLOO (offset V - J), (N - 1) / N for Dr. GRPO, and for GRPO
with binary returns

    c_p(N) = (N - 1) / N E[std] / (p (1 - p)),

the mean over Binomial(N, p) groups of the ddof = 1 deviation. The variance is Var(R | s, a) for the
return, plus Var(R) / (N - 1) for RLOO.

References:
    Derived for casim; `tests/oracle/test_summary.py` checks each score against a study, and c_p by
    enumeration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from casim.checks import check_integer

Exact = Mapping[str, float]
"""The numbers of `casim.oracle.summary`."""
Scores = dict[str, float]
"""Exact scores by name, as `Row.scores` defines them."""


def binary_group_scale(success: float, num: int) -> float:
    """The kappa of GRPO, for returns in {0, 1}: E[credit | s, a] = kappa (Q - V(prompt)).

    This is the limit epsilon -> 0.

    Args:
        success: V(prompt), the success probability, in (0, 1).
        num: N, the group size, at least 2.

    Raises:
        ValueError: a success probability of 0 or 1, or outside, or a group of fewer than 2.
    """
    if not 0 < success < 1:
        raise ValueError(f"success must be in (0, 1), got {success!r}")
    check_integer("num", num, 2)
    failure = 1 - success
    pairs = num * (num - 1)
    mean = 0.0
    for wins in range(num + 1):
        losses = num - wins
        ways = math.comb(num, wins)
        chance = ways * success**wins * failure**losses
        deviation = math.sqrt(wins * losses / pairs)
        mean += chance * deviation
    own_share = (num - 1) / num
    return own_share * mean / (success * failure)


def plain_return(exact: Exact, num: int) -> Scores:
    """Of the return without a baseline, and of the return-to-go.

    Args:
        exact: from `summary`, of a task with binary return at discount 1; so below.
        num: N, the group size, at least 2.
    """
    signal = exact["signal"]
    variance = exact["future_variance"] / signal
    biases = _biases(exact, 1.0, exact["value_square"])
    return {**biases, "variance": variance}


def leave_one_out(exact: Exact, num: int) -> Scores:
    """Of the return less the mean of the others (RLOO)."""
    offset_square = exact["offset_square"]
    variance = _leave_one_out_variance(exact, num)
    biases = _biases(exact, 1.0, offset_square)
    return {**biases, "variance": variance}


def group_mean(exact: Exact, num: int) -> Scores:
    """Of the return less the mean of the group (Dr. GRPO)."""
    kappa = (num - 1) / num
    offset_square = exact["offset_square"]
    variance = _leave_one_out_variance(exact, num)
    biases = _biases(exact, kappa, offset_square)
    return {**biases, "variance": kappa**2 * variance}


def group_relative(exact: Exact, num: int) -> Scores:
    """Of the return less the mean of the group, over its deviation (GRPO)."""
    success = exact["expected_return"]
    kappa = binary_group_scale(success, num)
    return _biases(exact, kappa, exact["offset_square"])


def exact_advantage(exact: Exact, num: int) -> Scores:
    """Of the advantage itself."""
    return {
        "bias": 0.0,
        "centred_bias": 0.0,
        "sign_accuracy": 1.0,
    }


def no_credit(exact: Exact, num: int) -> Scores:
    """Of nothing at all."""
    return {
        "bias": 1.0,
        "centred_bias": 1.0,
        "variance": 0.0,
    }


def _biases(exact: Exact, kappa: float, offset_square: float) -> Scores:
    """Both biases of credit with mean kappa (A + offset)."""
    signal = exact["signal"]
    centred = (kappa - 1) ** 2
    shift = kappa**2 * offset_square / signal
    return {
        "bias": centred + shift,
        "centred_bias": centred,
    }


def _leave_one_out_variance(exact: Exact, num: int) -> float:
    """Of the own return given the cell, and of the mean of the others."""
    others = num - 1
    own = exact["future_variance"]
    baseline = exact["return_variance"] / others
    return (own + baseline) / exact["signal"]
