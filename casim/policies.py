"""Recipes for policies: frozen settings that become policy tables [M, O, A] for an MDP.

And who acts beside the policy that is asked about: another policy, or one and the same before some
updates.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim import identity
from casim.checks import check_integer, check_range
from casim.doors import door
from casim.ops import rest_of_entropy
from casim.oracle import optimal, solve
from casim.oracle.blocks import solver
from casim.sums import axis_sum
from casim.types import MDP

TIE = 1e-5
"""Action values closer than this, relative to the largest, count as equal."""


class Acting(NamedTuple):
    """The two policies of a world."""

    policy: Float[Array, "M O A"]
    """Whose values and gradient are asked about."""
    behaviour: Float[Array, "M O A"]
    """Who acts in rollouts."""


@dataclasses.dataclass(frozen=True)
class Behaviour(abc.ABC):
    """A recipe for who acts in rollouts, where it is not the policy that is asked about."""

    def __init_subclass__(
        cls,
        **kwargs: Any,
    ) -> None:
        """Takes the digest of the source that defines the class.

        Rows of other code are told apart by it.
        """
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @abc.abstractmethod
    def beside(
        self,
        mdp: MDP,
        policy: Float[Array, "M O A"],
    ) -> Acting:
        """The policy that is asked about and who acts, from the table of a policy's recipe."""


@dataclasses.dataclass(frozen=True)
class Policy(Behaviour):
    """A recipe for a reactive policy."""

    @final
    def beside(
        self,
        mdp: MDP,
        policy: Float[Array, "M O A"],
    ) -> Acting:
        return Acting(policy, self.table(mdp))

    @abc.abstractmethod
    def table(
        self,
        mdp: MDP,
    ) -> Float[Array, "M O A"]:
        """pi_m(a | o); rows sum to 1."""


@final
@dataclasses.dataclass(frozen=True)
class Uniform(Policy):
    """All actions alike."""

    @door
    def table(
        self,
        mdp: MDP,
    ) -> Float[Array, "M O A"]:
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

    @door
    def table(
        self,
        mdp: MDP,
    ) -> Float[Array, "M O A"]:
        # Named: a wider type would draw other numbers, and the policy would depend on the
        # precision of JAX.
        logits = jax.random.normal(jax.random.key(self.seed), _shape(mdp), jnp.float32)
        return jax.nn.softmax(self.scale * logits.astype(float))


