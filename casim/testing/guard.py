"""A world that hides the latent state from an estimator, and asks that its doors be declared.

Every batch that leaves the guard, and the one handed to the estimator, carries codes in place of
states: c = n S + (s + h(n)) mod S, with a random number n for every entry. Codes tell an estimator
nothing, not even which states are equal; the doors that go back to a state decode them.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, TypeVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array

from casim.pytree import pytree
from casim.simulate import JUDGE, World
from casim.types import Batch, Trajectory

Logged = TypeVar("Logged", bound=Trajectory | Batch)

NONCE_BITS = 20
SECRET = 2654435761
"""A multiplier that spreads numbers over 32 bits (Knuth)."""


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Guard:
    """The doors of a world, watched. It passes for a `World`.

    Attributes:
        world: what is behind.
        needs: what the estimator declares; with "privileged" it may see all.
        calls: numbers the batches that leave.
    """

    world: World
    needs: frozenset[str] = dataclasses.field(metadata={"static": True})
    calls: Any = dataclasses.field(default_factory=itertools.count, metadata={"static": True})

    __class__ = property(lambda _: World)  # pyright: ignore[reportAssignmentType]

    def hide(self, batch: Logged) -> Logged:
        """The batch with codes in place of states."""
        if "privileged" in self.needs:
            return batch
        states = self.world.mdp.start.shape[0]
        key = jax.random.fold_in(jax.random.key(0), next(self.calls))
        bits = jax.random.bits(key, batch.state.shape, jnp.uint32)
        nonce = (bits >> (32 - NONCE_BITS)).astype(jnp.int32)
        label = (batch.state.astype(jnp.int32) + _mask(nonce, states)) % states
        return batch._replace(state=nonce * states + label)

    def show(self, batch: Logged) -> Logged:
        """The batch with its states again."""
        if "privileged" in self.needs:
            return batch
        states = self.world.mdp.start.shape[0]
        mask = _mask(batch.state // states, states)
        return batch._replace(state=(batch.state - mask) % states)

    def attach(self, trajectory: Trajectory) -> Batch:
        """See `World`, as for all that follow."""
        return self.world.attach(trajectory)

    def groups(self, *args: Any, **kwargs: Any) -> Batch:
        return self.hide(self.world.groups(*args, **kwargs))

    def rollout(self, *args: Any, **kwargs: Any) -> Trajectory:
        return self.hide(self.world.rollout(*args, **kwargs))

    def branch(
        self, key: Array, batch: Trajectory | Batch, *args: Any, **kwargs: Any
    ) -> Trajectory:
        self._declared("reset", "branch")
        return self.hide(self.world.branch(key, self.show(batch), *args, **kwargs))

    def intervene(
        self, key: Array, batch: Trajectory | Batch, *args: Any, **kwargs: Any
    ) -> Trajectory:
        self._declared("reset", "intervene")
        return self.hide(self.world.intervene(key, self.show(batch), *args, **kwargs))

    def judge(self, key: Array, batch: Trajectory | Batch, name: str = JUDGE) -> Array:
        self._declared("judge", "judge")
        return self.world.judge(key, self.show(batch), name)

    def judge_prompt(self, key: Array, batch: Trajectory | Batch, name: str = JUDGE) -> Array:
        self._declared("judge", "judge_prompt")
        return self.world.judge_prompt(key, self.show(batch), name)

    def probability(self, batch: Trajectory | Batch) -> Array:
        return self.world.probability(batch)

    def behaviour_probability(self, batch: Trajectory | Batch) -> Array:
        return self.world.behaviour_probability(batch)

    def policy_log_prob(self, batch: Trajectory | Batch) -> Array:
        return self.world.policy_log_prob(batch)

    def reference_log_prob(self, batch: Trajectory | Batch) -> Array:
        self._declared("reference", "reference_log_prob")
        return self.world.reference_log_prob(batch)

    def reference_probability(self, batch: Trajectory | Batch) -> Array:
        self._declared("reference", "reference_probability")
        return self.world.reference_probability(batch)

    def greedy(self) -> Guard:
        return Guard(self.world.greedy(), self.needs, self.calls)

    def privileged(self, batch: Trajectory | Batch) -> Array:
        self._declared("privileged", "privileged")
        return self.world.privileged(batch)

    def __getattr__(self, name: str) -> Any:
        """What describes the layout of a world is open; the process behind it is not."""
        if name.startswith("__"):  # asked for by Python and JAX
            raise AttributeError(name)
        if name not in LAYOUT:
            self._declared("privileged", name)
        return getattr(self.world, name)

    def _declared(self, need: str, door: str) -> None:
        assert need in self.needs, (
            f"world.{door} must not be used without {need!r} in `needs`, got {sorted(self.needs)}"
        )


LAYOUT = frozenset(
    {
        "agent",
        "behaviour",
        "branching",
        "decision",
        "discount",
        "num_actions",
        "num_agents",
        "num_observations",
        "num_segments",
        "num_states",
        "num_turns",
        "policy",
        "reference",
        "schedule",
        "segment",
        "turn",
    }
)
"""What of a world every estimator may read."""


def _mask(nonce: Array, states: int) -> Array:
    spread = nonce.astype(jnp.uint32) * jnp.uint32(SECRET)
    return ((spread >> 8) % jnp.uint32(states)).astype(jnp.int32)
