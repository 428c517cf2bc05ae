"""Games whose players are steps, segments, turns or agents: what a coalition is worth, exactly.

In maths, v(S) = E[R | the players in S are present, the others absent], R the discounted return of
an episode. Three games:
- (i) interventional: present plays the actions as taken in a trajectory, absent draws them from a
  reference; the noise of the environment is averaged out. v(all) = E[R | s_0, do(a)].
- (ii) on the observed noise: the same, while transitions and observations are those that the noise
  of the trajectory gives after any other action. v(all) is the return of the trajectory.
- (iii) a team: present plays its policy, absent a null policy; nothing is conditional on a
  trajectory.

`nature_game` adds the environment's draws as players to (i): drawn as recorded if present, afresh
if absent. Also after the trajectory's end, where no action was taken, a rerun goes on with the
reference.

A run is the steps between two changes of player. It acts on values as an affine map
V -> gain + move V, one if its player is present and one if absent, so a game is two lists of J
maps.

Cost: O(N T S^2 A) for the maps, with O(N J S^2) memory; O(J S^2) for one coalition, so
O(J 2^G S^2) for those of G players.

References:
    Shapley 1953; Wolpert and Tumer 2002 (difference rewards). What "absent" means differs between
    methods; the three games are stated as casim computes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.blocks import Blocks, cut, fold
from casim.checks import check_integer
from casim.doors import door
from casim.dynamics import absorb, force, state_policy
from casim.simulate.belief import transition_matrix
from casim.simulate.noise import OBSERVATION, TRANSITION, draw, key_words, single, thresholds
from casim.types import MDP, Trajectory

MAX_ENUMERATED = 16
"""Players of which all coalitions are evaluated: 2^16 of them."""
CHUNK = 4096
"""Coalitions evaluated at once."""


class Game(NamedTuple):
    """J runs in time, each with two affine maps, and a distribution of the first state.

    The arrays hold N games side by side.
    """

    start: Float[Array, "N S"]
    present_gain: Float[Array, "N J S"]
    present_move: Float[Array, "N J S S"]
    absent_gain: Float[Array, "N J S"]
    absent_move: Float[Array, "N J S S"]
    owner: Int[Array, " J"]
    """Player of each run; -1 for a run of no steps."""


class Noise(NamedTuple):
    """The uniforms of a trajectory's environment."""

    transition: Float[Array, "N T"]
    observation: Float[Array, "N T"]


class _Law(NamedTuple):
    """One step: mean reward, discounted law of the next state, reference's law of the action."""

    earn: Float[Array, "S A"]
    move: Float[Array, "S A S"]
    choice: Float[Array, "S A"]


LONG, FEW = 1024, 64
"""Games of more steps and no more runs than these are folded in blocks."""


class _Map(NamedTuple):
    """V -> gain + move V."""

    gain: Array
    move: Array


@door
def recorded_noise(
    key: Key[Array, ""],
    episode: Int[Array, " N"],
    num_steps: int,
) -> Noise:
    """The noise of `World.rollout` under a key, for its episodes `arange(num)`.

    That of other reruns is found by their addresses.
    """
    words = key_words(key)
    shape = (episode.shape[0], num_steps)
    steps = jnp.arange(num_steps)[None, :]
    row = jnp.broadcast_to(episode[:, None], shape)
    step = jnp.broadcast_to(steps, shape)
    return Noise(
        transition=single(words, row, step, TRANSITION),
        observation=single(words, row, step, OBSERVATION),
    )


