"""`casim demo`: the study that comes with the package, run as a file is."""

from pathlib import Path

import pytest

from casim.cli.demo import Demo
from casim.cli.main import main
from casim.cli.run import Run

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.fixture
def asked(monkeypatch):
    """What a run would measure: the file, the study, the folder."""
    seen = []

    def measure(run, experiment, goal):
        study = experiment.QUICK if run.quick else experiment.STUDY
        seen.append((run.path.name, study.name, str(run.out)))

    monkeypatch.setattr(Run, "_measure", measure)
    return seen


def test_the_demo_is_found_wherever_it_is_typed(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["demo", "--no-cache"])
    main(["demo", "--no-cache", "--full", "--out", "elsewhere"])
    quick = ("horizon.py", "horizon_quick", "results")
    full = ("horizon.py", "horizon", "elsewhere")
    assert asked == [quick, full]


def test_make_demo_is_the_demo():
    assert f"$(BIN)/casim demo --out {Demo().out}\n" in MAKEFILE.read_text()
