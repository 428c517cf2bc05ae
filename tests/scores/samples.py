"""Groups with credit of known sums, and what adds them up, compiled."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from casim import scores
from casim.types import Cost, Credit
from tests import reference
from tests.enumeration import QUICK, case

GROUPS, SIZE = 6, 7
KEY = jax.random.key(0)
measure = jax.jit(scores.measure, compiler_options=QUICK)
group_gradient = jax.jit(scores.group_gradient, compiler_options=QUICK)
rank_correlation = jax.jit(jax.vmap(scores.rank_correlation), compiler_options=QUICK)
precision_at_k = jax.jit(
    jax.vmap(scores.precision_at_k, in_axes=(0, None, 0)), compiler_options=QUICK
)
leakage = jax.jit(jax.vmap(scores.leakage), compiler_options=QUICK)


@functools.cache
def random_credit():
    """Groups `[C, N, T]` with credit that is the advantage, an offset of the cell and noise.

    Ties and zeros occur.
    """
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    flat = reference.rollout(one.world, jax.random.key(1), GROUPS * SIZE)
    rng = np.random.default_rng(0)
    state, action, live = (np.asarray(x) for x in (flat.state, flat.action, flat.live))
    time = np.broadcast_to(np.arange(4), state.shape)
    offset = rng.normal(size=(4, 5, 2))
    value = (
        one.advantage[time, state, action]
        + offset[time, state, action]
        + rng.normal(size=state.shape)
    )
    value = np.round(value * live, 1).astype(np.float32)
    value[3] = 0.0
    value[5] = 0.5 * live[5]
    batch = jax.tree.map(lambda x: x.reshape(GROUPS, SIZE, 4), flat)
    cost = Cost(*(jnp.asarray(rng.integers(1, 9, GROUPS), jnp.float32) for _ in range(3)))
    target = np.round(rng.normal(size=state.shape), 1).astype(np.float32)
    return (
        batch,
        Credit(jnp.asarray(value.reshape(GROUPS, SIZE, 4)), batch.live.astype(jnp.float32), cost),
        jnp.asarray(target.reshape(GROUPS, SIZE, 4)),
    )
