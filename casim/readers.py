"""Judges that read what is left of a text: a trajectory of which some steps are blank.

In maths, with K the steps that can be read:

    v(K) = E[R | the prompt, how long the episode was, o_t and a_t for t in K] + noise eps,

R the discounted return under the policy: what a calibrated reward model says that sees this and
nothing else. By a forward pass with the probability of each state and the return so far:

    alpha_t(s) = P(s_t = s, what was read),
    rho_t(s) = E[earned before t; s_t = s, what was read].

Rewards are never read. So v of nothing is the value of the prompt, given the length, and v of all
is what is expected of the trajectory as it was played.

Cost: O(T S^2 A) for each text.

References:
    Cao et al. 2025, arXiv:2505.20417 (SCAR: a reward model on text with missing units blank). The
    calibrated reader is casim's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_range
from casim.doors import door
from casim.dynamics import absorb, discounting
from casim.judging import Grader, normal
from casim.pytree import pytree
from casim.simulate.noise import ACTION, key_words, pair
from casim.sums import outcome_sum
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Reader(Grader):
    """A calibrated reader of masked text, with noise.

    Attributes:
        noise: standard deviation of the normal error of each reading, in units of reward, at
            least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        check_range("noise", self.noise, 0.0, math.inf)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> ReaderModel:
        """The reader for one MDP and the truth of its policy."""
        noise = jnp.asarray(self.noise, truth.value.dtype)
        return ReaderModel(absorb(mdp), truth.state_policy, noise)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class ReaderModel:
    """See `Reader`."""

    mdp: MDP
    acting: Float[Array, "M S A"]
    """What the policy does in a state, whatever that shows."""
    noise: Float[Array, ""]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """One score of each text, at every step of it; NaN after the end."""
        error = self.noise * _normal(key, len(batch.action))
        score = self._expected(batch) + error
        return jnp.where(batch.live, score[:, None], jnp.nan)

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """Raises `ValueError`: a text that is all blank says as much as its prompt."""
        raise ValueError("judge must be one of values to score a prompt, got Reader")

    def _expected(self, batch: Trajectory) -> Float[Array, " N"]:
        """E[return | what can be read]."""
        mdp = self.mdp
        states = mdp.start.shape[0]
        paid = mdp.prob * mdp.reward
        move = outcome_sum(mdp.prob, mdp.successor, states)
        gain = outcome_sum(paid, mdp.successor, states)

        def step(
            carry: tuple[Array, Array],
            now: tuple[Array, ...],
        ) -> tuple[tuple[Array, Array], None]:
            reached, earned = carry
            kernel, scale, seen, did, live = now
            likelihood = self._likelihood(kernel, seen, live)
            reached = reached * likelihood
            earned = earned * likelihood
            acting = self._acting(kernel, did)
            onward = _onward(acting, move[kernel])
            paid = _onward(acting, gain[kernel])
            after = _arriving(reached, onward)
            before = _arriving(earned, onward)
            now_paid = _arriving(reached, paid)
            more = before + scale * now_paid
            # Only their ratio counts; neither may underflow.
            total = jnp.sum(after, axis=1, keepdims=True)
            size = jnp.where(total > 0, total, 1.0)
            return (after / size, more / size), None

        start = self._start(batch)
        nothing = jnp.zeros_like(start)
        steps = (batch.observation.T, batch.action.T, batch.live.T)
        scanned = (mdp.schedule, discounting(mdp), *steps)
        end, _ = jax.lax.scan(step, (start, nothing), scanned)
        reached, earned = end
        return jnp.sum(earned, axis=1) / jnp.sum(reached, axis=1)

    def _start(self, batch: Trajectory) -> Float[Array, "N S"]:
        """P(s_0 | the prompt), which can always be read."""
        label = self.mdp.prompt[batch.state[:, 0]]
        same = label[:, None] == self.mdp.prompt[None, :]
        return jnp.where(same, self.mdp.start[None, :], 0.0)

    def _likelihood(
        self,
        kernel: Int[Array, ""],
        seen: Int[Array, " N"],
        live: Bool[Array, " N"],
    ) -> Float[Array, "N S"]:
        """Of the observation, if it can be read, and of whether the episode goes on."""
        emission = self.mdp.emission[kernel]
        shown = emission[:, seen].T
        readable = (seen >= 0) & live
        shown = jnp.where(readable[:, None], shown, 1.0)
        ended = self.mdp.terminal
        agrees = live[:, None] != ended[None, :]
        return jnp.where(agrees, shown, 0.0)

    def _acting(
        self,
        kernel: Int[Array, ""],
        did: Int[Array, " N"],
    ) -> Float[Array, "N S A"]:
        """The action, if it can be read, else what the policy does; once ended, all are alike."""
        policy = self.acting[kernel]
        taken = jax.nn.one_hot(did, policy.shape[-1], dtype=policy.dtype)
        readable = did >= 0
        return jnp.where(readable[:, None, None], taken[:, None, :], policy[None])


def _onward(
    acting: Float[Array, "N S A"],
    move: Float[Array, "S A S"],
) -> Float[Array, "N S S"]:
    return jnp.einsum("nsa,sax->nsx", acting, move, precision="highest")


def _arriving(
    mass: Float[Array, "N S"],
    onward: Float[Array, "N S S"],
) -> Float[Array, "N S"]:
    """What arrives in each state."""
    return jnp.einsum("ns,nsx->nx", mass, onward, precision="highest")


def _normal(
    key: Key[Array, ""],
    number: int,
) -> Float[Array, " N"]:
    """A normal number for each text."""
    episode = jnp.arange(number)
    first_step = jnp.zeros_like(episode)
    uniforms = pair(key_words(key), episode, first_step, ACTION)
    return normal(*uniforms)
