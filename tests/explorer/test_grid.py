"""The grid of the explorer: its points, and that the kept numbers are those of the oracle."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from exploring.grid import COSTS, SCORES, chosen, kept, name_of, paths, point
from exploring.knobs import (
    GAP,
    GROUP,
    HORIZON,
    KNOBS,
    NOISE,
    PAIRS,
    POLICY,
    SIGHT,
    TOKENS,
    group_at,
    places,
    reference,
    task_at,
)
from exploring.methods import METHODS

from casim.oracle.moments import precise_truth

KEPT = Path(__file__).parents[2] / "docs" / "explorer.json"


@pytest.fixture(scope="module")
def grid():
    return json.loads(KEPT.read_text(encoding="utf-8"))


def changed(**changes) -> tuple[int, ...]:
    """The reference with some knobs elsewhere."""
    names = {"horizon": HORIZON, "gap": GAP, "group": GROUP, "noise": NOISE, "sight": SIGHT}
    place = list(reference())
    for name, at in changes.items():
        place[names[name]] = at
    return tuple(place)


def near(told):
    """The same numbers, but for their last digit and rounding."""
    if isinstance(told, dict):
        return {name: near(value) for name, value in told.items()}
    if isinstance(told, list):
        return [near(value) for value in told]
    if isinstance(told, float | int) and not isinstance(told, bool):
        return pytest.approx(told, rel=2e-3, abs=1e-6)
    return told


def test_the_kept_grid_holds_every_knob_by_itself_and_the_pairs(grid):
    assert set(grid["points"]) == set(map(name_of, places()))
    wanted = {reference()}
    for knob, known in enumerate(KNOBS):
        for at in range(len(known.values)):
            place = list(reference())
            place[knob] = at
            wanted.add(tuple(place))
    assert wanted <= set(places())
    for one, other, _ in PAIRS:
        place = list(reference())
        place[one], place[other] = 0, len(KNOBS[other].values) - 1
        assert name_of(tuple(place)) in grid["points"]
    assert [method["name"] for method in grid["methods"]] == [shown.name for shown in METHODS]
    assert len(METHODS) == 12
    assert grid["scores"] == list(SCORES)
    assert grid["costs"] == list(COSTS)
    assert KEPT.stat().st_size < 600_000


def test_every_point_is_whole_and_its_numbers_are_possible(grid):
    for name, own in grid["points"].items():
        place = tuple(map(int, name.split(",")))
        task = task_at(place)
        assert len(own["decides"]) == task.num_turns
        assert sum(own["decides"]) == task.num_deciding
        assert 0 < own["success"] < 1
        assert [len(line) for line in own["scores"]] == [len(SCORES)] * len(METHODS)
        for method, costs in zip(METHODS, own["costs"], strict=True):
            assert costs == list(method.costs(TOKENS * task.num_turns, group_at(place)))
        for line in own["scores"]:
            assert all(x is not None and x >= 0 for x in line[:-1])
        for episode in own["episodes"]:
            steps = TOKENS * task.num_turns
            assert len(episode["truth"]) == len(episode["broken"]) == steps
            assert {len(line) for line in episode["mean"] + episode["spread"]} == {steps}
            assert bool(episode["broken"][-1]) != episode["won"]
            assert episode["truth"][TOKENS - 1 :: TOKENS] == [None] * task.num_turns


def test_closed_forms_hold_at_every_point(grid):
    """What theory says of methods without any recursion."""
    names = [method["name"] for method in grid["methods"]]
    score = {name: place for place, name in enumerate(grid["scores"])}
    reinforce, rloo, dr_grpo = (names.index(x) for x in ("REINFORCE", "RLOO", "Dr. GRPO"))
    exact = [names.index(x) for x in ("value baseline", "GAE, λ = 0.95", "TD error", "all actions")]
    for name, own in grid["points"].items():
        num = group_at(tuple(map(int, name.split(","))))
        scores = own["scores"]
        for place in (*exact, names.index("VinePPO, K = 9")):
            assert scores[place][score["bias"]] == pytest.approx(0.0, abs=1e-9)
        for place in (reinforce, rloo):
            assert scores[place][score["centred_bias"]] == pytest.approx(0.0, abs=1e-9)
        assert scores[dr_grpo][score["centred_bias"]] == pytest.approx(1 / num**2, rel=1e-4)
        ratio = scores[dr_grpo][score["variance"]] / scores[rloo][score["variance"]]
        assert ratio == pytest.approx(((num - 1) / num) ** 2, rel=1e-3)
        for one, other in ((dr_grpo, rloo), (reinforce, exact[0])):
            same = one == dr_grpo
            first, second = scores[one], scores[other]
            if same:
                assert first[score["snr_aligned"]] == pytest.approx(second[score["snr_aligned"]])
            else:
                assert first[score["variance"]] == pytest.approx(second[score["variance"]])


@pytest.mark.slow
@pytest.mark.parametrize("place", [reference(), changed(gap=0, group=4), changed(noise=3, sight=4)])
def test_kept_numbers_are_those_of_the_oracle(grid, place):
    assert point(place) == near(grid["points"][name_of(place)])


@pytest.mark.slow
def test_the_trajectory_is_one_of_the_world_and_its_truth_the_change_of_value(grid):
    task = task_at(reference())
    mdp = task.build()
    policy = POLICY.table(mdp)
    truth = precise_truth(mdp, policy)
    process = type(mdp)(*map(np.asarray, mdp))
    found = paths(process, np.asarray(policy), 40)
    kernel = process.schedule
    for path in found:
        for t, (state, action) in enumerate(zip(path.state, path.action, strict=False)):
            row = process.successor[kernel[t], state, action]
            chance = process.prob[kernel[t], state, action]
            assert path.state[t + 1] in row[chance > 0]
    decides = np.abs(truth.advantage).max(axis=(1, 2)) > 0
    own = {path.won: path for path in chosen(found, decides)}
    for episode in grid["points"][name_of(reference())]["episodes"]:
        assert episode["won"] in own
    share = np.mean([path.won for path in found])
    assert abs(share - float(truth.value[0] @ process.start)) < 3 * math.sqrt(0.25 / len(found))


def test_numbers_that_are_kept_are_short_and_rounding_is_nothing():
    assert [kept(x, 3) for x in (0.12345, 2.0, 3e-9, float("nan"))] == [0.123, 2, 0, None]
