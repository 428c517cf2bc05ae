"""Values and second moments of small worlds in NumPy float64: a loop over steps, nothing compiled.

For worlds at discount 1 that pay at the end and never end early. In maths, with z_t the score
d log pi(a_t | o_t) of the logits of step t, which every step has of its own, credit with mean
m(s, a) and mean square q(s, a) in the cells of step t has the gradient

    E[g_t] = E[z_t m(s_t, a_t)],    E|g_t|^2 = E[|z_t|^2 q(s_t, a_t)]

of one trajectory, so its variance, summed over all logits, is sum_t E|g_t|^2 - |E[g_t]|^2.

References:
    Sobel 1982 (second moments by recursion). `tests/claims/test_exact.py` holds it against
    `casim.oracle.moments`, which is another implementation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from casim import Policy, Task
from casim.oracle.moments import precise

Times = Float[np.ndarray, " T"]
States = Float[np.ndarray, " S"]
Pairs = Float[np.ndarray, "S A"]
"""Of states and actions."""
Values = Float[np.ndarray, "T+1 S"]
Table = Float[np.ndarray, "T S A"]
Logits = Float[np.ndarray, "T O A"]
Keep = Bool[np.ndarray, " T"]


class World(NamedTuple):
    """A solved world: its process, and the truth of its policy."""

    kernel: Int[np.ndarray, " T"]
    successor: Int[np.ndarray, "M S A K"]
    prob: Float[np.ndarray, "M S A K"]
    emission: Float[np.ndarray, "M S O"]
    policy: Float[np.ndarray, "M O A"]
    """0 or 1 where the policy decides nothing."""
    decides: Keep
    """Whether the policy decides."""
    acting: Float[np.ndarray, "M S A"]
    """pi(a | s), the observation averaged over."""
    value: Values
    q_value: Table
    return_variance: Table
    """Var(G_t | s, a)."""
    occupancy: Float[np.ndarray, "T S"]

    @property
    def num_steps(self) -> int:
        return len(self.kernel)

    @property
    def start_value(self) -> float:
        """J, the expected return."""
        return float(self.occupancy[0] @ self.value[0])

    @property
    def advantage(self) -> Table:
        return self.q_value - self.value[:-1, :, None]

    @property
    def visits(self) -> Table:
        """P(s_t = s, a_t = a)."""
        return self.occupancy[..., None] * self.acting[self.kernel]

    @property
    def spread(self) -> Values:
        """Var(G_t | s), and 0 after the last step."""
        acting = self.acting[self.kernel]
        within = np.sum(acting * self.return_variance, axis=2)
        among = np.sum(acting * self.advantage**2, axis=2)
        nothing = np.zeros((1, within.shape[1]))
        return np.concatenate([within + among, nothing])

    @property
    def total_variance(self) -> float:
        """Var(R)."""
        first = self.occupancy[0]
        apart = self.value[0] - self.start_value
        within = first @ self.spread[0]
        among = first @ apart**2
        return float(within + among)

    def ahead(self, step: int, table: States) -> Pairs:
        """E[table(s_{t+1}) | s_t, a_t]."""
        m = self.kernel[step]
        later = table[self.successor[m]]
        return np.sum(self.prob[m] * later, axis=-1)

    def back(self, step: int, table: Pairs) -> States:
        """E[table(s_t, a_t) | s_t]."""
        m = self.kernel[step]
        return np.sum(self.acting[m] * table, axis=-1)

    def onward(self, step: int, weight: States) -> States:
        """What lies on states now, on the states after: sum_s weight(s) P(s' | s)."""
        m = self.kernel[step]
        chosen = weight[:, None] * self.acting[m]
        each = chosen[..., None] * self.prob[m]
        target = self.successor[m].ravel()
        return np.bincount(target, each.ravel(), minlength=len(weight))

    def after(self, table: Values) -> Table:
        """E[table_{t+1}(s_{t+1}) | s_t, a_t] of every step."""
        steps = range(self.num_steps)
        return np.array([self.ahead(step, table[step + 1]) for step in steps])


class Cells(NamedTuple):
    """Credit of a step given its state and action."""

    mean: Table
    square: Table
    """Its mean square."""


class Gradient(NamedTuple):
    """Of one trajectory, by the logits of each step."""

    mean: Logits
    square: Times
    """E|g_t|^2, summed over the logits of a step."""

    @property
    def length(self) -> float:
        """|E[g]|^2."""
        return float(np.sum(self.mean**2))

    @property
    def variance(self) -> float:
        """Of all logits together."""
        return float(np.sum(self.square)) - self.length


def solve(task: Task, policy: Policy) -> World:
    """Values, variances and occupancies of a policy.

    Raises:
        ValueError: a discount that is not 1, a terminal state, or a reward before the end.
    """
    mdp = task.build()
    process, table = precise(mdp, policy.table(mdp))
    return solved(process, table)


def solved(mdp: Any, table: Float[np.ndarray, "M O A"]) -> World:
    """The same of a process and a table from `precise`.

    Raises:
        ValueError: as `solve`.
    """
    _check(mdp)
    steps, states = len(mdp.schedule), len(mdp.start)
    forced = np.zeros_like(table)
    forced[..., 0] = 1.0
    policy = np.where(mdp.decision[:, None, None], table, forced)
    acting = np.einsum("mso,moa->msa", mdp.emission, policy)
    cells = np.zeros((steps, *acting.shape[1:]))
    world = World(
        kernel=mdp.schedule,
        successor=mdp.successor,
        prob=mdp.prob,
        emission=mdp.emission,
        policy=policy,
        decides=mdp.decision[mdp.schedule],
        acting=acting,
        value=np.zeros((steps + 1, states)),
        q_value=cells,
        return_variance=cells.copy(),
        occupancy=np.zeros((steps, states)),
    )
    _backward(world, mdp)
    here = mdp.start
    for step in range(steps):
        world.occupancy[step] = here
        here = world.onward(step, here)
    return world


def _check(mdp: Any) -> None:
    early = mdp.reward[mdp.schedule[:-1]]
    if np.any(mdp.terminal) or np.any(mdp.discount != 1) or np.any(early):
        raise ValueError("the process must pay at its end only, at discount 1, and never stop")


def _backward(world: World, mdp: Any) -> None:
    """Fills in values and variances."""
    last = world.num_steps - 1
    square = np.zeros(len(mdp.start))
    for step in reversed(range(world.num_steps)):
        q_value = world.ahead(step, world.value[step + 1])
        q_square = world.ahead(step, square)
        if step == last:
            # Nothing comes after what is paid here.
            m = world.kernel[step]
            q_value = np.sum(mdp.prob[m] * mdp.reward[m], axis=-1)
            q_square = np.sum(mdp.prob[m] * mdp.reward[m] ** 2, axis=-1)
        world.q_value[step] = q_value
        world.return_variance[step] = np.maximum(q_square - q_value**2, 0.0)
        world.value[step] = world.back(step, q_value)
        square = world.back(step, q_square)


def gradient(world: World, cells: Cells) -> Gradient:
    """Mean and mean square of the gradient of one trajectory."""
    rows = [_step(world, cells, step) for step in range(world.num_steps)]
    mean, square = zip(*rows, strict=True)
    return Gradient(np.array(mean), np.array(square))


def _step(
    world: World,
    cells: Cells,
    step: int,
) -> tuple[Float[np.ndarray, "O A"], float]:
    """Those of the logits of one step."""
    m = world.kernel[step]
    policy = world.policy[m]
    if not world.decides[step]:
        return np.zeros_like(policy), 0.0
    seen = world.occupancy[step][:, None] * world.emission[m]
    # Weighted by how likely the observation is, and then the action.
    mean = policy * (seen.T @ cells.mean[step])
    square = policy * (seen.T @ cells.square[step])
    among = mean.sum(axis=1, keepdims=True)
    # |e_a - pi|^2.
    length = 1 - 2 * policy + np.sum(policy**2, axis=1, keepdims=True)
    return mean - policy * among, float(np.sum(length * square))


def advantage(world: World) -> Cells:
    """c_t = A_t(s_t, a_t)."""
    return Cells(world.advantage, world.advantage**2)


def exact_gradient(world: World) -> Logits:
    """g*, the logits of every step its own."""
    return gradient(world, advantage(world)).mean


def whole(world: World, baseline: float) -> Cells:
    """c_t = R - baseline: the return of the episode, given to every step."""
    mean = world.q_value - baseline
    return Cells(mean, world.return_variance + mean**2)


def value_baseline(world: World) -> Cells:
    """c_t = R - V_t(s_t)."""
    mean = world.advantage
    return Cells(mean, world.return_variance + mean**2)


def td_error(world: World) -> Cells:
    """c_t = r_t + V_{t+1}(s_{t+1}) - V_t(s_t)."""
    mean = world.advantage
    # The luck of the transition: all that is open, less what is open later.
    luck = world.return_variance - world.after(world.spread)
    return Cells(mean, np.maximum(luck, 0.0) + mean**2)


def ones(world: World) -> Cells:
    """c_t = 1, whose mean square is that of the scores."""
    one = np.ones_like(world.q_value)
    return Cells(one, one)


def masked(cells: Cells, keep: Keep) -> Cells:
    """The same credit at some steps, and none at the others."""
    at = keep[:, None, None]
    return Cells(np.where(at, cells.mean, 0.0), np.where(at, cells.square, 0.0))


def group_variance(found: Gradient, num: int, others: float) -> float:
    """Var(g) of a group of N whose baseline is the mean of the others (RLOO).

    In maths, with `found` that of c = R - J and `others` = sum_t E|z_t|^2 Var(R): the mean of
    N - 1 others adds `others` / (N - 1), and any two members share what each lends to the other,
    |g|^2 / (N - 1)^2.

    Args:
        found: moments of one trajectory with the expected return as baseline.
        num: N, at least 2.
        others: how much the return of a single other one would add.
    """
    lent = others / (num - 1)
    shared = found.length / (num - 1)
    return (found.variance + lent + shared) / num


def score_square(world: World) -> float:
    """sum_t E|z_t|^2."""
    return float(np.sum(gradient(world, ones(world)).square))


def everywhere(world: World) -> Keep:
    """All steps."""
    return np.ones(world.num_steps, bool)


def peers_variance(world: World, num: int, keep: Keep) -> float:
    """N Var(g) of RLOO in groups of N, with credit at some steps."""
    centred = masked(whole(world, world.start_value), keep)
    scores = gradient(world, masked(ones(world), keep))
    others = float(np.sum(scores.square)) * world.total_variance
    return num * group_variance(gradient(world, centred), num, others)
