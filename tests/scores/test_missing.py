"""What is undefined is missing and says why.

A task without signal still has every absolute score.
"""

from __future__ import annotations

import dataclasses
from typing import final

import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.oracle.moments import exact_scores, recursion_moments, value_baseline, whole_return
from casim.tasks.classics import RandomWalk

RELATIVE = (
    "bias",
    "centred_bias",
    "variance",
    "gradient_cosine",
    "gradient_slope",
    "gradient_bias",
    "snr",
    "snr_aligned",
)
ABSOLUTE = ("rmse", "env_steps", "judge_calls", "critic_updates", "batch_steps")
UNIFORM = casim.Uniform()
BIFURCATION = casim.Bifurcation(horizon=5, pivots=(1,))


@final
@dataclasses.dataclass(frozen=True)
class Over(casim.Task):
    """Over before it begins."""

    horizon: int = 5  # as `BIFURCATION`: the same programs measure both
    knob = "horizon"

    def build(self):
        mdp = BIFURCATION.with_horizon(self.horizon).build()
        return mdp._replace(terminal=jnp.ones_like(mdp.terminal))


@final
@dataclasses.dataclass(frozen=True)
class Scaled(casim.Task):
    """All rewards multiplied by a number."""

    horizon: int = 5
    scale: float = 1.0
    knob = "horizon"

    def build(self):
        mdp = BIFURCATION.with_horizon(self.horizon).build()
        return mdp._replace(reward=mdp.reward * self.scale)


def rows_of(task, policy=UNIFORM, controls=("exact", "zero")):
    study = casim.Study(
        "missing",
        (task,),
        (casim.methods.RLOO,),
        (policy,),
        judges={},
        num_trajectories=3,
        replicates=20,
        controls=controls,
    )
    return {row.label: row for row in study.run()}


@pytest.mark.parametrize(
    ("task", "policy"),
    [
        pytest.param(dataclasses.replace(BIFURCATION, gap=0.0), UNIFORM, id="gap 0"),
        pytest.param(Over(), UNIFORM, id="over"),
        pytest.param(BIFURCATION, casim.Softmax(scale=100.0), id="deterministic"),
        pytest.param(RandomWalk(), UNIFORM, id="random walk", marks=pytest.mark.slow),
        pytest.param(
            casim.ToolChain(num_turns=2, damage=0.0),
            UNIFORM,
            id="no damage",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            casim.ToolChain(num_turns=2, reliability=0.5),
            UNIFORM,
            id="unreliable",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_task_without_signal_gives_rows_whose_relative_scores_are_missing(task, policy):
    rows = rows_of(task, policy)
    for row in rows.values():
        for name in RELATIVE:
            assert np.isnan(row.scores[name][:3]).all(), (row.label, name, row.scores[name])
            assert row.scores[name].count == 0
            assert row.notes[name]
        for name in ABSOLUTE:
            defined = name != "rmse" or task != Over()
            assert np.isfinite(row.scores[name].value) == defined, (row.label, name)


def test_no_credit_has_no_direction():
    zero = rows_of(BIFURCATION)["zero"]
    for name in ("gradient_cosine", "snr_aligned", "leakage"):
        assert np.isnan(zero.scores[name][:3]).all()
        assert "is 0" in zero.notes[name]
    assert zero.scores["bias"].value == pytest.approx(1.0, rel=1e-6)


@pytest.mark.slow
def test_a_gradient_without_noise_has_no_snr():
    """One action is taken whatever happens, at a discount of 1.

    Every group's gradient is the exact one, 0.
    """
    rows = rows_of(BIFURCATION, casim.Softmax(scale=100.0))
    assert np.isnan(rows["exact"].scores["snr"].value)
    mdp = casim.Bifurcation(horizon=1, pivots=(0,), gap=0.6).build()
    policy = np.asarray(casim.Uniform().table(mdp))
    scores = exact_scores(mdp, policy, recursion_moments(mdp, policy, value_baseline))
    assert scores["snr"] > 0
    moments = recursion_moments(mdp, policy, whole_return())
    against = moments._replace(gradient=-moments.gradient)
    aligned = [exact_scores(mdp, policy, x)["snr_aligned"] for x in (moments, against)]
    assert aligned[0] > 0
    assert aligned[1] == -aligned[0]
    still = casim.Bifurcation(horizon=2, pivots=(1,), gap=0.0).build()
    policy = np.asarray(casim.Uniform().table(still))
    nothing = exact_scores(still, policy, recursion_moments(still, policy, whole_return()))
    assert np.isnan([nothing[name] for name in RELATIVE]).all()
    assert nothing["rmse"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_relative_scores_do_not_depend_on_the_unit_of_rewards(scale):
    plain, scaled = (
        rows_of(Scaled(scale=x), controls=("exact", "broadcast")) for x in (1.0, scale)
    )
    for label, row in scaled.items():
        for name, score in row.scores.items():
            wanted = plain[label].scores[name].value * (scale if name == "rmse" else 1.0)
            assert score.value == pytest.approx(wanted, rel=1e-3, abs=1e-4, nan_ok=True), (
                label,
                name,
            )
