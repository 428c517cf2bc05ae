"""Second moments of the gradient where every step has its own logits: sums over one step's states.

In maths, at most one step contributes to the component of theta[t, o, a'], so that with
d_t(s) = P(s_t = s) and E[c], Var(c) of the cell

    E[X^j] = sum_s d_t(s) P(o | s) sum_a pi(a | o) E[(z_a c + f)^j | s, a],

where

    z_a = w_t (1{a = a'} - pi(a' | o)),
    f = w_t pi(a' | o) (every(s, a') - sum_b pi(b | o) every(s, b)),

w_t the product of the discounts of the steps before t.

References:
    Derived for casim; `tests/oracle/test_moments_recursion.py` checks it against enumeration.
"""

from __future__ import annotations

import numpy as np

from casim.oracle.moments.cells import Cells
from casim.oracle.moments.forms import Product, Trace
from casim.oracle.moments.paths import discounting
from casim.types import MDP


def untied_moments(
    mdp: MDP,
    policy: np.ndarray,
    form: Trace | Product,
    occupancy: np.ndarray,
    cells: Cells,
    total: np.ndarray,
) -> np.ndarray:
    """E[y y'] of one trajectory for each logit of each step, `[D, D, T, O, A]`.

    y = (1, X) for a `Trace` and (1, G, Z, X) for a `Product`.

    Args:
        mdp: from `precise`.
        policy: the table `[M, O, A]` as it acts.
        form: the tables.
        occupancy: P(s_t = s, live) `[T, S]`.
        cells: moments of L_t, or of G, in each cell.
        total: mean and variance of G over all trajectories.
    """
    decided = mdp.decision[mdp.schedule]
    weight = np.where(decided, discounting(mdp), 0.0)
    scale = weight[:, None, None]
    observations = range(policy.shape[1])

    def column(o: int) -> list[list[np.ndarray]]:
        return _of_observation(mdp, policy, form, occupancy, cells, scale, o)

    columns = np.array([column(o) for o in observations])
    second = np.moveaxis(columns, 0, 3)
    second[0, 0] = 1.0
    if isinstance(form, Product):
        mean, variance = total
        second[0, 1] = mean
        second[1, 0] = mean
        second[1, 1] = variance + mean**2
    return second


def _of_observation(
    mdp: MDP,
    policy: np.ndarray,
    form: Trace | Product,
    occupancy: np.ndarray,
    cells: Cells,
    scale: np.ndarray,
    o: int,
) -> list[list[np.ndarray]]:
    """E[y y'] for the logits of one observation, each entry `[T, A]`."""
    actions = policy.shape[2]
    acting = policy[mdp.schedule, o]
    chosen = acting[:, None, :]  # [T, 1, A]
    emission = mdp.emission[mdp.schedule, :, o]
    here = occupancy * emission
    here = here[:, :, None, None]
    weight = here * chosen[..., None]  # [T, S, A taken, 1]
    taken = np.eye(actions)[None]
    away = taken - chosen
    score = scale * away  # [T, A taken, A of the logit]
    if isinstance(form, Trace):
        weighed = chosen * form.every
        expected = np.sum(weighed, axis=2, keepdims=True)
        above = form.every - expected
        share = scale * chosen * above
        of_action = share[:, :, None, :]
        of_state = score[:, None]
        entries = _trace(of_state, of_action, cells)
    else:
        table = form.table[..., None]
        weighed = score[:, None] * table
        entries = _product(weighed, cells)

    def averaged(x: np.ndarray) -> np.ndarray:
        weighed = weight * x
        return np.sum(weighed, axis=(1, 2))

    return [[averaged(x) for x in row] for row in entries]


def _trace(
    z: np.ndarray,
    share: np.ndarray,
    cells: Cells,
) -> list[list[np.ndarray]]:
    """Moments of (1, X = z c + f) in each cell."""
    one = np.ones_like(z)
    c = cells.mean[..., None]
    spread = cells.variance[..., None]
    mean = z * c + share
    variance = z**2 * spread
    return [
        [one, mean],
        [mean, mean**2 + variance],
    ]


def _product(
    z: np.ndarray,
    cells: Cells,
) -> list[list[np.ndarray]]:
    """Moments of (1, G, Z, X = G Z) in each cell."""
    one = np.ones_like(z)
    g = np.asarray(cells.mean)[..., None]
    spread = np.asarray(cells.variance)[..., None]
    gg = g**2 + spread
    zz = z**2
    gz = g * z
    ggz = gg * z
    gzz = g * zz
    ggzz = gg * zz
    return [
        [one, g * one, z, gz],
        [g * one, gg * one, gz, ggz],
        [z, gz, zz, gzz],
        [gz, ggz, gzz, ggzz],
    ]
