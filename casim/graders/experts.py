"""Judges that know an expert: what it would do, and how expert-like a step is."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_choice, check_range
from casim.doors import door
from casim.dynamics import observe, untie
from casim.graders.silent import Silent
from casim.judging import Grader, addresses
from casim.oracle import soft_optimal, solve
from casim.oracle.soft import COLDEST
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth

LARGEST = 40.0
"""Logarithms of ratios are held below this size."""
FORMS = ("log_ratio", "gail", "log_d")


class _Known(NamedTuple):
    """An expert, and whom it is compared with."""

    log_ratio: Float[Array, "T S A"]
    """Log pi_E / ref; NaN for an action that ref rules out."""
    policy: Float[Array, "T S A"]
    """pi_E."""


@final
@dataclasses.dataclass(frozen=True)
class Expert(Grader):
    """How much likelier an expert takes each action than the reference does: `[P, N, T, A]`.

    In maths: log pi_E(a | s_t) / ref(a | s_t), pi_E = (1 - error) pi*_t + error ref, pi* the best
    policy that pays `temperature` log pi / ref; so at error 0 it is A_soft / temperature, and at
    error 1 it is 0. The reference is that of the world, and without one the policy; both are seen
    from the latent state.

    Attributes:
        temperature: of the expert, positive, in units of reward.
        error: how often it does as the reference does, in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    temperature: float = 0.1
    error: float = 0.0

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, COLDEST, math.inf)
        check_range("error", self.error, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> ExpertModel:
        """The expert of one MDP beside its policy."""
        return ExpertModel(self.beside(observe(mdp), truth.state_policy).log_ratio)

    @door
    def informed(self, mdp, truth, policy, reference=None) -> ExpertModel:
        prior = policy if reference is None else reference
        return ExpertModel(self.beside(mdp, prior).log_ratio)

    def beside(
        self,
        mdp: MDP,
        reference: Float[Array, "M O A"],
    ) -> _Known:
        """The expert that pays for leaving this reference."""
        soft = soft_optimal(mdp, reference, self.temperature)
        exponent = soft.advantage / self.temperature
        best = exponent + jnp.log(jnp.asarray(1 - self.error, exponent.dtype))
        same = jnp.log(jnp.asarray(self.error, exponent.dtype))
        log_ratio = jnp.logaddexp(best, same)
        possible = soft.policy > 0
        # pi* is ref exp(exponent).
        prior = jnp.where(possible, soft.policy * jnp.exp(-exponent), 0.0)
        acting = (1 - self.error) * soft.policy + self.error * prior
        return _Known(jnp.where(possible, log_ratio, jnp.nan), acting)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class ExpertModel(Silent):
    """See `Expert`."""

    log_ratio: Float[Array, "T S A"]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """Log-ratios of all actions; NaN after the end."""
        _, time = addresses(batch)
        said = self.log_ratio[time, batch.state]
        return jnp.where(batch.live[..., None], said, jnp.nan)


@final
@dataclasses.dataclass(frozen=True)
class Discriminator(Grader):
    """How expert-like a step is, by how often expert and policy come there: `[P, N, T]`.

    In maths: with x = log d_E(t, s_t, a_t) / d_pi(t, s_t, a_t), d the probabilities of being there
    and doing so, the best discriminator is D = 1 / (1 + exp(-x)). It says x ("log_ratio"), GAIL's
    reward -log(1 - D) ("gail") or log D ("log_d").

    Attributes:
        expert: who demonstrates.
        form: "log_ratio", "gail" or "log_d".

    Raises:
        ValueError: an unknown form.

    References:
        Ho and Ermon 2016, arXiv:1606.03476 (GAIL) [standard].
    """

    expert: Expert = Expert()
    form: Literal["log_ratio", "gail", "log_d"] = "gail"

    def __post_init__(self) -> None:
        check_choice("form", self.form, FORMS)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> DiscriminatorModel:
        """The discriminator of one MDP, its policy and the expert beside it."""
        return self._made(mdp, truth, self.expert.beside(observe(mdp), truth.state_policy))

    @door
    def informed(self, mdp, truth, policy, reference=None) -> DiscriminatorModel:
        prior = policy if reference is None else reference
        return self._made(mdp, truth, self.expert.beside(mdp, prior))

    def _made(
        self,
        mdp: MDP,
        truth: Truth,
        expert: _Known,
    ) -> DiscriminatorModel:
        demonstrated = solve(untie(observe(mdp)), expert.policy)
        shown = demonstrated.occupancy[..., None] * expert.policy
        own = truth.occupancy[..., None] * truth.state_policy[mdp.schedule]
        ratio = jnp.log(shown) - jnp.log(own)
        ratio = jnp.clip(jnp.nan_to_num(ratio), -LARGEST, LARGEST)
        said = {
            "log_ratio": ratio,
            "gail": jax.nn.softplus(ratio),
            "log_d": -jax.nn.softplus(-ratio),
        }
        return DiscriminatorModel(said[self.form])


@final
@pytree
@dataclasses.dataclass(frozen=True)
class DiscriminatorModel(Silent):
    """See `Discriminator`."""

    table: Float[Array, "T S A"]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """What it says of the action taken; NaN after the end."""
        _, time = addresses(batch)
        said = self.table[time, batch.state, batch.action]
        return jnp.where(batch.live, said, jnp.nan)
