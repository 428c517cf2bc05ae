"""`experiments/disputes.py` and docs/disputes.md: numbers of the page are those of the command."""

import math
from pathlib import Path

import disputes
import numpy as np
import pytest
from settled import baselines, lengths, scales, spans, worlds

from tests.disputes import listed

DOCS = Path(__file__).parents[2] / "docs"
SHORT = {"left_out_deviation", "filters", "bootstrap"}
"""Those that compile little or nothing."""


@pytest.fixture(scope="module")
def kept():
    saved = DOCS / "disputes.json"
    return disputes.from_json(saved.read_text())


def near(told):
    """The same numbers, but for rounding."""
    return pytest.approx(told, rel=1e-6, abs=1e-9)


def named(dispute):
    marks = [] if dispute.name in SHORT else [pytest.mark.slow]
    return pytest.param(dispute, id=dispute.name, marks=marks)


def test_every_dispute_is_on_the_page(kept):
    page = (DOCS / "disputes.md").read_text()
    names = [dispute.name for dispute in disputes.DISPUTES]
    assert list(kept) == names
    assert disputes.paged(page, kept) == page
    plain = disputes.to_json(kept)
    assert disputes.from_json(plain) == kept


EVERY = [named(dispute) for dispute in disputes.DISPUTES]


@pytest.mark.parametrize("dispute", EVERY)
def test_disputes_are_settled_as_the_page_says(dispute, kept):
    found = dispute.measure()
    told = kept[dispute.name]
    assert found.verdict == told.verdict
    assert found.numbers == near(told.numbers)
    assert list(found.columns) == list(told.columns)
    assert list(found.rows) == list(told.rows)
    for name, row in found.rows.items():
        assert row == near(told.rows[name]), name


def test_what_is_centred_before_it_is_summed_favours_stopping_by_the_mean_of_what_it_skips(kept):
    numbers = kept["turn_baseline"].numbers
    wanted = baselines.predicted_excess()
    assert numbers["excess"] == pytest.approx(wanted, rel=1e-9)


def test_the_factors_of_a_deviation_are_those_of_the_closed_form(kept):
    for place, success in enumerate(scales.SUCCESS):
        for num in (4, 8):
            row = kept["deviation"].rows[f"group, N = {num}"]
            # An epsilon of 1e-6 is added to the deviation.
            wanted = scales.binary_group_scale(success, num)
            assert row[place] == pytest.approx(wanted, rel=1e-5)


def test_outcomes_have_the_correlation_with_the_length_that_is_asked():
    turn = np.arange(4)
    goes = 1 - worlds.STOP
    chance = worlds.STOP * goes**turn
    # Who goes on at the last turn is as long as who stops there.
    chance[-1] = goes**3
    length = turn - chance @ turn
    for wanted in baselines.CORRELATIONS:
        mdp = baselines.correlated(wanted).mdp
        reward = mdp.reward[:, 1, 0, 0]
        assert chance @ reward == pytest.approx(0, abs=1e-12)
        long = chance @ length**2
        rich = chance @ reward**2
        both = chance @ (length * reward)
        found = both / math.sqrt(long * rich)
        assert found == pytest.approx(wanted, abs=1e-12)


def test_denominators_are_those_of_groups_listed_without_casim(kept):
    rows = kept["length_denominators"].rows
    for place, correlation in enumerate(baselines.CORRELATIONS):
        setting = baselines.correlated(correlation)
        pays = setting.mdp.reward[:, 1, 0, 0]
        never = pays[-1]
        for name, rule in listed.DENOMINATORS.items():
            wanted = listed.cosine(pays, never, rule)
            row = rows[name]
            assert row[place] == pytest.approx(wanted, abs=1e-9)


def test_whitening_is_that_of_groups_listed_without_casim(kept):
    numbers = kept["whitening"].numbers
    wanted = listed.cosine(lengths.PAYS, 0.0, listed.whitened)
    assert numbers["tokens"] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("form", ["value 0 (OpenRLHF)", "bootstrapped, critic wrong by 0.5 there"])
def test_wrong_values_of_a_tools_token_count_by_one_less_lambda(form, kept):
    """Each error goes into one delta, and less lambda times it into the delta before."""
    row = kept["tool_tokens"].rows[form]
    share = (1 - np.array(spans.LAMBDAS)) ** 2
    wanted = share * row[0]
    assert row == pytest.approx(wanted.tolist(), abs=1e-12)


def test_ratios_of_tokens_leave_the_other_fork_to_the_older_policy(kept):
    """Each fork's gradient is multiplied by how much likelier the other one is passed."""
    rows = kept["ratios"].rows
    wanted = (spans.BEHAVIOUR / 0.5 - 1) ** 2
    token = rows["token"]
    product = rows["product over the sequence"]
    for place in range(len(spans.HORIZONS)):
        assert token[2 * place] == pytest.approx(wanted)
        assert product[2 * place] == pytest.approx(0)


def test_numbers_are_written_with_four_digits():
    given = {
        0.0: "0",
        -1e-31: "0",
        1 - 1e-13: "1",
        0.123456: "0.1235",
        1.64e10: "1.64e+10",
    }
    for x, written in given.items():
        assert disputes.cell(x) == written


def test_a_page_without_a_place_is_refused(kept):
    with pytest.raises(ValueError, match="the page must have the lines"):
        disputes.paged("nothing", kept)


def test_the_command_measures_what_is_named(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["disputes.py", *words])
        disputes.main()

    run("filters", "left_out_deviation")
    said = capsys.readouterr().out
    for name in ("filters", "left_out_deviation"):
        assert f"{name}: " in said
    refused = (
        (("no_dispute",), "NAME must be among"),
        (("--page", "page.md", "filters"), "--page is made from all disputes"),
    )
    for words, error in refused:
        with pytest.raises(SystemExit):
            run(*words)
        assert error in capsys.readouterr().err