@door
def taken_game(
    mdp: MDP,
    reference: Float[Array, "M O A"],
    batch: Trajectory,
    player: Int[Array, " T"],
    num_runs: int | None = None,
    noise: Noise | None = None,
) -> Game:
    """Games (i) and (ii): the actions of each trajectory against a reference, from its first state.

    Args:
        mdp: the process.
        reference: what absent players do: the policy itself, or a default action.
        batch: trajectories.
        player: of each step, from 0: `arange(T)`, `mdp.segment`, `mdp.turn` or `mdp.agent`.
        num_runs: J, static under jit, at least the number of runs; None takes T, which costs more
            if runs are long.
        noise: of the trajectories, for game (ii); None for game (i).
    """
    mdp = absorb(mdp)
    law = _average(mdp, reference)
    steps = mdp.schedule.shape[0]
    run, owner = _runs(player, steps if num_runs is None else num_runs)

    def row(
        batch: Trajectory,
        noise: Noise | None,
    ) -> tuple[_Map, _Map]:
        def step(now) -> tuple[_Map, _Map]:
            kernel, action, live, uniform = now
            here = law(kernel)
            if uniform is not None:
                here = _conditional(mdp, reference, kernel, uniform)
            absent = _drawn(here)
            taken = _Map(here.earn[:, action], here.move[:, action])
            present = _Map(
                jnp.where(live, taken.gain, absent.gain),
                jnp.where(live, taken.move, absent.move),
            )
            return present, absent

        inputs = (mdp.schedule, batch.action, batch.live, noise)
        return _by_run(step, inputs, run, owner.shape[0], mdp.start)

    present, absent = jax.vmap(row)(batch, noise)
    return Game(
        _first(mdp, batch),
        present.gain,
        present.move,
        absent.gain,
        absent.move,
        owner,
    )


@door
def team_game(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    null: Float[Array, "M O A"],
    player: Int[Array, " T"],
    num_runs: int | None = None,
) -> Game:
    """Game (iii), N = 1, from P(s_0): players follow the policy or, if absent, the null policy.

    Arguments as above.
    """
    mdp = absorb(mdp)
    laws = [_average(mdp, table) for table in (policy, null)]
    steps = mdp.schedule.shape[0]
    run, owner = _runs(player, steps if num_runs is None else num_runs)

    def step(
        kernel: Array,
    ) -> tuple[_Map, _Map]:
        present, absent = (_drawn(law(kernel)) for law in laws)
        return present, absent

    present, absent = _by_run(step, mdp.schedule, run, owner.shape[0], mdp.start)
    return Game(
        mdp.start[None],
        present.gain[None],
        present.move[None],
        absent.gain[None],
        absent.move[None],
        owner,
    )


@door
def nature_game(
    mdp: MDP,
    reference: Float[Array, "M O A"],
    batch: Trajectory,
    noise: Noise,
) -> Game:
    """Player t is the action of step t; player T + t the environment's draw after it.

    In the order of time (action 0, draw 0, action 1, ...) and with the policy as the reference, the
    marginal of an action is its advantage, and that of a draw is the luck

        r_t + discount V_{t+1}(s_{t+1}) - Q_t(s_t, a_t),

    also where transitions are random; all players together get the return less V_0(s_0). Derived
    here. Values live on pairs (s, a), so maps are [S A, S A].
    """
    mdp = absorb(mdp)
    law = _average(mdp, reference)
    states, actions = mdp.prob.shape[1:3]
    size = states * actions
    steps = mdp.schedule.shape[0]
    dtype = mdp.prob.dtype

    def act(
        choice: Float[Array, "S A"],
    ) -> _Map:
        """The value before an action is known, written at every pair of the state."""
        stay = jnp.eye(states, dtype=dtype)[:, None, :, None]
        move = stay * choice[:, None, None, :]
        of_pairs = jnp.broadcast_to(move, (states, actions) * 2)
        return _Map(jnp.zeros(size, dtype), of_pairs.reshape(size, size))

    def happen(
        here: _Law,
    ) -> _Map:
        """The value of a pair, from that of the next states, read at their action 0."""
        first = jnp.arange(actions) == 0
        move = here.move[..., None] * first[None, None, None]
        return _Map(here.earn.reshape(size), move.reshape(size, size))

    def step(
        kernel: Array,
        action: Array,
        live: Array,
        uniform: Noise,
    ) -> tuple[_Map, ...]:
        here = law(kernel)
        recorded = _conditional(mdp, reference, kernel, uniform)
        is_taken = (jnp.arange(actions) == action)[None, :]
        taken = jnp.broadcast_to(is_taken.astype(dtype), (states, actions))
        imposed = jnp.where(live, taken, here.choice)
        present = act(imposed), happen(recorded)
        absent = act(here.choice), happen(here)
        # Action first, then the draw.
        return tuple(
            jax.tree.map(lambda x, y: jnp.stack([x, y]), *pair) for pair in (present, absent)
        )

    by_row = jax.vmap(jax.vmap(step), in_axes=(None, 0, 0, 0))
    maps = by_row(mdp.schedule, batch.action, batch.live, noise)

    def in_order(x: Array) -> Array:
        return x.reshape(x.shape[0], 2 * steps, *x.shape[3:])

    present, absent = jax.tree.map(in_order, maps)
    is_first = (jnp.arange(actions) == 0)[None, None, :]
    start = _first(mdp, batch)[..., None] * is_first
    acts = jnp.arange(steps)
    owner = jnp.stack([acts, steps + acts], axis=1)
    return Game(
        start.reshape(-1, size),
        present.gain,
        present.move,
        absent.gain,
        absent.move,
        owner.reshape(-1),
    )


