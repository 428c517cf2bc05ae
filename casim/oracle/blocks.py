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
    is_short = num_steps < numbers(platform).solved
    return solve if is_short else solve_in_blocks


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
    steps = mdp.schedule.shape[0]
    blocks = Blocks.of_length(steps, block)
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
    refined = _refine(runs, after, found)
    _, value, advantage = solve_all(schedule, refined)
    weight = discounting(mdp)
    arrive_all = jax.vmap(lambda *block: arrive(flow, *block))
    before, earned = _before(mdp, runs)
    weights = cut(weight, blocks)
    reached, past = arrive_all(schedule, before, earned, weights)
    in_blocks = (value, advantage, reached, past)
    value, advantage, reached, past = (join(x, blocks) for x in in_blocks)
    return assemble(
        mdp,
        policy,
        acting,
        value,
        advantage,
        reached,
        past,
        weight,
    )


def _with_idle(
    mdp: MDP,
) -> MDP:
    """The same process with one more kernel, which stays put: it fills the last block."""
    shape = mdp.prob.shape[1:]
    states = jnp.arange(shape[0])[:, None, None]
    stay = jnp.broadcast_to(states, shape)
    is_first = jnp.arange(shape[-1]) == 0
    first = jnp.broadcast_to(is_first, shape)

    def appended(x: Array, one: Array) -> Array:
        return jnp.concatenate([x, one.astype(x.dtype)])

    return mdp._replace(
        successor=appended(mdp.successor, stay[None]),
        prob=appended(mdp.prob, first[None]),
        reward=appended(mdp.reward, jnp.zeros_like(mdp.reward[:1])),
        discount=appended(mdp.discount, jnp.ones_like(mdp.discount[:1])),
    )


def _runs(
    mdp: MDP,
    flow: tuple[Array, Array],
    schedule: Int[Array, "B block"],
) -> Run:
    """The map of every block."""
    count = schedule.shape[0]
    states = mdp.start.shape[0]
    itself = jnp.eye(states, dtype=mdp.prob.dtype)
    eye = jnp.broadcast_to(itself, (count, states, states))

    def step(
        run: Run,
        kernel: Int[Array, ""],
    ) -> Run:
        move, earn = flow
        one = Run(
            move=move[kernel],
            earn=earn[kernel],
            scale=mdp.discount[kernel],
        )
        return _compose(run, one)

    unscaled = jnp.ones((count,), eye.dtype)
    nothing = Run(eye, jnp.zeros_like(eye), unscaled)
    return fold(step, nothing, schedule)


def _compose(
    first: Run,
    second: Run,
) -> Run:
    """First one run, then the other."""
    move = jnp.matmul(first.move, second.move, precision="highest")
    # Rows sum to 1 up to rounding; dividing keeps that error from growing with the number of runs.
    total = jnp.sum(move, axis=-1, keepdims=True)
    move = move / total
    later = jnp.matmul(first.move, second.earn, precision="highest")
    paid_later = first.scale[..., None, None] * later
    paid_first = jnp.matmul(first.earn, second.move, precision="highest")
    earn = paid_first + paid_later
    scale = first.scale * second.scale
    return Run(move, earn, scale)


def _after(
    runs: Run,
) -> Float[Array, "B 2 S"]:
    """The values after each block, as the sums of two floats that `evaluate` takes."""

    def before(later: Run, run: Run) -> Run:
        return _compose(run, later)

    rest = jax.lax.associative_scan(before, runs, reverse=True)
    earned = jnp.sum(rest.earn, axis=-1)
    at_end = jnp.zeros_like(rest.earn[:1, :, 0])
    value = jnp.concatenate([earned[1:], at_end])
    missing = jnp.zeros_like(value)
    return jnp.stack([value, missing], axis=1)


def _refine(
    runs: Run,
    after: Float[Array, "B 2 S"],
    first: Float[Array, "B 2 S"],
) -> Float[Array, "B 2 S"]:
    """One step of iterative refinement of the values between blocks.

    What each block makes of the values after it should be those of the one before. The differences
    are small, so single precision passes them on without loss.
    """
    missed = first[1:] - after[:-1]
    error = jnp.sum(missed, axis=1)

    def step(
        later: Array,
        inputs: tuple[Array, Array, Array],
    ) -> tuple[Array, Array]:
        move, scale, error = inputs
        of_later = jnp.matmul(move, later, precision="highest")
        now = error + scale * of_later
        return now, now

    inputs = (runs.move[1:], runs.scale[1:], error)
    last = after[0, 0]
    none = jnp.zeros_like(last)
    _, change = jax.lax.scan(step, none, inputs, reverse=True)
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
    start = mdp.start[None]
    none = jnp.zeros_like(mdp.start)[None]
    reached = jnp.concatenate([start, move[:-1]])
    past = jnp.concatenate([none, earn[:-1]])
    return reached, past
