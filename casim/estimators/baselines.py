"""Baselines: what a step is worth beside its peers.

In maths: c - mean of the peers' c, divided by their deviation if asked. One part is a table of the
literature:

- GRPO: `Baseline(scale=True)`; Dr. GRPO: `Baseline()`; RLOO: `Baseline(own=False, single="raw")`,
  each after `Whole()`.
- TRL's batch scale: `Baseline(scale=True, scale_over="batch")`.
- OPO: `Baseline(votes="length", single="raw")`.
- REINFORCE++: `Baseline("batch", votes="step", scale=True, epsilon=1e-8, epsilon_at="inside")`
  after `ToGo()`.
- GiGPO's steps: `Baseline("anchor", votes="step")` after `ToGo(0.95)`; HGPO's k-th group: with
  `memory=k` and `ddof=0`.
- IGPO's first code, a mean for each token: `Baseline("step", votes="live", ended="zero")`.
- Dr. MAS: `Baseline("agent", votes="turn", scale=True, single="raw")`.
- A baseline per step or per turn: `Baseline("step", own=False)`, `Baseline("turn", own=False)`.

Differences are taken to the largest member of a class first, so that equal peers give exactly 0,
and large numbers keep their digits.

References:
    Shao et al. 2024, arXiv:2402.03300 (GRPO); Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO); Kool
    et al. 2019 and Ahmadian et al. 2024, arXiv:2402.14740 (RLOO); Hu 2025, arXiv:2501.03262
    (REINFORCE++); Feng et al. 2025, arXiv:2505.10978 (GiGPO). That one part holds them all is
    casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Part, check_taken
from casim.estimators.peers import KINDS, WHOLE, Peers, ends_of_turns, recent
from casim.ops import difference
from casim.simulate import World
from casim.types import Batch, Credit

Kind = Literal[
    "group",
    "batch",
    "step",
    "turn",
    "agent",
    "batch_agent",
    "anchor",
    "state",
    "length",
    "prefix",
]
Votes = Literal["trajectory", "length", "step", "live", "turn"]
VOTES = ("trajectory", "length", "step", "live", "turn")
WHERE = ("outside", "inside", "floor")


@final
@dataclasses.dataclass(frozen=True)
class Baseline(Part):
    """Credit less the mean of its peers, over their deviation if asked.

    Attributes:
        peers: who is compared: the "group" of the prompt, the whole "batch", the same "step" or
            "turn" of the group, the same "agent" of the group or of the batch ("batch_agent"), the
            same "anchor" (observation) or "state", trajectories of the same "length", or the same
            "prefix".
        votes: who has a vote in a mean: each "trajectory" one, with the mean of its decided steps
            there, or as many as its "length" in decisions; each decided "step" one; or each "live"
            step, the environment's too; or each "turn" one, that of its last decision. For the
            first two, other trajectories are peers, for the others other steps. Where whole
            trajectories are compared, one that ended before its first decision votes with all its
            steps.
        own: whether one's own trajectory is among the peers; False leaves it out.
        scale: divide by the deviation of the peers.
        scale_over: whose deviation, of the same kinds as `peers`; None is that of the peers.
        ddof: the variance divides by the number of votes less this, 0 or 1; too few votes give 0.
        epsilon: keeps the divisor from 0, at least 0.
        epsilon_at: "outside" adds it to the deviation, "inside" to the variance, and as a "floor"
            the deviation is at least that.
        single: what a step without peers gets: its "raw" credit, as if they had mean 0 and
            deviation 1; "zero"; or "refused", an error where groups have one trajectory.
        weighted: whether a step's vote counts by its weight.
        centre: whether the mean of the peers is taken off.
        memory: for anchors, how many of the last observations, at decisions, must be the same, at
            least 1.
        ended: what a trajectory says in a class where it has no step: it is "left_out", or says
            "zero", as where a trainer pads with it.
        floor: the least deviation, before an epsilon outside is added, at least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    peers: Kind = "group"
    votes: Votes = "trajectory"
    own: bool = True
    scale: bool = False
    scale_over: Kind | None = None
    ddof: int = 1
    epsilon: float = 1e-6
    epsilon_at: Literal["outside", "inside", "floor"] = "outside"
    single: Literal["raw", "zero", "refused"] = "zero"
    weighted: bool = False
    centre: bool = True
    floor: float = 0.0
    memory: int = 1
    ended: Literal["left_out", "zero"] = "left_out"

    def __post_init__(self) -> None:
        check_choice("peers", self.peers, tuple(KINDS))
        check_choice("votes", self.votes, VOTES)
        check_choice("scale_over", self.scale_over, (None, *KINDS))
        check_integer("ddof", self.ddof, 0, 1)
        check_range("epsilon", self.epsilon, 0.0, 1.0)
        check_choice("epsilon_at", self.epsilon_at, WHERE)
        check_range("floor", self.floor, 0.0, 1.0)
        check_choice("single", self.single, ("raw", "zero", "refused"))
        check_integer("memory", self.memory, 1)
        check_choice("ended", self.ended, ("left_out", "zero"))

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        kinds = {self.peers, self.scale_over}
        return frozenset({"group", "privileged"} if "state" in kinds else {"group"})

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        if self.single == "refused" and batch.action.shape[1] == 1:
            raise ValueError("groups must have at least 2 trajectories for a baseline, got 1")
        votes = self._votes(batch, credit)
        peers = self._voters(self.peers, world, batch, votes)
        value = self._centred(peers, credit.value) if self.centre else credit.value
        if self.scale:
            over = peers
            if self.scale_over is not None:
                over = self._voters(self.scale_over, world, batch, votes)
            value = self._scaled(over, value, credit.value)
        shown = batch.live & batch.counted[..., None]
        return credit._replace(value=jnp.where(shown, value, 0.0))

    def _voters(
        self,
        kind: Kind,
        world: World | None,
        batch: Batch,
        votes: Float[Array, "P N T"],
    ) -> _Voters:
        """The peers of one kind, and how they vote."""
        if kind == "anchor" and self.memory > 1:
            peers = recent(world, batch, self.memory)
        else:
            peers = KINDS[kind](world, batch)
        if self.ended == "left_out":
            return _Voters(peers, votes, None)
        nothing = peers.ballot(votes) == 0
        return _Voters(peers, votes, nothing & batch.counted[..., None])

    def _votes(
        self,
        batch: Batch,
        credit: Credit,
    ) -> Float[Array, "P N T"]:
        """How much each step says in the mean of its class."""
        weight = credit.weight if self.weighted else jnp.ones_like(credit.value)
        return jnp.where(self._voting(batch), weight, 0.0)

    def _voting(self, batch: Batch) -> Bool[Array, "P N T"]:
        """The steps that vote: those decided, or all."""
        counted = batch.counted[..., None]
        voting = (batch.live if self.votes == "live" else batch.decided) & counted
        if self.votes == "turn":
            voting = voting & ends_of_turns(batch)
        if self._by_step or self.peers not in WHOLE:
            return voting
        # Who ended before the first decision, or the first step, is a member all the same.
        for steps in (batch.live & counted, jnp.broadcast_to(counted, voting.shape)):
            silent = ~jnp.any(voting, axis=-1, keepdims=True)
            voting = voting | (silent & steps)
        return voting

    def _centred(
        self,
        voters: _Voters,
        value: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """The credit less the mean of its peers."""
        peers = voters.peers
        gap, zero = voters.gap(value)
        ballots = self._ballots(voters, gap, zero)
        own = 0.0 if self.own else 1.0
        total = peers.total(ballots.total) - own * ballots.total
        count = peers.total(ballots.count) - own * ballots.count
        mean = jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0.0)
        alone = value if self.single == "raw" else jnp.zeros_like(value)
        others = self._others(voters)
        return jnp.where(
            peers.spread(others) > 0,
            gap - peers.spread(mean),
            alone,
        )

    def _others(self, voters: _Voters) -> Float[Array, "P N L"]:
        """How many other votes there are: of other trajectories, or also of one's other steps."""
        peers, votes = voters.peers, voters.votes
        number = peers.ballot(jnp.where(votes > 0, 1.0, 0.0).astype(votes.dtype))
        number = voters.silent_or(1.0, number)
        one = jnp.minimum(number, 1.0)
        if self.votes in ("trajectory", "length"):
            return peers.total(one) - one
        return peers.total(number) - (one if self.own else number)

    def _scaled(
        self,
        voters: _Voters,
        centred: Float[Array, "P N T"],
        value: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """The centred credit over the deviation of those it is scaled by."""
        over = voters.peers
        gap, zero = voters.gap(value)
        ballots = self._ballots(voters, gap, zero)
        count = over.total(ballots.count)
        mean = over.total(ballots.total) / jnp.where(count > 0, count, 1.0)
        away = self._away(voters, gap, mean, ballots)
        voted = (voters.votes if self._by_step else ballots.voted) > 0
        # Squares are in units of the largest, so that they cannot overflow.
        size = jnp.where(voted, jnp.abs(away), 0.0)
        if self._by_step:
            size = voters.silent_or(jnp.abs(zero - mean), over.largest_vote(size))
        unit = over.largest(size)
        unit = jax.lax.stop_gradient(jnp.where(unit > 0, unit, 1.0))
        square = self._squares(voters, away, zero - mean, unit)
        free = count - self.ddof
        variance = over.total(square) / jnp.where(free > 0, free, 1.0)
        if self.single == "raw":
            alone = self._others(voters) <= 0
            variance = jnp.where(alone, 1 / unit / unit, variance)
            free = jnp.where(alone, 1.0, free)
        divisor = over.spread(self._divisor(variance, unit))
        defined = (over.spread(free) > 0) & (divisor > 0)
        return jnp.where(defined, centred / jnp.where(defined, divisor, 1.0), 0.0)

    def _squares(
        self,
        voters: _Voters,
        away: Array,
        silent_away: Array,
        unit: Array,
    ) -> Array:
        """What each trajectory adds to the sum of squares, in units of `unit` squared."""
        if not self._by_step:
            return (away / unit) ** 2
        over, votes = voters.peers, voters.votes
        relative = jnp.where(votes > 0, away / over.spread(unit), 0.0)
        square = over.ballot(votes * relative**2)
        return voters.silent_or((silent_away / unit) ** 2, square)

    @property
    def _by_step(self) -> bool:
        return self.votes != "trajectory"

    def _ballots(
        self,
        voters: _Voters,
        gap: Float[Array, "P N T"],
        zero: Float[Array, "P N L"],
    ) -> _Ballots:
        peers, votes = voters.peers, voters.votes
        # What has no vote may be no number.
        total = peers.ballot(jnp.where(votes > 0, votes * gap, 0.0))
        count = peers.ballot(votes)
        total = voters.silent_or(zero, total)
        count = voters.silent_or(1.0, count)
        voted = (count > 0).astype(count.dtype)
        if self._by_step:
            return _Ballots(total, count, voted)
        return _Ballots(total / jnp.where(count > 0, count, 1.0), voted, voted)

    def _away(
        self,
        voters: _Voters,
        gap: Float[Array, "P N T"],
        mean: Float[Array, "P N L"],
        ballots: _Ballots,
    ) -> Array:
        """How far each vote is from the mean: of steps, or of trajectories."""
        if self._by_step:
            return gap - voters.peers.spread(mean)
        return jnp.where(ballots.voted > 0, ballots.total - mean, 0.0)

    def _divisor(
        self,
        variance: Array,
        unit: Array,
    ) -> Array:
        """The deviation with epsilon where it stands; variance is in units of `unit` squared."""
        inside = self.epsilon / unit / unit if self.epsilon_at == "inside" else 0.0
        square = variance + inside
        positive = square > 0
        deviation = jnp.where(
            positive,
            unit
            * jnp.sqrt(
                jnp.where(
                    positive,
                    square,
                    1.0,
                )
            ),
            0.0,
        )
        deviation = jnp.maximum(deviation, self.floor)
        if self.epsilon_at == "floor":
            return jnp.maximum(deviation, self.epsilon)
        return deviation + self.epsilon if self.epsilon_at == "outside" else deviation


class _Ballots(NamedTuple):
    """What each trajectory says in each class."""

    total: Float[Array, "P N L"]
    count: Float[Array, "P N L"]
    voted: Float[Array, "P N L"]
    """1 where it says anything."""


class _Voters(NamedTuple):
    """Who is compared, and what each step says."""

    peers: Peers
    votes: Float[Array, "P N T"]
    silent: Bool[Array, "P N L"] | None
    """Trajectories that say 0 in a class where they have no step; None is nobody."""

    def silent_or(self, x: Array | float, y: Float[Array, "P N L"]) -> Float[Array, "P N L"]:
        """The first for those that are silent in a class, the second for others."""
        return y if self.silent is None else jnp.where(self.silent, x, y)

    def gap(
        self,
        value: Float[Array, "P N T"],
    ) -> tuple[Float[Array, "P N T"], Float[Array, "P N L"]]:
        """Credit less the largest vote of its class: exactly 0 where all are equal; and so of 0.

        What has no class of voters keeps its value.
        """
        peers = self.peers
        # What the value is made of must not be computed twice, rounded in two ways.
        value = jax.lax.optimization_barrier(value)
        own = peers.largest_vote(jnp.where(self.votes > 0, value, -jnp.inf))
        largest = jax.lax.stop_gradient(peers.largest(self.silent_or(0.0, own)))
        origin = peers.spread(largest)
        gap = jnp.where(jnp.isfinite(origin), difference(value, origin), value)
        return gap, jnp.where(jnp.isfinite(largest), -largest, 0.0)
