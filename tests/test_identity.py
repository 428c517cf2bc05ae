"""Digests of source: any edit of the code behind a recipe changes them, and nothing else does."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import linecache
import sys
import textwrap
from pathlib import Path

import pytest

import casim
from casim import identity
from casim.identity import CASIM, digest, digest_of_package, place, sources

NAMES = (f"outside_{number}" for number in itertools.count())
"""Modules of one name would be one module."""
ESTIMATOR = """
    import dataclasses
    import casim
    {more}

    @dataclasses.dataclass(frozen=True)
    class Mine(casim.Estimator):
        def __call__(self, key, world, batch):
            return {value}
"""


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch):
    """Python tells an edited file by its time, which is too coarse for tests."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, value="1", more="") -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(ESTIMATOR).format(value=value, more=more))
    importlib.invalidate_caches()


def load(name: str):
    """The class of a module that is read again, as a new process would read it."""
    for module in [module for module in sys.modules if module.startswith("outside_")]:
        del sys.modules[module]
    return importlib.import_module(name).Mine


def digest_of(kind) -> str:
    return sources({kind})[place(kind)]


def test_casims_own_recipes_share_one_digest_of_its_files():
    found = sources({casim.Vine, casim.Bifurcation, casim.Uniform, casim.Judge})
    assert list(found) == [CASIM]
    assert found[CASIM] == digest_of_package(Path(casim.__file__).parent)
    assert len(found[CASIM]) == identity.DIGITS
    assert int(found[CASIM], 16) >= 0


def test_a_package_is_its_python_files_and_where_they_are(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "one.py").write_text("x = 1\n")
    (tmp_path / "part" / "two.py").write_text("y = 2\n")
    before = digest_of_package(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to do with it")
    assert digest_of_package(tmp_path) == before
    (tmp_path / "one.py").write_text("x = 2\n")
    edited = digest_of_package(tmp_path)
    (tmp_path / "one.py").rename(tmp_path / "part" / "one.py")
    assert len({before, edited, digest_of_package(tmp_path)}) == 3


def test_names_and_texts_are_told_apart():
    texts = ({"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": "", "bc": ""}, {})
    assert len({digest(text) for text in texts}) == len(texts)
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})


def test_an_edit_of_the_module_changes_the_digest_and_a_fresh_process_does_not(folder):
    name = next(NAMES)
    write(folder, name)
    first = digest_of(load(name))
    assert digest_of(load(name)) == first
    write(folder, name, value="2")
    assert digest_of(load(name)) != first
    write(folder, name, more="SCALE = 2")
    assert digest_of(load(name)) != first


def test_an_edit_of_a_module_that_it_uses_changes_the_digest(folder):
    name, helper, far = (next(NAMES) for _ in range(3))
    (folder / f"{far}.py").write_text("BASE = 1\ndef base(): return BASE\n")
    (folder / f"{helper}.py").write_text(f"from {far} import base\ndef scale(): return base()\n")
    write(folder, name, value=f"{helper}.scale()", more=f"import {helper}")
    first = digest_of(load(name))
    (folder / f"{far}.py").write_text("BASE = 2\ndef base(): return BASE\n")
    assert digest_of(load(name)) != first


def test_an_empty_module_beside_it_hides_nothing(folder):
    name, empty = next(NAMES), next(NAMES)
    (folder / f"{empty}.py").write_text("")
    write(folder, name, more=f"import {empty}")
    assert not digest_of(load(name)).startswith("unknown")


def test_the_digest_is_of_the_code_that_was_loaded_and_not_of_a_later_edit(folder):
    name = next(NAMES)
    write(folder, name)
    kind = load(name)
    first = digest_of(kind)
    write(folder, name, value="2")
    assert digest_of(kind) == first
    importlib.reload(sys.modules[name])
    assert digest_of(sys.modules[name].Mine) != first


def test_two_classes_of_one_name_are_two(folder):
    one, other = next(NAMES), next(NAMES)
    write(folder, one)
    write(folder, other)
    kinds = {load(one), load(other)}
    assert len({place(kind) for kind in kinds}) == 2
    assert len(sources(kinds)) == 3  # and casim


def test_a_file_that_is_loaded_by_its_path_is_found_by_its_methods(tmp_path):
    name = next(NAMES)
    write(tmp_path, name)

    def loaded():
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return digest_of(module.Mine)

    first = loaded()
    assert first == loaded()
    write(tmp_path, name, value="2")
    assert loaded() != first


def typed(source: str, name: str):
    """Runs a cell as notebooks do: its lines can be found under the name of the cell."""
    source = textwrap.dedent(source)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    cell = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), cell)
    return cell["Mine"]


def test_what_is_typed_into_a_notebook_has_the_digest_of_its_cell(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", type(sys)("__main__"))  # which has no file
    one, edited = (ESTIMATOR.format(value=value, more="") for value in (1, 2))
    first = digest_of(typed(one, "<cell 1>"))
    assert not first.startswith("unknown")
    assert digest_of(typed(one, "<cell 2>")) == first
    assert digest_of(typed(edited, "<cell 3>")) != first


def test_a_class_whose_source_is_nowhere_gets_a_mark_of_its_own():
    def made():
        cell = {"__name__": "nowhere"}
        exec(textwrap.dedent(ESTIMATOR.format(value=1, more="")), cell)
        return digest_of(cell["Mine"])

    one, other = made(), made()
    assert one.startswith("unknown-")
    assert other.startswith("unknown-")
    assert one != other


def test_recipes_in_tests_are_found_too():
    """They are rewritten when they are loaded; their source is not."""

    class Local(casim.Policy):
        def table(self, mdp):
            raise NotImplementedError

    assert not digest_of(Local).startswith("unknown")
