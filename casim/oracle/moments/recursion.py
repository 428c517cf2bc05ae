"""Exact moments of an estimator at any horizon, by recursion in time: no samples, no enumeration.

In maths, the credit in cells comes from `cells`; the gradient's component of one trajectory is

    X = sum_t c_t z_t + f_t    with    z_t = w_t d log pi(a_t | o_t) / d theta,

w_t the product of the discounts of the steps before t, and E[X], E[X^2] come from `tied` where
steps share logits and from `untied` where every step has its own. Errors of the values, independent
of each other and of the trajectory, add 2 noise^2 sum_t E[z_t^2]. A group of N independent
trajectories divides the variance by N. Under a baseline of peers, b_i = mean_{j != i} G_j, with
x_i = (G_i - b_i) Z_i,

    Var(g) = [Var(x_1) + (N - 1) Cov(x_1, x_2)] / N,

a polynomial in the moments E[G^j Z^k], j, k <= 2, which the same recursions give.

Accuracy: double precision throughout; the tests measure the error at 10^4 steps.

References:
    Sobel 1982 (second moments by recursion). The forms for gradients and for peers are derived for
    casim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from casim.checks import check_integer
from casim.dynamics import absorb, force
from casim.oracle.moments.cells import Cells, product_cells, trace_cells
from casim.oracle.moments.forms import Form, Product, Trace, tables
from casim.oracle.moments.group import Moments
from casim.oracle.moments.paths import discounting, precise, precise_truth
from casim.oracle.moments.tied import tied_moments
from casim.oracle.moments.untied import untied_moments
from casim.types import MDP


def recursion_moments(
    mdp: MDP,
    policy: Any,
    form: Form,
    num: int = 1,
    tied: bool = True,
) -> Moments:
    """Exact moments of an estimator on groups of `num` independent trajectories of one prompt.

    Args:
        mdp: the process, of any horizon; the time is O(T) for each logit.
        policy: the table `[M, O, A]`.
        form: the estimator, see `casim.oracle.moments.forms`. The credit of a cell is that of the
            action taken.
        num: N, the group size, at least 1, and at least 2 for a baseline of peers.
        tied: True differentiates with respect to the table, as studies do; False gives every step
            logits of its own, and gradients `[T, O, A]`, in O(T) for all of them.

    Raises:
        ValueError: a setting out of its range, an invalid MDP, policy or form, or a baseline of
            peers in a process of several prompts.
    """
    truth = precise_truth(mdp, policy)
    mdp, policy = precise(mdp, policy)
    made = tables(form, mdp, truth)
    peers = isinstance(made, Product) and made.peers
    check_integer("num", num, 2 if peers else 1)
    if peers:
        check_one_prompt(mdp)
    with jax.enable_x64(True):
        process, table = jax.tree.map(jnp.asarray, (mdp, policy))
        process, table, arrays = (
            absorb(process),
            force(process, table),
            jax.tree.map(jnp.asarray, made),
        )
        solved = jax.tree.map(
            np.asarray, jax.jit(_solve)(process, jnp.asarray(truth.state_policy), arrays)
        )
        if tied and len(np.unique(mdp.schedule)) < len(mdp.schedule):
            second = _tied(process, table, arrays, solved)
        else:
            second = untied_moments(
                mdp, np.asarray(table), made, truth.occupancy, solved.cells, solved.total
            )
            second = _by_kernel(second, mdp) if tied else second
    acting = truth.state_policy[mdp.schedule]
    decision = mdp.decision[mdp.schedule][:, None, None]
    visits = truth.occupancy[..., None] * acting
    weight = np.where(decision, visits, 0.0)
    mean, variance = _credit(made, solved.cells, solved.total, num)
    gradient, gradient_variance = _group(second, num, peers)
    if isinstance(made, Trace) and made.noise:
        table = np.asarray(policy)
        square = _score_square(mdp, table, truth, tied)
        of_errors = 2 * made.noise**2 * square
        gradient_variance = gradient_variance + of_errors / num
    return Moments(
        probability=weight,
        expectation=np.where(weight > 0, mean, np.nan),
        variance=np.where(weight > 0, variance, np.nan),
        gradient=gradient,
        gradient_variance=np.maximum(gradient_variance, 0.0),
    )


def check_one_prompt(
    mdp: Any,
) -> None:
    """Checks that all start states are one prompt, which the members of a group share.

    Raises:
        ValueError: a process of several prompts.
    """
    prompts = np.unique(mdp.prompt[mdp.start > 0])
    if len(prompts) > 1:
        wanted = "one label where peers share a prompt, see `group_moments` for several"
        raise ValueError(f"prompt must have {wanted}, got {prompts.tolist()}")


class _Solved(NamedTuple):
    cells: Cells  # of the sampled part of the credit: L_t, or the return less its centre
    value: Any  # [T+1, S] of what is left of the return
    centre: Any  # what is subtracted from the return
    total: Any  # [2] mean and variance of what is left


def _solve(
    mdp: MDP,
    acting: jax.Array,
    form: Trace | Product,
) -> _Solved:
    if isinstance(form, Trace):
        cells = trace_cells(mdp, acting, form)
        return _Solved(
            cells,
            form.after,
            centre=jnp.zeros(()),
            total=jnp.zeros(2),
        )
    cells, value, total = product_cells(mdp, acting, form)
    centre = jnp.where(form.peers, total[0], form.baseline)
    shift = centre * (jnp.arange(2) == 0)
    centred = Cells(cells.mean - centre, cells.variance)
    return _Solved(centred, value, centre, total - shift)


def _credit(
    form: Trace | Product,
    cells: Cells,
    total: np.ndarray,
    num: int,
) -> tuple[Any, Any]:
    """Mean and variance of the credit of the action taken, `[T, S, A]`."""
    if isinstance(form, Trace):
        of_errors = 2 * form.noise**2
        return form.every + cells.mean, cells.variance + of_errors
    noise = 0.0
    if form.peers:
        noise = total[1] / (num - 1)
    variance = cells.variance + noise
    return form.table * cells.mean, form.table**2 * variance


def _score_square(
    mdp: Any,
    policy: np.ndarray,
    truth: Any,
    tied: bool,
) -> Float[np.ndarray, "... O A"]:
    """sum_t E[z_t^2] of each logit, of a kernel or of a step.

    An error at the end of step t is in the credit of that step and, less, in that of the next. The
    scores of two steps do not correlate, so it adds E[z_t^2] + E[z_{t+1}^2] times its variance.
    """
    schedule = np.asarray(mdp.schedule)
    weight = discounting(mdp)[:, None]
    visits = weight**2 * truth.occupancy
    if tied:
        kernel = np.arange(len(mdp.prob))
        of_kernel = np.zeros((len(kernel), visits.shape[1]))
        np.add.at(of_kernel, schedule, visits)
        visits = of_kernel
    else:
        kernel = schedule
    emission = mdp.emission[kernel]
    seen = np.einsum("ts,tso->to", visits, emission)
    decision = mdp.decision[kernel][:, None]
    decided = np.where(decision, seen, 0.0)
    chosen = policy[kernel]
    return decided[..., None] * chosen * (1 - chosen)


def _tied(
    mdp: MDP,
    policy: jax.Array,
    form: Trace | Product,
    solved: _Solved,
) -> np.ndarray:
    """E[y y'] `[D, D, M, O, A]`; 0 for logits that are never used."""
    going_on = ~np.asarray(mdp.terminal)
    emission = np.asarray(mdp.emission)[:, going_on]
    shown = emission.max(axis=1) > 0
    used = shown & np.asarray(mdp.decision)[:, None]
    kernels = np.arange(len(used))
    idle = np.setdiff1d(kernels, np.asarray(mdp.schedule))
    used[idle] = False
    of_actions = np.broadcast_to(used[..., None], policy.shape)
    logit = np.argwhere(of_actions)
    second = np.asarray(
        jax.jit(tied_moments)(mdp, policy, form, jnp.asarray(logit), solved.value, solved.centre)
    )
    out = np.zeros((*second.shape[:2], *policy.shape))
    out[:, :, *logit.T] = second
    return out


def _by_kernel(
    second: np.ndarray,
    mdp: MDP,
) -> np.ndarray:
    """Moments of the logits of steps as moments of the kernels that govern them, one step each."""
    first, other, _, *rest = second.shape
    out = np.zeros((first, other, len(mdp.prob), *rest))
    kernels = np.asarray(mdp.schedule)
    out[:, :, kernels] = second
    return out


def _group(
    second: np.ndarray,
    num: int,
    peers: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a group's gradient, from E[y y'] of one trajectory, y = (1, ..., X)."""
    mean = second[0, -1]
    if not peers:
        variance = second[-1, -1] - mean**2
        return mean, variance / num
    # y = (1, G, Z, X = G Z), and the sum S of the returns of the other N - 2 trajectories.
    _, g, z, _ = second[0]
    _, gg, _, ggz = second[1]
    _, _, zz, gzz = second[2]
    peers_of_one, others = num - 1, num - 2
    spread = gg - g**2
    peer_square = g**2 + spread / peers_of_one
    # Of the sum S over the others.
    rest = others * g
    rest_square = others * spread + rest**2
    square = second[3, 3]
    own = square - 2 * g * gzz + zz * peer_square
    # E[x_1 x_2], by how often the baselines of the two stand in it: not, once, twice.
    crossed = mean * z * rest
    once = ggz * z + crossed
    twice = mean**2 + 2 * crossed
    twice = twice + z**2 * rest_square
    pair = mean**2 - 2 / peers_of_one * once
    pair = pair + twice / peers_of_one**2
    expected = mean - g * z
    variance = own - expected**2
    covariance = pair - expected**2
    return expected, (variance + peers_of_one * covariance) / num
