"""Cards: filled from recipe and run, read again, and checked for what they leave out."""

import contextlib
import json
import re

import jax
import numpy as np
import pytest

import casim
from casim.cli import main
from casim.cli.main import parse
from casim.controls import Control
from casim.methods import named_methods
from casim.report import describe
from casim.scores import Score
from casim.survey import cards
from casim.survey.answers import facts_of, lengths, overlap
from casim.survey.questions import CHECKLIST, QUESTIONS, SECTIONS
from casim.tasks import ToolChain, VariableTurns
from tests.rows import row

COSTS = {"env_steps": Score(30.0, 30.0, 30.0, 20.0), "judge_calls": Score(0.0, 0.0, 0.0, 20.0)}
COSTS |= {"critic_updates": Score(5.0, 5.0, 5.0, 20.0), "batch_steps": Score(12.0, 12.0, 12.0, 9.0)}
TASK = ToolChain(num_turns=2, replay_noise=0.25)


def ran(name, **changes):
    """A row of a published method, as a study would have saved it."""
    method = named_methods()[name]
    scores = {"snr_aligned": Score(0.5, 0.25, 0.75, 20.0)} | COSTS
    told = {"label": method.name, "methodology": method.methodology, "scores": scores}
    wanted = {"estimator": describe(method.recipe), "task": describe(TASK), "num_steps": 8}
    return row(**(told | wanted | changes))


def control(name):
    told = {"label": name, "methodology": "control"}
    return ran("RLOO", estimator=describe(Control(name)), **told)


@pytest.fixture(scope="module")
def rows():
    return [
        ran("VINEPPO_STEP"),
        ran("VINEPPO_STEP", seed=4),
        ran("RLOO", scores={"batch_steps": COSTS["batch_steps"], "env_steps": Score(*[0.0] * 4)}),
        control("shuffled"),
        control("broadcast"),
    ]


@pytest.fixture(scope="module")
def card(rows):
    return cards.card_of_row(rows[0], rows)


def test_a_card_is_filled_from_the_recipe_and_the_run(card):
    said = card.answers
    assert card.title == "VinePPO by step on ToolChain(num_turns=2, replay_noise=0.25)"
    assert set(said) == {question.id for question in QUESTIONS}
    assert (said["unit"], said["methodology"]) == ("step", "monte_carlo")
    assert said["estimand"].startswith("TdError: ")
    # Going back restores what is seen and redraws what is not: no claim of tier 1.
    assert (said["tier"], said["state"]) == ("observational-causal", "matched")
    assert said["fidelity"] == "what is hidden is redrawn with probability 0.25"
    assert said["interval"] == "snr_aligned 0.5 [0.25, 0.75]"
    assert said["repetitions"] == "20 independent batches of 1 x 5 trajectories, 2 seeds"
    assert said["ca_overhead"] == "6 env_steps, 0 judge_calls, 1 critic_updates per trajectory"
    assert said["episode_baseline"] == "RLOO, on the same trajectories"
    assert said["compute_match"] == "stated: 42 environment steps a batch against 12 of RLOO"
    assert said["ablation"] == "yes, controls beside it: shuffled, broadcast"
    assert said["verifier"] == "the reward of the task: 0, 1, at the last step only"


def test_what_scores_states_that_it_goes_back_to_says_how_well_they_are_restored():
    """The word of a model on states of the environment: the source is the model, not the state."""
    noisy = ran("SPO_CHAIN", task=describe(ToolChain(num_turns=2, replay_noise=0.25)))
    said = cards.card_of_row(noisy, [noisy]).answers
    assert (said["source"], said["state"]) == ("model proxy", "matched")
    assert said["fidelity"] == "what is hidden is redrawn with probability 0.25"
    exact = ran("SPO_CHAIN", task=describe(ToolChain(num_turns=2)))
    said = cards.card_of_row(exact, [exact]).answers
    assert said["state"] == "restored"
    assert said["fidelity"].startswith("exact")


def test_without_noise_the_claim_is_of_tier_1_and_without_others_it_has_no_baseline():
    alone = ran("VINEPPO_STEP", task=describe(ToolChain(num_turns=2)))
    said = cards.card_of_row(alone, [alone]).answers
    assert (said["tier"], said["state"]) == ("restored-interventional", "restored")
    assert said["fidelity"].startswith("exact")
    absent = {"episode_baseline", "compute_match", "ablation", "ca_ablation", "falsification"}
    assert {question.id for question in QUESTIONS} - set(said) == absent


