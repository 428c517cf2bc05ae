"""Small views of an MDP that simulator and oracle share, so that both run the same dynamics."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.discounts import weights
from casim.types import MDP


def absorb(mdp: MDP) -> MDP:
    """The same process with terminal states absorbing in the tables: they stay put and earn 0."""
    terminal = mdp.terminal[None, :, None, None]
    stay = jnp.arange(mdp.terminal.shape[0])[None, :, None, None]
    first = (jnp.arange(mdp.prob.shape[-1]) == 0)[None, None, None, :]
    return mdp._replace(
        successor=jnp.where(terminal, stay, mdp.successor),
        prob=jnp.where(terminal, first.astype(mdp.prob.dtype), mdp.prob),
        reward=jnp.where(terminal, 0.0, mdp.reward),
    )


def can_act(mdp: MDP) -> Bool[Array, "M A"]:
    """Which actions can be taken at all: every one where the policy decides, else 0 alone."""
    first = jnp.arange(mdp.prob.shape[2]) == 0
    return mdp.decision[:, None] | first[None, :]


def force(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Float[Array, "M O A"]:
    """The policy as it acts: on kernels that are no decision it plays action 0."""
    first = (jnp.arange(policy.shape[-1]) == 0)[None, None, :]
    return jnp.where(mdp.decision[:, None, None], policy, first.astype(policy.dtype))


def state_policy(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Float[Array, "M S A"]:
    """pi(a | s) = sum_o P(o | s) pi(a | o): the policy seen from the latent state."""
    return jnp.einsum("mso,moa->msa", mdp.emission, force(mdp, policy), precision="highest")


def observe(mdp: MDP) -> MDP:
    """The fully observed twin: the same latent process, with the state as the observation."""
    kernels, states = mdp.emission.shape[:2]
    identity = jnp.eye(states, dtype=mdp.emission.dtype)[None]
    return mdp._replace(emission=jnp.broadcast_to(identity, (kernels, states, states)))


def step_discount(mdp: MDP) -> Float[Array, " T"]:
    """What each step discounts the values after it by."""
    return jnp.asarray(mdp.discount)[mdp.schedule]


def discounting(mdp: MDP) -> Float[Array, " T"]:
    """The weight of each step: the product of the discounts of the steps before it.

    The expected return is E[sum_t w_t r_t], and its gradient weighs step t by w_t.
    """
    return weights(step_discount(mdp), mdp.schedule.shape[0])


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
