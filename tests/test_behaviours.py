"""Studies of two policies: who acts, what is asked about, and what a row says of both."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import oracle, report, setting
from casim.estimators import Chain, Part, Ratio, ToGo, Whole
from casim.oracle.moments import enumerate_trajectories, precise
from casim.policies import Softmax, Stale, Uniform
from casim.report import Row
from casim.scores import NAMES
from casim.scores.finish import OF_VALUE, PRODUCT_ONLY
from casim.study import Study
from casim.tables import OPTIONAL, varying
from casim.tasks import Bifurcation

TASK = Bifurcation(horizon=3, pivots=(1,), gap=0.5, base=0.4, recovery=0.25, noise=0.1)
MU = Softmax(seed=3)
PI = Softmax(seed=5)
SIGMAS = 5 / 1.96
"""Half an interval of 95% times this is 5 standard errors."""


@dataclasses.dataclass(frozen=True)
class Referred(Part):
    """Gives the log-probability of the reference."""

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def apply(self, world, batch, credit):
        return credit._replace(value=world.reference_log_prob(batch))


TO_GO = Chain(ToGo())
RATIO = Chain(Whole(), Ratio("sequence"))


@pytest.fixture(autouse=True)
def _compiled_ahead(unhooked):
    """Ahead-of-time compilation rebuilds worlds out of shapes, which the run-time types refuse."""


def trial(**changes) -> Study:
    settings = {
        "name": "trial",
        "tasks": (TASK,),
        "policies": (PI,),
        "estimators": (TO_GO, RATIO),
        "num_trajectories": 2,
        "replicates": 2000,
        "controls": ("exact",),
    }
    return Study(**(settings | changes))


@pytest.fixture(scope="module")
def rows():
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    found = trial(behaviour=MU).run()
    jaxtyping.config.update("jaxtyping_disable", False)
    return found


@pytest.fixture(scope="module")
def exact():
    """Advantages of the policy, and what happens under the behaviour, by enumeration."""
    mdp, policy = precise(TASK.build(), np.asarray(PI.table(TASK.build())))
    _, behaviour = precise(TASK.build(), np.asarray(MU.table(TASK.build())))
    advantage = np.asarray(oracle.moments.precise_truth(mdp, policy).advantage)
    probability, paths = enumerate_trajectories(mdp, behaviour)
    time = np.broadcast_to(np.arange(paths.state.shape[1]), paths.state.shape)
    cell = (time, paths.state, paths.action)
    mass, future = np.zeros((2, *advantage.shape))
    to_go = np.cumsum(paths.reward[:, ::-1], axis=1)[:, ::-1]
    np.add.at(mass, cell, probability[:, None] * paths.live)
    np.add.at(future, cell, probability[:, None] * to_go * paths.live)
    mean = np.divide(future, mass, out=np.zeros_like(mass), where=mass > 0)
    kernel = np.broadcast_to(np.asarray(mdp.schedule), paths.state.shape)
    given = probability[:, None] * advantage[cell]
    taken = np.zeros(policy.shape)
    np.add.at(taken, (kernel, paths.observation, paths.action), given)
    gradient = taken - policy * taken.sum(axis=-1, keepdims=True)
    return advantage, mass, mean, gradient, mdp, policy


def close(score, wanted):
    """Within 5 standard errors of what is exact."""
    assert abs(score.value - wanted) < SIGMAS * (score.high - score.low) / 2 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_a_stale_policy_has_gone_up_the_exact_gradient(steps):
    """Against JAX's own derivative of the expected return in double precision."""
    mdp = TASK.build()
    acting = Stale(steps, 0.7).beside(mdp, PI.table(mdp))
    with jax.enable_x64(True):
        wide, table = jax.tree.map(jnp.asarray, precise(mdp, np.asarray(PI.table(mdp))))
        value = jax.jit(jax.grad(lambda x: oracle.expected_return(wide, jax.nn.softmax(x))))
        logits = jnp.log(table)
        for _ in range(steps):
            logits = logits + 0.7 * value(logits)
        wanted = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(acting.policy, wanted, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(acting.behaviour, PI.table(mdp))
    returns = [oracle.expected_return(mdp, table) for table in acting]
    assert returns[0] > returns[1]


def test_without_updates_both_policies_are_one_to_the_last_bit():
    mdp = TASK.build()
    for table in Stale(0).beside(mdp, PI.table(mdp)):
        np.testing.assert_array_equal(table, PI.table(mdp))


def test_an_action_that_is_never_taken_stays_so():
    mdp = TASK.build()
    never = jnp.zeros_like(PI.table(mdp)).at[..., 1].set(1.0).at[0, 0].set(0.5)
    acting = Stale(4, 2.0).beside(mdp, never)
    assert np.isfinite(acting.policy).all()
    assert not np.any(np.asarray(acting.policy)[np.asarray(never) == 0])


def test_visits_are_those_of_the_behaviour_and_values_those_of_the_policy(exact):
    advantage, mass, *_ = exact
    solved = setting.Outline.make(TASK, PI, {}, behaviour=MU).solve()
    truth, visited = solved.truth, solved.visited
    np.testing.assert_allclose(visited.advantage, advantage, atol=1e-6)
    np.testing.assert_allclose(visited.occupancy, mass.sum(axis=2), atol=1e-6)
    acting = visited.state_policy[solved.world.mdp.schedule]
    np.testing.assert_allclose(visited.occupancy[..., None] * acting, mass, atol=1e-6)
    np.testing.assert_array_equal(visited.gradient, truth.gradient)
    assert np.abs(np.asarray(truth.occupancy) - visited.occupancy).max() > 0.05


@pytest.mark.slow
def test_identification_is_averaged_where_the_behaviour_goes(exact, rows):
    """Returns to go under it are off by what its own future is worth beside the policy's."""
    advantage, mass, mean, *_ = exact
    signal = np.sum(mass * advantage**2)
    close(rows[0].scores["bias"], np.sum(mass * (mean - advantage) ** 2) / signal)
    perfect = rows[2].scores
    assert perfect["rmse"].value < 1e-6
    assert abs(perfect["bias"].value) < 1e-6


def test_gradients_are_the_policys_of_what_the_behaviour_did(exact, rows):
    """Right advantages alone give the gradient at the wrong states and actions."""
    *_, gradient, mdp, policy = exact
    own = np.asarray(oracle.moments.precise_truth(mdp, policy).gradient)
    slope = np.sum(gradient * own) / np.sum(own**2)
    close(rows[2].scores["gradient_slope"], slope)
    bias = np.sum((gradient - own) ** 2) / np.sum(own**2)
    close(rows[2].scores["gradient_bias"], bias)
    assert bias > 0.01


def test_what_weighs_by_ratios_has_scores_of_the_gradient_only(rows):
    """Missing, and never a number; weights and gradients are judged as ever."""
    row = rows[1]
    for name in NAMES:
        missing = np.isnan(row.scores[name].value)
        assert missing == (name in OF_VALUE), name
    assert {row.notes[name] for name in OF_VALUE} == {PRODUCT_ONLY}
    close(row.scores["gradient_slope"], 1.0)
    close(row.scores["gradient_bias"], 0.0)
    assert row.scores["effective_sample"].value < 0.99
    assert np.isfinite([rows[0].scores[name].value for name in ("bias", "leakage")]).all()


@pytest.mark.slow
def test_where_both_policies_are_one_scores_are_those_of_one():
    """To the last bit; what weighs by ratios is judged by its value too, for they are all 1."""
    few = {"replicates": 20, "estimators": (RATIO,), "controls": ()}
    (one,), (other,) = trial(**few).run(), trial(**few, behaviour=Stale(0)).run()
    np.testing.assert_equal(one.scores, other.scores)
    assert np.isfinite(other.scores["bias"].value)
    assert one.exact["expected_return"] == other.exact["behaviour_return"]


def test_rows_of_other_policies_are_rows_of_their_own(rows):
    """None answers what another study asks; without a behaviour a row says nothing of one."""
    small = {"estimators": (TO_GO,), "controls": ()}
    others = [{}, {"behaviour": MU}, {"behaviour": Stale(1)}, {"behaviour": Stale(1, 0.5)}]
    others.append({"reference": MU})
    studies = [trial(**small, **other) for other in others]
    made = []
    for study in studies:
        recipes = {name: report.describe(getattr(study, name)) for name in OPTIONAL}
        made.append(dataclasses.replace(rows[0], **recipes))
    assert made[1] == rows[0]
    assert len({row.identity for row in made}) == len(studies)
    for study, row in zip(studies, made, strict=True):
        assert study.select(made) == [row]
        assert Row.from_json(row.to_json()).to_json() == row.to_json()
    plain = json.loads(made[0].to_json())
    assert not set(OPTIONAL) & set(plain)
    assert json.loads(made[0].question) == [
        "trial",
        *(plain[name] for name in ("task", "policy", "judge", "estimator")),
        *(1, 2, "prompt", 2000, 0),
    ]
    assert report.rebuild(made[3].behaviour) == Stale(1, 0.5)
    assert {"behaviour", "behaviour.step_size", "reference"} <= set(varying(made))


@pytest.mark.slow
def test_a_study_gives_the_reference_that_a_method_needs():
    needs = Chain(Whole(), Referred())
    row = trial(estimators=(needs,), reference=Uniform(), replicates=2, controls=()).run()[0]
    assert row.scores["rmse"].value > 0.1
    with pytest.raises(ValueError, match=r"reference must be set for Chain.*, which needs one"):
        trial(estimators=(needs,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"behaviour": Stale}, r"behaviour must hold instances, got the class Stale"),
        ({"behaviour": TASK}, r"behaviour must hold a casim.Behaviour, got Bifurcation"),
        ({"reference": Stale()}, r"reference must hold a casim.Policy, got Stale"),
    ],
)
def test_what_is_no_policy_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        trial(**changes)


@pytest.mark.parametrize(("field", "value"), [("steps", -1), ("steps", 1.5), ("step_size", 0.0)])
def test_bad_settings_of_staleness_raise(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        Stale(**{field: value})
