"""Names of packages are there when they are asked for, and what reads shipped data needs no JAX."""

import importlib
import inspect
import json
import pickle
import subprocess
import sys
import typing
from importlib.util import find_spec

import pytest

import casim
import casim.compare
import casim.scores
import casim.survey
from casim import lazy

PACKAGES = (casim, casim.compare, casim.scores, casim.survey)

WITHOUT_JAX = """
import contextlib, io, json, sys
from casim.cli import main

said = io.StringIO()
with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
    main({words})
print(json.dumps([said.getvalue(), sorted({{"jax", "casim.methods"}} & set(sys.modules))]))
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["choose", "--setting", "agentic", "--turns", "20", "--reset", "True"], "GiGPO"),
        (["choose", "--setting", "reasoning", "--budget", "2000"], "R3 (reasoning, generous"),
        (["choose", "--setting", "multi_agent", "--auxiliary", "True"], "M-GRPO"),
        (["--help"], "Vary a knob, measure methods"),
        (["survey", "belief", "--format", "bibtex"], "@misc{"),
    ],
)
def test_a_shipped_answer_imports_neither_jax_nor_recipes(words, expected):
    """Which take two of the seconds that an answer may not take."""
    program = WITHOUT_JAX.format(words=words)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    said, imported = json.loads(ran.stdout)
    assert expected in said
    assert imported == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_names_are_listed_and_found(package):
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is vars(package)[name]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_no_lazy_name_is_that_of_another_module(package):
    """After an import of the module, the name would stand for it."""
    for name, place in lazy.places(inspect.getsource(package)).items():
        if place != package.__name__:
            assert find_spec(f"{package.__name__}.{name}") is None


def test_modules_are_names_too():
    assert casim.oracle is importlib.import_module("casim.oracle")
    with pytest.raises(AttributeError, match="module 'casim' has no attribute 'orakel'"):
        casim.orakel  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'orakel'"):
        exec("from casim import orakel")


def test_classes_are_pickled_and_their_types_are_known():
    assert pickle.loads(pickle.dumps(casim.Softmax)) is casim.Softmax
    assert typing.get_type_hints(casim.Study)["tasks"] == tuple[casim.Task, ...]
    assert typing.get_type_hints(casim.Row)["scores"] == dict[str, casim.scores.Score]


def test_a_name_is_imported_when_it_is_used(tmp_path, monkeypatch):
    folder = tmp_path / "shelf"
    folder.mkdir()
    lines = [
        "from typing import TYPE_CHECKING",
        "from casim.lazy import lazily",
        "if TYPE_CHECKING:",
        "    from shelf import book",
        "    from shelf.pages import number",
        "__getattr__, __dir__ = lazily(__name__)",
    ]
    (folder / "__init__.py").write_text("\n".join(lines))
    (folder / "book.py").write_text("title = 'lazy'")
    (folder / "pages.py").write_text("number = 7")
    monkeypatch.syspath_prepend(tmp_path)
    shelf = importlib.import_module("shelf")
    assert "shelf.pages" not in sys.modules
    assert {"book", "number"} <= set(dir(shelf))
    assert shelf.number == 7
    assert "shelf.book" not in sys.modules
    assert shelf.book.title == "lazy"
