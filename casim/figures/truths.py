"""Every kind of truth along one trajectory, as named curves over its steps.

`casim show TASK --truth KIND` draws them, and `docs/truths.md` compares them. Where a kind has a
recipe in `casim.targets` it is read from there; any recipe can be drawn by itself as well. The
reference policy, where one is needed, is the policy itself.

References:
    Definitions and sources are in `casim.targets` and in the rooms of `casim.oracle`.
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
from casim.oracle.information import pointwise_information
from casim.oracle.units import granularities, sizes
from casim.simulate import World
from casim.targets import (
    Advantage,
    Counterfactual,
    HindsightRatio,
    HistoryAdvantage,
    Soft,
    Target,
    TdError,
)
from casim.types import MDP, Trajectory, Truth

Curves = dict[str, Float[Array, " T"]]
Kind = Callable[[World, Truth, Trajectory], Curves]
"""A kind of truth: of one trajectory `[1, T]` of a world."""
ROUNDING = 1e-5
"""Of single precision, relative."""
TEMPERATURE = 0.1
"""Of the soft values, in units of reward."""


def value(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """V_t(s_t), and the advantage and the luck that change it."""
    advantage, td_error = _told(world, truth, batch, Advantage(), TdError())
    steps = jnp.arange(batch.state.shape[1])
    return {
        "value": truth.value[steps, batch.state[0]],
        "advantage": advantage,
        "luck": td_error - advantage,
    }


def units(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """Skill of the step's segment, turn and agent."""
    mdp = world.mdp
    all_of = granularities(mdp, truth, batch, sizes(mdp))
    parts = {"segment": mdp.segment, "turn": mdp.turn, "agent": mdp.agent}
    named = {}
    for name, unit in parts.items():
        skill = getattr(all_of, name).skill
        named[name] = segment_broadcast(skill, unit)[0]
    return named


def hindsight(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """(1 - pi / h) Z of the action taken, by its return.

    For binary outcomes at discount 1, else empty (NaN).
    """
    (ratio,) = _told(world, truth, batch, HindsightRatio())
    success = jnp.sum(batch.reward)
    return {"hindsight credit": (1 - 1 / ratio) * success, "h / pi": ratio}


def shapley(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """Shapley value of the step's segment, beside the segment's skill.

    Absent segments play the policy. By counts, which ends at no number of segments.
    """
    segment = world.mdp.segment
    game = oracle.taken_game(world.mdp, world.policy, batch, segment, world.num_segments)
    phi = oracle.shapley_by_counts(game, world.num_segments)
    return {
        "Shapley value of the segment": segment_broadcast(phi, segment)[0],
        "skill of the segment": units(world, truth, batch)["segment"],
    }


def information(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """What each action said of the outcome that came, in nats.

    For binary outcomes at discount 1, else empty (NaN).
    """
    outcomes = oracle.success_hindsight(world.mdp, world.policy)
    told = pointwise_information(outcomes, batch)
    expected = oracle.outcome_information(world.mdp, world.policy, outcomes)
    steps = jnp.arange(batch.state.shape[1])
    return {
        "of this outcome (nats)": told.action[0],
        "I(A; outcome | s) (nats)": expected.action[steps, batch.state[0]],
    }


def belief(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """Advantage to critics that know more or less.

    The history, the state as well, or everything (clairvoyant).
    """
    (history,) = _told(world, truth, batch, HistoryAdvantage())
    states = world.mdp.start.shape[0]
    four = oracle.critics(world.mdp, world.policy, batch, jnp.arange(states), states)
    taken = jnp.arange(batch.state.shape[1]), batch.action[0]
    return {
        "history": history,
        "history and state": four.latent_history.advantage[0][taken],
        "clairvoyant": four.clairvoyant.mean_advantage[0][taken],
    }


def soft(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """Soft advantage of the action taken, beside the plain one."""
    softly, plain = _told(world, truth, batch, Soft(TEMPERATURE), Advantage())
    return {f"soft advantage (b = {TEMPERATURE})": softly, "advantage": plain}


def contrast(
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Curves:
    """The action taken against action 0, from the restored state and from the re-fed one."""
    (restored,) = _told(world, truth, batch, Counterfactual(0))
    policy = world.policy
    first = jnp.arange(policy.shape[-1]) == 0
    default = jnp.broadcast_to(first, policy.shape).astype(policy.dtype)
    steps = jnp.arange(batch.state.shape[1])
    protocol = oracle.Protocol(default, policy, lost=1.0)
    refed = oracle.contrast(world.mdp, protocol, batch, steps, len(steps))
    return {"against action 0, restored": restored, "re-fed": refed.value[0]}


TRUTHS: tuple[Kind, ...] = (
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
def telling(
    mdp: MDP,
    truth: Truth,
    batch: Trajectory,
) -> Telling:
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


@door
def curves(
    kind: Kind | Target,
    mdp: MDP,
    policy: Array,
    truth: Truth,
    batch: Trajectory,
) -> dict[str, np.ndarray]:
    """The curves of a kind, or of one target, as NumPy arrays; NaN where the episode is over.

    Not under `jit`.

    Args:
        kind: one of `TRUTHS`, or a recipe of `casim.targets`.
        mdp: the process.
        policy: its policy.
        truth: of that policy.
        batch: one trajectory `[1, T]`.
    """
    live = np.asarray(batch.live)[0]
    world = World.make(mdp, policy, reference=policy)
    if isinstance(kind, Target):
        named = {repr(kind): _told(world, truth, batch, kind)[0]}
    else:
        named = kind(world, truth, batch)
    curves_of_all = {}
    for name, curve in named.items():
        curves_of_all[name] = np.where(live, np.asarray(curve), np.nan)
    return curves_of_all


def _told(
    world: World,
    truth: Truth,
    batch: Trajectory,
    *recipes: Target,
) -> list[Array]:
    """Each target along the trajectory; NaN where it has no exact value."""
    found = []
    for recipe in recipes:
        target = oracle.path_target(recipe, world, truth, batch)
        nothing = jnp.full_like(batch.reward[0], jnp.nan)
        found.append(nothing if target is None else target[0])
    return found
