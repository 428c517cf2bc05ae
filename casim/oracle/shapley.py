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
    return all_coalitions(taken_game(mdp, policy, batch, mdp.segment, num_segments), num_segments)


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
    return shapley_values(coalition_values(mdp, policy, batch, num_segments))


@door
def shapley_values(value: Float[Array, "*batch C"]) -> Float[Array, "*batch G"]:
    """Shapley values from v(S) of all 2^G coalitions, indexed by bits."""
    players = value.shape[-1].bit_length() - 1
    share = [
        math.factorial(k) * math.factorial(players - k - 1) / math.factorial(players)
        for k in range(players)
    ]
    size = jax.lax.population_count(jnp.arange(value.shape[-1]))
    weight = jnp.append(jnp.asarray(share, value.dtype), 0)[size]

    def one(g: int) -> Array:
        """Bit g on an axis of its own."""
        apart = (2 ** (players - g - 1), 2, 2**g)
        marginal = jnp.diff(value.reshape(*value.shape[:-1], *apart), axis=-2)[..., 0, :]
        joins = weight.reshape(apart)[:, 0]
        return jnp.einsum("...ij,ij->...", marginal, joins, precision="highest")

    return jnp.stack([one(g) for g in range(players)], axis=-1)


@door
def difference_rewards(value: Float[Array, "*batch C"]) -> Float[Array, "*batch G"]:
    """What is lost when one player is absent: v(all) - v(all but i).

    It is not the Shapley value unless v is additive.
    """
    players = value.shape[-1].bit_length() - 1
    everyone = value.shape[-1] - 1
    return value[..., -1:] - value[..., np.array([everyone - (1 << g) for g in range(players)])]


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
    node, weight = np.polynomial.legendre.leggauss(-(-num_players // 2))
    nodes = jnp.asarray((node + 1) / 2, game.start.dtype), jnp.asarray(weight / 2, game.start.dtype)
    runs = jnp.sum(game.owner[:, None] == jnp.arange(num_players)[None, :], axis=0)

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
            mixed = (gone[0] + q * gain, gone[1] + q * move)
            later = jax.lax.scan(_value_before, jnp.zeros_like(start), mixed, reverse=True)[1]
            reached = jax.lax.scan(_onward, start, mixed[1])[1]
            change = gain + jnp.einsum("jsz,jz->js", move, later, precision="highest")
            return total + share * jnp.sum(reached * change, axis=-1), None

        by_run = jax.lax.scan(at_chance, jnp.zeros_like(gain[:, 0]), nodes)[0]
        by_player = axis_sum(by_run, game.owner, len(runs))
        return jnp.where(runs == 1, by_player, jnp.nan)

    there, gone = (game.present_gain, game.present_move), (game.absent_gain, game.absent_move)
    return jnp.where(jnp.all(runs == 1), jax.vmap(row)(game.start, there, gone), jnp.nan)


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

    def one_order(key: Array) -> Float[Array, "N G"]:
        keys = jax.random.split(key, rows)
        rank = jax.vmap(jax.random.permutation, in_axes=(0, None))(keys, num_players)
        size = jnp.arange(num_players + 1)
        gain = jnp.diff(worth(game, rank[:, None, :] < size[None, :, None]), axis=1)
        return jnp.take_along_axis(gain, rank, axis=1)

    marginal = jax.lax.map(one_order, jax.random.split(key, num_orders))
    return Sampled(jnp.mean(marginal, axis=0), jnp.std(marginal, axis=0, ddof=1) / num_orders**0.5)


def _value_before(
    later: Array,
    step: tuple[Array, Array],
) -> tuple[Array, Array]:
    """The value in front of a run, beside that after it."""
    gain, move = step
    return gain + jnp.matmul(move, later, precision="highest"), later


def _onward(
    reached: Array,
    move: Array,
) -> tuple[Array, Array]:
    """The (discounted) law of the state after a run, beside that in front of it."""
    return jnp.matmul(reached, move, precision="highest"), reached
