"""Credit of values that fresh rollouts estimate at every step, at any horizon.

In maths, credit c_t = r_t + Vhat_{t+1} - Vhat_t, with Vhat the mean of K fresh outcomes in {0, 1},
is the TD error of the exact critic and errors of variance nu = V (1 - V) / K, one at each step and
independent. That of step t is in c_{t-1} and, less, in c_t; scores of different steps do not
correlate given the state between them, so in groups of N

    Var(c_t | s, a) = Var(td_t | s, a) + E[nu_{t+1} | s, a] + nu_t(s),
    Var(g) gains (1/N) sum_t E[nu_t(s_t) (z_{t-1}^2 + z_t^2)].

References:
    Derived for casim; `tests/oracle/test_moments_outcomes.py` checks it against the enumeration of
    trajectories with all outcomes of their rollouts.
"""

from __future__ import annotations

import dataclasses
from typing import Any, final

import numpy as np
from jaxtyping import Float

from casim.checks import check_integer
from casim.oracle.moments.forms import td_error
from casim.oracle.moments.known import Known
from casim.oracle.moments.outcomes import check_outcomes
from casim.oracle.moments.paths import precise, precise_truth
from casim.oracle.moments.recursion import recursion_moments


@final
@dataclasses.dataclass(frozen=True)
class StepBranches(Known):
    """The change of a value that rollouts from the restored state estimate at every step.

    Refused are discounts other than 1, processes with an episode whose rewards add up to anything
    but 0 or 1, and decisions in states that show one of several observations: a rollout keeps what
    was seen where it begins, and its mean is then not the value of the state.

    Attributes:
        num_branches: K, rollouts at each step, at least 1.

    Raises:
        ValueError: a setting out of its range.
    """

    num_branches: int

    def __post_init__(self) -> None:
        check_integer("num_branches", self.num_branches, 1)

    def moments(self, mdp, policy, num):
        truth = precise_truth(mdp, policy)
        process, table = precise(mdp, policy)
        check_outcomes(process, truth)
        _check_shown(process, truth)
        exact = recursion_moments(mdp, policy, td_error, num)
        # After an early end nothing is left, so that V and its error are 0.
        error = truth.value * (1 - truth.value) / self.num_branches
        later = _expected_next(process, error)
        noise = later + error[:-1, :, None]
        extra = np.zeros_like(exact.gradient)
        for t, kernel in enumerate(process.schedule):
            if process.decision[kernel]:
                seen = truth.occupancy[t][:, None] * process.emission[kernel]
                extra[kernel] += _of_step(seen, table[kernel], noise[t])
        return exact._replace(
            variance=exact.variance + noise,
            gradient_variance=exact.gradient_variance + extra / num,
        )


def _expected_next(
    mdp: Any,
    x: Float[np.ndarray, "times S"],
) -> Float[np.ndarray, "T S A"]:
    """E[x_{t+1}(s_{t+1}) | s_t, a_t]."""
    found = []
    for t, kernel in enumerate(mdp.schedule):
        after = x[t + 1][mdp.successor[kernel]]
        found.append(np.sum(mdp.prob[kernel] * after, axis=-1))
    return np.array(found)


def _of_step(
    seen: Float[np.ndarray, "S O"],
    policy: Float[np.ndarray, "O A"],
    noise: Float[np.ndarray, "S A"],
) -> Float[np.ndarray, "O A"]:
    """E[noise(s, a) z^2] of one step: z_b = 1{a = b} - pi(b | o) in the logits of what is seen.

    Args:
        seen: P(s_t = s, o_t = o).
        policy: pi(a | o).
        noise: of each state and action.
    """
    actions = policy.shape[-1]
    score = np.eye(actions)[None] - policy[:, None]
    chosen = policy * (seen.T @ noise)
    return np.einsum("oa,oab->ob", chosen, score**2)


def _check_shown(
    mdp: Any,
    truth: Any,
) -> None:
    """Checks that states in which something is decided show one observation each."""
    sure = mdp.emission.max(axis=-1) == 1
    for t, kernel in enumerate(mdp.schedule):
        met = truth.occupancy[t] > 0
        if mdp.decision[kernel] and not sure[kernel][met].all():
            raise ValueError("emission must show one observation in each state, got several")
