"""Tables: tidy records of one type a column, and tables for people and papers."""

import csv
import dataclasses
import io
import math
import types

import pytest

import casim
from casim.cli import main
from casim.controls import Control
from casim.report import describe, label
from casim.scores import Score
from casim.tables import settings, tabulate, to_csv, to_latex, to_markdown, to_records, varying
from tests.rows import NAN, row


def of(estimator, task=None, policy=None, **changes):
    """A row of recipes."""
    task = casim.Bifurcation(horizon=7, pivots=(1, 4)) if task is None else task
    fields = {
        "task": describe(task),
        "policy": describe(casim.Uniform() if policy is None else policy),
        "judge": describe(changes.pop("judge", None)),
        "estimator": describe(estimator),
        "label": label(estimator),
        "methodology": estimator.methodology,
        "horizon": task.horizon,
        "num_steps": 7,
    }
    return row(**(fields | changes))


ROWS = [
    of(casim.Gae(lambda_=0.9)),
    of(casim.Gae(lambda_=1), policy=casim.Softmax(scale=0.5), seed=4),
    of(
        casim.Hindsight(),
        task=casim.Bifurcation(horizon=9, pivots=1),
        judge=casim.Judge(fidelity=0.75),
    ),
    of(casim.Hindsight(), task=casim.ToolChain(num_turns=3, repair=0.5).observed(), replicates=40),
]


def test_settings_are_classes_and_fields_by_name():
    found = settings(ROWS[2])
    assert found["task"] == "Bifurcation"
    assert (found["task.horizon"], found["judge.fidelity"], found["policy"]) == (9, 0.75, "Uniform")
    nested = settings(ROWS[3])
    assert (nested["task"], nested["task.task"], nested["task.task.repair"]) == (
        "Observed",
        "ToolChain",
        0.5,
    )
    assert nested["judge"] is None


def test_what_varies_is_what_has_two_values():
    assert {
        "task",
        "task.horizon",
        "task.pivots",
        "policy",
        "judge",
        "estimator",
        "estimator.lambda_",
    } <= set(varying(ROWS))
    assert not {"task.gap", "judge.fidelity", "policy.scale", "study"} & set(varying(ROWS))
    assert varying(ROWS[:1]) == []


def test_a_record_is_a_row_and_a_score_with_every_knob_that_varies():
    records = to_records(ROWS)
    assert len(records) == 8  # of each row, bias and snr
    first = records[0]
    assert first["task"] == "Bifurcation"
    assert first["task.horizon"] == 7
    assert first["estimator.lambda_"] == 0.9
    assert [first[name] for name in ("score", "value", "low", "high", "count", "note")] == [
        *("bias", 0.25, 0.125, 0.375, 9.0, None)
    ]
    missing = records[1]
    assert [missing[name] for name in ("score", "value", "low", "count", "note")] == [
        *("snr", None, None, 0.0, "no gradient")
    ]
    assert [record["replicates"] for record in records[::2]] == [20, 20, 20, 40]
    assert [record["seed"] for record in records[::2]] == [3, 4, 3, 3]


def test_records_have_the_same_keys_and_columns_of_one_type():
    records = to_records(ROWS)
    assert len({tuple(record) for record in records}) == 1
    for name in records[0]:
        kinds = {type(record[name]) for record in records} - {types.NoneType}
        assert len(kinds) <= 1, name
        assert kinds <= {bool, int, float, str}, name
    assert [record["task.pivots"] for record in records[::2]] == ["(1, 4)", "(1, 4)", "1", None]
    numbers = [of(casim.Gae(learning_rate=0.5)), of(casim.Gae(learning_rate=1))]
    mixed = [
        dataclasses.replace(one, estimator=one.estimator | {"x": x})
        for one, x in zip(numbers, (1, 0.5), strict=True)
    ]
    assert [repr(record["estimator.x"]) for record in to_records(mixed, ["bias"])] == ["1.0", "0.5"]


def test_infinite_numbers_are_missing_and_unknown_scores_refused():
    odd = row(scores={"bias": Score(math.inf, NAN, 1.0, 2.0)})
    assert to_records([odd])[0]["value"] is None
    with pytest.raises(
        ValueError, match=r"scores must be one of \('bias', 'snr'\), got 'nonsense'"
    ):
        to_records(ROWS, ["nonsense"])
    with pytest.raises(ValueError, match="scores must be one of"):
        tabulate(ROWS, ["nonsense"])


def test_pandas_takes_the_records_as_they_are():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(to_records(ROWS))
    assert frame[frame.score == "bias"].groupby("estimator").value.mean().to_dict() == {
        "Gae": 0.25,
        "Hindsight": 0.25,
    }


