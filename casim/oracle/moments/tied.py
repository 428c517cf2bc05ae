"""Second moments of the gradient where steps share logits, by one scan for all parameters.

In maths, with w_t the product of the discounts of the steps before t, for one logit theta[m, o, a]
let z_t = w_t d log pi(a_t | o_t) / d theta (0 unless kernel m and observation o are met) and f_t
its share of an all-action part. The gradient's component X = sum_t c_t z_t + f_t is the last entry
of a vector y that each step maps linearly, y_{t+1} = B_t y_t, by what happened in it alone:
- `Trace`: y = (1, E, X), with the eligibility E' = decay_{t-1} E + z_t and X' = X + e_t E' + f_t;
- `Product`: y = (1, G, Z, X), with G' = G + g_t, Z' = Z + z_t table_t and
  X' = X + g_t Z' + z_t table_t G, where G is the return as expected so far and
  g_t = w_t (r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t)) at the discounts of the form.

So E[y y' 1{s_t = s}] moves forward by E[B (y y') B'], a Markov jump linear system: the variance of
X, cross terms of all pairs of steps included, takes O(T) time. (The recursion of tabular returns is
the adjoint of this one.)

References:
    Costa, Fragoso and Marques 2005 (Markov jump linear systems); Sutton 1988 (eligibility traces).
    The application to policy gradients is derived for casim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.oracle.moments.forms import Product, Trace
from casim.sums import axis_sum
from casim.types import MDP


def tied_moments(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    form: Trace | Product,
    logit: Int[Array, "P 3"],
    value: Float[Array, "times S"],
    centre: Float[Array, ""],
) -> Float[Array, "D D P"]:
    """E[y y'] after the last step, for each of P logits (kernel, observation, action).

    Args:
        mdp: with absorbing tables.
        policy: as it acts.
        form: the tables.
        logit: the parameters; on kernels that are decisions.
        value: of a `Product`, E[rewards from t on | s_t] at its discount.
        centre: subtracted from the return of a `Product`.
    """
    states = mdp.start.shape[0]
    over = mdp.terminal[:, None, None]
    live = ~over
    tables = _tables(mdp, form, value)

    def step(
        carry: tuple[Array, Array, Array],
        inputs: tuple[Array, Array, Array, Array, Array],
    ) -> tuple[tuple[Array, Array, Array], None]:
        """E[y y' 1{s_t = s}] one step on; `scale` and `earning` are products of discounts."""
        second, scale, earning = carry
        kernel, decay, after, before, table = inputs
        target = mdp.successor[kernel]
        weight, score, share = _scores(mdp, policy, logit, kernel, table)
        earned = tables.reward * mdp.reward[kernel]
        later = after[target]
        worth = tables.discount[kernel] * later
        now = before[..., None]
        gained = earned + worth - now
        gain = jnp.where(live, gained, 0.0)
        gain = gain[None, ..., None]
        if isinstance(form, Trace):
            move = _trace_map(gain, decay, scale * score, scale * share)
        else:
            of_cell = table[None, :, :, None, None]
            weighed = score * of_cell
            move = _product_map(earning * gain, scale * weighed)
        prob = mdp.prob[kernel]
        chance = prob[None, :, :, :, None]
        joint = weight[:, :, :, None, :] * chance
        half = jnp.einsum("ijhsakn,sjln->ilhsakn", move, second)
        onward = jnp.einsum("hsakn,ilhsakn,mlhsakn->sakimn", joint, half, move)
        per_transition = onward.reshape(-1, *onward.shape[3:])
        second = axis_sum(per_transition, target.ravel(), states)
        later_scale = scale * mdp.discount[kernel]
        later_earning = earning * tables.discount[kernel]
        return (second, later_scale, later_earning), None

    one = jnp.ones(())
    begin = _begin(mdp, form, value, centre, len(logit))
    inputs = (
        mdp.schedule,
        tables.fading,
        tables.after[1:],
        tables.before,
        tables.table,
    )
    start = (begin, one, one)
    (second, _, _), _ = jax.lax.scan(step, start, inputs)
    return jnp.sum(second, axis=0)


class _Tables(NamedTuple):
    """What the scan reads of a form."""

    reward: float
    """What the reward counts."""
    discount: Any
    """Of the value after a step, `[M]`."""
    after: Any
    """`[T+1, S]`"""
    before: Any
    """`[T, S, A]`, or the same for all actions."""
    table: Any
    """`[T, S, A]`"""
    fading: Float[Array, " T"]
    """What an eligibility fades by across the step before, over which it looks back."""


def _tables(
    mdp: MDP,
    form: Trace | Product,
    value: Array,
) -> _Tables:
    """Those of a form. A return is followed as the martingale of its expectation.

    That keeps its moments small, and precise, on the way.
    """
    one = jnp.ones(1)
    if isinstance(form, Product):
        steady = jnp.ones(len(mdp.schedule))
        before = value[:-1, :, None]
        return _Tables(1.0, form.discount, value, before, form.table, steady)
    decay = form.decay[mdp.schedule]
    fading = jnp.concatenate([one, decay[:-1]])
    return _Tables(
        reward=form.reward,
        discount=mdp.discount,
        after=form.after,
        before=form.before,
        table=form.every,
        fading=fading,
    )


def _begin(
    mdp: MDP,
    form: Trace | Product,
    value: Array,
    centre: Array,
    logits: int,
) -> Float[Array, "S D D P"]:
    """E[y y' 1{s_0 = s}] for each of so many logits, before anything happened."""
    states = mdp.start.shape[0]
    one = jnp.ones(states)
    zero = jnp.zeros(states)
    entries = [one, zero, zero]
    if isinstance(form, Product):
        entries = [one, value[0] - centre, zero, zero]
    y = jnp.stack(entries, axis=1)
    row, column = y[:, :, None], y[:, None, :]
    square = row * column
    second = mdp.start[:, None, None] * square
    shape = (*second.shape, logits)
    return jnp.broadcast_to(second[..., None], shape)


def _scores(
    mdp: MDP,
    policy: Array,
    logit: Array,
    kernel: Array,
    table: Array,
) -> tuple[Array, Array, Array]:
    """For each logit, its row (kernel, observation) not met (0) or met (1), on the leading axis.

    Returns:
        P(met or not, a | s) `[2, S, A, P]`, d log pi(a | o) / d theta `[2, 1, A, 1, P]`, and
        sum_a d pi(a | o) / d theta table(s, a) `[2, S, 1, 1, P]`.
    """
    own, observation, action = logit.T
    governs = (own == kernel)[None, :]
    running = ~mdp.terminal[:, None]
    here = governs & running
    seen = mdp.emission[kernel][:, observation]
    met = seen * here
    chosen = policy[own, observation]
    hit = met[:, None, :] * chosen.T[None]
    acting = mdp.emission[kernel] @ policy[kernel]
    weight = jnp.stack([acting[..., None] - hit, hit])
    own_action = jnp.take_along_axis(chosen, action[:, None], axis=1)
    taken = own_action[:, 0]
    actions = jnp.arange(policy.shape[2])
    same = actions[:, None] == action[None, :]
    score = same - taken[None, :]
    above = table[:, action] - table @ chosen.T
    share = taken[None, :] * above
    met_or_not = jnp.arange(2)
    if_met = met_or_not[:, None, None, None, None]
    return (
        weight,
        if_met * score[None, None, :, None, :],
        if_met * share[None, :, None, None, :],
    )


def _trace_map(
    gain: Array,
    decay: Array | float,
    z: Array,
    share: Array,
) -> Array:
    """B of every transition: E' = decay E + z, X' = X + e E' + f."""
    return _matrix(
        [
            [1.0, 0.0, 0.0],
            [z, decay, 0.0],
            [gain * z + share, gain * decay, 1.0],
        ]
    )


def _product_map(
    gain: Array,
    z: Array,
) -> Array:
    """B of every transition: G' = G + g, Z' = Z + z, X' = X + g Z' + z G."""
    return _matrix(
        [
            [1.0, 0.0, 0.0, 0.0],
            [gain, 1.0, 0.0, 0.0],
            [z, 0.0, 1.0, 0.0],
            [gain * z, z, gain, 1.0],
        ]
    )


def _matrix(
    rows: list[list[Array | float]],
) -> Array:
    """Stacks entries that broadcast to [2, S, A, K, P] into [D, D, 2, S, A, K, P]."""
    shapes = [jnp.shape(x) for row in rows for x in row]
    shape = jnp.broadcast_shapes(*shapes)

    def stacked(
        row: list[Array | float],
    ) -> Array:
        whole = [jnp.broadcast_to(x, shape) for x in row]
        return jnp.stack(whole)

    return jnp.stack([stacked(row) for row in rows])
