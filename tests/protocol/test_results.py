"""Results, report and leaderboard from rows that were made by hand."""

import dataclasses
import math

import pytest

from casim.cli import main
from casim.controls import Control
from casim.methods import GRPO, RLOO, VINEPPO_STEP
from casim.protocol.metadata import Metadata
from casim.protocol.page import standings, to_leaderboard, to_report
from casim.protocol.pictures import figures
from casim.protocol.results import gather, suite_of
from casim.protocol.suite import GROUPS, VERSION, full, quick
from casim.protocol.worlds import no_reset
from casim.report import describe
from casim.scores import Score
from casim.storage import append
from tests.rows import row

SUITE = quick()
EARLY, LATE = (world for world in SUITE.worlds if world.name in ("early", "late"))
STEPS = 100.0
BIAS, SLOPE = 0.0, 1.0
BLOCKS = 5
LONG = "early, 256 turns"


def sure(value):
    return Score(value, value, value, 20.0)


def measured(method, world, snr, variance=4.0, env_steps=0.0, **changes):
    """A row without bias whose gradient has a variance, and blocks that agree but for a little."""
    scores = {
        "snr_aligned": snr,
        "gradient_slope": SLOPE,
        "gradient_bias": BIAS,
        "gradient_variance": variance,
        "batch_steps": STEPS,
        "env_steps": env_steps,
        "centred_bias": 0.25,
    }
    wiggle = [1 + 0.001 * (block - 2) for block in range(BLOCKS)]
    told = {
        "study": SUITE.name,
        "task": describe(world.task),
        "policy": describe(world.policy),
        "scores": {name: sure(value) for name, value in scores.items()},
        "left_out": {
            name: [value * (x if name == "snr_aligned" else 1) for x in wiggle]
            for name, value in scores.items()
        },
        "seed": 0,
    }
    return row(**(told | _names(method) | changes))


def _names(method):
    if isinstance(method, Control):
        told = {"label": method.name, "methodology": "control"}
        return told | {"estimator": describe(method)}
    told = {"label": method.name, "methodology": method.methodology}
    return told | {"estimator": describe(method.recipe)}


def snr(variance):
    """Of one group, where there is no bias."""
    return 1 / variance


ROWS = [
    measured(RLOO, EARLY, snr(4.0)),
    measured(GRPO, EARLY, snr(2.0), variance=2.0),
    measured(VINEPPO_STEP, EARLY, snr(1.0), variance=1.0, env_steps=1e9),
    measured(Control("exact"), EARLY, snr(0.5), variance=0.5),
    measured(RLOO, LATE, snr(4.0)),
    measured(GRPO, LATE, snr(8.0), variance=8.0),
]


@pytest.fixture(scope="module")
def results():
    return gather(SUITE, ROWS)


def test_rows_are_found_by_world_and_method(results):
    assert results.worlds == ["early", "late"]
    assert results.methods == ["RLOO", "GRPO", "VinePPO by step"]
    assert results.labels[-1] == "exact"
    assert results.left_out == 0
    assert suite_of(ROWS).digest == SUITE.digest


def test_worth_is_what_equal_steps_buy_over_what_rloo_buys(results):
    # Without bias one over the error of n batches is 1 + n / variance.
    ratio = (1 + GROUPS / 2) / (1 + GROUPS / 4)
    assert results.cells["early", "GRPO"].worth == pytest.approx(ratio)
    assert results.cells["early", "RLOO"].worth == 1
    assert math.isnan(results.cells["early", "exact"].worth)


def test_what_costs_more_than_the_budget_buys_nothing(results):
    assert results.cells["early", "VinePPO by step"].worth == pytest.approx(1 / (1 + GROUPS / 4))


def test_standings_are_geometric_means_over_worlds_and_what_lacks_a_world_comes_last(results):
    first, second, last = standings(results)
    both = (1 + GROUPS / 2) / (1 + GROUPS / 4) * (1 + GROUPS / 8) / (1 + GROUPS / 4)
    places = {each.label: each for each in (first, second, last)}
    assert places["GRPO"].worth == pytest.approx(math.sqrt(both))
    assert places["GRPO"].verdicts == (1, 1, 0)
    assert (first.label, second.label) == ("GRPO", "RLOO")
    assert last.label == "VinePPO by step"
    assert math.isnan(last.worth)
    assert last.worlds == 1


