"""`casim ablate` measures, prints, writes, draws, and goes on where it stopped."""

import csv
import itertools

import numpy as np
import pytest

import casim
from casim.cli import main
from casim.jobs import label_of
from casim.methods import recipe_of
from casim.report import describe
from tests.compare.samples import scored

POWERS = {"reward-to-go": -1.0, "Vine": -0.5}


def follow_laws(study, *_, **__):
    """Rows whose score is horizon^power, in place of measured ones."""
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal(10)
    rows = []
    for task, policy, method in itertools.product(study.tasks, study.policies, study.estimators):
        label = label_of(method)
        score = task.horizon ** (POWERS[label] - policy.scale) * noise
        names = {"study": study.name, "horizon": task.horizon, "num_steps": task.horizon}
        names |= {"task": describe(task), "policy": describe(policy)}
        recipe = {"estimator": describe(recipe_of(method))}
        rows.append(scored(label, {"snr_aligned": score}, **recipe, **names))
    return rows


def test_exponents_are_fitted_for_each_method_and_value_of_the_other_knob(
    tmp_path,
    capsys,
    monkeypatch,
):
    monkeypatch.setattr(casim.Study, "run", follow_laws)
    knobs = ["--over", "horizon=8..64", "--over", "scale=0,1", "--policy", "Softmax"]
    main(["ablate", *knobs, "--estimators", "REWARD_TO_GO", "Vine", "--out", str(tmp_path)])
    after = capsys.readouterr().out.split("score ~ task.horizon^exponent")[1]
    lines = [line.split() for line in after.splitlines() if "snr" in line]
    assert {(line[0], line[1]): line[3] for line in lines} == {
        ("reward-to-go", "0.0"): "-1",
        ("reward-to-go", "1.0"): "-2",
        ("Vine", "0.0"): "-0.5",
        ("Vine", "1.0"): "-1.5",
    }
    records = (tmp_path / "Bifurcation-horizon-scale.csv").read_text().splitlines()
    assert len(list(csv.DictReader(records))) == 16
    assert (tmp_path / "Bifurcation-horizon-scale.png").stat().st_size > 10_000


def _lines(out):
    """Of the table, without its head and without what a bar or a note prints."""
    return [line for line in out.splitlines() if line.startswith("Bifurcation  ")]


@pytest.mark.slow
def test_an_ablation_is_a_study_with_a_table_rows_records_a_figure_and_exponents(tmp_path, capsys):
    arguments = ["ablate", "--over", "horizon=2,4,8", "--estimators", "REWARD_TO_GO"]
    arguments += ["--replicates", "20", "--score", "bias", "snr_aligned", "--out", str(tmp_path)]
    main(arguments)
    out = capsys.readouterr().out
    path = tmp_path / "Bifurcation-horizon.jsonl"
    rows = casim.load(path)
    assert [(row.horizon, row.label) for row in rows] == [(x, "reward-to-go") for x in (2, 4, 8)]
    records = csv.DictReader(path.with_suffix(".csv").read_text().splitlines())
    assert {record["task.horizon"] for record in records} == {"2", "4", "8"}
    assert path.with_suffix(".png").stat().st_size > 10_000
    table, exponents = out.split("score ~ task.horizon^exponent")
    assert len(_lines(table)) == 3
    lines = [line.split() for line in exponents.splitlines() if line.startswith("reward-to-go")]
    fitted = {line[1]: float(line[2]) for line in lines}
    values = [row.scores["snr_aligned"].value for row in rows]
    plain = np.polyfit(np.log([2, 4, 8]), np.log(values), 1)[0]
    assert fitted["snr_aligned"] == pytest.approx(plain, abs=0.4)  # the same but for weights
    # Again, with nothing left to measure: the file is as it was.
    before = path.read_bytes()
    main(arguments)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_knobs_of_the_judge_and_of_the_study_share_a_file(tmp_path, capsys):
    knobs = ["--over", "fidelity=0.5,1", "--over", "num_trajectories=2,3", "--set", "horizon=4"]
    methods = ["--estimators", "ProcessReward(form=sum)", "RLOO"]
    more = ["--replicates", "10", "--seeds", "0", "1", "--name", "judged", "--out", str(tmp_path)]
    main(["ablate", *knobs, *methods, *more])
    rows = casim.load(tmp_path / "judged.jsonl")
    assert len(rows) == 16
    found = {(row.judge["fidelity"], row.num_trajectories) for row in rows}
    assert found == {*itertools.product((0.5, 1.0), (2, 3))}
    assert "exponent" not in capsys.readouterr().out
    assert (tmp_path / "judged.png").exists()


@pytest.mark.slow
def test_a_knob_of_estimators_leaves_the_others_as_they_are(tmp_path, capsys):
    knobs = ["--over", "horizon=2,3,4", "--over", "lambda=0,1"]
    methods = ["--estimators", "Gae", "REWARD_TO_GO", "--controls", "exact"]
    main(["ablate", *knobs, *methods, "--replicates", "10", "--out", str(tmp_path)])
    rows = casim.load(tmp_path / "Bifurcation-horizon-lambda.jsonl")
    labels = ["Gae(lambda=0.0)", "Gae(lambda=1.0)", "reward-to-go", "exact"]
    assert [row.label for row in rows] == labels * 3
    table, exponents = capsys.readouterr().out.split("score ~")
    assert len(_lines(table)) == 12
    assert exponents.count("\nreward-to-go") == 1


TWO = "horizon=2,3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--over", "discount=0.5,1"], "'discount' must say of what it is a field"),
        (["--over", "horizn=1,2"], "knob must be a known name, got 'horizn': did you mean hor"),
        (["--over", "horizon=8..2"], "a range a..b must have 0 < a <= b"),
        (["--over", TWO, "--over", "horizon=4,5"], "over must name 1 to 2 different knobs"),
        (["--over", TWO, "--score", "snr_alined"], "score must be.*did you mean snr_aligned"),
        (["--over", TWO, "--set", "gap=2"], "gap must be in"),
        (["--over", "depth=4,12", "--task", "Tree"], "2.2e.09 states.*choose smaller values"),
        (["--over", TWO, "--name", "../escape"], "name must be"),
        (["--over", TWO, "--replicates", "11"], "replicates must have a divisor"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["ablate", "--estimators", "Vine", "--out", str(tmp_path), *arguments])
    assert not list(tmp_path.iterdir())
