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
from hypotheses.found import total

Times = Float[np.ndarray, " T"]
States = Float[np.ndarray, " S"]
Pairs = Float[np.ndarray, "S A"]
"""Of states and actions."""
Values = Float[np.ndarray, "T+1 S"]
Table = Float[np.ndarray, "T S A"]
Logits = Float[np.ndarray, "T O A"]
Keep = Bool[np.ndarray, " T"]
Outcomes = Float[np.ndarray, "S A K"]
Kernels = Float[np.ndarray, "M S A K"]
Policies = Float[np.ndarray, "M O A"]


def mix(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The mean over the last axis."""
    return np.sum(weight * x, axis=-1)


class World(NamedTuple):
    """A solved world: its process, and the truth of its policy."""

    kernel: Int[np.ndarray, " T"]
    successor: Int[np.ndarray, "M S A K"]
    prob: Kernels
    reward: Kernels
    emission: Float[np.ndarray, "M S O"]
    policy: Policies
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
        first = self.occupancy[0]
        return float(first @ self.value[0])

    @property
    def advantage(self) -> Table:
        return self.q_value - self.value[:-1, :, None]

    @property
    def visits(self) -> Table:
        """P(s_t = s, a_t = a)."""
        acting = self.acting[self.kernel]
        return self.occupancy[..., None] * acting

    @property
    def spread(self) -> Values:
        """Var(G_t | s), and 0 after the last step."""
        acting = self.acting[self.kernel]
        within = mix(acting, self.return_variance)
        among = mix(acting, self.advantage**2)
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
        return mix(self.prob[m], later)

    def back(self, step: int, table: Pairs) -> States:
        """E[table(s_t, a_t) | s_t]."""
        m = self.kernel[step]
        return mix(self.acting[m], table)

    def onward(self, step: int, weight: States) -> States:
        """What lies on states now, on the states after: sum_s weight(s) P(s' | s)."""
        m = self.kernel[step]
        chosen = weight[:, None] * self.acting[m]
        each = chosen[..., None] * self.prob[m]
        return self.land(step, each)

    def land(self, step: int, each: Outcomes) -> States:
        """What lies on outcomes of a step, on the states that they lead to."""
        m = self.kernel[step]
        target = self.successor[m].ravel()
        weight = each.ravel()
        return np.bincount(target, weight, minlength=len(each))

    def seen(self, step: int) -> Float[np.ndarray, "O S"]:
        """P(o_t = o, s_t = s)."""
        emission = self.emission[self.kernel[step]]
        return emission.T * self.occupancy[step]

    def after(self, table: Values) -> Table:
        """E[table_{t+1}(s_{t+1}) | s_t, a_t] of every step."""
        rows = map(self.ahead, range(self.num_steps), table[1:])
        return np.array([*rows])


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
        return total(self.mean**2)

    @property
    def variance(self) -> float:
        """Of all logits together."""
        return total(self.square) - self.length


def solve(task: Task, policy: Policy) -> World:
    """Values, variances and occupancies of a policy.

    Raises:
        ValueError: a discount that is not 1, a terminal state, or a reward before the end.
    """
    mdp = task.build()
    table = policy.table(mdp)
    process, table = precise(mdp, table)
    return solved(process, table)


def solved(mdp: Any, table: Policies) -> World:
    """The same of a process and a table from `precise`.

    Raises:
        ValueError: as `solve`.
    """
    _check(mdp)
    steps = len(mdp.schedule)
    states = len(mdp.start)
    forced = np.zeros_like(table)
    forced[..., 0] = 1.0
    decision = mdp.decision[:, None, None]
    policy = np.where(decision, table, forced)
    acting = np.einsum("mso,moa->msa", mdp.emission, policy)
    _, _, actions = acting.shape
    cells = np.zeros((steps, states, actions))
    world = World(
        kernel=mdp.schedule,
        successor=mdp.successor,
        prob=mdp.prob,
        reward=mdp.reward,
        emission=mdp.emission,
        policy=policy,
        decides=mdp.decision[mdp.schedule],
        acting=acting,
        value=np.zeros((steps + 1, states)),
        q_value=cells,
        return_variance=cells.copy(),
        occupancy=np.zeros((steps, states)),
    )
    _backward(world)
    here = mdp.start
    for step in range(steps):
        world.occupancy[step] = here
        here = world.onward(step, here)
    return world


def _check(mdp: Any) -> None:
    early = mdp.schedule[:-1]
    pays = np.any(mdp.reward[early])
    fades = np.any(mdp.discount != 1)
    stops = np.any(mdp.terminal)
    if pays or fades or stops:
        raise ValueError("the process must pay at its end only, at discount 1, and never stop")


def _backward(world: World) -> None:
    """Fills in values and variances, from what is paid at the end."""
    end = world.kernel[-1]
    prob = world.prob[end]
    reward = world.reward[end]
    q_value = mix(prob, reward)
    q_square = mix(prob, reward**2)
    for step in reversed(range(world.num_steps)):
        variance = q_square - q_value**2
        value = world.back(step, q_value)
        square = world.back(step, q_square)
        world.q_value[step] = q_value
        world.return_variance[step] = np.maximum(variance, 0.0)
        world.value[step] = value
        if step > 0:
            q_value = world.ahead(step - 1, value)
            q_square = world.ahead(step - 1, square)


def gradient(world: World, cells: Cells) -> Gradient:
    """Mean and mean square of the gradient of one trajectory."""
    steps = range(world.num_steps)
    rows = [_step(world, cells, step) for step in steps]
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
    seen = world.seen(step)
    # Weighted by how likely the observation is, and then the action.
    mean = policy * (seen @ cells.mean[step])
    square = policy * (seen @ cells.square[step])
    among = mean.sum(axis=1, keepdims=True)
    others = np.sum(policy**2, axis=1, keepdims=True)
    # |e_a - pi|^2.
    length = 1 - 2 * policy + others
    size = total(length * square)
    return mean - policy * among, size


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
    later = world.after(world.spread)
    luck = np.maximum(world.return_variance - later, 0.0)
    return Cells(mean, luck + mean**2)


def ones(world: World) -> Cells:
    """c_t = 1, whose mean square is that of the scores."""
    one = np.ones_like(world.q_value)
    return Cells(one, one)


def masked(cells: Cells, keep: Keep) -> Cells:
    """The same credit at some steps, and none at the others."""
    at = keep[:, None, None]
    mean = np.where(at, cells.mean, 0.0)
    square = np.where(at, cells.square, 0.0)
    return Cells(mean, square)


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
    return total(gradient(world, ones(world)).square)


def everywhere(world: World) -> Keep:
    """All steps."""
    return np.ones(world.num_steps, bool)


def peers_variance(world: World, num: int, keep: Keep) -> float:
    """N Var(g) of RLOO in groups of N, with credit at some steps."""
    centred = masked(whole(world, world.start_value), keep)
    scores = gradient(world, masked(ones(world), keep))
    others = total(scores.square) * world.total_variance
    found = gradient(world, centred)
    return num * group_variance(found, num, others)
