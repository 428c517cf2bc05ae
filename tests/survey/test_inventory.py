"""The inventory: whole, checked as it is read, and carried by recipes that agree and are tested."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path

import pytest

import casim
from casim import survey
from casim.cli import main
from casim.cli.survey import Survey
from casim.methods import named_methods
from casim.report import classes
from casim.survey import inventory, read_inventory
from casim.survey.record import KINDS, REGIMES
from casim.vocabulary import GRANULARITIES, METHODOLOGIES
from tests.survey.sources import reached

BRANCHING = "methods/test_branching.py"
COUNTERFACTUAL = "methods/test_counterfactual.py"
JUDGED = "methods/test_judged.py"
LEARNED = "methods/test_learned.py"
TEAMS = "methods/test_teams.py"
TURNS = "methods/test_turns.py"
LOOPS = (JUDGED, "test_a_recipe_equals_its_formula_by_loops")
TRAINERS = ("methods/test_trainers.py", "test_values_are_the_formula")
IN_TURNS = (TURNS, "test_advantages_of_turns_and_tokens_are_the_formula")

MECHANISMS = {
    "vineppo": (BRANCHING, "test_with_exact_values_fixed_boundaries_give_the_exact_gradient"),
    "red": (LEARNED, "test_red_to_go_has_the_exact_gradient_for_any_reader_of_prefixes"),
    "t_reg": (LEARNED, "test_t_reg_is_the_gradient_of_its_loss_and_dpo_without_its_rewards"),
    "r_to_q": (LEARNED, "test_from_r_to_q_is_the_soft_advantage_at_the_soft_optimal_policy"),
    "spo": (BRANCHING, "test_stretches_begin_before_every_ith_unlikely_action"),
    "scar": (
        BRANCHING,
        "test_rewards_of_scar_sum_to_the_shapley_values_and_the_return_in_their_shares",
    ),
    "tempo": TRAINERS,
    "pure": TRAINERS,
    "spro": ("methods/test_identities.py", "test_spro_at_the_reference_is_grpo"),
    "capo": LOOPS,
    "acpo": LOOPS,
    "hicra": LOOPS,
    "prl": TRAINERS,
    "int_intervention": (
        JUDGED,
        "test_int_imitates_the_prefix_and_the_better_action_where_a_failure_first_went_wrong",
    ),
    "finepo": LOOPS,
    "agentprm": (TURNS, "test_promises_of_many_rollouts_are_q"),
    "sweet_rl": (
        LEARNED,
        "test_privileged_preferences_find_the_soft_advantage_of_the_latent_problem",
    ),
    "turn_level_reward": (TURNS, "test_sums_of_turns_and_tokens_are_the_formula"),
    "turn_ppo": IN_TURNS,
    "sorl": ("methods/test_stale.py", "test_weights_of_stale_rollouts_are_the_formula"),
    "tarl": LOOPS,
    "itpo": ("methods/test_learned_trainers.py", "test_values_are_the_formula"),
    "hcapo": ("methods/test_hcapo.py", "test_values_are_the_formula"),
    "c3": (COUNTERFACTUAL, "test_left_out_siblings_are_worth_the_value_of_the_context"),
    "ccpo": (COUNTERFACTUAL, "test_the_gated_roles_are_the_formula_from_batch_to_batch"),
    "criticsearch": LOOPS,
    "gigpo": ("methods/test_anchor_groups.py", "test_values_are_the_formula"),
    "poad": IN_TURNS,
    "archer": (
        TURNS,
        "test_twin_critics_find_the_advantage_of_turns_from_what_another_policy_did",
    ),
    "pilotrl": LOOPS,
    "carl": ("methods/test_forking.py", "test_credit_is_that_of_the_tree_by_its_definition"),
    "igpo": ("methods/test_information.py", "test_values_are_the_formula"),
    "istar": ("methods/test_learned_trainers.py", "test_values_are_the_formula"),
    "stepagent": LOOPS,
    "agent_lightning": LOOPS,
    "ragen": IN_TURNS,
    "spa_rl": ("methods/test_learned_trainers.py", "test_values_are_the_formula"),
    "lare": (LEARNED, "test_lare_finds_the_reward_where_its_features_say_it_and_else_a_projection"),
    "scribe": LOOPS,
    "prs": (JUDGED, "test_prompts_without_credit_are_replaced_by_those_of_even_odds"),
    "adaptseg": LOOPS,
    "m_grpo": (TEAMS, "test_m_grpo_is_its_formula"),
    "llm_mca": (TEAMS, "test_exact_words_on_a_team_are_those_of_its_joint_actions"),
    "qllm": (TEAMS, "test_hand_written_shares_scale_the_fit_and_0_gets_no_credit"),
    "sharp": (TEAMS, "test_with_full_coupling_reruns_without_an_agent_are_exact"),
    "mappa": (TEAMS, "test_mappa_whitens_the_score_of_a_turn_over_the_tokens_of_its_agent"),
    "dr_mas": (TEAMS, "test_dr_mas_is_its_formula"),
}
"""A test of the mechanism of each of the 47: it names a recipe of it, or the part that makes it."""
COMMON = {"Chain", "Sum", "Whole", "ToGo", "Baseline", "Times", "Advantage", "OverLength", "Fit"}
"""Parts that do not tell one method from another."""


def test_it_has_the_47_and_what_came_later():
    counts = {kind: len(survey.methods(kind=kind)) for kind in KINDS}
    assert counts == {"core": 41, "enabler": 6, "later": 28}
    regimes = [(record.kind, record.regime) for record in inventory()]
    # 15 of reasoning, 20 of agents and 6 of teams are core: the survey's own count.
    core = [regimes.count(("core", regime)) for regime in ("reasoning", "agentic", "multi_agent")]
    assert core == [15, 20, 6]


def test_every_recipe_of_a_paper_in_it_is_mapped_and_no_other():
    papers = {record.arxiv: record for record in inventory() if record.arxiv}
    for name, method in named_methods().items():
        if method.arxiv in papers:
            assert name in papers[method.arxiv].methods, name
    own = "2604.09459"  # readings of a paper by the survey itself
    for record in inventory():
        for name in record.methods:
            assert named_methods()[name].arxiv in (record.arxiv, own), (record.id, name)


@pytest.mark.parametrize("record", inventory(), ids=lambda record: record.id)
def test_the_recipe_that_carries_a_record_agrees_with_it(record):
    if record.main is None:
        assert record.kind == "later"
        assert record.not_simulated.endswith(".")
        return
    recipe = named_methods()[record.main]
    assert (recipe.granularity, recipe.methodology) == (record.granularity, record.methodology)
    assert recipe.number == record.number


@pytest.mark.parametrize("record", inventory(), ids=lambda record: record.id)
def test_where_the_survey_has_another_place_a_correction_says_why(record):
    corrected = {each.field: each.listed for each in record.corrections}
    for axis in ("granularity", "methodology"):
        placed = getattr(record.placed, axis)
        if placed is not None and placed != getattr(record, axis):
            assert corrected[axis] == placed
        else:
            assert axis not in corrected


@pytest.mark.parametrize("record", survey.methods(), ids=lambda record: record.id)
def test_every_record_of_the_47_has_a_test_of_its_mechanism(record):
    if record.kind == "later":
        assert record.id not in MECHANISMS
        return
    named = reached(*MECHANISMS[record.id])
    parts = {kind.__name__ for kind in classes(named_methods()[record.main].recipe)} - COMMON
    assert named & (set(record.methods) | parts)


def test_filters_keep_what_they_say_and_all_of_it():
    kept = survey.methods(granularity="turn", methodology="monte_carlo")
    wanted = [
        record
        for record in inventory()
        if (record.granularity, record.methodology) == ("turn", "monte_carlo")
    ]
    assert list(kept) == wanted
    assert {record.id for record in kept} == {"turn_level_reward", "c3", "at2po", "cli_a3"}
    said = [record.id for record in survey.methods(text="VINEppo MATH", kind="core")]
    assert said == ["vineppo", "spo", "tempo"]
    assert all(record.not_simulated for record in survey.methods(simulated=False))
    assert len(survey.methods(corrected=True)) + len(survey.methods(corrected=False)) == 75
    assert survey.record_of("GIGPO_STATE").id == "gigpo"
    assert survey.record_of("RLOO") is None


def test_two_ids_of_the_list_are_corrected():
    found = {record.id: record for record in inventory()}
    assert found["pure"].arxiv == "2504.15275"
    assert found["lare"].arxiv == "2412.11120"
    for name, listed in {"pure": "2504.08662", "lare": "2412.16989"}.items():
        assert ("arxiv", listed) in [(c.field, c.listed) for c in found[name].corrections]


RAW = json.loads((Path(casim.survey.__file__).parent / "inventory.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arxiv": "2410.1679"}, "record 'vineppo': arxiv must be four digits"),
        ({"kind": "Core"}, "record 'vineppo': kind must be one of"),
        ({"number": 48}, r"record 'vineppo': number must be in \[1, 47\], got 48"),
        ({"number": 2}, "number must hold distinct values, got 2 twice"),
        ({"year": "2024"}, "record 'vineppo': year must be int, got '2024'"),
        ({"authors": "Kazemnejad"}, "record 'vineppo': authors must be tuple"),
        ({"granularity": "word"}, "record 'vineppo': granularity must be one of"),
        ({"methods": ["VINE"]}, "record 'vineppo': methods must be recipes, got 'VINE'"),
        ({"methods": []}, "record 'vineppo': methods must hold recipes, or not_simulated"),
        ({"not_simulated": "No."}, "record 'vineppo': methods must hold recipes, or not_sim"),
        ({"models": ["gpt"]}, "record 'vineppo': models must be one of"),
        ({"evidence": {"level": "S"}}, "record 'vineppo': key 'basis' must be there, got none"),
        ({"colour": "red"}, "record 'vineppo': key must be one of"),
        ({"arxiv": "2411.08302"}, "arxiv must hold distinct values"),
        (
            {"corrections": [{"field": "year", "listed": "2024", "reason": "No."}]},
            "record 'vineppo': corrections.listed must differ",
        ),
        ({"corrections": [{"field": "yaer", "listed": "", "reason": "No."}]}, "corrections.field"),
    ],
)
def test_what_is_no_inventory_says_where(change, message, unhooked):
    with pytest.raises(ValueError, match=message):
        read_inventory(json.dumps([RAW[0] | change, *RAW[1:]]))


def test_a_record_too_few_is_noticed():
    with pytest.raises(ValueError, match="number of records of kind 'core' must be one of"):
        read_inventory(json.dumps(RAW[1:]))
    with pytest.raises(ValueError, match="an inventory must be a list of records, got dict"):
        read_inventory("{}")


def test_records_survive_json_and_csv_has_every_field():
    assert read_inventory(survey.to_json(inventory())) == inventory()
    lines = list(csv.DictReader(io.StringIO(survey.to_csv(inventory()))))
    flat = survey.to_records(inventory())
    assert [line["id"] for line in lines] == [record.id for record in inventory()]
    assert list(lines[0]) == list(flat[0])
    assert lines[7]["corrections"].startswith("methodology: listed as monte_carlo. A process")
    assert "placed.methodology" in flat[0]


def test_bibtex_is_an_entry_each_in_ascii_with_the_id():
    text = survey.to_bibtex(inventory())
    assert text.isascii()
    assert len(re.findall(r"^@misc\{\w+,$", text, re.MULTILINE)) == 75
    assert r"GRPO-$\lambda$" in text
    assert "AT$^2$PO" in text
    assert text.count("{") == text.count("}")
    # What is not given is not made up.
    assert "author = {}" not in text


def test_tables_hold_a_line_each():
    records = survey.methods(kind="enabler")
    head, rule, *lines = survey.to_markdown(records).splitlines()
    assert len(lines) == 6
    assert head.count("|") == rule.count("|") == lines[0].count("|")
    latex = survey.to_latex(records)
    assert latex.count(r"\\") == 7
    assert r"SPA\_RL" in latex
    qval = survey.methods(text="qval")
    reason = "not simulated: it is a benchmark of dense signals, not a method."
    assert survey.to_markdown(qval).endswith(f"| {reason} |")
    assert reason in survey.to_latex(qval)


def test_the_page_has_every_record_and_escapes_what_it_says():
    text = survey.to_html(inventory(), "search.js")
    assert text.count("<tr ") == 75
    assert "not simulated: it is a benchmark" in text
    assert "2504.08662" in text
    assert 'data-methodology="game_theoretic"' in text
    odd = dataclasses.replace(inventory()[0], name='<b>"&')
    assert "&lt;b&gt;&quot;&amp;" in survey.to_html([odd], "search.js")
    for tag in ("td", "tr", "li", "details", "table", "select"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>")


def test_the_command_prints_what_is_asked(capsys):
    main(["survey", "--granularity", "turn", "--methodology", "monte_carlo", "--format", "csv"])
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["id"] for line in lines] == ["turn_level_reward", "c3", "at2po", "cli_a3"]
    assert all(word in Survey.__doc__ for word in GRANULARITIES + METHODOLOGIES + KINDS + REGIMES)
    with pytest.raises(SystemExit, match="granularity must be one of"):
        main(["survey", "--granularity", "word"])
    with pytest.raises(SystemExit, match="filters must keep at least one record"):
        main(["survey", "no", "such", "words"])