@door
def worth(
    game: Game,
    present: Bool[Array, "N C G"],
) -> Float[Array, "N C"]:
    """v(S) of C coalitions of each game, given by their members."""

    def one(
        game: Game,
        present: Bool[Array, " G"],
    ) -> Float[Array, ""]:
        def prepend(
            value: Float[Array, " S"],
            now: Game,
        ) -> tuple[Float[Array, " S"], None]:
            there = _Map(now.present_gain, now.present_move)
            gone = _Map(now.absent_gain, now.absent_move)
            with_ = _apply(there, value)
            without = _apply(gone, value)
            return jnp.where(present[now.owner], with_, without), None

        zero = jnp.zeros_like(game.start)
        runs = game._replace(start=game.owner)
        value, _ = jax.lax.scan(prepend, zero, runs, reverse=True)
        return jnp.sum(game.start * value)

    axes = Game(0, 0, 0, 0, 0, None)  # pyright: ignore[reportArgumentType]
    coalitions = jax.vmap(one, in_axes=(None, 0))
    games = jax.vmap(coalitions, in_axes=(axes, 0))
    return games(game, present)


@door
def all_coalitions(
    game: Game,
    num_players: int,
) -> Float[Array, "N C"]:
    """v(S) of all C = 2^G coalitions; bit g of the index says that player g is in.

    Raises:
        ValueError: `num_players` (static under jit) is not in [1, `MAX_ENUMERATED`].
    """
    check_integer("num_players", num_players, 1, MAX_ENUMERATED)
    rows = game.start.shape[0]
    size = min(2**num_players, CHUNK)

    def chunk(
        first: Int[Array, ""],
    ) -> Float[Array, "N size"]:
        index = first + jnp.arange(size)
        bit = index[:, None] >> jnp.arange(num_players)[None, :]
        member = bit & 1 == 1
        of_rows = jnp.broadcast_to(member[None], (rows, size, num_players))
        return worth(game, of_rows)

    if size == 2**num_players:
        return chunk(jnp.zeros((), int))
    firsts = jnp.arange(0, 2**num_players, size)
    value = jax.lax.map(chunk, firsts)
    return jnp.moveaxis(value, 0, 1).reshape(rows, -1)


def _average(
    mdp: MDP,
    policy: Array,
):
    """The law of a step by kernel, with all noise averaged out."""
    earn = jnp.einsum("msak,msak->msa", mdp.prob, mdp.reward, precision="highest")
    move = mdp.discount[:, None, None, None] * transition_matrix(mdp)
    tables = _Law(earn, move, state_policy(mdp, policy))
    return lambda kernel: jax.tree.map(lambda x: x[kernel], tables)


def _conditional(
    mdp: MDP,
    policy: Array,
    kernel: Array,
    noise: Noise,
) -> _Law:
    """The law of a step under given uniforms.

    They decide the successor of every action, and what is seen.
    """
    prob = mdp.prob[kernel]
    states = mdp.start.shape[0]
    transition = jnp.broadcast_to(noise.transition, prob.shape[:2])
    slot = draw(thresholds(prob), transition)[..., None]

    def drawn(x: Array) -> Array:
        return jnp.take_along_axis(x[kernel], slot, axis=-1)[..., 0]

    successor = drawn(mdp.successor)
    emission = mdp.emission[kernel]
    observation = jnp.broadcast_to(noise.observation, states)
    seen = draw(thresholds(emission), observation)
    reached = jax.nn.one_hot(successor, states, dtype=prob.dtype)
    return _Law(
        earn=drawn(mdp.reward),
        move=mdp.discount[kernel] * reached,
        choice=force(mdp, policy)[kernel][seen],
    )