def test_of_a_recipe_alone_only_the_recipe_is_said():
    card = cards.card_of_method("SWEET_RL", named_methods()["SWEET_RL"])
    assert set(card.answers) == {
        *("unit", "estimand", "reference_actions", "state", "state_content", "source"),
        *("fidelity", "interface", "tier", "granularity", "methodology"),
    }
    assert card.title == "SWEET_RL: SWEET-RL, arXiv:2503.15478"
    assert card.answers["fidelity"] == "no state is gone back to"
    assert "fidelity" not in cards.card_of_method("VINEPPO", named_methods()["VINEPPO"]).answers
    assert card.answers["state"] == "latent"
    assert card.answers["reference_actions"] == "the actions of the reference policy"
    null = cards.card_of_method("DIFFERENCE_TURN", named_methods()["DIFFERENCE_TURN"])
    assert null.answers["reference_actions"] == "action 0, always"


@pytest.mark.slow
def test_lengths_and_overlap_are_those_of_sampled_episodes():
    """Episodes end by chance: the exact distribution of lengths is that of many rollouts."""
    task = VariableTurns()
    facts = facts_of(ran("RLOO", task=describe(task), policy=describe(casim.Softmax(0.5))))
    live = facts.truth.occupancy.sum(-1)
    mdp = task.build()
    policy = casim.Softmax(0.5).table(mdp)
    batch = casim.World.make(mdp, policy).rollout(jax.random.key(0), 4000)
    found = np.asarray(batch.live).sum(-1)
    np.testing.assert_allclose(live.sum(), found.mean(), atol=4 * found.std() / 4000**0.5)
    least, median, largest = lengths(live)
    assert (least, largest) == (found.min(), found.max())
    assert least < largest
    # The sampled share below the exact median is a half but for noise.
    assert np.mean(found < median) < 0.5 + 0.03
    assert np.mean(found > median) < 0.5 + 0.03
    asked = np.asarray(batch.live) & np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
    chosen = np.exp(np.asarray(batch.log_prob))[asked]
    assert overlap(facts) <= chosen.min() + 1e-6
    assert overlap(facts) > 0


@pytest.mark.parametrize("write", [cards.to_markdown, cards.to_json])
def test_a_card_survives_being_written_and_one_that_is_whole_has_no_gaps(card, write):
    again = cards.read_card(write(card))
    assert again == card
    assert cards.check(again) == []
    assert cards.read_card(write(cards.blank() if write is cards.to_json else card)).title


PAPER = """# GiGPO (2505.10978)

## unit and estimand

- unit: step
- estimand: {estimand}
- tier: {tier}
- state: matched
- source: log matching
- overlap: 0.0 for tools that are never called
- gpu_hours: not reported
- base_model: Qwen2.5-1.5B
"""


def test_what_a_paper_leaves_out_is_said_by_item_with_reason_and_command():
    card = cards.read_card(PAPER.format(estimand="?", tier="predictive"))
    gaps = {gap.question.id: gap for gap in cards.check(card)}
    stated = {"unit", "tier", "state", "source", "overlap", "base_model"}
    assert set(gaps) == {question.id for question in QUESTIONS} - stated
    assert gaps["estimand"].command == "casim show GIGPO"
    report = cards.to_report(card, cards.check(card))
    assert report.startswith("GiGPO (2505.10978): 6 of 32 items stated; open: ")
    for gap in gaps.values():
        assert gap.question.why in report
        assert gap.command in report


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tier": "restored-interventional"}, "needs a state that is restored, got matched"),
        ({"tier": "observational-causal"}, "needs actions that all occur, got an overlap of 0"),
        ({"tier": "causal"}, "must be one of restored-interventional, "),
    ],
)
def test_a_claim_above_its_evidence_is_said(changes, problem):
    card = cards.read_card(PAPER.format(estimand="A", **changes))
    found = {gap.question.id: gap.problem for gap in cards.check(card)}
    assert problem in found["tier"]


def test_a_model_s_branch_supports_no_causal_claim():
    answers = {"tier": "observational-causal", "source": "model proxy", "overlap": "0.1"}
    found = {gap.question.id: gap.problem for gap in cards.check(cards.Card("x", answers))}
    assert "a branch that was played or matched" in found["tier"]
    right = cards.Card("x", answers | {"tier": "model-relative"})
    assert "tier" not in {gap.question.id for gap in cards.check(right)}


