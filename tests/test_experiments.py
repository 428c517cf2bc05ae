"""Every experiment has what `casim run` needs, and its figure can be drawn from rows."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
from matplotlib.text import Text

EXPERIMENTS = [
    path
    for path in sorted((Path(__file__).parent.parent / "experiments").glob("*.py"))
    # The others are programs of their own, with tests of their own.
    if "STUDY =" in path.read_text()
]


def load_experiment(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_studies_are_found():
    assert "horizon" in [path.stem for path in EXPERIMENTS]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_full_and_quick_differ_in_name_and_quick_is_smaller(path):
    experiment = load_experiment(path)
    assert experiment.STUDY.name != experiment.QUICK.name
    assert len(experiment.QUICK.tasks) * experiment.QUICK.replicates < (
        len(experiment.STUDY.tasks) * experiment.STUDY.replicates
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_figure_shows_every_method(path):
    experiment = load_experiment(path)
    quick = experiment.QUICK
    small = dataclasses.replace(
        quick, tasks=tuple(t.with_horizon(8 + i) for i, t in enumerate(quick.tasks[:2]))
    )
    rows = dataclasses.replace(small, replicates=10).run()
    figure = experiment.draw(rows)
    text = " ".join(words_of(figure))
    for row in rows:
        assert experiment.NAMES.get(row.label, row.label) in text


def words_of(figure):
    """All that is written in a figure."""
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text)]
