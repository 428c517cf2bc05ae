"""The summary numbers and the closed forms made of them, against enumeration and a study."""

import jax
import numpy as np
import pytest

import casim
from casim.controls import Control
from casim.jobs import label_of
from casim.oracle import closed_forms, summary
from casim.oracle.closed_forms import binary_group_scale
from casim.testing import enumerate_trajectories


@pytest.mark.slow
def test_the_summary_equals_the_enumeration():
    mdp = casim.ToolChain(num_turns=2, tokens_per_turn=2, repair=0.2, discount=0.9).build()
    policy = casim.Softmax(seed=1).table(mdp)
    truth = casim.solve(mdp, policy)
    exact = {name: float(x) for name, x in jax.jit(summary)(mdp, truth).items()}
    weight, paths = enumerate_trajectories(mdp, np.asarray(policy))
    steps = np.arange(paths.reward.shape[1])
    scaling = 0.9**steps
    earned = paths.reward * scaling
    past = np.cumsum(earned, axis=1) - earned
    future = (earned.sum(axis=1, keepdims=True) - past) / scaling
    value = np.asarray(truth.value)[steps, paths.state]
    q_value = np.asarray(truth.q_value)[steps, paths.state, paths.action]
    decided = np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
    mass = weight[:, None] * decided

    def mean(x):
        return (mass * x).sum() / mass.sum()

    returns = earned.sum(axis=1)
    expected = weight @ returns
    wanted = {
        "expected_return": expected,
        "num_decisions": decided.sum(),
        "signal": mean((q_value - value) ** 2),
        "value_square": mean(value**2),
        # No reward before the end: past is exact.
        "offset_square": mean((past + scaling * value - expected) ** 2),
        "future_variance": mean((future - q_value) ** 2),
        "return_variance": weight @ returns**2 - expected**2,
    }
    assert exact == pytest.approx(wanted, rel=1e-4)


def test_the_scale_of_grpo_equals_its_definition_over_all_groups():
    """E[credit | own return] is linear in the return, with slope c_p.

    The other returns of the group are enumerated.
    """
    num, success = 5, 0.3

    def credit(own, others):
        returns = np.array([own] + [1.0] * others + [0.0] * (num - 1 - others))
        spread = returns.std(ddof=1)
        return 0.0 if spread == 0 else (own - returns.mean()) / spread

    binomial = [
        np.prod([success] * k + [1 - success] * (num - 1 - k)) * len(list(_choose(num - 1, k)))
        for k in range(num)
    ]
    slope = sum(p * (credit(1.0, k) - credit(0.0, k)) for k, p in enumerate(binomial))
    assert binary_group_scale(success, num) == pytest.approx(slope, rel=1e-12)


def _choose(n, k):
    import itertools

    return itertools.combinations(range(n), k)


@pytest.mark.slow
def test_closed_forms_lie_in_the_intervals_of_a_study():
    """At 4 half-widths of a 95% interval over 10 blocks.

    With t of 9 degrees of freedom the false alarm is about 1e-5 each.
    """
    forms = {
        casim.methods.REINFORCE: closed_forms.plain_return,
        casim.methods.REWARD_TO_GO: closed_forms.plain_return,
        casim.methods.RLOO: closed_forms.leave_one_out,
        casim.methods.GRPO: closed_forms.group_relative,
        casim.methods.DR_GRPO: closed_forms.group_mean,
        Control("exact"): closed_forms.exact_advantage,
    }
    estimators = tuple(forms)[:-1]
    task = casim.Bifurcation(horizon=7, pivots=(2, 4), noise=0.1, recovery=0.3)
    policy = casim.Softmax(scale=0.5, seed=3)
    rows = casim.Study(
        "forms", (task,), estimators, (policy,), num_trajectories=4, replicates=3000
    ).run()
    checked = 0
    by_label = {row.label: row for row in rows}
    for method, form in forms.items():
        row = by_label[label_of(method)]
        for name, value in form(row.exact, 4).items():
            score = row.scores[name]
            half = (score.high - score.low) / 2
            assert abs(score.value - value) <= 4 * half + 1e-6, (row.label, name, value, score)
            checked += 1
    assert checked == 3 * 4 + 2 + 3
