"""What the explorer takes to be known, against its definition and against a study."""

import numpy as np
import pytest
from exploring.grid import COSTS
from exploring.knobs import POLICY, TOKENS, reference, task_at
from exploring.known import seen_critic
from exploring.methods import BRANCHES, FIDELITY, METHODS

import casim
from casim.judges import Judge
from casim.oracle.moments import StepBranches, exact_scores, precise_truth


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