@final
@dataclasses.dataclass(frozen=True)
class EpsilonOptimal(Policy):
    """Greedy on optimal action values with probability 1 - epsilon, uniform otherwise.

    In maths: greedy on E[Q*_t(s, a) | o, kernel], the optimal values of the fully observed process
    averaged over the steps that share a kernel and the states that share an observation, weighted
    by where the uniform policy goes. Equal actions share the probability, so steps that do not
    matter stay uniform. Under partial observability this is the QMDP heuristic and not the best
    reactive policy.

    References:
        Littman, Cassandra and Kaelbling 1995 (QMDP).

    Raises:
        ValueError: epsilon outside [0, 1].
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0.0, 1.0)

    @door
    def table(
        self,
        mdp: MDP,
    ) -> Float[Array, "M O A"]:
        greedy = _best(_preference(mdp)).astype(mdp.prob.dtype)
        greedy = greedy / jnp.sum(greedy, axis=-1, keepdims=True)
        return (1 - self.epsilon) * greedy + self.epsilon / greedy.shape[-1]


@final
@dataclasses.dataclass(frozen=True)
class EntropyControlled(Policy):
    """Prefers a best action, with one entropy where actions differ in value and another elsewhere.

    In maths: the first of the best actions (in the sense of `EpsilonOptimal`) has probability
    1 - x, the others share x alike, with x such that the entropy of the row is as set. Rows in
    which all actions are equally good are fillers, the others pivots. With it a decisive fork can
    have low entropy among harmless forks of high entropy, and so separates entropy from
    criticality.

    Attributes:
        pivot: entropy in nats where actions differ, in [0, ln A].
        filler: entropy in nats where they do not, in [0, ln A].

    References:
        Entropy at decisive and harmless decisions as settings of a controlled task: casim's own,
        for the claim that high-entropy tokens are the forks (Wang et al. 2025, arXiv:2506.01939).

    Raises:
        ValueError: an entropy below 0, or above ln A when the table is made.
    """

    pivot: float = 0.3
    filler: float = 0.6

    def __post_init__(self) -> None:
        check_range("pivot", self.pivot, 0.0, math.inf)
        check_range("filler", self.filler, 0.0, math.inf)

    @door
    def table(
        self,
        mdp: MDP,
    ) -> Float[Array, "M O A"]:
        actions = mdp.prob.shape[2]
        for field in ("pivot", "filler"):
            check_range(field, getattr(self, field), 0.0, math.log(actions))
        best = _best(_preference(mdp))
        first = jnp.argmax(best, axis=-1)
        chosen = jax.nn.one_hot(first, actions, dtype=mdp.prob.dtype)
        of_filler = rest_of_entropy(self.filler, actions)
        of_pivot = rest_of_entropy(self.pivot, actions)
        all_alike = jnp.all(best, axis=-1)
        rest = jnp.where(all_alike, of_filler, of_pivot)[..., None]
        others = (1 - chosen) * rest / max(actions - 1, 1)
        return chosen * (1 - rest) + others


@final
@dataclasses.dataclass(frozen=True)
class Stale(Behaviour):
    """Who acts is the policy's recipe; the policy is what some updates have made of it since.

    In maths: with theta_0 the logarithms of the recipe's table, which is the behaviour, the policy
    is softmax(theta_steps), where theta_{i+1} = theta_i + step_size grad J(theta_i) with the exact
    gradient of the expected return. So staleness is a number of updates, as where a trainer takes
    several of them on one batch of rollouts, or where rollouts lag behind. After no updates both
    are the same table to the last bit. An action of probability 0 stays at 0.

    Attributes:
        steps: updates since the rollouts, at least 0.
        step_size: of each update of the logits, positive.

    Raises:
        ValueError: a setting out of its range.
    """

    steps: int = 1
    step_size: float = 1.0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, 0)
        check_range("step_size", self.step_size, 1e-12, math.inf)

    @door
    def beside(
        self,
        mdp: MDP,
        policy: Float[Array, "M O A"],
    ) -> Acting:
        if self.steps == 0:
            return Acting(policy, policy)
        exact = solver(mdp.schedule.shape[0], jax.default_backend())

        def update(
            _: Array,
            logits: Array,
        ) -> Array:
            gradient = exact(mdp, jax.nn.softmax(logits)).gradient
            return logits + self.step_size * gradient

        logits = jax.lax.fori_loop(0, self.steps, update, jnp.log(policy))
        return Acting(jax.nn.softmax(logits), policy)


def _preference(mdp: MDP) -> Float[Array, "M O A"]:
    """Optimal action values, less that of the first action.

    Summed over steps and states that look alike.
    """
    shape = _shape(mdp)
    q_value = optimal(mdp).q_value
    occupancy = solve(mdp, jnp.full(shape, 1.0 / shape[-1])).occupancy
    # Differences to the first action keep the sum over a million steps from drowning them.
    gain = occupancy[:, :, None] * (q_value - q_value[:, :, :1])
    total = axis_sum(gain, mdp.schedule, shape[0])
    return jnp.einsum("mso,msa->moa", mdp.emission, total, precision="highest")


def _best(score: Float[Array, "M O A"]) -> Bool[Array, "M O A"]:
    """Which actions are best, up to rounding."""
    best = jnp.max(score, axis=-1, keepdims=True)
    scale = jnp.max(jnp.abs(score), axis=-1, keepdims=True)
    return score >= best - TIE * scale - jnp.finfo(score.dtype).tiny


def _shape(mdp: MDP) -> tuple[int, int, int]:
    return mdp.prob.shape[0], mdp.emission.shape[2], mdp.prob.shape[2]


POLICIES: tuple[type[Policy], ...] = (Uniform, Softmax, EpsilonOptimal, EntropyControlled)
"""Every policy recipe."""
