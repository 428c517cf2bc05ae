"""Every kind of truth along one trajectory, as named curves over its steps.

`casim show TASK --truth KIND` draws them, and `docs/truths.md` compares them.
named curves over its steps. The reference policy, where a kind needs one, is the policy itself.

References:
    Definitions and sources are in the rooms of `casim.oracle`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from casim import oracle
from casim.doors import door
from casim.ops import segment_broadcast
from casim.oracle.along import advantage_along
from casim.types import MDP, Trajectory, Truth

Curves = dict[str, Float[Array, " T"]]
ROUNDING = 1e-5
"""Of single precision, relative."""
TEMPERATURE = 0.1
"""Of the soft values, in units of reward."""


@door
def value(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """V_t(s_t), and the advantage and the luck that change it."""
    units = oracle.unit_truth(mdp, truth, batch, jnp.arange(len(mdp.schedule)), len(mdp.schedule))
    return {"value": _state(truth.value, batch), "advantage": units.skill[0], "luck": units.luck[0]}


@door
def units(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """Skill of the step's segment, turn and agent."""
    all_of = oracle.granularities(mdp, truth, batch, oracle.sizes(mdp))
    parts = {"segment": mdp.segment, "turn": mdp.turn, "agent": mdp.agent}
    return {
        name: segment_broadcast(getattr(all_of, name).skill, unit)[0]
        for name, unit in parts.items()
    }


@door
def hindsight(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """(1 - pi / h) Z of the action taken, by its return.

    For binary outcomes at discount 1, else empty (NaN).
    """
    outcomes = oracle.success_hindsight(mdp, policy)
    acting = truth.state_policy[mdp.schedule, batch.state[0], batch.action[0]]
    success = jnp.sum(batch.reward)
    posterior = _cell(outcomes.hindsight, batch)
    chosen = jnp.where(success > 0.5, posterior[:, 1], posterior[:, 0])
    return {"hindsight credit": (1 - acting / chosen) * success, "h / pi": chosen / acting}


@door
def shapley(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """Shapley value of the step's segment, absent segments playing the policy, beside its skill."""
    count = oracle.sizes(mdp).num_segments
    phi = oracle.shapley_by_counts(oracle.taken_game(mdp, policy, batch, mdp.segment, count), count)
    skill = units(mdp, policy, truth, batch)["segment"]
    return {
        "Shapley value of the segment": segment_broadcast(phi, mdp.segment)[0],
        "skill of the segment": skill,
    }


@door
def information(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """What each action said of the outcome that came, in nats.

    For binary outcomes at discount 1, else empty (NaN).
    """
    outcomes = oracle.success_hindsight(mdp, policy)
    told = oracle.pointwise_information(outcomes, batch)
    expected = oracle.outcome_information(mdp, policy, outcomes)
    return {
        "of this outcome (nats)": told.action[0],
        "I(A; outcome | s) (nats)": _state(expected.action, batch),
    }


@door
def belief(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """Advantage to critics that know more or less.

    They know the history, the state as well, or everything (clairvoyant).
    """
    states = mdp.start.shape[0]
    four = oracle.critics(mdp, policy, batch, jnp.arange(states), states)
    taken = jnp.arange(len(mdp.schedule)), batch.action[0]
    return {
        "history": four.history.advantage[0][taken],
        "history and state": four.latent_history.advantage[0][taken],
        "clairvoyant": four.clairvoyant.mean_advantage[0][taken],
    }


@door
def soft(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """Soft advantage of the action taken, beside the plain one."""
    regularised = oracle.soft_optimal(mdp, policy, TEMPERATURE)
    plain = _cell(truth.advantage, batch)
    return {
        f"soft advantage (b = {TEMPERATURE})": _cell(regularised.advantage, batch),
        "advantage": plain,
    }


@door
def contrast(mdp: MDP, policy: Array, truth: Truth, batch: Trajectory) -> Curves:
    """The action taken against action 0, from the restored state and from the re-fed one."""
    default = jnp.broadcast_to(jnp.arange(policy.shape[-1]) == 0, policy.shape).astype(policy.dtype)
    steps = jnp.arange(len(mdp.schedule))
    pair = [
        oracle.contrast(
            mdp, oracle.Protocol(default, policy, lost), batch, steps, len(mdp.schedule)
        ).value[0]
        for lost in (0.0, 1.0)
    ]
    return {"against action 0, restored": pair[0], "re-fed": pair[1]}


TRUTHS: tuple[Callable[[MDP, Array, Truth, Trajectory], Curves], ...] = (
    value,
    units,
    hindsight,
    shapley,
    information,
    belief,
    soft,
    contrast,
)
"""Every kind."""


class Telling(NamedTuple):
    """One trajectory of a batch, and why it was chosen."""

    index: int
    reason: str


@door
def telling(mdp: MDP, truth: Truth, batch: Trajectory) -> Telling:
    """The trajectory of a batch `[N, T]` whose decisions mattered most; the first among equals.

    In maths: argmax_i (max(0, max_t A_t(s_it, a_it)) - min(0, min_t A_t(s_it, a_it))), t over
    decisions.
    """
    advantage = np.asarray(advantage_along(truth, batch), np.float64)
    decided = np.asarray(batch.live & mdp.decision[mdp.schedule][None, :])
    high = np.max(advantage, axis=1, initial=0.0, where=decided)
    low = np.min(advantage, axis=1, initial=0.0, where=decided)
    spread = high - low
    largest = spread.max()
    # Equal spreads differ in their last bits.
    index = int(np.argmax(spread >= (1 - ROUNDING) * largest))
    if largest <= ROUNDING * np.abs(np.asarray(truth.value)).max():
        return Telling(0, "no decision of any of them matters")
    return Telling(
        index, f"chosen as its advantages spread most, {low[index]:+.2g} to {high[index]:+.2g}"
    )


def curves(
    kind: Callable[..., Curves], mdp: MDP, policy: Array, truth: Truth, batch: Trajectory
) -> dict[str, np.ndarray]:
    """The curves of a kind as NumPy arrays, NaN where the episode is over."""
    live = np.asarray(batch.live)[0]
    named = kind(mdp, policy, truth, batch)
    return {name: np.where(live, np.asarray(curve), np.nan) for name, curve in named.items()}


def _state(table: Float[Array, "T1 S"], batch: Trajectory) -> Float[Array, " T"]:
    return table[jnp.arange(batch.state.shape[1]), batch.state[0]]


def _cell(table: Array, batch: Trajectory) -> Array:
    return table[jnp.arange(batch.state.shape[1]), batch.state[0], batch.action[0]]
