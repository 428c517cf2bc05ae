"""Information, in nats: what actions, steps and observations say of the outcome or what is hidden.

In maths, with s the latent state, and Z_t the return-to-go with its law from
`casim.oracle.hindsight`:
- the mutual information I(A_t; Z_t | S_t = s) = sum_a pi(a | s) KL(P(Z_t | s, a) || P(Z_t | s)),
  and its mean over the live states of step t;
- along a trajectory, H(Z_t | s_t) - H(Z_{t+1} | s_{t+1}) is the entropy that a step removes, split
  at H(Z_t | s_t, a_t) into the action's part, of mean I(A_t; Z_t | S_t), and the environment's;
- of the return z that came true, log P(z_{t+1} | s_{t+1}) - log P(z_t | s_t), split at
  P(z_t | s_t, a_t). The action's part log P(z | s, a) / P(z | s) is log h(a | s, z) / pi(a | s).
  Both telescope: to H(Z_0 | s_0) and to -log P(z_0 | s_0);
- of success, with p_t = P(success | s_0, ..., s_t): p_{t+1} - p_t, whose mean given the step is the
  advantage, and log p_{t+1} - log p_t, whose mean under the policy is at most 0 (Jensen);
- of a latent variable z_t, a class of states, under the belief b_t: H(z_t) - H(z_{t+1}), and the
  change of b_t(z_t) and of log b_t(z_t) at the truth. Where z stays and no episode ends, the first
  and the last have the mean I(z; o_{t+1} | h_t, a_t) >= 0.

With the rewards so far known, the return and Z_t determine each other, so their entropies are
alike; that needs a discount above 0. Success is undiscounted.

Cost: O(T S A Z) for tables, O(N T) along trajectories, O(N T S) for beliefs.

References:
    Arumugam et al. 2021, arXiv:2103.06224 (information sparsity: I(A; Z | S)); Wang et al. 2025,
    arXiv:2510.14967 (IGPO: the probability form of the gain). The splits of a step are derived
    here.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.doors import door
from casim.dynamics import absorb, state_policy
from casim.ops import shift_left, shift_right
from casim.oracle.hindsight import Outcomes, nearest
from casim.oracle.values import solve
from casim.recurrence import affine_scan
from casim.types import MDP, Trajectory
from casim.wellformed import check_labels


class OutcomeInformation(NamedTuple):
    """How uncertain the return-to-go is, and how much of that one action resolves."""

    entropy: Float[Array, "T S"]
    """H(Z_t | s_t = s)."""
    entropy_given_action: Float[Array, "T S A"]
    """H(Z_t | s_t = s, a_t = a)."""
    action: Float[Array, "T S"]
    """I(A_t; Z_t | S_t = s)."""
    per_step: Float[Array, " T"]
    """I(A_t; Z_t | S_t): the mean of `action` over the states of step t.

    The end of an episode counts as 0.
    """


class StepInformation(NamedTuple):
    """What each step said of the outcome, by who said it; 0 where not live."""

    action: Float[Array, "N T"]
    """The part of the action a_t."""
    environment: Float[Array, "N T"]
    """The part of the reward and the next state."""


class Gain(NamedTuple):
    """How each step changed the probability of something.

    The gains are 0 where there is no next step to compare.
    """

    before: Float[Array, "N T"]
    """p_t."""
    after: Float[Array, "N T"]
    """p_{t+1}."""
    probability: Float[Array, "N T"]
    """p_{t+1} - p_t."""
    log_probability: Float[Array, "N T"]
    """log p_{t+1} - log p_t: -inf where all is lost, NaN where it already was."""


class LatentInformation(NamedTuple):
    """What is known of a latent variable, and what each step told."""

    entropy: Float[Array, "N T"]
    """H(z_t) under the belief; 0 where not live."""
    gain: Float[Array, "N T"]
    """H(z_t) - H(z_{t+1}); 0 where the episode does not go on."""
    truth: Gain
    """The same of the probability b_t(z_t) that the belief gives to the truth."""


@door
def outcome_information(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    outcomes: Outcomes,
) -> OutcomeInformation:
    """Entropies of the return-to-go and its information with the action, by state and step."""
    acting = state_policy(absorb(mdp), policy)[mdp.schedule]
    given_action = outcomes.given_action
    given_state = outcomes.given_state[:, :, None, :]
    # An action that the policy never takes can have outcomes that the state has not; it counts
    # with weight 0.
    never = (given_action == 0) | (given_state == 0)
    # 0 log 0 is 0.
    after = jnp.where(never, 1.0, given_action)
    before = jnp.where(never, 1.0, given_state)
    ratio = after / before
    told = jnp.sum(given_action * jnp.log(ratio), axis=-1)
    of_taken = jnp.where(acting > 0, acting * told, 0.0)
    action = jnp.sum(of_taken, axis=-1)
    return OutcomeInformation(
        entropy=_entropy(outcomes.given_state),
        entropy_given_action=_entropy(given_action),
        action=action,
        per_step=jnp.sum(solve(mdp, policy).occupancy * action, axis=-1),
    )


@door
def entropy_removed(
    information: OutcomeInformation,
    batch: Trajectory,
) -> StepInformation:
    """The entropy of the outcome that each action and each transition removed.

    Their sum is H(Z_0 | s_0).
    """
    time = _times(batch)
    before = information.entropy[time, batch.state]
    middle = information.entropy_given_action[time, batch.state, batch.action]
    after = jnp.where(shift_left(batch.live, False), shift_left(before), 0.0)
    return StepInformation(
        jnp.where(batch.live, before - middle, 0.0),
        jnp.where(batch.live, middle - after, 0.0),
    )


def _times(batch: Trajectory) -> Int[Array, "N T"]:
    """The step of every entry."""
    shape = batch.state.shape
    steps = jnp.arange(shape[1])
    return jnp.broadcast_to(steps[None, :], shape)


@door
def pointwise_information(
    outcomes: Outcomes,
    batch: Trajectory,
) -> StepInformation:
    """What each action and transition said of the return that came true.

    Their sum is -log P(z_0 | s_0). NaN where the return-to-go is not in the support.
    """
    time = _times(batch)
    index, found = return_index(outcomes, batch)
    state, action = batch.state, batch.action
    before = jnp.log(outcomes.given_state[time, state, index])
    middle = jnp.log(outcomes.given_action[time, state, action, index])
    after = jnp.where(shift_left(batch.live, False), shift_left(before), 0.0)

    def where_found(x: Array) -> Array:
        told = jnp.where(found, x, jnp.nan)
        return jnp.where(batch.live, told, 0.0)

    return StepInformation(
        where_found(middle - before),
        where_found(after - middle),
    )


@door
def success_gain(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
) -> Gain:
    """How each step changed the probability of success, where every episode pays 0 or 1 in all.

    The discount is read as 1, whatever that of the process. 0 where not live.
    """
    undiscounted = mdp._replace(discount=jnp.ones_like(mdp.discount))
    value = solve(undiscounted, policy).value
    time = _times(batch)
    ahead = value[time, batch.state]
    later = jnp.where(shift_left(batch.live, False), shift_left(ahead), 0.0)
    banked = affine_scan(1.0, batch.reward)
    before = shift_right(banked) + ahead
    after = banked + later
    return _gain(before, after, batch.live, batch.live)


@door
def latent_information(
    belief: Float[Array, "N T S"],
    batch: Trajectory,
    latent: Int[Array, " S"],
    num_classes: int,
) -> LatentInformation:
    """What each step told of a latent variable.

    Args:
        belief: b_t(s) along the trajectories, from `casim.oracle.belief`.
        batch: the trajectories.
        latent: the class z of every state, in [0, num_classes).
        num_classes: static under jit.

    Raises:
        ValueError: a class that is none, if the classes are known before compilation.
    """
    check_labels("latent", latent, num_classes, [belief.shape[-1:]])
    member = jax.nn.one_hot(latent, num_classes, dtype=belief.dtype)
    classes = jnp.einsum("nts,sl->ntl", belief, member, precision="highest")
    own = latent[batch.state][..., None]
    truth = jnp.take_along_axis(classes, own, axis=-1)[..., 0]
    entropy = _entropy(classes)
    goes_on = shift_left(batch.live, False)
    gain = jnp.where(goes_on, entropy - shift_left(entropy), 0.0)
    of_truth = _gain(truth, shift_left(truth), batch.live, goes_on)
    return LatentInformation(entropy, gain, of_truth)


def return_index(
    outcomes: Outcomes,
    batch: Trajectory,
) -> tuple[Int[Array, "N T"], Bool[Array, "N T"]]:
    """Where the return-to-go of each step lies in the support, and whether it does."""

    def step(
        later: Array,
        now: tuple[Array, ...],
    ) -> tuple[Array, tuple[Array, Array]]:
        reward, live, discount = now
        # Taking the point itself at every step keeps rounding from adding up over the horizon.
        earned = jnp.where(live, reward + discount * later, 0.0)
        index, hit = nearest(outcomes.support, earned)
        point = jnp.where(hit, outcomes.support[index], jnp.nan)
        return point, (index, hit)

    _, (index, found) = jax.lax.scan(
        step,
        jnp.zeros_like(batch.reward[:, 0]),
        (batch.reward.T, batch.live.T, outcomes.discount),
        reverse=True,
    )
    return index.T, found.T


def _gain(
    before: Array,
    after: Array,
    live: Array,
    goes_on: Array,
) -> Gain:
    before = jnp.where(live, before, 0.0)
    after = jnp.where(goes_on, after, 0.0)
    change = after - before
    of_logs = jnp.log(after) - jnp.log(before)
    return Gain(
        before,
        after,
        jnp.where(goes_on, change, 0.0),
        jnp.where(goes_on, of_logs, 0.0),
    )


def _entropy(
    probability: Float[Array, "*shape Z"],
) -> Float[Array, "*shape"]:
    """-sum p log p, with 0 log 0 = 0."""
    safe = jnp.where(probability == 0, 1.0, probability)
    return -jnp.sum(safe * jnp.log(safe), axis=-1)
