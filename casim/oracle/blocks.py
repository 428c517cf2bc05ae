"""Exact values of very long episodes, parallel in time: `solve` cut into blocks side by side.

In maths, a run of steps is the affine map (P, E, g) from one end to the other: P(s, z) is the
probability of ending in z, E(s, z) the expected discounted reward with that end, g the discount
over the run. Maps compose associatively,

    (P1, E1, g1) o (P2, E2, g2) = (P1 P2, E1 P2 + g1 P1 E2, g1 g2),

so an associative scan over whole blocks gives the distribution at the start of each block and the
value of what follows it; then every block is solved by itself. The values between blocks are
refined once: what each block makes of the values after it should be those of the block before, and
the difference is passed on as a map too.

Depth: 3 block + T / block steps instead of T. Cost: O(T S^3) more work, and O(T S^2 / block) memory
for the maps.

Accuracy: values and advantages differ from those of `solve` by at most 4 eps times the largest
value, up to 10^6 steps (tested); past rewards by 1e-4 of the largest. `benchmarks/values.py` prints
both against double precision.

References:
    Blelloch 1990 (prefix sums and their applications: linear recurrences). The blocks are casim's
    own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.blocks import Blocks, cut, fold, join
from casim.checks import check_integer
from casim.doors import door
from casim.dynamics import absorb, discounting, state_policy
from casim.oracle.values import arrive, assemble, evaluate, flows, likely_first, solve
from casim.platforms import numbers
from casim.types import MDP, Truth


def solver(
    num_steps: int,
    platform: str,
) -> Callable[[MDP, Array], Truth]:
    """The faster of `solve` and `solve_in_blocks` at this length; their answers differ by rounding.

    A CPU scans: there both take as long. An accelerator, where a scan pays for every step, solves
    long episodes in blocks. To be called outside jit, with `jax.default_backend()`.
    """
    return solve if num_steps < numbers(platform).solved else solve_in_blocks


class Run(NamedTuple):
    """The map of a run of steps; leading axes stack runs."""

    move: Float[Array, "*runs S S"]
    """P(end | start); rows sum to 1."""
    earn: Float[Array, "*runs S S"]
    """E[discounted reward; end | start]."""
    scale: Float[Array, "*runs"]
    """The product of the discounts of its steps."""


@door
def solve_in_blocks(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    block: int = 1024,
) -> Truth:
    """What `casim.oracle.solve` returns, with a depth of about 2 `block` steps (static under jit).

    Raises:
        ValueError: a block without steps.
    """
    check_integer("block", block, 1)
    blocks = Blocks.of_length(mdp.schedule.shape[0], block)
    idle = mdp.prob.shape[0]
    mdp = likely_first(absorb(mdp))
    acting = state_policy(mdp, policy)
    padded = _with_idle(mdp)
    rows = jnp.concatenate([acting, acting[:1]])
    schedule = cut(mdp.schedule, blocks, fill=idle)
    flow = flows(padded, rows)
    runs = _runs(padded, flow, schedule)
    solve_all = jax.vmap(lambda steps, after: evaluate(padded, rows, steps, after))
    after = _after(runs)
    found, _, _ = solve_all(schedule, after)
    _, value, advantage = solve_all(schedule, _refine(runs, after, found))
    weight = discounting(mdp)
    arrive_all = jax.vmap(lambda *block: arrive(flow, *block))
    reached, past = arrive_all(schedule, *_before(mdp, runs), cut(weight, blocks))
    in_blocks = (value, advantage, reached, past)
    value, advantage, reached, past = (join(x, blocks) for x in in_blocks)
    return assemble(mdp, policy, acting, value, advantage, reached, past, weight)


def _with_idle(mdp: MDP) -> MDP:
    """The same process with one more kernel, which stays put: it fills the last block."""
    stay = jnp.broadcast_to(jnp.arange(mdp.start.shape[0])[:, None, None], mdp.successor.shape[1:])
    first = jnp.broadcast_to(jnp.arange(mdp.prob.shape[-1]) == 0, mdp.prob.shape[1:])
    return mdp._replace(
        successor=jnp.concatenate([mdp.successor, stay[None].astype(mdp.successor.dtype)]),
        prob=jnp.concatenate([mdp.prob, first[None].astype(mdp.prob.dtype)]),
        reward=jnp.concatenate([mdp.reward, jnp.zeros_like(mdp.reward[:1])]),
        discount=jnp.append(mdp.discount, jnp.ones_like(mdp.discount[:1])),
    )


def _runs(
    mdp: MDP,
    flow: tuple[Array, Array],
    schedule: Int[Array, "B block"],
) -> Run:
    """The map of every block."""
    count, states = schedule.shape[0], mdp.start.shape[0]
    eye = jnp.broadcast_to(jnp.eye(states, dtype=mdp.prob.dtype), (count, states, states))

    def step(
        run: Run,
        kernel: Int[Array, ""],
    ) -> Run:
        one = Run(flow[0][kernel], flow[1][kernel], mdp.discount[kernel])
        return _compose(run, one)

    nothing = Run(eye, jnp.zeros_like(eye), jnp.ones((count,), eye.dtype))
    return fold(step, nothing, schedule)


def _compose(
    first: Run,
    second: Run,
) -> Run:
    """First one run, then the other."""
    move = jnp.matmul(first.move, second.move, precision="highest")
    # Rows sum to 1 up to rounding; dividing keeps that error from growing with the number of runs.
    move = move / jnp.sum(move, axis=-1, keepdims=True)
    paid_later = first.scale[..., None, None] * jnp.matmul(
        first.move, second.earn, precision="highest"
    )
    earn = jnp.matmul(first.earn, second.move, precision="highest") + paid_later
    return Run(move, earn, first.scale * second.scale)


def _after(runs: Run) -> Float[Array, "B 2 S"]:
    """The values after each block, as the sums of two floats that `evaluate` takes."""
    rest = jax.lax.associative_scan(lambda later, run: _compose(run, later), runs, reverse=True)
    value = jnp.concatenate([jnp.sum(rest.earn, axis=-1)[1:], jnp.zeros_like(rest.earn[:1, :, 0])])
    return jnp.stack([value, jnp.zeros_like(value)], axis=1)


def _refine(
    runs: Run,
    after: Float[Array, "B 2 S"],
    first: Float[Array, "B 2 S"],
) -> Float[Array, "B 2 S"]:
    """One step of iterative refinement of the values between blocks.

    What each block makes of the values after it should be those of the one before. The differences
    are small, so single precision passes them on without loss.
    """
    error = jnp.sum(first[1:] - after[:-1], axis=1)

    def step(
        later: Array,
        inputs: tuple[Array, Array, Array],
    ) -> tuple[Array, Array]:
        move, scale, error = inputs
        now = error + scale * jnp.matmul(move, later, precision="highest")
        return now, now

    inputs = (runs.move[1:], runs.scale[1:], error)
    _, change = jax.lax.scan(step, jnp.zeros_like(after[0, 0]), inputs, reverse=True)
    return after.at[:-1, 1].add(change)


def _before(
    mdp: MDP,
    runs: Run,
) -> tuple[Float[Array, "B S"], Float[Array, "B S"]]:
    """P(s) and E[rewards before; s] at the start of each block."""
    past = jax.lax.associative_scan(_compose, runs)
    move, earn = (
        jnp.einsum("s,bsz->bz", mdp.start, x, precision="highest") for x in (past.move, past.earn)
    )
    none = jnp.zeros_like(mdp.start)[None]
    return jnp.concatenate([mdp.start[None], move[:-1]]), jnp.concatenate([none, earn[:-1]])
