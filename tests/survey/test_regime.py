"""From a log's own world to a choice: what it says, how far measured ones are, what is measured."""

import dataclasses
import json

import numpy as np
import pytest

from casim.cli import main
from casim.policies import Uniform
from casim.report import describe
from casim.survey import measured, shipped
from casim.survey.choice import choose
from casim.survey.regime import FAR, distance, read_regime
from casim.survey.tree import Situation
from casim.tasks import ReasoningChain, Team, ToolChain
from tests.survey.test_choose import made

TOOLS = ToolChain(num_turns=2, tokens_per_turn=2, output_tokens=1, damage=0.5)


def saved(tmp_path, task, reached=(0.5,), rollouts=8, **description):
    path = tmp_path / "world.json"
    group_size = [1, 2, rollouts, 32, 64]
    found = {
        "task": describe(task),
        "reached": list(reached),
        "description": {"group_size": group_size, **description},
    }
    path.write_text(json.dumps(found))
    return path


@pytest.mark.parametrize(
    ("task", "description", "known"),
    [
        (ReasoningChain(4, 50), {}, {"setting": "reasoning", "tokens": 200}),
        (ToolChain(12, 30, 10), {"agents": 1}, {"setting": "agentic", "turns": 12}),
        (ToolChain(12), {"agents": 3}, {"setting": "multi_agent", "agents": 3}),
    ],
)
def test_a_world_says_its_setting_and_its_length(tmp_path, task, description, known):
    regime = read_regime(saved(tmp_path, task, (0.2, 0.4), 16, **description))
    assert regime.known == known
    assert regime.success == pytest.approx(0.3)
    assert regime.rollouts == 16
    assert regime.tokens == len(task.build().schedule)


def test_a_world_that_was_measured_is_covered_and_differs_in_nothing(tmp_path):
    task = measured.WORLDS["agentic"].task(15)
    success = shipped.rows_of("agentic", 15)[0].exact["expected_return"]
    regime = read_regime(saved(tmp_path, task, [success]))
    near = distance(regime, Situation(**regime.known))
    assert (near.length, near.ratio, near.reasons) == (15, 1.0, [])
    assert [mine for _, mine, _ in near.differences] == [other for *_, other in near.differences]


def test_how_far_the_nearest_is_and_why_it_does_not_cover(tmp_path):
    longer = round(60 * FAR) + 1
    regime = read_regime(saved(tmp_path, ToolChain(longer, 40, 20, damage=0.5), [0.9], 16))
    near = distance(regime, Situation(**regime.known))
    assert (near.length, near.ratio) == (60, longer / 60)
    other = {name: (mine, measured) for name, mine, measured in near.differences}
    assert other["num_turns"] == (longer, 60)
    assert other["tokens_per_turn"] == (40, 3)
    assert other["damage"] == (0.5, 0.95)
    assert other["rollouts of a group"] == (16, 8)
    assert other["tokens"] == (longer * 60, 240)
    assert "reliability" not in other
    first, second = near.reasons
    assert "times as long" in first
    assert "rate of 0.9" in second


def test_the_command_answers_and_says_how_far_it_is(tmp_path, capsys):
    path = str(saved(tmp_path, TOOLS, [0.62]))
    main(["choose", "--world", path, "--reset", "True", "--budget", "50"])
    text = " ".join(capsys.readouterr().out.split())
    for said in (
        "Your world: ToolChain, 2 turns, success 0.62, groups of 8",
        "The nearest that came with casim: 5, yours is 0.4 times as long",
        "does not cover your world: it is 0.4 times as long and it succeeds at a rate of 0.62",
        "No log says: budget 50, auxiliary no, reset yes, privileged no",
        "A1 (agentic, at most 30 turns, no auxiliary model)",
        "the nearest to 2",
    ):
        assert said in text
    main(["choose", "--world", str(saved(tmp_path, ToolChain(14), [0.3]))])
    assert "It covers 14 turns and this success" in capsys.readouterr().out


def test_the_world_itself_is_measured_on_request(tmp_path, capsys, monkeypatch):
    """With its task, its groups, and the policy under which it succeeds as the log does."""
    asked = []

    def run(study, path=None, **options):
        asked.append(study)
        return [made("RLOO", 10.0), made("GIGPO", 5.0)]

    monkeypatch.setattr(measured.Study, "run", run)
    main(["choose", "--world", str(saved(tmp_path, TOOLS, rollouts=16)), "--measure"])
    (study,) = asked
    assert study.tasks == (TOOLS,)
    assert study.policies == (Uniform(),)
    assert study.reference != Uniform()
    assert study.num_trajectories == 16
    text = capsys.readouterr().out
    assert "measured now" in text
    assert "nearest" not in text
    alone = read_regime(saved(tmp_path, TOOLS, rollouts=1))
    assert measured.study_in(alone).num_trajectories == shipped.GROUP


def test_a_budget_is_of_groups_of_eight_whatever_the_size():
    """Twice the rollouts of a group are half the groups for as many steps."""
    situation = Situation("agentic", budget=40)
    small = choose(situation, [made("RLOO", 10.0)]).ranked[0].snr[0]
    row = dataclasses.replace(made("RLOO", 10.0), num_trajectories=16)
    large = choose(situation, [row]).ranked[0].snr[0]
    np.testing.assert_allclose(large, small / 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("task", "description", "flags", "message"),
    [
        (TOOLS, {}, ["--setting", "agentic"], "setting must be left out where --world says it"),
        (TOOLS, {}, ["--turns", "3"], "turns must be left out where --world says it, got 3"),
        (TOOLS, {}, ["--tokens", "9"], "tokens must be left out where the setting is not"),
        (TOOLS, {"agents": 2}, ["--measure"], "measure must be left out where a log has several"),
        (Team(), {}, [], "recipe of the task must be one of"),
        (TOOLS, {"group_size": None}, [], "must be a world of `casim calibrate`, got TypeError"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, task, description, flags, message):
    path = saved(tmp_path, task)
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"description": found["description"] | description}))
    with pytest.raises(SystemExit) as stop:
        main(["choose", "--world", str(path), *flags])
    assert message in str(stop.value)
    assert len(str(stop.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["no JSON", "{}", "[]", '{"task": 3}', '{"task": {}}'])
def test_a_file_without_a_world_is_named(tmp_path, text):
    path = tmp_path / "world.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=r"world\.json must be a world of `casim calibrate`, got"):
        main(["choose", "--world", str(path)])
