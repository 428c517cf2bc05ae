"""Forms that the explorer adds: a critic that is blind, and the advantages of all actions.

References:
    Derived for casim; `tests/explorer/test_known.py` checks the critic against its definition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from casim.oracle.moments import Trace, gae


def seen_critic(
    mdp: Any,
    truth: Any,
) -> Float[np.ndarray, "times S"]:
    """What a critic says that knows the time and what is seen, and nothing hidden: E[V | t, o]."""
    critic = np.zeros_like(truth.value)
    for t, kernel in enumerate(mdp.schedule):
        emission = np.asarray(mdp.emission[kernel])
        weight = truth.occupancy[t][:, None] * emission
        total = weight.sum(axis=0)
        earned = truth.value[t] @ weight
        value = np.divide(earned, total, out=np.zeros_like(earned), where=total > 0)
        critic[t] = emission @ value
    return critic


def blind_gae(lambda_: float) -> Any:
    """GAE over the critic of `seen_critic`, as a form of `casim.oracle.moments`."""

    def form(mdp: Any, truth: Any) -> Trace:
        return gae(lambda_, seen_critic(mdp, truth))(mdp, truth)

    return form


def all_advantages(_: Any, truth: Any) -> Trace:
    """A_t(s_t, a) for every action, whichever was taken."""
    zero = np.zeros_like(truth.q_value)
    value = truth.value[:-1, :, None]
    return Trace(
        reward=0.0,
        decay=0.0,
        after=np.zeros_like(truth.value),
        before=zero,
        every=truth.q_value - value,
    )
