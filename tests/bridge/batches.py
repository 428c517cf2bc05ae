"""A batch with everything that trainers treat in different ways."""

import jax.numpy as jnp
import numpy as np

from casim.types import Batch

PROMPTS, NUM, STEPS = 2, 3, 5


def nasty(uneven=True):
    """Unequal lengths, tokens of a tool, odd rewards, values; one place that no rollout fills."""
    rng = np.random.default_rng(3)
    shape = (PROMPTS, NUM, STEPS)
    length = np.array([[5, 4, 3], [5, 2, 4]])
    time = np.arange(STEPS)
    live = time < length[..., None]
    decision = np.broadcast_to((time != 2), shape).copy()
    decision[1, 0] = [True, False, False, True, True]
    decision[:, :, -1] = True
    reward = np.zeros(shape)
    for place in np.ndindex(PROMPTS, NUM):
        reward[(*place, length[place] - 1)] = [1.0, 0.25, -0.5][sum(place) % 3]
    reward[0, 0, 1], reward[0, 2, 2] = 0.125, 0.75
    absent = np.zeros(shape[:2], bool)
    absent[1, 2] = uneven
    reward = np.where(live, reward, 0.0)
    nothing = np.zeros(shape, np.int32)
    return Batch(
        state=jnp.asarray(nothing),
        observation=jnp.asarray(rng.integers(2, size=shape), jnp.int32),
        action=jnp.asarray(rng.integers(3, size=shape), jnp.int32),
        log_prob=None,
        reward=jnp.asarray(reward, float),
        live=jnp.asarray(live),
        decision=jnp.asarray(decision),
        turn=jnp.broadcast_to(jnp.arange(STEPS), shape),
        segment=jnp.asarray(nothing),
        agent=jnp.asarray(nothing),
        kind=jnp.asarray(nothing),
        discount=jnp.ones(shape, float),
        prompt=jnp.arange(PROMPTS),
        value=jnp.asarray(rng.normal(size=shape).round(2), float),
        absent=jnp.asarray(absent) if uneven else None,
    )
