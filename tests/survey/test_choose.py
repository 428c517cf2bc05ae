"""The tree's leaves, what a situation allows, and the ranking: by closed forms and shipped rows."""

import dataclasses
import json
import math

import numpy as np
import pytest

from casim.cli import choose as command
from casim.cli import main
from casim.compare import worth
from casim.methods import named_methods
from casim.report import describe
from casim.scores import Score
from casim.survey import choice, inventory, measured, shipped
from casim.survey.choice import choose, refusal
from casim.survey.tree import GENEROUS, LEAVES, MAX_TOKENS, MAX_TURNS, Situation, leaf_of
from tests.rows import row

AGENT = Situation("agentic")
OPEN = dataclasses.replace(AGENT, auxiliary=True, reset=True, privileged=True)


@pytest.mark.parametrize(
    ("situation", "leaf"),
    [
        (Situation("reasoning", tokens=MAX_TOKENS), "R1"),
        (Situation("reasoning", tokens=MAX_TOKENS + 1), "R2"),
        (Situation("reasoning", tokens=500, budget=GENEROUS), "R3"),
        (Situation("agentic", turns=MAX_TURNS), "A1"),
        (Situation("agentic", turns=MAX_TURNS, auxiliary=True), "A2"),
        (Situation("agentic", turns=MAX_TURNS + 1, auxiliary=True), "A3"),
        (Situation("multi_agent", budget=GENEROUS), "M1"),
    ],
)
def test_each_leaf_is_reached_by_its_condition(situation, leaf):
    assert leaf_of(situation).name == leaf


def test_leaves_hold_records_of_the_inventory_and_recipes():
    known = {record.id for record in inventory()}
    for leaf in LEAVES.values():
        assert set(leaf.records) <= known
        assert set(leaf.baselines) <= set(named_methods())


@pytest.mark.parametrize(
    ("situation", "record"),
    [
        # School maths; olympiad maths; tools; the web; software; a team.
        (Situation("reasoning", tokens=1_000), "pure"),
        (Situation("reasoning", tokens=20_000), "hicra"),
        (Situation("agentic", turns=15), "gigpo"),
        (Situation("agentic", turns=20, auxiliary=True), "sweet_rl"),
        (Situation("agentic", turns=64, reset=True), "hcapo"),
        (Situation("multi_agent"), "m_grpo"),
    ],
)
def test_six_retrospective_pairs_are_found(situation, record):
    assert record in leaf_of(situation).records


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("GIGPO", ""),
        ("HCAPO", ""),  # the policy scores itself
        ("CARL", "needs to go back to a step"),
        ("C3_REWARD", "needs to go back to a step"),
        ("POAD", "needs another model: critic"),
        ("ISTAR", "needs another model: prm"),
        ("GAE", "needs another model: critic"),
        ("IGPO", "needs what only training knows"),
        ("SWEET_RL", "needs what only training knows"),
        ("M_GRPO", ""),
    ],
)
def test_a_situation_allows_what_it_has(name, reason):
    compared = shipped.candidates("agentic") + shipped.candidates("multi_agent")
    known = {each.name: each for each in compared}
    assert refusal(known[name], AGENT) == reason
    assert refusal(known[name], OPEN) == ""


def made(name, variance, bias=0.0, extra=0.0, wobble=0.1):
    """A row of a method whose gradient has this variance, squared bias and cost, and ten blocks.

    In maths: slope 1, |E g|^2 / n = 1 + bias, snr_aligned = 1 / (bias + variance).
    """
    blocks = 1 + wobble * np.cos(np.arange(10))
    scores, left_out = {}, {}
    numbers = {
        "gradient_slope": (1.0, 0 * blocks + 1),
        "gradient_bias": (bias, 0 * blocks + bias),
        "gradient_variance": (variance, variance * blocks),
        "snr_aligned": (1 / (bias + variance), 1 / (bias + variance * blocks)),
        "batch_steps": (320.0, 0 * blocks + 320.0),
        "env_steps": (extra, 0 * blocks + extra),
    }
    for score, (value, without) in numbers.items():
        scores[score] = Score(value, value, value, 10.0)
        left_out[score] = [float(x) for x in without]
    method = named_methods()[name]
    told = {"label": method.name, "methodology": method.methodology, "num_prompts": 2}
    told["num_trajectories"] = shipped.GROUP
    recipe = {"estimator": describe(method.recipe), "scores": scores, "left_out": left_out}
    return row(**(told | recipe))


