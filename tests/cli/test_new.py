"""`casim new` writes files that work as they are: their contracts are run on them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.cli import main
from casim.cli.experiment import opened
from casim.types import Batch
from casim.wellformed import check_mdp


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def imported(monkeypatch, path):
    """A written module; dataclasses look theirs up by name."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_a_new_estimator_computes_what_its_docstring_says(here, monkeypatch, capsys):
    main(["new", "estimator", "my_method"])
    assert "my_method.py: try it with `python my_method.py`" in capsys.readouterr().out
    made = imported(monkeypatch, here / "my_method.py")
    reward = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    live = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], bool)
    label = np.zeros(reward.shape, np.int8)
    batch = casim.Trajectory(label, label, label, np.zeros(reward.shape), reward, live)
    future = np.array([[1.0, 2.0, 2.0], [3.0, 0.0, 0.0], [2.5, 5.0, 0.0]])  # at discount 0.5
    wanted = (future - (future.sum(0) - future) / 2) * live
    group = jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
    credit = made.MyMethod(discount=0.5).credit(jax.random.key(0), None, Batch.of(group))
    np.testing.assert_allclose(credit.value[0], wanted, rtol=1e-6)


def test_a_new_task_builds_and_is_solved(here, monkeypatch):
    main(["new", "task", "Drafts"])
    made = imported(monkeypatch, here / "Drafts.py")
    mdp = check_mdp(made.Drafts(horizon=3, skill=0.7).build())
    prob, reward, successor = (np.asarray(x, float) for x in (mdp.prob, mdp.reward, mdp.successor))
    value = np.zeros(len(mdp.start))
    for kernel in reversed(np.asarray(mdp.schedule)):
        value = (
            (prob[kernel] * (reward[kernel] + value[successor[kernel].astype(int)])).sum(-1).max(-1)
        )
    # Two steps of work: level 2 pays 1, level 1 pays 1/2; after a failure the level is 0.
    assert value @ np.asarray(mdp.start) == pytest.approx(0.7 * 0.7 + 0.3 * 0.7 / 2, abs=1e-6)


def test_a_new_experiment_has_what_a_run_needs_and_speaks_of_itself(here, capsys):
    main(["new", "experiment", "first"])
    assert "first.py: try it with `casim run first.py --quick`" in capsys.readouterr().out
    with opened(here / "first.py") as experiment:
        assert (experiment.STUDY.name, experiment.QUICK.name) == ("first", "first_quick")
    assert "new_experiment" not in (here / "first.py").read_text()


@pytest.mark.slow
def test_a_new_experiment_runs_with_a_new_estimator_and_a_new_task_beside_it(here):
    for what, name in (("experiment", "first"), ("estimator", "Mine"), ("task", "world")):
        main(["new", what, name])
    text = (here / "first.py").read_text()
    text = text.replace(
        "import casim\n", "import casim\nfrom Mine import Mine\nfrom world import World\n", 1
    )
    text = text.replace("casim.Vine(),", "Mine(),")
    text = text.replace("casim.Bifurcation(horizon=horizon, noise=0.05)", "World(horizon)")
    (here / "first.py").write_text(text)
    main(["run", "first.py", "--quick"])
    rows = casim.load("results/first_quick.jsonl")
    assert {row.task["recipe"] for row in rows} == {"World"}
    assert "Mine" in {row.label for row in rows}
    assert Path("results/first_quick.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("what", ["estimator", "task"])
def test_a_new_file_checks_itself(here, what):
    main(["new", what, "brand_new"])
    done = subprocess.run(
        [sys.executable, "brand_new.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"BrandNew passes the contract of {what}s\n"


def test_nothing_is_overwritten(here):
    (here / "mine.py").write_text("precious")
    with pytest.raises(SystemExit, match=r"mine.py must not exist yet: nothing is overwritten"):
        main(["new", "task", "mine"])
    assert (here / "mine.py").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("9lives", "a Python identifier"),
        ("my-method", "a Python identifier"),
        ("../escape", "a Python identifier"),
        ("class", "a Python identifier"),
        ("json", "not be that of an installed module"),
        ("casim", "not be that of an installed module"),
        ("ClassVar", "not be one that the file uses itself"),
        ("Source", "not be one that the file uses itself"),
    ],
)
def test_a_name_that_cannot_be_imported_or_hides_something_is_refused(here, name, reason):
    with pytest.raises(SystemExit, match=f"name must .*{reason}.*, got '{name}'"):
        main(["new", "estimator", name])
    assert not list(here.iterdir())