def test_polars_takes_the_records_as_they_are():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(to_records(ROWS))
    assert frame.filter(polars.col("score") == "bias")["value"].to_list() == [0.25] * 4


def test_csv_is_the_records():
    read = list(csv.DictReader(io.StringIO(to_csv(ROWS, ["snr", "bias"]))))
    assert [record["score"] for record in read] == ["snr", "bias"] * 4
    assert read[0]["value"] == ""
    assert read[1]["value"] == "0.25"
    assert read[1]["task.pivots"] == "(1, 4)"
    assert to_csv([]).startswith("study,task,")


def test_a_table_has_a_line_per_row_and_aligned_columns():
    other = row(
        label="Other", scores={"bias": Score(-1234.5, NAN, NAN, 1.0), "snr": Score(2, 1, 3, 4)}
    )
    text = tabulate([row(), other], ["bias", "snr"])
    head, first, second = text.split("\n")
    assert head.split() == ["task", "horizon", "estimator", "bias", "snr"]
    assert first.split() == ["Bifurcation", "7", "Vine(num_branches=2)", "0.25", "-"]
    assert second.split() == ["Bifurcation", "7", "Other", "-1.23e+03", "2"]
    assert len({len(line) for line in text.split("\n")}) == 1


def test_a_table_shows_half_widths_if_asked():
    text = tabulate([row()], ["bias", "snr"], interval=True)
    assert text.split("\n")[1].split()[-3:] == ["0.25", "±0.1", "-"]


def test_a_table_shows_every_knob_that_varies_and_the_horizon_once():
    text = tabulate(ROWS[:3], ["bias"])
    head, first, second, third = text.split("\n")
    assert head.split() == [
        "task",
        "horizon",
        "task.pivots",
        "policy",
        "judge",
        "seed",
        "estimator",
        "bias",
    ]
    assert "Softmax" in second
    assert "(1, 4)" in first
    assert "Judge" in third
    swept = [of(casim.Vine(), policy=casim.Softmax(scale=x)) for x in (0.5, 2)]
    assert tabulate(swept, ["bias"]).split("\n")[0].split() == [
        "task",
        "horizon",
        "policy.scale",
        "estimator",
        "bias",
    ]


def test_controls_are_in_tables_like_methods():
    control = row(estimator=describe(Control("exact")), label="exact", methodology="control")
    assert to_records([ROWS[0], control], ["bias"])[1]["estimator"] == "Control"


def test_markdown_and_latex_are_written_with_intervals():
    rows = [
        row(label="A|B_1"),
        row(
            label="C",
            scores={"bias": Score(1234.5, 1200.0, 1269.0, 1.0), "snr": Score(2, NAN, NAN, 4)},
        ),
    ]
    assert to_markdown(rows, ["bias", "snr"]).split("\n") == [
        "| task | horizon | estimator | bias | snr |",
        "| --- | --- | --- | ---: | ---: |",
        r"| Bifurcation | 7 | A\|B_1 | 0.25 ± 0.1 | - |",
        "| Bifurcation | 7 | C | 1.23e+03 ± 3e+01 | 2 |",
    ]
    latex = to_latex(rows, ["bias", "snr"]).split("\n")
    assert latex[0] == r"\begin{tabular}{lllrr}"
    assert latex[2] == r"task & horizon & estimator & bias & snr \\"
    assert latex[4] == r"Bifurcation & 7 & A|B\_1 & $0.25 \pm 0.1$ & -- \\"
    assert latex[5] == r"Bifurcation & 7 & C & $1.23 \times 10^{3} \pm 3 \times 10^{1}$ & $2$ \\"
    assert latex[-1] == r"\end{tabular}"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(one.to_json() + "\n" for one in ROWS))
    return path


def test_the_command_prints_saved_rows_in_four_forms(saved, capsys):
    main(["table", str(saved)])
    assert capsys.readouterr().out.split("\n")[0].split()[:3] == ["task", "horizon", "task.pivots"]
    main(["table", str(saved), "--csv"])
    assert capsys.readouterr().out == to_csv(ROWS)
    main(["table", str(saved), "--latex", "--scores", "bias"])
    assert capsys.readouterr().out.startswith(r"\begin{tabular}")
    main(["table", str(saved), "--markdown", "--scores", "snr", "bias"])
    assert capsys.readouterr().out.split("\n")[0].endswith("estimator | snr | bias |")


def test_the_command_refuses_two_forms_and_answers_a_wrong_score_by_one_like_it(saved):
    with pytest.raises(
        SystemExit, match="must be one of --csv, --latex and --markdown, got several"
    ):
        main(["table", str(saved), "--csv", "--latex"])
    with pytest.raises(
        SystemExit, match="scores must be a known name, got 'bia': did you mean bias"
    ):
        main(["table", str(saved), "--scores", "bia"])
