"""Belief: the hidden state given what was observed, and what critics that know more or less say.

In maths, with h_t = (o_0, a_0, ..., o_t) and the fact that the episode still runs (rewards are not
observed), the belief b_t(s) = P(s_t = s | h_t) is filtered by

    b_{t+1}(s') ~ P(o_{t+1} | s') sum_s b_t(s) P(s' | s, a_t).

With the latent values Q_t(s, a) of a policy pi(a | o_t), and z a class of latent states, four
critics judge an action:
- history: Q(h, a) = sum_s b_t(s) Q_t(s, a), V(h) = sum_a pi(a | o_t) Q(h, a), A = Q - V: the right
  answer;
- (latent, history): Q(z, h, a) = E[Q_t(s, a) | z, h], V(z, h) = sum_a pi(a | o_t) Q(z, h, a), and
  A(h, a) = sum_z P(z | h) A(z, h, a): right on average over what is hidden;
- latent only: Q_t(z, a) = E[G_t | z_t = z, a_t = a], V_t(z) = E[G_t | z_t = z]. If z is the whole
  state, its mean is A(h, a) plus a number that does not depend on the action: the wrong credit, the
  right gradient. If z is coarser, it mixes histories, and not even that holds;
- clairvoyant: Q*_t(s, a) - V*_t(s) of the best policy that sees the state. To it an action that
  only gathers information is worth minus its cost, so its sign is wrong whenever A(h, a) > 0.

An agent knows its prompt, so the belief before o_0 is P(s_0) within that of the trajectory.

Cost: O(N T S^2) time for the filter (O(N T S^3) where it runs in blocks), O(T S A (K + L)) for
tables, and O(N T (S + L A)) memory for L classes.

References:
    Kaelbling, Littman and Cassandra 1998 (beliefs and values of histories); Baisero and Amato 2022,
    arXiv:2105.11674 (critics on history and state are unbiased, on the state alone in general not).
    What each critic says on average is derived here, for policies that react to the observation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.doors import door
from casim.dynamics import force
from casim.oracle.values import optimal, solve
from casim.simulate.belief import filter_all
from casim.types import MDP, Trajectory, Truth
from casim.wellformed import check_labels


class Critic(NamedTuple):
    """What a critic says along each trajectory, knowing what it knows; 0 where not live."""

    value: Float[Array, "N T"]
    q_value: Float[Array, "N T A"]
    """Of every action; NaN for one that the critic has never seen taken."""
    mean_advantage: Float[Array, "N T A"]
    """E[advantage | h_t]: the critic's advantage averaged over the belief.

    It is all that a policy can learn from the critic.
    """

    @property
    def advantage(self) -> Float[Array, "N T A"]:
        """q_value - value, at the true hidden state."""
        return self.q_value - self.value[..., None]


class Critics(NamedTuple):
    """Four critics of one policy, by what they know."""

    history: Critic
    latent_history: Critic
    latent: Critic
    clairvoyant: Critic


@door
def beliefs(
    mdp: MDP,
    batch: Trajectory,
) -> Float[Array, "N T S"]:
    """P(s_t = s | h_t) at every step of each trajectory.

    0 where not live, NaN from where the history is impossible.
    """
    belief = filter_all(mdp, batch, before_observing(mdp, batch))
    belief = jnp.where(jnp.any(belief > 0, axis=-1, keepdims=True), belief, jnp.nan)
    return jnp.where(batch.live[..., None], belief, 0.0)


def before_observing(
    mdp: MDP,
    batch: Trajectory,
) -> Float[Array, "N S"]:
    """P(s_0) within the prompt of each trajectory, up to a factor: the belief before o_0."""
    label = mdp.prompt[batch.state[:, 0]]
    own = mdp.prompt[None, :] == label[:, None]
    return jnp.where(own, mdp.start[None, :], 0.0)


@door
def history_values(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
) -> Critic:
    """V(h_t), Q(h_t, a) and A(h_t, a) of every action, along each trajectory."""
    return history_critic(mdp, policy, solve(mdp, policy), beliefs(mdp, batch), batch)


@door
def critics(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    latent: Int[Array, " S"],
    num_classes: int,
) -> Critics:
    """Values of the four critics along each trajectory.

    Args:
        mdp: the process.
        policy: its policy, a table on observations.
        batch: trajectories.
        latent: the class z of every state, in [0, num_classes); `arange(S)` for the whole state.
        num_classes: L, static under jit.

    Raises:
        ValueError: a class that is none, if the classes are known before compilation.
    """
    check_labels("latent", latent, num_classes, [mdp.start.shape])
    truth, belief = solve(mdp, policy), beliefs(mdp, batch)
    member = one_hot(latent, num_classes, belief.dtype)
    return Critics(
        history=history_critic(mdp, policy, truth, belief, batch),
        latent_history=latent_history_critic(mdp, policy, truth, belief, batch, member),
        latent=_latent(mdp, truth, belief, batch, member),
        clairvoyant=_clairvoyant(mdp, belief, batch),
    )


def one_hot(
    latent: Int[Array, " S"],
    num_classes: int,
    dtype: Any,
) -> Float[Array, "S L"]:
    """Which class each state is of."""
    return jax.nn.one_hot(latent, num_classes, dtype=dtype)


def history_critic(
    mdp: MDP,
    policy: Array,
    truth: Truth,
    belief: Array,
    batch: Trajectory,
) -> Critic:
    """The critic that knows the history."""
    q_value = jnp.einsum("nts,tsa->nta", belief, truth.q_value, precision="highest")
    value = jnp.sum(acting_along(mdp, policy, batch) * q_value, axis=-1)
    return _critic(value, q_value, q_value - value[..., None], batch)


def latent_history_critic(
    mdp: MDP,
    policy: Array,
    truth: Truth,
    belief: Array,
    batch: Trajectory,
    member: Float[Array, "S L"],
) -> Critic:
    """The critic that knows the history and the class of the latent state."""
    weight = jnp.einsum("nts,sl->ntl", belief, member, precision="highest")
    total = jnp.einsum("nts,sl,tsa->ntla", belief, member, truth.q_value, precision="highest")
    safe = jnp.where(weight > 0, weight, 1.0)
    q_value = total / safe[..., None]
    acting = acting_along(mdp, policy, batch)
    value = jnp.sum(acting[:, :, None, :] * q_value, axis=-1)
    advantage = q_value - value[..., None]
    mean = jnp.sum(weight[..., None] * advantage, axis=2)
    here = member[batch.state]
    own_value = jnp.sum(here * value, axis=-1)
    own_q_value = jnp.sum(here[..., None] * q_value, axis=2)
    return _critic(own_value, own_q_value, mean, batch)


def latent_tables(
    mdp: MDP,
    truth: Truth,
    member: Float[Array, "S L"],
) -> tuple[Float[Array, "T L"], Float[Array, "T L A"]]:
    """E[G_t | z] and E[G_t | z, a]; NaN where never seen."""
    visit = truth.occupancy[..., None] * truth.state_policy[mdp.schedule]
    mass, earned = (
        jnp.einsum("tsa,sl->tla", x, member, precision="highest")
        for x in (visit, visit * truth.q_value)
    )
    q_value = _mean(earned, mass)
    seen = jnp.sum(mass, axis=-1)
    total = jnp.sum(earned, axis=-1)
    return _mean(total, seen), q_value


def _mean(
    total: Float[Array, "*shape"],
    mass: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """A total over its mass; NaN where that is 0."""
    seen = mass > 0
    safe = jnp.where(seen, mass, 1.0)
    return jnp.where(seen, total / safe, jnp.nan)


def _latent(
    mdp: MDP,
    truth: Truth,
    belief: Array,
    batch: Trajectory,
    member: Float[Array, "S L"],
) -> Critic:
    value, q_value = latent_tables(mdp, truth, member)
    weight = jnp.einsum("nts,sl->ntl", belief, member, precision="highest")
    weight = weight[..., None]
    advantage = q_value - value[..., None]
    weighed = weight * advantage[None]
    term = jnp.where(weight == 0, 0.0, weighed)
    time = jnp.arange(mdp.schedule.shape[0])[None, :]
    classes = jnp.argmax(member, axis=-1)
    where = (time, classes[batch.state])
    mean = jnp.sum(term, axis=2)
    return _critic(value[where], q_value[where], mean, batch)


def _clairvoyant(
    mdp: MDP,
    belief: Array,
    batch: Trajectory,
) -> Critic:
    best = optimal(mdp)
    value = best.value[:-1]
    advantage = best.q_value - value[..., None]
    mean = jnp.einsum("nts,tsa->nta", belief, advantage, precision="highest")
    time = jnp.arange(mdp.schedule.shape[0])[None, :]
    where = (time, batch.state)
    return _critic(value[where], best.q_value[where], mean, batch)


def acting_along(
    mdp: MDP,
    policy: Array,
    batch: Trajectory,
) -> Float[Array, "N T A"]:
    """pi(. | o_t)."""
    return force(mdp, policy)[mdp.schedule[None, :], batch.observation]


def _critic(
    value: Array,
    q_value: Array,
    mean: Array,
    batch: Trajectory,
) -> Critic:
    live = batch.live[..., None]
    return Critic(
        jnp.where(batch.live, value, 0.0), *(jnp.where(live, x, 0.0) for x in (q_value, mean))
    )