def test_worlds_that_one_cannot_go_back_in_do_not_rank():
    never = next(world for world in no_reset(4) if world.name == "no reset")
    suite = dataclasses.replace(SUITE, worlds=(EARLY, LATE, never))
    rows = [
        *ROWS,
        measured(VINEPPO_STEP, LATE, snr(1.0), variance=1.0),
        measured(RLOO, never, snr(4.0)),
        measured(GRPO, never, snr(1.0), variance=1.0),
    ]
    found = gather(suite, rows)
    assert found.worlds == ["early", "late", "no reset"]
    assert found.ranking == ["early", "late"]
    places = {each.label: each for each in standings(found)}
    both = (1 + GROUPS / 2) / (1 + GROUPS / 4) * (1 + GROUPS / 8) / (1 + GROUPS / 4)
    assert places["GRPO"].worth == pytest.approx(math.sqrt(both))
    assert places["GRPO"].worlds == 3
    assert places["VinePPO by step"].worlds == 2
    assert not math.isnan(places["VinePPO by step"].worth)


def test_of_rows_that_answer_one_question_the_last_counts():
    newer = [dataclasses.replace(each, sources={"casim": "newer"}) for each in ROWS]
    newer[0] = dataclasses.replace(newer[0], scores=newer[0].scores | {"centred_bias": sure(7.0)})
    found = gather(SUITE, [*ROWS, *newer])
    assert found.cells["early", "RLOO"].mean("centred_bias") == 7.0
    assert found.left_out == len(ROWS)


def test_methods_that_other_code_measured_are_not_compared():
    other = dataclasses.replace(ROWS[1], sources={"casim": "newer"})
    with pytest.raises(ValueError, match="with different version of casim"):
        gather(SUITE, [ROWS[0], other])


def test_the_leaderboard_names_methods_code_and_settings(results):
    page = to_leaderboard(results)
    assert page.startswith(f"# Leaderboard of protocol {VERSION}, quick\n")
    assert "| 2 | RLOO | monte_carlo | 2 of 2 | 1 |" in page
    assert "| - | VinePPO by step | monte_carlo | 1 of 2 | - |" in page
    assert f"2 of 13 worlds, settings {SUITE.digest}. Code 0 on cpu." in page


def test_the_report_has_a_table_for_each_world_and_says_what_each_is_like(results):
    numbers = {field.name: 0.125 for field in dataclasses.fields(Metadata)}
    words = {"reset": "exact", "reward": "at the end", "agents": 3, "actions": {"think": 1.0}}
    facts = dict.fromkeys(results.worlds, Metadata(**(numbers | words)))
    facts["late"] = dataclasses.replace(facts["late"], coupling=math.nan)
    page = to_report(results, facts)
    assert page.startswith(f"# Credit assignment protocol {VERSION}, quick\n")
    assert "- **late**: is a late decision found?" in page
    line = "| early | think 1 | exact | 3 | at the end | " + " | ".join(["0.125"] * 14) + " |"
    assert line in page
    assert line.replace("early", "late").replace("0.125 |\n", "- |\n")[:-8] in page
    early, late = page.split("\n## early\n")[1].split("\n## late\n")
    assert "| GRPO | 0.25 [0.25, 0.25] | - |" in early
    assert "+0.25 [" in early
    assert "] better |" in early
    assert "] worse |" in late
    assert "| exact |" in early
    assert "| exact |" not in late


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ("horizon", "rows must be of `casim run protocol`, got none of it"),
        ("protocol_0.1_quick", f"of version {VERSION} of the protocol, got protocol_0.1_quick"),
    ],
)
def test_rows_of_something_else_are_refused_in_a_line(study, message):
    with pytest.raises(ValueError, match=message):
        suite_of([dataclasses.replace(ROWS[0], study=study)])


def test_the_leaderboard_is_a_command_on_rows_of_several_files(tmp_path, capsys, results):
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for place, each in enumerate(ROWS):
        append(paths[place % 2], each)
    main(["leaderboard", *map(str, paths)])
    assert "| GRPO | monte_carlo | 2 of 2 |" in capsys.readouterr().out
    out = tmp_path / "page.md"
    main(["leaderboard", *map(str, paths), "--out", str(out)])
    assert out.read_text().startswith("# Leaderboard")


def test_a_suite_of_several_lengths_has_figures_of_each():
    suite = full()
    short, long = (world for world in suite.worlds if world.name in ("early, 8 turns", LONG))
    rows = [measured(RLOO, world, snr(4.0), study=suite.name) for world in (short, long)]
    drawn = figures(gather(suite, rows))
    lengths = ("8-turns", "256-turns")
    assert set(drawn) == {f"{kind}-{x}" for kind in ("identification", "gradient") for x in lengths}
    for figure in drawn.values():
        columns = figure.axes[0].get_xticklabels()
        assert [column.get_text() for column in columns] == ["early"]


def test_a_suite_of_one_length_has_two_figures():
    assert set(figures(gather(SUITE, ROWS))) == {"identification", "gradient"}
