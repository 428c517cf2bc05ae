"""Experiment files are modules: classes of their own, neighbours, errors with a line."""

import sys

import pytest

import casim
from casim.cli import main
from casim.cli.experiment import blaming, opened

PARTS = """
import casim

STUDY = casim.Study("full", (casim.Bifurcation(5, (2,)),), (casim.methods.RLOO,), replicates=20)
QUICK = STUDY
SCORES = ("bias",)


def draw(rows):
    import helper

    return helper.ANSWER
"""


def written(folder, name="experiment", before="", after=""):
    path = folder / f"{name}.py"
    path.write_text(before + PARTS + after)
    return path


def test_a_file_may_postpone_annotations_and_define_recipes_of_its_own(tmp_path):
    own = """from __future__ import annotations
import dataclasses
from typing import ClassVar
@dataclasses.dataclass(frozen=True)
class Settings:
    kind: ClassVar[str] = "none"
    size: int = 3
"""
    with opened(written(tmp_path, before=own)) as experiment:
        assert isinstance(experiment.STUDY, casim.Study)
        assert sys.modules["experiment"] is experiment
        assert experiment.Settings(4).size == 4
        assert experiment.Settings.__module__ == "experiment"


def test_a_file_imports_its_neighbours_while_it_is_open_and_leaves_nothing_behind(tmp_path):
    for answer in (42, 43):
        folder = tmp_path / str(answer)
        folder.mkdir()
        (folder / "helper.py").write_text(f"ANSWER = {answer}\n")
        before = list(sys.path)
        with opened(written(folder)) as experiment:
            assert experiment.draw([]) == answer
        assert sys.path == before
        assert not {"experiment", "helper"} & set(sys.modules)


@pytest.mark.parametrize("name", ["random", "numpy", "casim", "json"])
def test_a_file_with_the_name_of_an_installed_module_is_refused(tmp_path, name):
    before = sys.modules.get(name)
    with (
        pytest.raises(
            ValueError, match=rf"named like an installed module \(.*\), got .*{name}.py$"
        ),
        opened(written(tmp_path, name)),
    ):
        pass
    assert sys.modules.get(name) is before


@pytest.mark.parametrize(
    ("after", "line", "said"),
    [
        ("\ncasim.Bifurcation(horizon=-1)\n", 14, "ValueError: horizon must be in"),
        ("\n\ndef f():\n    return 1 / 0\n\nf()\n", 16, "ZeroDivisionError: division by zero"),
        ("\nx = = 1\n", 14, "SyntaxError: invalid syntax"),
        (
            "\nimport nowhere_to_be_found\n",
            14,
            "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
    ],
)
def test_a_file_that_raises_is_blamed_by_its_line(tmp_path, after, line, said):
    path = written(tmp_path, after=after)
    with pytest.raises(SystemExit, match=rf"^casim: {path}, line {line}: {said}[^\n]*$"):
        main(["run", str(path)])
    assert "experiment" not in sys.modules


def test_a_neighbour_that_raises_is_named_too(tmp_path):
    (tmp_path / "helper.py").write_text("\n\nANSWER = 1 / 0\n")
    path = written(tmp_path)
    message = f"{path}, line 10, from helper.py, line 3: ZeroDivisionError"
    with opened(path) as experiment, pytest.raises(ValueError, match=message), blaming(path):
        experiment.draw([])


def test_the_traceback_is_printed_on_request(tmp_path, capsys):
    path = written(tmp_path, after="\ncasim.Bifurcation(horizon=-1)\n")
    with pytest.raises(SystemExit):
        main(["run", str(path)])
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", str(path), "--traceback"])
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "in check_range" in err


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("\nSTUDY = 1\n", "STUDY in .* must be a casim.Study, got 1"),
        ("\nSCORES = 'bias'\n", "SCORES in .* must be a tuple of names of scores, got 'bias'"),
        ("\ndraw = None\n", "draw in .* must be a function of rows, got None"),
        ("\ndel QUICK\n", "must define STUDY, QUICK, SCORES, draw, got none of the name 'QUICK'"),
    ],
)
def test_a_part_of_the_wrong_type_is_refused_before_anything_runs(tmp_path, after, message):
    with pytest.raises(SystemExit, match=message):
        main(["run", str(written(tmp_path, after=after))])


def test_no_file_and_no_python_file_are_refused(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    for path in (tmp_path / "missing.py", tmp_path / "text.txt", tmp_path):
        with pytest.raises(SystemExit, match="path must be a Python file, got"):
            main(["run", str(path)])
