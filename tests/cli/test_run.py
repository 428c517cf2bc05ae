"""`casim run` that fails, is stopped or runs again; `casim figure` of rows of many kinds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import casim
from casim.cli import main
from casim.running import Runner
from casim.storage import append, beside, read

EXPERIMENT = """
import dataclasses
from typing import ClassVar

import casim
from casim.estimators.base import cost
from casim.targets import Advantage, Target


@dataclasses.dataclass(frozen=True)
class Mine(casim.Estimator):
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, key, world, batch, credit, state):
        return credit._replace(value={credit}), state


def study(name, replicates):
    task = casim.Bifurcation(horizon=5, pivots=(2,))
    estimators = (casim.methods.REINFORCE, Mine())
    return casim.Study(name, (task,), estimators, replicates=replicates, controls=())


STUDY, QUICK, SCORES = study("full", 20), study("small", 10), ("rmse", "batch_steps")


def draw(rows):
    import matplotlib.figure

    if {strict} and len(rows) < 2:
        raise KeyError("Mine")
    figure = matplotlib.figure.Figure()
    figure.suptitle(", ".join(row.label for row in rows))
    return figure
"""
GOOD = "batch.reward"
DOUBLE = "2 * batch.reward"
SHORT = "batch.reward[..., 1:]"


@pytest.fixture(autouse=True)
def _compiled_ahead(unhooked):
    """Ahead-of-time compilation rebuilds worlds out of shapes, which the run-time types refuse."""


@pytest.fixture
def experiment(tmp_path):
    def written(credit=GOOD, strict=False):
        path = tmp_path / "trial.py"
        path.write_text(EXPERIMENT.format(credit=credit, strict=strict))
        return str(path)

    return written


def run(path, tmp_path, *more):
    main(["run", path, "--quick", "--out", str(tmp_path), "--no-cache", *more])


@pytest.mark.slow
def test_a_method_that_fails_leaves_table_rows_and_figure_of_the_others_and_status_1(
    experiment, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        run(experiment(SHORT), tmp_path)
    reason = "credit must have shape [P, N, T] = [1, 8, 5], got [1, 8, 4]"
    why = f"Mine on Bifurcation(horizon=5, pivots=(2,)), Uniform, seed 0: {reason}"
    assert (
        ended.value.code == f"casim: 1 of 2 rows of small failed, the others are finished:\n  {why}"
    )
    out = capsys.readouterr().out
    assert f"failed: {why}" in out
    assert "1 new rows" in out
    assert [row.label for row in casim.load(tmp_path / "small.jsonl")] == ["REINFORCE"]
    assert (tmp_path / "small.png").exists()


@pytest.mark.slow
def test_where_it_failed_is_shown_on_request_and_a_figure_that_needs_it_is_not_the_news(
    experiment, tmp_path, capsys
):
    with pytest.raises(SystemExit, match="casim: 1 of 2 rows of small failed"):
        run(experiment("1 / 0", strict=True), tmp_path, "--traceback")
    shown = capsys.readouterr()
    assert "trial.py" in shown.err
    assert "value=1 / 0" in shown.err
    assert "ZeroDivisionError: division by zero" in shown.err
    assert "no figure of these rows alone: " in shown.out
    assert not (tmp_path / "small.png").exists()


@pytest.mark.slow
def test_an_interruption_says_what_is_kept_and_how_to_go_on_without_a_traceback(
    experiment, tmp_path, capsys, monkeypatch
):
    finish = Runner._finish

    def stop(self, row, new):
        finish(self, row, new)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_finish", stop)
        with pytest.raises(SystemExit) as ended:
            run(experiment(), tmp_path)
    assert ended.value.code == 130
    path = tmp_path / "small.jsonl"
    said = (
        f"small was interrupted after 1 of 2 rows; they are kept in {path}: "
        "run it again to measure the others"
    )
    assert capsys.readouterr().err == f"casim: {said}\n"
    run(experiment(), tmp_path)
    assert "1 new rows" in capsys.readouterr().out


@pytest.mark.slow
def test_an_edited_method_is_measured_again_and_fresh_measures_everything(
    experiment, tmp_path, capsys
):
    def worth():
        return [(row.label, row.scores["rmse"].value) for row in read(path) if row.label == "Mine"]

    path = tmp_path / "small.jsonl"
    run(experiment(), tmp_path)
    run(experiment(DOUBLE), tmp_path)
    out = capsys.readouterr().out
    assert f"1 row of another version left out; they stay in {path}" in out
    assert "1 new rows" in out
    (_, first), (_, second) = worth()
    assert second > first
    # The code is what it was: so are the rows.
    run(experiment(), tmp_path)
    assert "0 new rows" in capsys.readouterr().out
    run(experiment(), tmp_path, "--fresh")
    out = capsys.readouterr().out
    assert f"3 rows of small put aside in {beside(path, '.old')}" in out
    assert "2 new rows" in out
    assert [value for _, value in worth()] == [first]
    assert len(read(beside(path, ".old"))) == 3


def test_only_what_the_experiment_asks_for_is_drawn(experiment, tmp_path, capsys):
    path = tmp_path / "small.jsonl"
    run(experiment(), tmp_path)
    (first, second) = read(path)
    append(path, dataclasses.replace(first, study="other"))
    append(path, dataclasses.replace(second, replicates=40))
    append(path, dataclasses.replace(second, sources=second.sources | {"trial:Mine": "newer"}))
    capsys.readouterr()
    main(["figure", experiment(), str(path), "--out", str(tmp_path / "all.png")])
    out = capsys.readouterr().out
    assert "2 rows left out, which the study does not ask for" in out
    assert "versions" not in out
    append(path, dataclasses.replace(first, sources={"casim": "newer"}))
    main(["figure", experiment(), str(path), "--out", str(tmp_path / "all.png")])
    assert "rows of 2 versions of casim are drawn together" in capsys.readouterr().out
    path.write_text(dataclasses.replace(first, study="other").to_json())
    with pytest.raises(
        SystemExit,
        match=r"must hold rows of full or small as .* asks for them now, got none among 1",
    ):
        main(["figure", experiment(), str(path)])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "SCORES = ('bias', 'rmes')",
            r"SCORES in .*trial.py must be a known name, got 'rmes': did you mean rmse",
        ),
        ("def draw(): pass", "draw in .* must be a function of rows, got <function draw"),
        ("def draw(rows, size): pass", "draw in .* must be a function of rows"),
        ("STUDY = [STUDY]", "STUDY in .* must be a casim.Study"),
        ("STUDY = study('../up', 20)", "name must be 1 to 100 letters"),
        (
            "STUDY = casim.Study('x', (casim.Bifurcation(),), (Mine,))",
            r"estimators must hold instances, got the class Mine: write Mine\(\)",
        ),
    ],
)
def test_what_is_wrong_in_an_experiment_is_found_before_anything_runs(
    tmp_path, experiment, line, message
):
    path = experiment()
    Path(path).write_text(Path(path).read_text() + line + "\n")
    with pytest.raises(SystemExit, match=message):
        run(path, tmp_path)
    assert not (tmp_path / "small.jsonl").exists()
