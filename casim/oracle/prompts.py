"""What a prompt is worth: the policy's expected return from it.

In maths, for a prompt p, whose start states differ in what is hidden,

    V(p) = E[V_0(s_0) | prompt of s_0 = p].

It is what the baseline of a group of rollouts of p aims at. Added up with the probabilities of the
prompts it is the expected return J; with one prompt it is J.

References:
    Derived from the definitions in `casim.types.MDP`.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from casim.checks import check_integer
from casim.doors import door
from casim.sums import axis_sum
from casim.types import MDP, Truth


@door
def prompt_values(
    mdp: MDP,
    truth: Truth,
    num_prompts: int | None = None,
) -> Float[Array, " P"]:
    """The value of every prompt, by its label; NaN of one that no episode begins with.

    Args:
        mdp: the process.
        truth: of its policy, from `solve`.
        num_prompts: how many labels there are, static under jit; None reads them, not under jit.

    Raises:
        ValueError: a number of labels below 1.
    """
    if num_prompts is None:
        num_prompts = int(np.max(np.asarray(mdp.prompt))) + 1
    check_integer("num_prompts", num_prompts, 1)

    def of_prompt(x: Float[Array, " S"]) -> Float[Array, " P"]:
        return axis_sum(x, mdp.prompt, num_prompts)

    # As differences to J: with one prompt nothing is lost.
    mean = truth.expected_return
    chance = of_prompt(mdp.start)
    more = of_prompt(mdp.start * (truth.value[0] - mean))
    asked = chance > 0
    return jnp.where(asked, mean + more / jnp.where(asked, chance, 1.0), jnp.nan)


def start_values(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, " S"]:
    """The value of the prompt of every start state."""
    states = mdp.start.shape[0]
    of_label = prompt_values(mdp, truth, states)
    # Where all start states are one prompt, as it was solved: without the rounding of a sum.
    single = jnp.max(mdp.prompt) == 0
    return jnp.where(single, truth.expected_return, of_label[mdp.prompt])