def test_the_ranking_is_that_of_the_closed_form():
    """Without bias B steps buy B / (v c); with it no more than 1 over the bias."""
    rows = [
        made("RLOO", 10.0),
        made("GIGPO", 5.0, wobble=0.2),
        made("CARL", 2.0, extra=1280.0),
        made("HCAPO", 1.0, bias=0.5),
    ]
    situation = dataclasses.replace(AGENT, reset=True, budget=40)
    answer = choose(situation, rows)
    steps = 40 * 320 / 2
    wanted = {
        "RLOO": steps / (10 * 320),
        "GiGPO": steps / (5 * 320),
        "CARL": steps / (2 * 1600),
        "HCAPO": 1 / (0.5 + 1.0 * 320 / steps),
    }
    found = {each.label: each.snr[0] for each in answer.ranked}
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose([found[name] for name in wanted], list(wanted.values()), rtol=1e-6)
    assert [each.label for each in answer.ranked] == sorted(wanted, key=wanted.get, reverse=True)
    assert answer.ranked[0].verdict == "first"
    assert all(each.gap[0] >= 0 for each in answer.ranked)
    assert {each.label for each in answer.ranked if each.proposed} == {"GiGPO", "CARL"}
    assert {each.label for each in answer.ranked if each.judged} == {"HCAPO"}
    assert answer.outcome == "agree"
    # What bias does not mend is not bought: much later GiGPO has long passed what is biased.
    rich = choose(dataclasses.replace(situation, budget=10**6), rows)
    assert rich.ranked[-1].label == "HCAPO"
    assert rich.ranked[-1].snr[0] < 2.01


def test_where_the_best_is_not_proposed_it_says_whether_that_is_noise():
    sure = [made("RLOO", 1.0, wobble=0.01), made("GIGPO", 5.0, wobble=0.01)]
    assert choose(AGENT, sure).outcome == "disagree"
    noisy = [made("RLOO", 1.0, wobble=0.5), made("GIGPO", 1.02, wobble=0.1)]
    assert choose(AGENT, noisy).outcome == "not told apart"
    alone = choose(AGENT, [made("RLOO", 1.0)])
    assert alone.outcome == "nothing proposed"
    assert {"POAD", "iStar", "CARL"} <= {each.label for each in alone.refused if each.proposed}


def test_what_cannot_be_paid_for_is_last_and_named():
    rows = [made("RLOO", 1.0), made("CARL", 0.01, extra=10_000.0)]
    answer = choose(dataclasses.replace(AGENT, reset=True, budget=4), rows)
    assert [each.label for each in answer.ranked] == ["RLOO", "CARL"]
    assert math.isnan(answer.ranked[1].snr[0])
    assert answer.ranked[1].verdict == "missing"
    # 320 steps are two groups, and a batch of CARL rolls out 10,000 steps more.
    assert [each.cost for each in answer.ranked] == [2.0, 64.5]
    with pytest.raises(ValueError, match="budget must be at least 2, the groups that the cheap"):
        choose(dataclasses.replace(AGENT, budget=1), rows)


def test_gaps_are_those_that_two_errors_can_have():
    """Far beyond what was measured the estimate of an error knows no bounds; errors do."""
    answer = choose(Situation("reasoning", budget=2_000))
    assert answer.ranked[1].gap[1:] == (-1.0, 1.0)
    for each in answer.ranked:
        assert np.abs(each.gap).max() <= 1


def test_what_the_leaf_has_and_casim_has_not_is_named():
    answer = choose(dataclasses.replace(AGENT, turns=64))
    said = {each.label: each.reason for each in answer.refused if each.proposed}
    assert said["CRAFT"].startswith("not simulated: its formula was not read")
    assert "APPO" in said


def test_shipped_rows_are_whole_and_of_this_protocol():
    """A row of every method at every length: of the recipes, judges and sizes of the protocol."""
    for setting, chosen in shipped.SETTINGS.items():
        for length in chosen.lengths:
            study = measured.study_of(setting, length)
            rows = shipped.rows_of(setting, length)
            assert [one.label for one in rows] == [each.name for each in study.estimators]
            for one, method in zip(rows, study.estimators, strict=True):
                assert one.study == study.name
                assert one.task == describe(study.tasks[0])
                assert holds(describe(method.recipe), one.estimator)
                assert one.judge == describe(study.judges["judge"])
                assert one.replicates == study.replicates
                assert one.policy == describe(study.policies[0])
                assert {"snr_aligned", "gradient_slope", "env_steps"} <= set(one.scores)


def test_shipped_facts_are_those_of_the_recipes():
    """Where they are not: `python benchmarks/choices.py --facts`."""
    text = (shipped.FOLDER / shipped.FACTS).read_text(encoding="utf-8")
    assert json.loads(text) == measured.facts()


def test_a_world_that_is_measured_has_the_label_of_its_rows():
    answer = choose(AGENT, [made("RLOO", 1.0)])
    assert (answer.length, answer.world) == (15, "Bifurcation(horizon=7, pivots=(1, 4))")
    assert choose(AGENT).world == "ToolChain(num_turns=15)"


