"""The command line: lists, shows, runs, resumes, draws, and says what is wrong with bad input."""

import re

import jax
import pytest

import casim
from casim.cli import main
from casim.cli.machine import keep_programs
from casim.cli.main import COMMANDS, command

EXPERIMENT = """
import casim
from casim.figures import panel, style

def study(name, replicates):
    task = casim.Bifurcation(horizon=5, pivots=(2,))
    return casim.Study(
        name, (task,), (casim.methods.RLOO,), replicates=replicates, controls=("exact",)
    )

STUDY, QUICK, SCORES = study("full", 20), study("small", 10), ("bias", "snr")

def draw(rows):
    import matplotlib.pyplot as plt
    with style():
        figure, axes = plt.subplots(layout="constrained")
        panel(axes, rows, "bias", x="task.horizon")
    return figure
"""


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "experiment.py"
    path.write_text(EXPERIMENT)
    return path


def test_help_has_a_line_of_each_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in COMMANDS:
        first, *_ = command(name).__doc__.splitlines()
        assert f"• {name} {first}" in words
    assert "Sixteen methods" not in words
    assert "`casim COMMAND --help` says more" in words


def test_list_names_every_recipe(capsys):
    main(["list"])
    out = capsys.readouterr().out
    for recipe in (*casim.TASKS, *casim.ESTIMATORS, *casim.POLICIES):
        assert recipe.__name__ in out


def test_show_prints_formula_source_and_defaults(capsys):
    main(["show", "Vine"])
    out = capsys.readouterr().out
    assert "In maths" in out
    assert "2410.01679" in out
    assert "Vine(num_branches=4, unit='segment', discount=None, shared=False" in out


def test_show_prints_what_is_known_of_a_method_and_its_parts(capsys):
    main(["show", "RLOO"])
    out = capsys.readouterr().out
    assert "In maths" in out
    assert "arxiv: 2402.14740" in out
    for part in casim.methods.RLOO.recipe.parts:
        assert f"{type(part).__name__}(" in out


def test_list_names_every_preset_and_every_horizon_knob(capsys):
    main(["list"])
    out = capsys.readouterr().out
    for name in casim.PRESETS:
        assert name in out
    for task in casim.TASKS:
        assert f"horizon knob: {task.knob}" in out


def test_show_of_a_task_solves_and_draws_it(capsys, tmp_path):
    main(["show", "InformationSeeking", "--horizon", "3", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "T = 3, S = 6, O = 3, A = 2, M = 3" in out
    assert "expected return of the uniform policy: 0.45" in out  # a guess, and half a question
    assert "0 = (0, -1)" in out
    assert (tmp_path / "InformationSeeking.png").stat().st_size > 10_000


@pytest.mark.slow
def test_show_of_a_preset_names_its_settings(capsys, tmp_path):
    main(["show", "reasoning_500", "--horizon", "2", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "ReasoningChain(num_steps=2, tokens_per_step=50" in out
    assert (tmp_path / "reasoning_500.png").exists()


def test_show_of_an_unknown_name_says_which_there_are():
    message = r"one of the \d+ names that `casim list` prints, got 'Nothing'"
    with pytest.raises(SystemExit, match=message):
        main(["show", "Nothing"])


def test_run_saves_rows_and_a_figure_and_draws_again_from_the_rows(experiment, tmp_path, capsys):
    main(["run", str(experiment), "--quick", "--out", str(tmp_path / "out")])
    rows = casim.load(tmp_path / "out" / "small.jsonl")
    assert [row.label for row in rows] == ["RLOO", "exact"]
    assert (tmp_path / "out" / "small.png").stat().st_size > 1000
    assert "RLOO" in capsys.readouterr().out
    main(
        [
            "figure",
            str(experiment),
            str(tmp_path / "out" / "small.jsonl"),
            "--out",
            str(tmp_path / "again.png"),
        ]
    )
    assert (tmp_path / "again.png").stat().st_size > 1000


def test_run_says_how_it_measured_and_what_took_how_long(experiment, tmp_path, capsys):
    main(
        [
            "run",
            str(experiment),
            "--quick",
            "--out",
            str(tmp_path),
            "--devices",
            "1",
            "--memory",
            "2",
        ]
    )
    out = capsys.readouterr().out
    assert "Bifurcation at 5: T = 5, 10 blocks of 1 groups, in chunks of 1 on 1 x cpu" in out
    assert re.search(r"2 new rows: \d+\.\d s to compile and solve, \d+\.\d s to run", out)
    assert re.search(r"estimator +bias +snr +compile s +run s", out)
    main(["run", str(experiment), "--quick", "--out", str(tmp_path)])
    assert "0 new rows" in capsys.readouterr().out


def test_run_with_more_devices_than_there_are_says_so(experiment, tmp_path):
    with pytest.raises(SystemExit, match=r"casim: devices must be in \[1, \d+\], got 999"):
        main(["run", str(experiment), "--quick", "--out", str(tmp_path), "--devices", "999"])


def test_compiled_programs_are_kept_where_one_says_or_jax_was_told_or_with_the_user(
    monkeypatch, tmp_path
):
    before = jax.config.jax_compilation_cache_dir
    try:
        keep_programs(tmp_path / "here")
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "here")
        keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "here")
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "casim")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_file_that_is_no_experiment_says_what_is_missing(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("STUDY = 1\n")
    with pytest.raises(
        SystemExit, match="must define STUDY, QUICK, SCORES, draw, got none of the name 'QUICK'"
    ):
        main(["run", str(path)])


def test_rows_with_an_unknown_key_are_refused(experiment, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"color": "blue"}\n')
    with pytest.raises(SystemExit, match=r"line 1: row key must be one of .*got 'color'"):
        main(["figure", str(experiment), str(tmp_path / "rows.jsonl")])
