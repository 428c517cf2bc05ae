"""`experiments/identification.py`: Propositions 1 and 2 in its numbers, a figure of both worlds."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import casim
from casim.testing import enumerate_trajectories
from tests.enumeration import QUICK
from tests.test_experiments import load_experiment

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "identification.py"


@pytest.fixture(scope="module")
def experiment():
    """The module, with its programs compiled quickly."""
    module = load_experiment(EXPERIMENT)
    for name, static in (
        ("all_groups", ()),
        ("exact_contrast", "num_units"),
        ("run_branch", "num"),
    ):
        whole = getattr(module, name).__wrapped__
        setattr(module, name, jax.jit(whole, static_argnames=static, compiler_options=QUICK))
    return module


@pytest.fixture(scope="module")
def result(experiment):
    return experiment.measure(experiment.Size("test", 300, 1000, (0.0, 0.6)))


def logs_and_effect(sign):
    """The law of (text, action, outcome), and E[R | do(1)] - E[R | do(0)], all written out."""
    task = casim.HiddenCause(world=sign, horizon=3)
    mdp, policy = task.build(), np.array(task.confounded())
    weight, paths = enumerate_trajectories(mdp, policy)
    log = task.logged(paths)
    law = {}
    for p, *row in zip(weight, log.observation, log.action[:, 0], log.reward.sum(1), strict=True):
        key = (tuple(np.asarray(row[0])), int(row[1]), float(row[2]))
        law[key] = law.get(key, 0.0) + p
    value = []
    for action in (0, 1):
        policy[int(mdp.schedule[0])] = np.eye(2)[action]
        weight, paths = enumerate_trajectories(mdp, policy)
        value.append(weight @ paths.reward.sum(1))
    return law, value[1] - value[0]


def test_proposition_2_the_law_of_the_logs_is_the_same_and_the_effects_are_opposite():
    (one, plus), (two, minus) = (logs_and_effect(sign) for sign in (1, -1))
    assert one == two == {((0, 0, 0), 0, 1.0): 0.5, ((0, 0, 0), 1, 1.0): 0.5}
    assert (plus, minus) == (0.5, -0.5)


@pytest.mark.slow
def test_estimators_of_logs_give_the_same_credit_and_contrasts_do_not(experiment, result):
    assert set(experiment.LOGGED) == {"REINFORCE", "reward-to-go", "GRPO", "RLOO"}
    assert result["same_logs_under_the_same_noise"]
    gap = result["largest_difference_of_credit_under_the_same_noise"]
    assert {name for name, size in gap.items() if size > 0} == {
        experiment.RESTORED,
        experiment.REFED,
    }
    worlds = [result["worlds"][sign]["methods"] for sign in ("1", "-1")]
    for name in (*experiment.LOGGED, experiment.WEIGHTED):
        one, two = (
            {a: [x for x, _ in level] for a, level in world[name]["credit"].items()}
            for world in worlds
        )
        assert one == two
    for a, other in (("0", "1"), ("1", "0")):
        assert (
            worlds[0][experiment.RESTORED]["credit"][a][0][0]
            == worlds[1][experiment.RESTORED]["credit"][other][0][0]
        )


@pytest.mark.slow
def test_effects_of_logs_are_0_and_those_of_contrasts_are_the_truth(experiment, result):
    for world in result["worlds"].values():
        for name, method in world["methods"].items():
            assert method["reads"] == ("environment" if "Contrast" in name else "logs")
            truth = world["truth"] if method["reads"] == "environment" else 0.0
            assert (
                abs(method["effect"] - truth)
                <= 5 * method["spread"] / result["groups"] ** 0.5 + 1e-6
            )


@pytest.mark.slow
def test_the_floor_and_the_contrast_of_one_episode_are_in_closed_form(result):
    """Action 0 succeeds with half the probability that the cause is redrawn, action 1 always."""
    for point in result["floor"]:
        success = point["noise"] / 2
        assert point["exact"] == pytest.approx((2 * success * (1 - success)) ** 0.5, abs=1e-6)
        assert point["contrast"] == pytest.approx(1 - success, abs=1e-6)
        assert abs(point["measured"] - point["exact"]) <= 5 * point["measured_error"] + 1e-6
        assert (
            abs(point["contrast_measured"] - point["contrast"])
            <= 5 * point["contrast_error"] + 1e-6
        )


@pytest.mark.slow
def test_the_numbers_are_plain_and_the_figure_shows_both_worlds(experiment, result):
    figure = experiment.draw(json.loads(json.dumps(result)))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert any("+0.5" in title for title in titles)
    assert any("\N{MINUS SIGN}0.5" in title for title in titles)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == list(experiment.METHODS)


def test_full_and_quick_differ_in_name_and_quick_is_smaller(experiment):
    assert experiment.FULL.name != experiment.QUICK.name
    assert experiment.QUICK.groups < experiment.FULL.groups