def _drawn(
    law: _Law,
) -> _Map:
    """The map of a step whose action is drawn."""
    gain = jnp.sum(law.choice * law.earn, axis=-1)
    return _Map(gain, jnp.einsum("sa,saz->sz", law.choice, law.move, precision="highest"))


def _runs(
    player: Int[Array, " T"],
    num_runs: int,
) -> tuple[Int[Array, " T"], Int[Array, " J"]]:
    """The run of each step, and the player of each run."""
    changes = player[1:] != player[:-1]
    run = jnp.cumsum(jnp.append(False, changes))
    nobody = jnp.full(num_runs, -1)
    return run, nobody.at[run].set(player)


def _by_run(
    step: Callable[[Any], tuple[_Map, _Map]],
    inputs: Any,
    run: Int[Array, " T"],
    num: int,
    like: Float[Array, " S"],
) -> tuple[_Map, _Map]:
    """The maps of all runs, present and absent, from those of the steps.

    Many steps of few runs are cut in blocks that are folded side by side, each with maps of its own
    for every run.
    """
    steps = run.shape[0]
    side_by_side = steps > LONG and num <= FEW
    blocks = Blocks.roots(steps) if side_by_side else Blocks.of_number(steps, 1)

    def one(
        maps: tuple[_Map, _Map],
        now: tuple[Any, Array],
    ) -> tuple[_Map, _Map]:
        given, at = now
        present, absent = step(given)
        return _prepend(maps[0], present, at), _prepend(maps[1], absent, at)

    def before(
        later: tuple[_Map, ...],
        block: tuple[_Map, ...],
    ) -> tuple[tuple[_Map, ...], None]:
        pairs = zip(block, later, strict=True)
        return tuple(jax.vmap(_then)(first, second) for first, second in pairs), None

    identity = _identity(num, like)
    nothing = (identity, identity)
    of_each = jax.tree.map(lambda x: jnp.stack([x] * blocks.number), nothing)
    parts = jax.tree.map(lambda x: cut(x, blocks), inputs)
    # What fills up the last block belongs to a run that there is not: it is written nowhere.
    runs = cut(run, blocks, fill=num)
    maps = fold(one, of_each, (parts, runs), reverse=True)
    (present, absent), _ = jax.lax.scan(before, nothing, maps, reverse=True)
    return present, absent


def _then(
    first: _Map,
    second: _Map,
) -> _Map:
    """The map of the first of two parts after that of the second."""
    return _Map(
        gain=_apply(first, second.gain),
        move=jnp.matmul(first.move, second.move, precision="highest"),
    )


def _identity(
    num: int,
    like: Float[Array, " S"],
) -> _Map:
    states, dtype = like.shape[0], like.dtype
    stay = jnp.eye(states, dtype=dtype)[None]
    eye = jnp.broadcast_to(stay, (num, states, states))
    return _Map(jnp.zeros((num, states), dtype), eye)


def _prepend(
    maps: _Map,
    now: _Map,
    at: Array,
) -> _Map:
    """The maps with one more step put in front of run `at`."""
    gain = _apply(now, maps.gain[at])
    move = jnp.matmul(now.move, maps.move[at], precision="highest")
    return _Map(
        maps.gain.at[at].set(gain),
        maps.move.at[at].set(move),
    )


def _apply(
    map_: _Map,
    value: Float[Array, " S"],
) -> Float[Array, " S"]:
    return map_.gain + jnp.matmul(map_.move, value, precision="highest")


def _first(
    mdp: MDP,
    batch: Trajectory,
) -> Float[Array, "N S"]:
    first = batch.state[:, 0]
    states = mdp.start.shape[0]
    return jax.nn.one_hot(first, states, dtype=mdp.prob.dtype)
