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
        shown = batch.of_counted(batch.live)
        if credit.whole is not None and self._of_wholes:
            # One number for each trajectory is as good as many that are equal, and less to add up.
            once = _Votes(batch.counted[..., None], None)
            worth = self._worth(world, batch, once, credit.whole[..., None])
            value = jnp.where(shown, worth, 0.0)
            return credit._replace(value=value, whole=worth[..., 0])
        worth = self._worth(world, batch, self._votes(batch, credit), credit.value)
        return credit._replace(value=jnp.where(shown, worth, 0.0))

    def _worth(
        self,
        world: World | None,
        batch: Batch,
        votes: _Votes,
        given: Float[Array, "P N L"],
    ) -> Float[Array, "P N L"]:
        """What is given beside its peers: of each step, or of each trajectory as its one step."""
        tally = self._tally(self.peers, world, batch, votes, given)
        value = self._centred(tally, given) if self.centre else given
        if not self.scale:
            return value
        over = tally
        if self.scale_over is not None:
            over = self._tally(self.scale_over, world, batch, votes, given)
        return self._scaled(over, value)

    @property
    def _of_wholes(self) -> bool:
        """Whether it compares trajectories as wholes, each with one vote."""
        over = self.peers if self.scale_over is None else self.scale_over
        whole = self.peers in WHOLE and over in WHOLE
        return whole and self.votes == "trajectory" and not self.weighted

    @property
    def _by_step(self) -> bool:
        return self.votes != "trajectory"

    def _votes(self, batch: Batch, credit: Credit) -> _Votes:
        """How much each step says in the mean of its class."""
        voting = self._voting(batch)
        if not self.weighted:
            return _Votes(voting, None)
        weight = jnp.where(voting, credit.weight, 0.0)
        return _Votes(weight > 0, weight)

    def _voting(self, batch: Batch) -> Bool[Array, "P N T"]:
        """The steps that vote: those decided, or all."""
        if not self._by_step and self.peers in WHOLE:
            # Who ended before the first decision, or the first step, is a member all the same: what
            # votes are the decisions, or else the live steps, or else all steps.
            rank = batch.live.astype(jnp.int8) + batch.decided
            highest = jnp.max(rank, axis=-1, keepdims=True)
            return batch.of_counted(rank == highest)
        if self.votes == "live":
            return batch.of_counted(batch.live)
        voting = batch.of_counted(batch.decided)
        if self.votes == "turn":
            return voting & ends_of_turns(batch)
        return voting

    def _tally(
        self,
        kind: Kind,
        world: World | None,
        batch: Batch,
        votes: _Votes,
        value: Float[Array, "P N T"],
    ) -> _Tally:
        """What the peers of one kind say."""
        peers = self._peers(kind, world, batch)
        voted = votes.voting.astype(value.dtype)
        number = peers.ballot(voted)
        count = number if votes.weight is None else peers.ballot(votes.weight)
        silent = None
        if self.ended == "zero":
            silent = batch.of_counted(count == 0)
            number = jnp.where(silent, 1.0, number)
            count = jnp.where(silent, 1.0, count)
        gap, zero = _gap(peers, votes, silent, value)
        total = peers.ballot(votes.weigh(gap))
        if silent is not None:
            total = jnp.where(silent, zero, total)
        own = _Ballots(total, count, number)
        if not self._by_step:
            whole = kind in WHOLE and self.peers in WHOLE
            equal = votes.weight is None
            everyone = whole and equal and batch.all_counted
            own = own.one_each(everyone, equal)
        return _Tally(
            peers,
            votes,
            silent,
            gap,
            zero,
            own,
            own.over(peers),
        )

    def _peers(
        self,
        kind: Kind,
        world: World | None,
        batch: Batch,
    ) -> Peers:
        if kind == "anchor" and self.memory > 1:
            return recent(world, batch, self.memory)
        return KINDS[kind](world, batch)

    def _centred(
        self,
        tally: _Tally,
        value: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """The credit less the mean of its peers."""
        peers, own = tally.peers, tally.own
        total, count = tally.all.total, tally.all.count
        if not self.own:
            total = total - own.total
            count = count - own.count
        mean = _ratio(total, count)
        others = self._others(tally)
        accompanied = peers.spread(others) > 0
        centred = tally.gap - peers.spread(mean)
        alone = value if self.single == "raw" else 0.0
        return jnp.where(accompanied, centred, alone)

    def _others(self, tally: _Tally) -> Float[Array, "P N L"]:
        """How many other votes there are: of other trajectories, or also of one's other steps."""
        own = tally.own.number
        if self.votes == "trajectory":
            return tally.all.number - own
        one = jnp.minimum(own, 1.0)
        if self.votes == "length":
            return tally.peers.total(one) - one
        return tally.all.number - (one if self.own else own)

    def _scaled(
        self,
        tally: _Tally,
        centred: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """The centred credit over the deviation of those it is scaled by."""
        peers, count = tally.peers, tally.all.count
        mean = _ratio(tally.all.total, count)
        away = self._away(tally, mean)
        # Squares are in units of the largest, so that they cannot overflow.
        size = self._size(tally, away, mean)
        largest = peers.largest(size)
        unit = jnp.where(largest > 0, largest, 1.0)
        unit = jax.lax.stop_gradient(unit)
        square = self._squares(tally, away, mean, unit)
        free = count - self.ddof
        divided_by = jnp.where(free > 0, free, 1.0)
        variance = peers.total(square) / divided_by
        if self.single == "raw":
            alone = self._others(tally) <= 0
            variance = jnp.where(alone, 1 / unit / unit, variance)
            free = jnp.where(alone, 1.0, free)
        deviation = self._divisor(variance, unit)
        divisor = peers.spread(deviation)
        enough = peers.spread(free) > 0
        defined = enough & (divisor > 0)
        safe = jnp.where(defined, divisor, 1.0)
        return jnp.where(defined, centred / safe, 0.0)

    def _away(
        self,
        tally: _Tally,
        mean: Float[Array, "#P #N L"],
    ) -> Array:
        """How far each vote is from the mean: of steps, or of trajectories."""
        if self._by_step:
            return tally.gap - tally.peers.spread(mean)
        away = tally.own.total - mean
        return jnp.where(tally.own.count > 0, away, 0.0)

    def _size(
        self,
        tally: _Tally,
        away: Array,
        mean: Float[Array, "#P #N L"],
    ) -> Float[Array, "P N L"]:
        """How far the farthest vote of each trajectory is from the mean."""
        if not self._by_step:
            return jnp.abs(away)
        size = jnp.abs(away)
        voted = jnp.where(tally.votes.voting, size, 0.0)
        largest = tally.peers.largest_vote(voted)
        if tally.silent is None:
            return largest
        silent_away = jnp.abs(tally.zero - mean)
        return jnp.where(tally.silent, silent_away, largest)

    def _squares(
        self,
        tally: _Tally,
        away: Array,
        mean: Float[Array, "#P #N L"],
        unit: Array,
    ) -> Array:
        """What each trajectory adds to the sum of squares, in units of `unit` squared."""
        if not self._by_step:
            return (away / unit) ** 2
        peers, votes = tally.peers, tally.votes
        relative = away / peers.spread(unit)
        relative = jnp.where(votes.voting, relative, 0.0)
        weighed = votes.weigh(relative**2)
        square = peers.ballot(weighed)
        if tally.silent is None:
            return square
        silent_away = (tally.zero - mean) / unit
        return jnp.where(tally.silent, silent_away**2, square)

    def _divisor(
        self,
        variance: Array,
        unit: Array,
    ) -> Array:
        """The deviation with epsilon where it stands; variance is in units of `unit` squared."""
        square = variance
        if self.epsilon_at == "inside":
            square = variance + self.epsilon / unit / unit
        positive = square > 0
        safe = jnp.where(positive, square, 1.0)
        root = jnp.sqrt(safe)
        deviation = jnp.where(positive, unit * root, 0.0)
        if self.floor > 0:
            deviation = jnp.maximum(deviation, self.floor)
        if self.epsilon_at == "floor":
            return jnp.maximum(deviation, self.epsilon)
        if self.epsilon_at == "outside":
            return deviation + self.epsilon
        return deviation


class _Votes(NamedTuple):
    """Which steps vote, and how much each says."""

    voting: Bool[Array, "P N T"]
    weight: Float[Array, "P N T"] | None
    """None where each has one vote."""

    def weigh(self, x: Float[Array, "P N T"]) -> Float[Array, "P N T"]:
        """Each step's number times its vote; what has no vote may be no number."""
        if self.weight is not None:
            x = self.weight * x
        return jnp.where(self.voting, x, 0.0)


class _Ballots(NamedTuple):
    """What each trajectory says in each class, or all its peers together."""

    total: Float[Array, "#P #N L"]
    count: Float[Array, "#P #N L"]
    number: Float[Array, "#P #N L"]
    """How many votes, whatever their weights."""

    def one_each(
        self,
        everyone: bool,
        equal: bool,
    ) -> _Ballots:
        """The same with one vote of each trajectory, the mean of its steps.

        Args:
            everyone: whether it is known, before anything runs, that all have a vote.
            equal: whether all its steps have one vote.
        """
        if everyone:
            one = jnp.ones_like(self.count)
            mean = self.total / self.count
            return _Ballots(mean, one, one)
        mean = _ratio(self.total, self.count)
        voted = self.count > 0
        one = voted.astype(self.count.dtype)
        if equal:
            return _Ballots(mean, one, one)
        number = jnp.minimum(self.number, 1.0)
        return _Ballots(mean, one, number)

    def over(self, peers: Peers) -> _Ballots:
        """Sums over the peers."""
        total = peers.total(self.total)
        count = peers.total(self.count)
        if self.number is self.count:
            return _Ballots(total, count, count)
        number = peers.total(self.number)
        return _Ballots(total, count, number)


class _Tally(NamedTuple):
    """What the peers of one kind say of a credit, from the largest vote of each class on."""

    peers: Peers
    votes: _Votes
    silent: Bool[Array, "P N L"] | None
    """Trajectories that say 0 in a class where they have no step; None is nobody."""
    gap: Float[Array, "P N T"]
    """Credit less the largest vote: exactly 0 where all are equal."""
    zero: Float[Array, "#P #N L"]
    """0 less the same."""
    own: _Ballots
    all: _Ballots


def _gap(
    peers: Peers,
    votes: _Votes,
    silent: Bool[Array, "P N L"] | None,
    value: Float[Array, "P N T"],
) -> tuple[Float[Array, "P N T"], Float[Array, "#P #N L"]]:
    """Credit less the largest vote of its class, and so of 0.

    What has no class of voters keeps its value.
    """
    # What the value is made of must not be computed twice, rounded in two ways.
    value = jax.lax.optimization_barrier(value)
    voted = jnp.where(votes.voting, value, -jnp.inf)
    own = peers.largest_vote(voted)
    if silent is not None:
        own = jnp.where(silent, 0.0, own)
    largest = peers.largest(own)
    largest = jax.lax.stop_gradient(largest)
    origin = peers.spread(largest)
    gap = difference(value, origin)
    gap = jnp.where(jnp.isfinite(origin), gap, value)
    zero = jnp.where(jnp.isfinite(largest), -largest, 0.0)
    return gap, zero


def _ratio(total: Array, count: Array) -> Array:
    """The total over the count, 0 where nothing counts."""
    some = count > 0
    safe = jnp.where(some, count, 1.0)
    return jnp.where(some, total / safe, 0.0)
