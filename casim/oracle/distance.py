"""How far the next reward is: the expected number of steps to it, if one comes at all.

In maths, with r_t the reward of step t and tau = min {u >= t: r_u != 0} - t,

    c_t(s) = P(tau < infinity | s_t = s),
    m_t(s) = E[tau 1(tau < infinity) | s_t = s],

from the last step on, over the action a of whoever acts and the transition to s':

    c_t(s) = E[1(r_t != 0) + 1(r_t = 0) c_{t+1}(s')],
    m_t(s) = E[1(r_t = 0) (m_{t+1}(s') + c_{t+1}(s'))],

and the distance is m / c: 0 where the step itself is rewarded.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.doors import door
from casim.dynamics import absorb
from casim.types import MDP


@door
def reward_distance(
    mdp: MDP,
    acting: Float[Array, "M S A"],
) -> Float[Array, "T S"]:
    """The expected number of steps until the next reward that is not 0, given that one comes.

    Args:
        mdp: the process.
        acting: P(a | s) of whoever acts, as in `Truth.state_policy`.

    Returns:
        Steps; NaN where no reward can come.
    """
    mdp = absorb(mdp)
    none = jnp.zeros_like(mdp.start)

    def step(
        later: tuple[Array, Array],
        kernel: Int[Array, ""],
    ) -> tuple[tuple[Array, Array], Array]:
        comes, steps = later
        policy = acting[kernel]
        chance = policy[..., None] * mdp.prob[kernel]
        pays = mdp.reward[kernel] != 0
        after = mdp.successor[kernel]
        onward = jnp.where(pays, 1.0, comes[after])
        longer = steps[after] + comes[after]
        longer = jnp.where(pays, 0.0, longer)
        comes = jnp.sum(chance * onward, axis=(1, 2))
        steps = jnp.sum(chance * longer, axis=(1, 2))
        possible = comes > 0
        safe = jnp.where(possible, comes, 1.0)
        mean = jnp.where(
            possible,
            steps / safe,
            jnp.nan,
        )
        return (comes, steps), mean

    _, distance = jax.lax.scan(step, (none, none), mdp.schedule, reverse=True)
    return distance
