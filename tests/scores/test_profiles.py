"""Profiles of bias, variance and SNR, against an enumeration of all trajectories."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from casim.estimators import Chain, ToGo
from casim.figures.profiles import profile_panel
from casim.oracle.distance import reward_distance
from casim.policies import Uniform
from casim.report import Row
from casim.scores import PROFILE_NUMBERS, Sums
from casim.scores.profiles import profiles
from casim.study import Study
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import solve

SCHEDULE = (0, 2, 0, 1, 2)
BLOCKS, TRAJECTORIES = 3, 70.0


@pytest.fixture(scope="module")
def world():
    """Few transitions are rewarded, in the middle and at the end; terminal and forced steps."""
    mdp, policy = reference.random_mdp(12, schedule=SCHEDULE, observations=4, discount=0.875)
    rare = np.random.default_rng(4).uniform(size=mdp.reward.shape) < 0.12
    mdp = mdp._replace(reward=jnp.where(rare, mdp.reward, 0.0))
    truth = solve(mdp, jnp.asarray(policy))
    return mdp, truth, reference.enumerate_paths(mdp, policy)


def steps_to_reward(paths):
    """Of each trajectory from each step: steps to the next reward, infinity without one."""
    steps = paths.reward.shape[1]
    away = np.full(paths.reward.shape, np.inf)
    for t in range(steps):
        for u in reversed(range(t, steps)):
            away[:, t] = np.where(paths.reward[:, u] != 0, u - t, away[:, t])
    return away


def mean_distance(mdp, paths):
    """Of each state at each step, by enumeration; NaN where no reward comes or nobody is."""
    away, states = steps_to_reward(paths), mdp.start.shape[0]
    comes = np.isfinite(away) & paths.live
    found = np.full((len(SCHEDULE), states), np.nan)
    for t, s in np.ndindex(found.shape):
        here = comes[:, t] & (paths.state[:, t] == s)
        if here.any():
            found[t, s] = np.average(away[here, t], weights=paths.probability[here])
    return found


def test_the_distance_to_the_reward_is_that_of_the_trajectories(world):
    mdp, truth, paths = world
    found = np.asarray(jax.jit(reward_distance)(mdp, truth.state_policy))
    wanted = mean_distance(mdp, paths)
    met = np.isfinite(wanted)
    assert len(np.unique(np.round(wanted[met], 3))) > 8
    np.testing.assert_allclose(found[met], wanted[met], rtol=1e-5, atol=1e-6)
    nowhere = np.asarray(truth.occupancy) > 0
    assert np.isnan(found[nowhere & ~met & ~np.asarray(mdp.terminal)[None]]).all()


def exact_cells(mdp, truth, paths):
    """p, mu, Var and A of each cell, for the return from the start as everybody's credit."""
    steps, states, actions = truth.advantage.shape
    credit = paths.reward.sum(axis=1)
    mass, total, square = np.zeros((3, steps, states, actions))
    for t in range(steps):
        where = (t, paths.state[:, t], paths.action[:, t])
        weight = paths.probability * paths.live[:, t] * np.asarray(mdp.decision)[SCHEDULE[t]]
        for out, x in ((mass, 1.0), (total, credit), (square, credit**2)):
            np.add.at(out, where, weight * x)
    safe = np.where(mass > 0, mass, 1.0)
    mean = total / safe
    advantage = np.asarray(truth.advantage, np.float64)
    return mass, np.where(mass > 0, mean - advantage, 0.0), square / safe - mean**2, advantage


@pytest.mark.parametrize("by", ["step", "distance"])
@pytest.mark.parametrize("most", [64, 2])
def test_profiles_are_the_sums_over_the_cells_of_each_bin(world, by, most, monkeypatch):
    """Blocks that each found exactly what is expected say exactly that."""
    mdp, truth, paths = world
    monkeypatch.setattr("casim.scores.profiles.MAX_BINS", most)
    mass, bias, variance, advantage = exact_cells(mdp, truth, paths)
    unit = 2.0 ** np.floor(np.log2(np.abs(np.asarray(truth.value)).max()))
    visits = TRAJECTORIES * mass
    one = {
        "count": visits,
        "error": visits * bias / unit,
        "square": visits * (bias**2 + variance) / unit**2,
        "target_error": np.zeros_like(visits),
    }
    fields = dict.fromkeys(Sums._fields)
    fields |= {name: np.stack([x] * BLOCKS) for name, x in one.items()}
    fields |= {"groups": np.full(BLOCKS, 7.0), "trajectories": np.full(BLOCKS, TRAJECTORIES)}
    found = profiles(mdp, truth, Sums(**fields), (by,))[by]

    steps, states, _ = mass.shape
    place = np.broadcast_to(np.arange(steps, dtype=float)[:, None], (steps, states))
    if by == "distance":
        place = np.round(mean_distance(mdp, paths))
    place = np.where(np.asarray(truth.occupancy) > 0, place, np.nan)
    number = int(np.nanmax(place)) + 1
    width = -(-number // most)
    assert found["first"] == list(range(0, number, width))
    signal = (mass * advantage**2).sum()
    for i, first in enumerate(found["first"]):
        member = ((place >= first) & (place < first + width))[..., None]
        wanted = {
            "signal": (member * mass * advantage**2).sum() / signal,
            "bias": (member * mass * bias**2).sum() / signal,
            "variance": (member * mass * variance).sum() / signal,
        }
        error = wanted["bias"] + wanted["variance"]
        wanted["snr"] = wanted["signal"] / error if error > 0 else np.nan
        for name, value in wanted.items():
            got = found[name][i][0]
            np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-6, err_msg=f"{name} {i}")


@pytest.mark.slow
def test_rows_keep_profiles_that_add_up_to_the_scores_where_a_study_asks():
    task = Bifurcation(horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1)
    study = Study(
        "profiled",
        (task,),
        (Chain(ToGo()),),
        (Uniform(),),
        num_trajectories=3,
        replicates=9,
        controls=("exact",),
        profiles=("distance", "step"),
    )
    rows = study.run(progress=False)
    row, exact = rows
    assert list(row.profiles) == ["distance", "step"]
    for profile in row.profiles.values():
        assert np.sum([value for value, _, _ in profile["signal"]]) == pytest.approx(1.0)
        for name in ("bias", "variance"):
            total = np.sum([value for value, _, _ in profile[name]])
            assert total == pytest.approx(row.scores[name].value, rel=1e-9)
    assert np.abs([value for value, _, _ in exact.profiles["step"]["bias"]]).max() < 1e-6
    assert np.isnan([value for value, _, _ in exact.profiles["step"]["snr"]]).all()
    again = Row.from_json(row.to_json())
    assert again.question == row.question
    assert again.profiles["step"]["bias"] == row.profiles["step"]["bias"]
    assert study.select(rows) == rows
    assert dataclasses.replace(study, profiles=()).select(rows) == []
    assert set(row.profiles["step"]) == {"first", *PROFILE_NUMBERS}
    _, axes = plt.subplots()
    profile_panel(axes, rows[:1], "step", "variance")
    (line,) = axes.lines
    plt.close("all")
    np.testing.assert_array_equal(line.get_xdata(), row.profiles["step"]["first"])
    np.testing.assert_array_equal(
        line.get_ydata(), [value for value, _, _ in row.profiles["step"]["variance"]]
    )
    with pytest.raises(ValueError, match="profiles"):
        dataclasses.replace(study, profiles=("step", "step"))
    with pytest.raises(ValueError, match="profiles must hold 'step'"):
        profile_panel(axes, [dataclasses.replace(row, profiles=None)], "step", "bias")
