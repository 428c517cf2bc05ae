"""Estimators whose second moments obey a recursion in time, as tables. Two families hold them all.

In maths, for a trajectory of states s, actions a and rewards r, with the credit of step t
- `Trace`: c_t = every_t(s_t, a_t) + L_t, where L_t = e_t + decay_t L_{t+1} and
  e_u = reward r_u + discount_u after_{u+1}(s_{u+1}) - before_u(s_u, a_u);
  `every` is given to all actions of the state and not only to the one taken, so its part of the
  gradient is sum_a every_t(s_t, a) grad pi(a | o_t).
- `Product`: c_t = (G - baseline) table_t(s_t, a_t), with G the whole return.

A form is a function (mdp, truth) -> Trace | Product; settings are bound by a call, as in
`gae(lambda_=0.9)`.

References:
    Williams 1992 (REINFORCE); Schulman et al. 2016, arXiv:1506.02438 (GAE); Harutyunyan et al.
    2019, arXiv:1912.02503 (hindsight); Meulemans et al. 2023, arXiv:2306.16803 (the trajectory
    control variate, as in the public code). That each of them is a `Trace` or a `Product` is
    derived for casim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from casim.checks import check_range
from casim.dynamics import can_act


class Trace(NamedTuple):
    """Credit that is a decaying sum of what each later transition earns."""

    reward: float
    """Weight of the rewards: 1, or 0 for credit that never looks at them."""
    decay: Any
    """Of each kernel `[M]`, or one for all; `tables` makes it `[M]`."""
    after: Float[Array | np.ndarray, "T+1 S"]
    before: Float[Array | np.ndarray, "T S A"]
    every: Float[Array | np.ndarray, "T S A"]
    noise: float = 0.0
    """Deviation of an error of its own at the prompt and after each step.

    Credit has that of its step, less the one before.
    """


class Product(NamedTuple):
    """Credit that is the whole return, less a baseline, times a table of the step."""

    discount: Any
    """Of the return: of each kernel `[M]`, or one for all; `tables` makes it `[M]`."""
    baseline: float
    table: Float[Array | np.ndarray, "T S A"]
    peers: bool = False
    """Subtract the mean return of the other trajectories of the group instead of `baseline`."""


Form = Callable[[Any, Any], Trace | Product]
"""From an MDP and its `Truth`, both in NumPy float64."""


def whole_return(
    baseline: float = 0.0,
    discount: float | None = None,
) -> Form:
    """c_t = G_0 - baseline: REINFORCE with the whole return, at the discounts of the MDP if None.

    Raises:
        ValueError: discount outside [0, 1].
    """
    return _of_return(discount, baseline, peers=False)


def peer_baseline(
    discount: float | None = None,
) -> Form:
    """c_t = G_0 - mean of the others' G_0: RLOO, at the discounts of the MDP if None.

    Raises:
        ValueError: discount outside [0, 1].
    """
    return _of_return(discount, 0.0, peers=True)


def _of_return(
    discount: float | None,
    baseline: float,
    peers: bool,
) -> Form:
    if discount is not None:
        check_range("discount", discount, 0.0, 1.0)

    def form(
        mdp: Any,
        truth: Any,
    ) -> Product:
        own = mdp.discount if discount is None else discount
        return Product(own, baseline, np.ones_like(truth.q_value), peers)

    return form


def reward_to_go(
    mdp: Any,
    truth: Any,
) -> Trace:
    """c_t = G_t, at the discounts of the MDP."""
    zero = np.zeros_like(truth.q_value)
    return Trace(1.0, mdp.discount, np.zeros_like(truth.value), zero, zero)


def gae(
    lambda_: float,
    critic: Float[np.ndarray, "times S"] | None = None,
) -> Callable[[Any, Any], Trace]:
    """c_t = delta_t + discount_t lambda c_{t+1}: GAE over a fixed critic of the latent state.

    lambda = 1 is the reward-to-go less a value baseline, lambda = 0 the TD error.

    Args:
        lambda_: in [0, 1].
        critic: any values `[T+1, S]`, taken as 0 in terminal states and after the horizon; None is
            the exact V.

    Raises:
        ValueError: lambda_ outside [0, 1], or a critic of the wrong shape.
    """
    check_range("lambda_", lambda_, 0.0, 1.0)

    def form(
        mdp: Any,
        truth: Any,
    ) -> Trace:
        value = np.asarray(truth.value if critic is None else critic, np.float64)
        if value.shape != truth.value.shape:
            raise ValueError(
                f"critic must have shape [T+1, S] = {truth.value.shape}, got {value.shape}"
            )
        value = np.where(mdp.terminal[None, :], 0.0, value)
        value[-1] = 0.0
        before = np.broadcast_to(value[:-1, :, None], truth.q_value.shape)
        return Trace(1.0, mdp.discount * lambda_, value, before, np.zeros_like(truth.q_value))

    return form


def value_baseline(
    mdp: Any,
    truth: Any,
) -> Trace:
    """c_t = G_t - V_t(s_t), with the exact V of the latent state."""
    return gae(1.0)(mdp, truth)


def td_error(
    mdp: Any,
    truth: Any,
) -> Trace:
    """c_t = r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t), with the exact V of the latent state."""
    return gae(0.0)(mdp, truth)


def advantage(
    _: Any,
    truth: Any,
) -> Trace:
    """c_t = A_t(s_t, a_t), exactly, on the action taken: the control of every study."""
    return Trace(
        0.0,
        0.0,
        np.zeros_like(truth.value),
        truth.value[:-1, :, None] - truth.q_value,
        np.zeros_like(truth.q_value),
    )


def judged_gain(
    fidelity: float,
) -> Form:
    """c_t = score_t - score_{t-1}: the change of what a judge of values says of the prefix.

    In maths, with f the fidelity of a `casim.judges.Judge` that has no other fault, sigma the
    deviation of its label l_t = r_t + V_{t+1}(s_{t+1}) along episodes, and rewards at the end only,

        c_t = f (r_t + V_{t+1}(s_{t+1}) - V_t(s_t)) + sqrt(1 - f^2) sigma (eps_t - eps_{t-1}).

    Raises:
        ValueError: fidelity outside [0, 1], a discount that is not 1, or a reward before the end.
    """
    check_range("fidelity", fidelity, 0.0, 1.0)

    def form(
        mdp: Any,
        truth: Any,
    ) -> Trace:
        check_range("discount of every kernel", float(np.min(mdp.discount)), 1.0, 1.0)
        if _pays_on_the_way(mdp, truth):
            raise ValueError("reward must come only where the episode ends, got another")
        value = fidelity * np.asarray(truth.value)
        before = np.broadcast_to(value[:-1, :, None], truth.q_value.shape)
        noise = np.sqrt(1 - fidelity**2) * _deviation_of_label(mdp, truth)
        nothing = np.zeros_like(truth.q_value)
        return Trace(fidelity, 0.0, value, before, nothing, float(noise))

    return form


def _pays_on_the_way(
    mdp: Any,
    truth: Any,
) -> bool:
    """Whether a step that may happen earns something, and another follows it."""
    for t, kernel in enumerate(mdp.schedule[:-1]):
        acting = truth.occupancy[t][:, None] * truth.state_policy[kernel]
        happens = (acting[..., None] > 0) & (mdp.prob[kernel] > 0)
        goes_on = ~mdp.terminal[mdp.successor[kernel]]
        if np.any(happens & goes_on & (mdp.reward[kernel] != 0)):
            return True
    return False


def _deviation_of_label(
    mdp: Any,
    truth: Any,
) -> float:
    """The deviation of r_t + V_{t+1}(s_{t+1}) over the steps of episodes."""
    total, mean, square = np.zeros(3)
    for t, kernel in enumerate(mdp.schedule):
        later = truth.value[t + 1]
        label = mdp.reward[kernel] + later[mdp.successor[kernel]]
        acting = truth.occupancy[t][:, None] * truth.state_policy[kernel]
        weight = acting[..., None] * mdp.prob[kernel]
        total += weight.sum()
        mean += np.sum(weight * label)
        square += np.sum(weight * label**2)
    return np.sqrt(square / total - (mean / total) ** 2)


def all_action(
    q_value: Float[np.ndarray, "T S A"] | None = None,
) -> Form:
    """Q_t(s_t, a) for every action a: the gradient without sampling of actions.

    In maths: sum_a Q_t(s_t, a) grad pi(a | o_t).

    Args:
        q_value: any table; None is the exact Q.
    """

    def form(
        _: Any,
        truth: Any,
    ) -> Trace:
        every = np.asarray(truth.q_value if q_value is None else q_value, np.float64)
        return Trace(0.0, 0.0, np.zeros_like(truth.value), np.zeros_like(every), every)

    return form


def control_variate(
    q_value: Float[np.ndarray, "T S A"] | None = None,
) -> Form:
    """The trajectory control variate: Q for all actions, and a correction for the one taken.

    In maths: Q_t(s_t, .) for all, plus for a_t

        L_t = r_t + discount_t V_{t+1}(s_{t+1}) - Q_t(s_t, a_t) + discount_t L_{t+1},

    with V = sum_a pi Q of the given Q: the gradient is exact for any Q.

    Args:
        q_value: any table; None is the exact Q.
    """

    def form(
        mdp: Any,
        truth: Any,
    ) -> Trace:
        every = np.asarray(truth.q_value if q_value is None else q_value, np.float64)
        every = np.where(mdp.terminal[None, :, None], 0.0, every)
        value = (truth.state_policy[mdp.schedule] * every).sum(axis=-1)
        after = np.concatenate([value, np.zeros_like(value[:1])])
        return Trace(1.0, mdp.discount, after, every, every)

    return form


def hindsight(
    mdp: Any,
    truth: Any,
) -> Product:
    """Return hindsight with the exact h, for a return in {0, 1} paid at the end.

    In maths: c_t = (1 - pi(a_t | s_t) / h(a_t | s_t, G)) G.

    There h(a | s, 1) / pi(a | s) = Q(s, a) / V(s), so that c_t = (1 - V_t(s_t) / Q_t(s_t, a_t)) G
    with mean Q - V; but 0, and so biased, where Q is 0: success that the action rules out is never
    seen with it. s is the latent state.

    Raises:
        ValueError: a return other than 0 or 1 is possible, or a discount is not 1.
    """
    check_range("discount of every kernel", float(np.min(mdp.discount)), 1.0, 1.0)
    may_act = np.asarray(can_act(mdp))
    happens = (mdp.prob > 0) & may_act[:, None, :, None]
    running = ~mdp.terminal[None, :, None, None]
    paid = np.where(happens & running, mdp.reward, 0.0)
    is_binary = np.isin(paid, (0.0, 1.0)).all()
    if not is_binary or np.any(truth.past_reward):
        raise ValueError("reward must be 0 or 1, and 1 only where the episode ends, got another")
    value = np.asarray(truth.value)[:-1, :, None]
    q_value = np.asarray(truth.q_value)
    possible = q_value > 0
    safe = np.where(possible, q_value, 1.0)
    table = np.where(possible, 1.0 - value / safe, 0.0)
    return Product(1.0, 0.0, table)


def tables(
    form: Form,
    mdp: Any,
    truth: Any,
) -> Trace | Product:
    """The tables of a form, from arrays in double precision; decay or discount is one per kernel.

    Raises:
        ValueError: a table that does not fit the MDP.
    """
    made = form(mdp, truth)
    per_kernel = "decay" if isinstance(made, Trace) else "discount"
    number = np.asarray(getattr(made, per_kernel), np.float64)
    if number.shape not in ((), mdp.discount.shape):
        wanted = f"() or {mdp.discount.shape}"
        raise ValueError(f"{per_kernel} must have shape {wanted}, got {number.shape}")
    made = made._replace(**{per_kernel: np.broadcast_to(number, mdp.discount.shape)})
    wanted = {"after": truth.value.shape, "before": truth.q_value.shape}
    wanted |= {"every": truth.q_value.shape, "table": truth.q_value.shape}
    for name, shape in wanted.items():
        given = getattr(made, name, None)
        if given is not None and np.shape(given) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {np.shape(given)}")
    return made
