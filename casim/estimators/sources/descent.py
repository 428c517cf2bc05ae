"""The one loop by which models are fitted: gradient steps of an optax optimiser, one a round.

References:
    DeepMind 2020 (optax).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array


def descend(
    optimiser: Any,
    loss: Callable[[Any, Any], Array],
    params: Any,
    rounds: Any,
) -> Any:
    """The parameters after one step of the optimiser in each round.

    Args:
        optimiser: of optax.
        loss: of parameters, and of what is different in each round.
        params: at the start.
        rounds: arrays whose first axis is the rounds: keys, or the samples of a minibatch.
    """
    import optax

    def update(
        carry: tuple[Any, Any],
        now: Any,
    ) -> tuple[tuple[Any, Any], None]:
        params, state = carry
        slope = jax.grad(loss)(params, now)
        change, state = optimiser.update(slope, state, params)
        return (optax.apply_updates(params, change), state), None

    start = (params, optimiser.init(params))
    (params, _), _ = jax.lax.scan(update, start, rounds)
    return params
