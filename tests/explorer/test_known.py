"""Moments that the explorer adds, against enumeration and against a study."""

import numpy as np
import pytest
from exploring.grid import COSTS
from exploring.knobs import POLICY, TOKENS, reference, task_at
from exploring.known import NormalisedGroup, StepBranches, binomial, normalised, seen_critic
from exploring.methods import BRANCHES, FIDELITY, METHODS

import casim
from casim.judges import Judge
from casim.oracle.moments import by_return, exact_scores, group_moments, precise_truth
from casim.tasks import Bifurcation

SMALL = Bifurcation(horizon=3, pivots=(1,), gap=0.6, base=0.4, noise=0.1)


@pytest.mark.slow
def test_a_normalised_group_has_the_moments_of_all_groups_that_can_be_drawn(unhooked):
    mdp = SMALL.build()
    policy = casim.Softmax(scale=0.7).table(mdp)
    num = 5
    found = NormalisedGroup().moments(mdp, policy, num)
    wanted = group_moments(mdp, policy, casim.methods.GRPO, num, sees=by_return())
    for name, value in wanted._asdict().items():
        near = pytest.approx(value, rel=1e-5, abs=1e-9, nan_ok=True)
        assert getattr(found, name) == near, name


def test_credit_of_a_group_sums_to_nothing_and_equal_outcomes_get_none():
    for num, wins in ((2, 1), (5, 2), (8, 7)):
        total = wins * normalised(1, wins, num) + (num - wins) * normalised(0, wins, num)
        assert total == pytest.approx(0.0, abs=1e-12)
    assert normalised(1, 4, 4) == normalised(0, 0, 4) == 0.0
    assert binomial(2, 0.25) == [0.5625, 0.375, 0.0625]
    assert binomial(0, 0.25) == [1.0]


@pytest.mark.slow
def test_a_critic_that_sees_text_says_the_mean_value_of_what_looks_alike():
    task = task_at(reference())
    mdp = task.build()
    truth = precise_truth(mdp, POLICY.table(mdp))
    critic = seen_critic(mdp, truth)
    states = task.states()
    step = 4
    by_text: dict = {}
    for place, (_, told, _, verdict, _) in enumerate(states):
        by_text.setdefault((told, verdict), []).append(place)
    spread = 0.0
    for own in by_text.values():
        chance = truth.occupancy[step][own]
        if chance.sum() == 0:
            continue
        value = truth.value[step][own]
        wanted = np.average(value, weights=chance)
        np.testing.assert_allclose(critic[step][own], wanted, rtol=1e-12)
        spread += np.ptp(value[chance > 0])
    assert spread > 0.1


@pytest.mark.slow
def test_branches_at_each_step_score_and_cost_as_sampled_and_so_does_the_judge():
    place = (0, *reference()[1:])
    task = task_at(place)
    assert len(task.build().schedule) == 2 * TOKENS
    recipes = (casim.methods.VINEPPO_STEP, casim.InformationGain(), casim.methods.GRPO)
    study = casim.Study(
        name="explorer",
        tasks=(task,),
        estimators=recipes,
        policies=(POLICY,),
        judges={"judge": Judge(fidelity=FIDELITY)},
        replicates=400,
        controls=(),
    )
    rows = study.run(progress=False, notify=lambda _: None)
    mdp = task.build()
    policy = POLICY.table(mdp)
    shown = {method.name.split(",")[0]: method for method in METHODS}
    own = (shown["VinePPO"], shown["judge"], shown["GRPO"])
    assert casim.methods.VINEPPO_STEP.recipe.num_branches == BRANCHES
    assert own[0].known == StepBranches(BRANCHES)
    for row, method in zip(rows, own, strict=True):
        exact = exact_scores(mdp, policy, method.known.moments(mdp, policy, 8))
        for name in ("bias", "variance", "gradient_variance", "gradient_slope", "snr_aligned"):
            value, low, high, _ = row.scores[name]
            # Twice the 95% interval: 15 numbers are asked of one seed.
            half = (high - low) + 1e-6
            assert abs(exact[name] - value) < half, (method.name, name)
        costs = tuple(row.scores[name].value for name in COSTS)
        assert costs == pytest.approx(method.costs(row.num_steps, 8)), method.name
