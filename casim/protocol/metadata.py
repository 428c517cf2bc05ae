"""What a world is like under a policy, computed from its process: nothing of it is typed.

In maths, with d_t(s) the visits, w_t the product of the discounts of the steps before t, and V, Q,
A of the policy: the *spread* of a decision is w_t (max_a Q_t(s, a) - min_a Q_t(s, a)), and a
decision is a *bifurcation* where that is at least `TELLING` standard deviations of the return. Best
and wrong are the actions of largest and least Q there. All other decisions are decoys.

References:
    What a controlled task has to state follows Zhang 2026, arXiv:2604.09459 (frequency of
    bifurcations, whether they can be undone, their share of the variance, entropy there and at
    decoys, delay, noise, aliasing, reset, types of actions, verifiability, agents). The definitions
    are casim's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from casim.dynamics import absorb, discounting, force
from casim.oracle import optimal, solve, variance_parts
from casim.policies import Policy
from casim.tasks import Task
from casim.types import MDP, Kind, Replay, Truth

TELLING = 0.1
"""Standard deviations of the return that a decision must move to be a bifurcation."""
ROUNDING = 1e-6
"""Relative to the largest value: less than that is nothing, in single precision."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Exact numbers of a world under a policy; NaN where a number means nothing there.

    Attributes:
        steps: mean number of live steps of an episode.
        turns: turns of a whole episode.
        decisions: mean number of decisions of an episode.
        bifurcations: mean number of bifurcations among them.
        frequency: bifurcations over decisions.
        variance_share: of Var(G), what the actions at bifurcations make:
            sum w_t^2 E[A_t^2] there, over Var(G).
        recoverability: how much of what the wrong action puts at stake the policy gets back by
            itself, see `recovery`; 0 is nothing.
        recoverable: the same under the best play from there on of one who sees the state.
        entropy_bifurcation: mean entropy of the policy at bifurcations, in nats.
        entropy_decoy: mean entropy at all other decisions, in nats.
        delay: mean steps from a bifurcation to the reward, each step weighted by how much is
            earned or paid there: sum of (k - t) |r_k| over sum of |r_k|.
        transition_noise: of Var(G), what transitions and random pay make.
        aliasing: latent states that look alike, the perplexity exp H(s_t | o_t) at decisions; 1 is
            full sight.
        verifiability: of the variance of V where a turn begins, the first one apart, how much is
            seen: Var(E[V | o]) over Var(V). Segments stand for turns where there is one turn.
        judge_bias: expected return as judges take it to be, less what it is.
        reset: how well a step can be gone back to: "exact", "noisy", "text only" or "none".
        replay_noise: probability that what is hidden is redrawn when one goes back.
        actions: share of each type of action among decisions, by its name.
        agents: how many act.
        coupling: of what actions make of Var(G), how much depends on what an agent finds: 1 less
            sum E[mean(A_t | a)^2] over sum E[A_t^2]. 0 for one agent, and where agents add up.
        reward: "at the end" or "on the way".
    """

    steps: float
    turns: int
    decisions: float
    bifurcations: float
    frequency: float
    variance_share: float
    recoverability: float
    recoverable: float
    entropy_bifurcation: float
    entropy_decoy: float
    delay: float
    transition_noise: float
    aliasing: float
    verifiability: float
    judge_bias: float
    reset: str
    replay_noise: float
    actions: dict[str, float]
    agents: int
    coupling: float
    reward: str


class Solved(NamedTuple):
    """Arrays in double precision, by step where that is more than by kernel."""

    mdp: MDP
    """With terminal states absorbing."""
    truth: Truth
    table: Float[np.ndarray, "M O A"]
    best: Float[np.ndarray, "T S A"]
    """Q of the best play."""
    worst: Float[np.ndarray, "T S A"]
    """Q of the worst play."""
    weight: Float[np.ndarray, " T"]
    variance: float
    """Var(G)."""
    luck: float
    """Of it, by transitions."""
    visits: Float[np.ndarray, "T S"]
    """Of decisions: 0 where nothing is decided."""

    @property
    def acting(self) -> Float[np.ndarray, "T S A"]:
        """pi(a | s) at each step."""
        return np.asarray(self.truth.state_policy)[self.mdp.schedule]

    @property
    def skill(self) -> Float[np.ndarray, "T S"]:
        """What the action of each state makes of Var(G)."""
        square = self.truth.advantage**2
        mean = np.sum(self.acting * square, axis=-1)
        scale = self.weight**2
        return scale[:, None] * self.visits * mean


def metadata(
    task: Task,
    policy: Policy,
) -> Metadata:
    """All that the protocol states of a world, see `Metadata`."""
    mdp = task.build()
    table = policy.table(mdp)
    solved = solve_all(mdp, table)
    truth = solved.truth
    telling = bifurcations(solved)
    here = np.where(telling, solved.visits, 0.0)
    elsewhere = np.where(telling, 0.0, solved.visits)
    decisions = solved.visits.sum()
    forks = here.sum()
    decided = solved.skill[telling].sum()
    by_itself = recovery(solved, truth.q_value)
    at_best = recovery(solved, solved.best)
    entropy = _entropy(solved)
    return Metadata(
        steps=float(truth.occupancy.sum()),
        turns=int(solved.mdp.turn[-1]) + 1,
        decisions=float(decisions),
        bifurcations=float(forks),
        frequency=_ratio(forks, decisions),
        variance_share=_ratio(decided, solved.variance),
        recoverability=_mean(by_itself, here),
        recoverable=_mean(at_best, here),
        entropy_bifurcation=_mean(entropy, here),
        entropy_decoy=_mean(entropy, elsewhere),
        delay=_delay(solved, here),
        transition_noise=_ratio(solved.luck, solved.variance),
        aliasing=_aliasing(solved),
        verifiability=_verifiability(solved),
        judge_bias=_judge_bias(task, mdp, table, solved),
        reset=_reset(task.replay),
        replay_noise=float(task.replay.noise),
        actions=_actions(solved),
        agents=len(np.unique(solved.mdp.agent)),
        coupling=_coupling(solved),
        reward=_reward(solved.mdp),
    )


def solve_all(
    mdp: MDP,
    table: Any,
) -> Solved:
    """What the oracle knows of a policy, and of the best and the worst play."""
    found = jax.tree.map(_double, _oracle(mdp, table))
    mdp, truth, acted, best, worst, parts, weight = found
    decides = mdp.decision[mdp.schedule]
    luck = parts.luck.sum()
    skill = parts.skill.sum()
    return Solved(
        mdp=mdp,
        truth=truth,
        table=acted,
        best=best,
        worst=-worst,
        weight=weight,
        variance=float(parts.prompt + skill + luck),
        luck=float(luck),
        visits=np.where(decides[:, None], truth.occupancy, 0.0),
    )


@jax.jit
def _oracle(
    mdp: MDP,
    table: Any,
) -> tuple[Any, ...]:
    truth = solve(mdp, table)
    against = mdp._replace(reward=-mdp.reward)
    best = optimal(mdp)
    worst = optimal(against)
    return (
        absorb(mdp),
        truth,
        force(mdp, table),
        best.q_value,
        worst.q_value,
        variance_parts(mdp, truth),
        discounting(mdp),
    )


def _double(x: Any) -> np.ndarray:
    """An array of NumPy, its floats in double precision."""
    array = np.asarray(x)
    is_float = np.issubdtype(array.dtype, np.floating)
    return array.astype(np.float64) if is_float else array


def bifurcations(solved: Solved) -> Bool[np.ndarray, "T S"]:
    """The states of each step at which a decision is a bifurcation."""
    apart = np.ptp(solved.truth.advantage, axis=-1)
    spread = solved.weight[:, None] * apart
    deviation = np.sqrt(solved.variance)
    met = solved.visits > 0
    differs = spread > 0
    tells = spread >= TELLING * deviation
    return met & differs & tells


def recovery(
    solved: Solved,
    q_value: Float[np.ndarray, "T S A"],
) -> Float[np.ndarray, "T S"]:
    """How much of what the wrong action puts at stake is got back, in [0, 1].

    In maths: (Q(wrong) - W(wrong)) / (Q(best) - W(wrong)), W under the worst play from there on: 0
    where the wrong action is as bad as can be, 1 where nothing is lost. Where a success is 1 and a
    wrong branch can fail for good, it is the probability to undo it.

    Args:
        solved: the world.
        q_value: of who plays on.
    """
    advantage = solved.truth.advantage
    right = np.argmax(advantage, axis=-1)
    wrong = np.argmin(advantage, axis=-1)
    hoped = _taken(q_value, right)
    kept = _taken(q_value, wrong)
    least = _taken(solved.worst, wrong)
    stake = hoped - least
    nothing = ROUNDING * np.abs(q_value).max(initial=0.0)
    staked = stake > nothing
    share = (kept - least) / np.where(staked, stake, 1.0)
    share = np.minimum(share, 1.0)
    share = np.where(share < ROUNDING, 0.0, share)
    return np.where(staked, share, 1.0)


def _taken(
    x: Float[np.ndarray, "T S A"],
    action: Int[np.ndarray, "T S"],
) -> Float[np.ndarray, "T S"]:
    """The entry of one action in each state."""
    found = np.take_along_axis(x, action[..., None], axis=-1)
    return found[..., 0]


def _entropy(solved: Solved) -> Float[np.ndarray, "T S"]:
    """Mean entropy of the policy in a state, over what is observed there."""
    mdp, table = solved.mdp, solved.table
    log = np.log(_or_one(table))
    each = -np.sum(table * log, axis=-1)
    seen = np.einsum("mso,mo->ms", mdp.emission, each)
    return seen[mdp.schedule]


def _delay(
    solved: Solved,
    here: Float[np.ndarray, "T S"],
) -> float:
    """Mean steps to the reward, by two recursions backwards.

    In maths: R_t = E|r_t| + P R_{t+1} is what is still earned or paid, and
    M_t = P (M_{t+1} + R_{t+1}) the same weighted by steps to go.
    """
    mdp = solved.mdp
    acting = solved.truth.state_policy
    joint = acting[..., None] * mdp.prob
    size = np.abs(mdp.reward)
    pay = np.sum(joint * size, axis=(2, 3))
    moves = list(map(_move, joint, mdp.successor))
    left = np.zeros(len(mdp.start))
    waited = left
    total = 0.0
    weighted = 0.0
    backwards = zip(mdp.schedule[::-1], here[::-1], strict=True)
    for kernel, visits in backwards:
        move = moves[kernel]
        waited = move @ (waited + left)
        left = pay[kernel] + move @ left
        total += visits @ left
        weighted += visits @ waited
    return _ratio(weighted, total)


def _move(
    joint: np.ndarray,
    successor: np.ndarray,
) -> Float[np.ndarray, "S S"]:
    """P(s' | s) of a kernel, from the probabilities `[S, A, K]` of its outcomes."""
    states = len(joint)
    move = np.zeros((states, states))
    rows = zip(move, successor, joint, strict=True)
    for row, after, chance in rows:
        np.add.at(row, after, chance)
    return move


def _seen(
    solved: Solved,
    visits: np.ndarray,
    steps: np.ndarray,
) -> Float[np.ndarray, "U S O"]:
    """Joint visits of states and observations at some steps."""
    kernels = solved.mdp.schedule[steps]
    emission = solved.mdp.emission[kernels]
    here = visits[steps]
    return here[..., None] * emission


def _aliasing(solved: Solved) -> float:
    """Perplexity of the state, given the step and what is seen."""
    live = solved.visits.sum(axis=-1)
    deciding = np.flatnonzero(live > 0)
    joint = _seen(solved, solved.visits, deciding)
    by_sight = joint.sum(axis=1, keepdims=True)
    likely = joint / _or_one(by_sight)
    surprise = -np.log(_or_one(likely))
    entropy = _mean(surprise, joint)
    return float(np.exp(entropy))


def _verifiability(solved: Solved) -> float:
    """How much of the variance of V is seen where turns begin."""
    mdp, truth = solved.mdp, solved.truth
    unit = mdp.turn if mdp.turn[-1] > 0 else mdp.segment
    begins = 1 + np.flatnonzero(np.diff(unit))
    value = truth.value[begins]
    joint = _seen(solved, np.asarray(truth.occupancy), begins)
    by_state = joint.sum(axis=2)
    by_sight = joint.sum(axis=1)
    live = by_state.sum(axis=1)
    mean = np.einsum("us,us->u", by_state, value) / _or_one(live)
    told = np.einsum("uso,us->uo", joint, value) / _or_one(by_sight)
    centre = mean[:, None]
    seen = by_sight * (told - centre) ** 2
    whole = by_state * (value - centre) ** 2
    nothing = ROUNDING * np.abs(truth.value).max()
    if whole.sum() <= nothing**2:
        return math.nan
    share = _ratio(seen.sum(), whole.sum())
    return 0.0 if share < ROUNDING else share


def _judge_bias(
    task: Task,
    mdp: MDP,
    table: Any,
    solved: Solved,
) -> float:
    """What judges take the expected return to be, less what it is."""
    believed = task.believed()
    pairs = zip(mdp, believed, strict=True)
    if all(np.array_equal(one, other) for one, other in pairs):
        return 0.0
    told = solve_all(believed, table).truth.expected_return
    return float(told - solved.truth.expected_return)


def _reset(replay: Replay) -> str:
    if not replay.possible:
        return "none"
    if replay.noise == 0:
        return "exact"
    return "text only" if replay.noise == 1 else "noisy"


def _actions(solved: Solved) -> dict[str, float]:
    """Shares of types among decisions, the most frequent first."""
    kinds = solved.mdp.kind[solved.mdp.schedule]
    each = solved.visits.sum(axis=-1)
    shares = {}
    for kind in np.unique(kinds[each > 0]):
        name = Kind(kind).name.lower()
        own = each[kinds == kind].sum()
        shares[name] = _ratio(own, each.sum())
    order = sorted(shares, key=lambda name: -shares[name])
    return {name: shares[name] for name in order}


def _coupling(solved: Solved) -> float:
    """Of what actions make of Var(G), how much depends on the state that is found."""
    if len(np.unique(solved.mdp.agent)) == 1:
        return 0.0
    joint = solved.visits[..., None] * solved.acting
    taken = joint.sum(axis=1)
    sums = np.sum(joint * solved.truth.advantage, axis=1)
    by_action = sums**2 / _or_one(taken)
    by_step = by_action.sum(axis=-1)
    alone = np.sum(solved.weight**2 * by_step)
    whole = solved.skill.sum()
    return 1 - _ratio(alone, whole)


def _reward(mdp: MDP) -> str:
    """Whether anything is paid before the last step."""
    pays = (mdp.reward != 0) & (mdp.prob > 0)
    kernels = np.any(pays, axis=(1, 2, 3))
    early = kernels[mdp.schedule[:-1]]
    return "on the way" if early.any() else "at the end"


def _mean(
    x: np.ndarray,
    weight: np.ndarray,
) -> float:
    total = np.sum(x * weight)
    return _ratio(total, weight.sum())


def _ratio(
    part: Any,
    whole: Any,
) -> float:
    """NaN where there is no whole."""
    return float(part / whole) if whole > 0 else math.nan


def _or_one(x: np.ndarray) -> np.ndarray:
    """What can be divided by, and has a logarithm."""
    return np.where(x > 0, x, 1.0)