def test_json_may_hold_numbers_and_lists():
    text = json.dumps({"title": "x", "answers": {"gpu_hours": 12.5, "benchmarks": ["a", "b"]}})
    assert cards.read_card(text).answers == {"gpu_hours": "12.5", "benchmarks": "a, b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- gpuhours: 3", "a card must have known fields, got 'gpuhours': did you mean gpu_hours?"),
        ("nothing", "a card must have lines '- field: text'"),
        ("{}", "a card must hold an object 'answers'"),
    ],
)
def test_what_is_no_card_says_so(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cards.read_card(text)


def test_the_checklist_is_that_of_the_survey():
    assert (len(CHECKLIST), sum(each.required for each in CHECKLIST)) == (14, 10)
    places = [SECTIONS.index(each.section) for each in QUESTIONS]
    assert places == sorted(places)
    assert set(places) == set(range(len(SECTIONS)))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_its_command_is_one_that_casim_takes(question):
    words = question.command.format(method="CAPO", methods="CAPO GRPO").split()
    assert words[0] == "casim"
    parse(words[1:])


@pytest.mark.parametrize(("title", "methods"), [("a paper", "GRPO"), ("CAPO", "CAPO GRPO")])
def test_a_baseline_is_asked_for_once(title, methods):
    card = cards.read_card(f"# Card: {title}\n- gpu_hours: 1")
    gaps = {gap.question.id: gap.command for gap in cards.check(card)}
    assert gaps["variance"].endswith(f"--estimators {methods} --seeds 0 1 2")


def test_the_command_prints_cards_and_gaps(tmp_path, rows, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(each.to_json() + "\n" for each in rows))
    main(["card", str(path), "--label", "RLOO", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["answers"]["unit"] == "trajectory"
    main(["card", str(path), "--label", "VinePPO by step"])
    assert capsys.readouterr().out.count("# Card: VinePPO by step") == 2
    main(["card", "--blank"])
    paper = tmp_path / "paper.md"
    paper.write_text(capsys.readouterr().out)
    with pytest.raises(SystemExit) as stop:
        main(["card", "--check", str(paper)])
    assert stop.value.code == 1
    assert "0 of 32 items stated; open: 27 required" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="card must be of one thing"):
        main(["card"])
    with pytest.raises(
        SystemExit, match="of must be a known name, got 'gigpo': did you mean GIGPO"
    ):
        main(["card", "gigpo"])
    with pytest.raises(SystemExit, match=r"horizon must be one of \(7,\), got 99"):
        main(["card", str(path), "--horizon", "99"])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, None),
        ({"falsification": "?", "variance": "?"}, None),
        ({"estimand": "?"}, 1),
        ({"tier": "causal"}, 1),
    ],
)
def test_the_status_says_whether_a_card_may_stand(card, tmp_path, changes, status):
    """Optional items may be open; required ones may not, and nothing may be contradicted."""
    path = tmp_path / "card.md"
    path.write_text(cards.to_markdown(cards.Card(card.title, card.answers | changes)))
    fails = contextlib.nullcontext() if status is None else pytest.raises(SystemExit, match=r"^1$")
    with fails:
        main(["card", "--check", str(path)])


def test_a_control_is_no_method(rows):
    with pytest.raises(ValueError, match="a card must be of a method, got the control 'shuffled'"):
        cards.card_of_row(rows[3], rows)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"answers":', "card: a card that begins with { must be JSON, got Expecting value"),
        (b"\xff\xfe", "card: a card must be text in UTF-8, got 'utf-8' codec"),
        (b"", "card: a card must have lines '- field: text'"),
    ],
)
def test_a_file_that_is_no_card_is_one_line_with_its_name(tmp_path, data, said):
    path = tmp_path / "card"
    path.write_bytes(data)
    with pytest.raises(SystemExit, match=re.escape(said)) as found:
        main(["card", "--check", str(path)])
    assert len(str(found.value).splitlines()) == 1


def test_what_chooses_rows_is_refused_where_there_are_none():
    with pytest.raises(SystemExit, match="horizon must be left out where no rows are read, got 4"):
        main(["card", "GIGPO", "--horizon", "4"])


def test_a_card_without_a_title_has_none():
    assert cards.read_card('{"title": null, "answers": {"tier": "predictive"}}').title == ""
