"""Every experiment has what `casim run` needs, and its figure can be drawn from rows."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
from matplotlib.text import Text

from casim.compare import players

ROOT = Path(__file__).parent.parent
EXPERIMENTS = {
    path.stem: path
    for folder in ("experiments", "casim/examples")
    for path in sorted((ROOT / folder).glob("*.py"))
    # The others are programs of their own, with tests of their own.
    if "STUDY =" in path.read_text()
}


def load_experiment(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_studies_are_found():
    assert {"horizon", "anatomy"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("path", EXPERIMENTS.values(), ids=list(EXPERIMENTS))
def test_full_and_quick_differ_in_name_and_quick_is_smaller(path):
    experiment = load_experiment(path)
    assert experiment.STUDY.name != experiment.QUICK.name
    assert len(experiment.QUICK.tasks) * experiment.QUICK.replicates < (
        len(experiment.STUDY.tasks) * experiment.STUDY.replicates
    )


def drawn(experiment):
    """Rows of a small form of the quick study, and all words of its figure.

    One horizon, since each compiles every method anew and the words are those of all.
    """
    quick = experiment.QUICK
    small = dataclasses.replace(quick, tasks=(quick.tasks[0].with_horizon(8),))
    rows = dataclasses.replace(small, replicates=10).run(progress=False)
    return rows, " ".join(words_of(experiment.draw(rows)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["horizon"])
def test_the_figure_shows_every_method(name):
    experiment = load_experiment(EXPERIMENTS[name])
    rows, text = drawn(experiment)
    for row in rows:
        assert experiment.NAMES.get(row.label, row.label) in text


@pytest.mark.slow
def test_the_figure_of_parts_shows_every_part_of_every_method():
    experiment = load_experiment(EXPERIMENTS["anatomy"])
    rows, text = drawn(experiment)
    assert len({row.label for row in rows}) == len(experiment.QUICK.methods)
    for method in experiment.METHODS:
        assert method.name in text
        for player in players(method):
            assert experiment.PARTS.get(player.name, player.name) in text


def words_of(figure):
    """All that is written in a figure."""
    return [text.get_text().replace("\n", " ") for text in figure.findobj(Text)]