def holds(new, old):
    """Whether a recipe is what it was, but for settings that it did not have then."""
    if isinstance(old, dict):
        return all(holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return new == old


@pytest.mark.slow
def test_shipped_numbers_are_those_that_are_measured_now():
    """The version of the protocol changes when a number would: here a number is made again."""
    study = measured.study_of("multi_agent", 2)
    # Of methods whose settings are what they were: what a method draws depends on all of them.
    study = dataclasses.replace(study, estimators=study.estimators[:3])
    for one in study.run(progress=False):
        (old,) = [x for x in shipped.rows_of("multi_agent", 2) if x.label == one.label]
        for score in ("snr_aligned", "gradient_variance", "batch_steps"):
            np.testing.assert_allclose(one.scores[score], old.scores[score], rtol=1e-3)


@pytest.mark.slow
def test_every_situation_of_the_page_has_an_answer():
    for setting, chosen in shipped.SETTINGS.items():
        head, *lines = choice.summary(setting)
        assert len(lines) == 4 * len(chosen.lengths)
        assert all(len(line) == len(head) for line in lines)
        for line in lines:
            assert (line[3] == line[7]) == (line[-1] == "agree")


@pytest.mark.parametrize("situation", [OPEN, AGENT], ids=["open", "closed"])
def test_every_method_is_ranked_or_refused_once(situation):
    answer = choose(situation)
    snrs = [each.snr[0] for each in answer.ranked if not math.isnan(each.snr[0])]
    assert snrs == sorted(snrs, reverse=True)
    labels = [each.label for each in answer.ranked + answer.refused]
    wanted = [method.name for method in measured.methods_of("agentic").values()]
    assert sorted(labels) == sorted(wanted)


def test_one_batch_of_a_shipped_row_buys_its_own_score():
    """At a budget of its own cost the SNR that is bought is `snr_aligned`."""
    (one,) = [x for x in shipped.rows_of("agentic", 15) if x.label == "RLOO"]
    bought = worth([one], one.scores["batch_steps"].value)
    assert bought.value - 1 == pytest.approx(one.scores["snr_aligned"].value, rel=1e-6)


def test_the_nearest_length_is_by_ratio():
    assert shipped.nearest(Situation("reasoning", tokens=1)) == 500
    assert shipped.nearest(Situation("reasoning", tokens=7_000)) == 5_000
    assert shipped.nearest(Situation("reasoning", tokens=7_200)) == 10_000
    assert shipped.nearest(Situation("agentic", turns=1_000)) == 60


def test_the_command_answers(capsys):
    main(["choose", "--setting", "agentic", "--turns", "20", "--reset", "True"])
    text = capsys.readouterr().out
    assert "The survey's tree: A1 (agentic, at most 30 turns, no auxiliary model)" in text
    assert "15 turns, the nearest to 20" in text
    assert "* POAD: needs another model: critic" in text
    assert "*    GiGPO" in text
    assert "verdicts are corrected" in text
    main(["choose", "--setting", "agentic", "--turns", "64", "--reset", "True"])
    (line,) = (each for each in capsys.readouterr().out.splitlines() if "C3_REWARD" in each)
    assert line.split()[-4:] == ["-", "costs", "too", "much"]
    with pytest.raises(SystemExit, match="out must be left out without --measure, got 'rows"):
        main(["choose", "--setting", "agentic", "--out", "rows.jsonl"])
    with pytest.raises(SystemExit, match="tokens must be left out where the setting is not reas"):
        main(["choose", "--setting", "agentic", "--tokens", "20"])
    with pytest.raises(SystemExit, match="setting must be given where nobody can be asked"):
        main(["choose"])
    with pytest.raises(SystemExit, match=r"turns must be in \[1, inf\], got 0"):
        main(["choose", "--setting", "agentic", "--turns", "0"])


def test_what_is_not_said_is_asked_and_an_empty_answer_is_what_is_usual(capsys):
    said = iter(["web", "agentic", "many", "0", "40", "", "yes", "no", ""])
    asked = []

    def ask(question):
        asked.append(question)
        return next(said)

    found = command._asked({}, ask)
    assert Situation(**found) == Situation("agentic", turns=40, auxiliary=True)
    # Tokens and agents are of other settings; what can be no answer is asked again.
    assert len(asked) == 6 + 3
    assert capsys.readouterr().out.splitlines() == [
        "setting must be one of reasoning, agentic, multi_agent, got 'web'",
        "turns must be an integer, got 'many'",
        "turns must be in [1, inf], got 0",
    ]
    assert "[100]" in asked[5]
    assert "[no]" in asked[6]


def test_answers_that_end_end_the_command():
    def leave(question):
        raise EOFError

    with pytest.raises(ValueError, match="turns must be answered, got no more answers"):
        command._asked({"setting": "agentic"}, leave)


def test_situations_are_checked(unhooked):
    with pytest.raises(ValueError, match=r"agents must be an integer in \[2, inf\], got 1.5"):
        Situation("multi_agent", agents=1.5)
    assert choice.leaf_of(Situation("reasoning", budget=10**6)).name == "R3"
