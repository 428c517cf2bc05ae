"""Small views of an MDP that simulator and oracle share, so that both run the same dynamics."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.discounts import weights
from casim.types import MDP


def absorb(mdp: MDP) -> MDP:
    """The same process with terminal states absorbing in the tables: they stay put and earn 0."""
    terminal = mdp.terminal[None, :, None, None]
    num_states = mdp.terminal.shape[0]
    num_outcomes = mdp.prob.shape[-1]
    states = jnp.arange(num_states)
    outcomes = jnp.arange(num_outcomes)
    stay = states[None, :, None, None]
    is_first = outcomes == 0
    first = is_first[None, None, None, :]
    surely = first.astype(mdp.prob.dtype)
    return mdp._replace(
        successor=jnp.where(terminal, stay, mdp.successor),
        prob=jnp.where(terminal, surely, mdp.prob),
        reward=jnp.where(terminal, 0.0, mdp.reward),
    )


def can_act(mdp: MDP) -> Bool[Array, "M A"]:
    """Which actions can be taken at all: every one where the policy decides, else 0 alone."""
    num_actions = mdp.prob.shape[2]
    actions = jnp.arange(num_actions)
    first = actions == 0
    decided = mdp.decision[:, None]
    return decided | first[None, :]


def force(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Float[Array, "M O A"]:
    """The policy as it acts: on kernels that are no decision it plays action 0."""
    num_actions = policy.shape[-1]
    actions = jnp.arange(num_actions)
    is_first = actions == 0
    first = is_first[None, None, :]
    forced = first.astype(policy.dtype)
    decided = mdp.decision[:, None, None]
    return jnp.where(decided, policy, forced)


def state_policy(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Float[Array, "M S A"]:
    """pi(a | s) = sum_o P(o | s) pi(a | o): the policy seen from the latent state."""
    acting = force(mdp, policy)
    emission = mdp.emission
    return jnp.einsum("mso,moa->msa", emission, acting, precision="highest")


def observe(mdp: MDP) -> MDP:
    """The fully observed twin: the same latent process, with the state as the observation."""
    kernels, states = mdp.emission.shape[:2]
    dtype = mdp.emission.dtype
    identity = jnp.eye(states, dtype=dtype)
    shape = (kernels, states, states)
    one = identity[None]
    shown = jnp.broadcast_to(one, shape)
    return mdp._replace(emission=shown)


def step_discount(mdp: MDP) -> Float[Array, " T"]:
    """What each step discounts the values after it by."""
    of_kernel = jnp.asarray(mdp.discount)
    return of_kernel[mdp.schedule]


def discounting(mdp: MDP) -> Float[Array, " T"]:
    """The weight of each step: the product of the discounts of the steps before it.

    The expected return is E[sum_t w_t r_t], and its gradient weighs step t by w_t.
    """
    discount = step_discount(mdp)
    return weights(discount, discount.shape[0])


def untie(mdp: MDP) -> MDP:
    """The same process with a kernel of its own for every step.

    So a policy table may depend on the step.
    """
    at = mdp.schedule
    return mdp._replace(
        schedule=jnp.arange(at.shape[0]),
        successor=mdp.successor[at],
        prob=mdp.prob[at],
        reward=mdp.reward[at],
        emission=mdp.emission[at],
        decision=mdp.decision[at],
        kind=mdp.kind[at],
        discount=mdp.discount[at],
    )
