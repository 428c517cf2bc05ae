"""`experiments/disputes.py` and docs/disputes.md: numbers of the page are those of the command."""

import math
from pathlib import Path

import disputes
import numpy as np
import pytest
from settled import baselines, scales, spans, worlds

DOCS = Path(__file__).parents[2] / "docs"
SHORT = {"left_out_deviation", "filters", "bootstrap"}
"""Those that compile little or nothing."""


@pytest.fixture(scope="module")
def kept():
    return disputes.from_json((DOCS / "disputes.json").read_text())


def named(dispute):
    marks = [] if dispute.name in SHORT else [pytest.mark.slow]
    return pytest.param(dispute, id=dispute.name, marks=marks)


def test_every_dispute_is_on_the_page(kept):
    page = (DOCS / "disputes.md").read_text()
    assert list(kept) == [dispute.name for dispute in disputes.DISPUTES]
    assert disputes.paged(page, kept) == page
    assert disputes.from_json(disputes.to_json(kept)) == kept


@pytest.mark.parametrize("dispute", [named(x) for x in disputes.DISPUTES])
def test_disputes_are_settled_as_the_page_says(dispute, kept):
    found = dispute.measure()
    told = kept[dispute.name]
    assert found.verdict == told.verdict
    assert found.numbers == pytest.approx(told.numbers, rel=1e-6, abs=1e-9)
    assert list(found.columns) == list(told.columns)
    assert list(found.rows) == list(told.rows)
    for name, row in found.rows.items():
        assert row == pytest.approx(told.rows[name], rel=1e-6, abs=1e-9), name


def test_what_is_centred_before_it_is_summed_favours_stopping_by_the_mean_of_what_it_skips(kept):
    numbers = kept["turn_baseline"].numbers
    assert numbers["excess"] == pytest.approx(baselines.predicted_excess(), rel=1e-9)


def test_the_factors_of_a_deviation_are_those_of_the_closed_form(kept):
    for place, success in enumerate(scales.SUCCESS):
        for num in (4, 8):
            factor = kept["deviation"].rows[f"group, N = {num}"][place]
            # An epsilon of 1e-6 is added to the deviation.
            wanted = scales.binary_group_scale(success, num)
            assert factor == pytest.approx(wanted, rel=1e-5)


def test_outcomes_have_the_correlation_with_the_length_that_is_asked():
    chance = worlds.STOP * (1 - worlds.STOP) ** np.arange(4)
    chance[-1] = (1 - worlds.STOP) ** 3
    for wanted in baselines.CORRELATIONS:
        reward = np.asarray(baselines.correlated(wanted).mdp.reward)[:, 1, 0, 0]
        length = np.arange(4) - chance @ np.arange(4)
        assert chance @ reward == pytest.approx(0, abs=1e-12)
        spread = math.sqrt((chance @ length**2) * (chance @ reward**2))
        assert chance @ (length * reward) / spread == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("form", ["value 0 (OpenRLHF)", "bootstrapped, critic wrong by 0.5 there"])
def test_wrong_values_of_a_tools_token_count_by_one_less_lambda(form, kept):
    """Each error goes into one delta, and less lambda times it into the delta before."""
    row = kept["tool_tokens"].rows[form]
    for lambda_, bias in zip(spans.LAMBDAS, row, strict=True):
        assert bias == pytest.approx((1 - lambda_) ** 2 * row[0], abs=1e-12)


def test_ratios_of_tokens_leave_the_other_fork_to_the_older_policy(kept):
    """Each fork's gradient is multiplied by how much likelier the other one is passed."""
    rows = kept["ratios"].rows
    wanted = (spans.BEHAVIOUR / 0.5 - 1) ** 2
    assert rows["token"][0::2] == pytest.approx([wanted] * len(spans.HORIZONS))
    assert rows["product over the sequence"][0::2] == pytest.approx([0.0] * len(spans.HORIZONS))


def test_numbers_are_written_with_four_digits():
    given = {0.0: "0", -1e-31: "0", 1 - 1e-13: "1", 0.123456: "0.1235", 1.64e10: "1.64e+10"}
    assert {x: disputes.cell(x) for x in given} == given


def test_a_page_without_a_place_is_refused(kept):
    with pytest.raises(ValueError, match="the page must have the lines"):
        disputes.paged("nothing", kept)


def test_the_command_measures_what_is_named(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["disputes.py", *words])
        disputes.main()

    run("filters", "left_out_deviation")
    said = capsys.readouterr().out
    assert "filters: " in said
    assert "left_out_deviation: " in said
    for words, error in (
        (("no_dispute",), "NAME must be among"),
        (("--page", "page.md", "filters"), "--page is made from all disputes"),
    ):
        with pytest.raises(SystemExit):
            run(*words)
        assert error in capsys.readouterr().err
