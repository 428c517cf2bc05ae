"""Recipes for behaviour: frozen settings that become policy tables [M, O, A] for an MDP."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_integer, check_range
from casim.oracle import optimal, solve
from casim.types import MDP

TIE = 1e-5
"""Action values closer than this, relative to the largest, count as equal."""


@dataclasses.dataclass(frozen=True)
class Policy(abc.ABC):
    """A recipe for a reactive policy."""

    @abc.abstractmethod
    def table(self, mdp: MDP) -> Float[Array, "M O A"]:
        """pi_m(a | o); rows sum to 1."""


@final
@dataclasses.dataclass(frozen=True)
class Uniform(Policy):
    """All actions alike."""

    def table(self, mdp: MDP) -> Float[Array, "M O A"]:
        shape = _shape(mdp)
        return jnp.full(shape, 1.0 / shape[-1])


@final
@dataclasses.dataclass(frozen=True)
class Softmax(Policy):
    """Softmax of standard normal logits times `scale`, drawn by `seed`; scale 0 is uniform.

    Raises:
        ValueError: a negative scale or seed.
    """

    scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("scale", self.scale, 0.0, math.inf)
        check_integer("seed", self.seed, 0)

    def table(self, mdp: MDP) -> Float[Array, "M O A"]:
        logits = jax.random.normal(jax.random.key(self.seed), _shape(mdp))
        return jax.nn.softmax(self.scale * logits)


@final
@dataclasses.dataclass(frozen=True)
class EpsilonOptimal(Policy):
    """Greedy on optimal action values with probability 1 - epsilon, uniform otherwise.

    In maths: greedy on E[Q*_t(s, a) | o, kernel], the optimal values of the fully observed process averaged
    over the steps that share a kernel and the states that share an observation, weighted by where the
    uniform policy goes. Equal actions share the probability, so steps that do not matter stay uniform. Under
    partial observability this is the QMDP heuristic and not the best reactive policy.

    References:
        Littman, Cassandra and Kaelbling 1995 (QMDP).

    Raises:
        ValueError: epsilon outside [0, 1].
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0.0, 1.0)

    def table(self, mdp: MDP) -> Float[Array, "M O A"]:
        shape = _shape(mdp)
        q_value = optimal(mdp).q_value
        occupancy = solve(mdp, jnp.full(shape, 1.0 / shape[-1])).occupancy
        # Differences to the first action keep the sum over a million steps from drowning them.
        gain = occupancy[:, :, None] * (q_value - q_value[:, :, :1])
        total = jax.ops.segment_sum(gain, mdp.schedule, num_segments=shape[0])
        score = jnp.einsum("mso,msa->moa", mdp.emission, total, precision="highest")
        best = jnp.max(score, axis=-1, keepdims=True)
        scale = jnp.max(jnp.abs(score), axis=-1, keepdims=True)
        greedy = (score >= best - TIE * scale - jnp.finfo(score.dtype).tiny).astype(score.dtype)
        greedy = greedy / jnp.sum(greedy, axis=-1, keepdims=True)
        return (1 - self.epsilon) * greedy + self.epsilon / shape[-1]


def _shape(mdp: MDP) -> tuple[int, int, int]:
    return mdp.prob.shape[0], mdp.emission.shape[2], mdp.prob.shape[2]


POLICIES: tuple[type[Policy], ...] = (Uniform, Softmax, EpsilonOptimal)
"""Every policy recipe."""
