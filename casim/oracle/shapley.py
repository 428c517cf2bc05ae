"""Exact Shapley values of games: by enumeration, in polynomial time, and sampled.

In maths, for a stated game v (`casim.oracle.games`):

    phi_i = sum_{S without i} |S|! (G - |S| - 1)! / G! [v(S + i) - v(S)].

- Enumeration: all 2^G coalitions, to 16 players, whoever plays when.
- By counts: if every player acts in one run, v(S) is a product of maps, one for each player, and
  its mean over all coalitions of one size has a recursion in time. With q the chance that a player
  is present, independently, phi_i = int_0^1 E[v(S + i) - v(S)] dq; the integrand is a polynomial of
  degree G - 1 in q, so that Gauss and Legendre's rule with ceil(G / 2) nodes is exact. Cost
  O(G J S^2) and memory O(J S), for any number of players.
- Sampled: the mean marginal over random orders, with its standard error; every order sums to
  v(all) - v(none).

In the order of time and in the game against the policy, the marginal of step t is
E[A_t(s_t, a_t) | s_0, do(a_{<t})], which is the advantage where transitions are deterministic. On
the observed noise it is the advantage in the deterministic process that this noise makes.
`nature_game` gives advantage and luck apart. In float32 the relative error is at most about 1e-7
per step.

References:
    Shapley 1953; Owen 1972 (multilinear extension: the integral); Castro, Gomez and Tejada 2009
    (orders). The recursion in time is derived here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from casim.checks import check_integer
from casim.doors import door
from casim.oracle.games import Game, all_coalitions, taken_game, worth
from casim.sums import axis_sum
from casim.types import MDP, Trajectory

MAX_PLAYERS = 12
"""Segments of which `shapley` gives values, and studies a target."""


class Sampled(NamedTuple):
    """Means over random orders, and their standard errors."""

    value: Float[Array, "N G"]
    error: Float[Array, "N G"]


@door
def coalition_values(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    num_segments: int,
) -> Float[Array, "N C"]:
    """v(S) of all C = 2^G coalitions of segments in game (i) against the policy.

    Bit g says that segment g is in.
    """
    game = taken_game(mdp, policy, batch, mdp.segment, num_segments)
    return all_coalitions(game, num_segments)


@door
def shapley(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    num_segments: int,
) -> Float[Array, "N G"]:
    """Shapley value of every segment of every trajectory, in game (i) against the policy.

    Raises:
        ValueError: more than `MAX_PLAYERS` segments.
    """
    if num_segments > MAX_PLAYERS:
        raise ValueError(
            f"num_segments must be in [1, {MAX_PLAYERS}] for exact Shapley values, "
            f"got {num_segments}"
        )
    value = coalition_values(mdp, policy, batch, num_segments)
    return shapley_values(value)


@door
def shapley_values(
    value: Float[Array, "*batch C"],
) -> Float[Array, "*batch G"]:
    """Shapley values from v(S) of all 2^G coalitions, indexed by bits."""
    players = value.shape[-1].bit_length() - 1
    share = [
        math.factorial(k) * math.factorial(players - k - 1) / math.factorial(players)
        for k in range(players)
    ]
    coalitions = jnp.arange(value.shape[-1])
    size = jax.lax.population_count(coalitions)
    by_size = jnp.append(jnp.asarray(share, value.dtype), 0)
    weight = by_size[size]

    def one(
        g: int,
    ) -> Array:
        """Bit g on an axis of its own."""
        apart = (2 ** (players - g - 1), 2, 2**g)
        games = value.shape[:-1]
        without_and_with = value.reshape(*games, *apart)
        change = jnp.diff(without_and_with, axis=-2)
        marginal = change[..., 0, :]
        joins = weight.reshape(apart)[:, 0]
        return jnp.einsum("...ij,ij->...", marginal, joins, precision="highest")

    each = [one(g) for g in range(players)]
    return jnp.stack(each, axis=-1)


@door
def difference_rewards(
    value: Float[Array, "*batch C"],
) -> Float[Array, "*batch G"]:
    """What is lost when one player is absent: v(all) - v(all but i).

    It is not the Shapley value unless v is additive.
    """
    players = value.shape[-1].bit_length() - 1
    everyone = value.shape[-1] - 1
    without = [everyone - (1 << g) for g in range(players)]
    of_all = value[..., -1:]
    return of_all - value[..., np.array(without)]


@door
def shapley_by_counts(
    game: Game,
    num_players: int,
) -> Float[Array, "N G"]:
    """Shapley values in polynomial time; NaN unless every player acts in exactly one run.

    Args:
        game: from `casim.oracle.games`.
        num_players: G, static under jit.
    """
    check_integer("num_players", num_players, 1)
    # So many nodes integrate polynomials of degree G - 1 exactly; theirs is [-1, 1], ours [0, 1].
    enough = -(-num_players // 2)
    node, weight = np.polynomial.legendre.leggauss(enough)
    dtype = game.start.dtype
    chance = jnp.asarray((node + 1) / 2, dtype)
    share = jnp.asarray(weight / 2, dtype)
    nodes = (chance, share)
    players = jnp.arange(num_players)[None, :]
    owned = game.owner[:, None] == players
    runs = jnp.sum(owned, axis=0)

    def row(
        start: Array,
        there: tuple[Array, Array],
        gone: tuple[Array, Array],
    ) -> Float[Array, " G"]:
        gain, move = (x - y for x, y in zip(there, gone, strict=True))

        def at_chance(
            total: Array,
            now: tuple[Array, Array],
        ) -> tuple[Array, None]:
            q, share = now
            other_gain, other_move = gone
            mixed = (other_gain + q * gain, other_move + q * move)
            nothing = jnp.zeros_like(start)
            _, later = jax.lax.scan(_value_before, nothing, mixed, reverse=True)
            _, reached = jax.lax.scan(_onward, start, mixed[1])
            ahead = jnp.einsum("jsz,jz->js", move, later, precision="highest")
            change = gain + ahead
            marginal = jnp.sum(reached * change, axis=-1)
            return total + share * marginal, None

        nothing = jnp.zeros_like(gain[:, 0])
        by_run, _ = jax.lax.scan(at_chance, nothing, nodes)
        by_player = axis_sum(by_run, game.owner, len(runs))
        return jnp.where(runs == 1, by_player, jnp.nan)

    there = (game.present_gain, game.present_move)
    gone = (game.absent_gain, game.absent_move)
    once = jnp.all(runs == 1)
    value = jax.vmap(row)(game.start, there, gone)
    return jnp.where(once, value, jnp.nan)


@door
def sampled_shapley(
    key: Key[Array, ""],
    game: Game,
    num_players: int,
    num_orders: int,
) -> Sampled:
    """Mean marginals over random orders, drawn apart for each game, with exact v(S).

    Args:
        key: keys the orders.
        game: from `casim.oracle.games`.
        num_players: G, static under jit.
        num_orders: at least 2.

    Raises:
        ValueError: fewer than 2 orders, from which no error can be told.
    """
    check_integer("num_orders", num_orders, 2)
    rows = game.start.shape[0]

    def one_order(
        key: Array,
    ) -> Float[Array, "N G"]:
        keys = jax.random.split(key, rows)
        shuffled = jax.vmap(jax.random.permutation, in_axes=(0, None))
        rank = shuffled(keys, num_players)
        size = jnp.arange(num_players + 1)
        joined = rank[:, None, :] < size[None, :, None]
        gain = jnp.diff(worth(game, joined), axis=1)
        return jnp.take_along_axis(gain, rank, axis=1)

    keys = jax.random.split(key, num_orders)
    marginal = jax.lax.map(one_order, keys)
    mean = jnp.mean(marginal, axis=0)
    deviation = jnp.std(marginal, axis=0, ddof=1)
    error = deviation / num_orders**0.5
    return Sampled(mean, error)


def _value_before(
    later: Array,
    step: tuple[Array, Array],
) -> tuple[Array, Array]:
    """The value in front of a run, beside that after it."""
    gain, move = step
    ahead = jnp.matmul(move, later, precision="highest")
    return gain + ahead, later


def _onward(
    reached: Array,
    move: Array,
) -> tuple[Array, Array]:
    """The (discounted) law of the state after a run, beside that in front of it."""
    after = jnp.matmul(reached, move, precision="highest")
    return after, reached
