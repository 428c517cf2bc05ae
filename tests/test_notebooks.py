"""Notebooks run from top to bottom with and without answers, and are kept without either."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from casim.teaching import solution

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def predictions(notebook):
    """Cells in which the reader writes."""
    return [cell for cell in notebook.cells if "prediction" in cell.metadata.get("tags", [])]


def lesson_of(path):
    """The file of its solutions: `01_what_is_credit.ipynb` has `what_is_credit.md`."""
    return path.stem.partition("_")[2]


def answers(path, number):
    """The code in a solution."""
    return re.search(
        r"```python\n(.*?)```", solution(lesson_of(path), number).text, re.DOTALL
    ).group(1)


def names_set(code):
    return [statement.targets[0].id for statement in ast.parse(code).body]


def said(cell):
    """What a cell returned, as text."""
    outputs = [
        output for output in cell.get("outputs", []) if output.output_type == "execute_result"
    ]
    return "".join(output.data["text/plain"] for output in outputs)


def execute(notebook):
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    checks = [
        cell for cell in notebook.cells if cell.cell_type == "code" and "check(" in cell.source
    ]
    return [said(cell) for cell in checks]


@each
def test_notebook_holds_no_outputs(path):
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@each
def test_predictions_are_empty_and_solutions_set_the_same_names(path):
    cells = predictions(read(path))
    assert cells
    for number, cell in enumerate(cells, start=1):
        for statement in ast.parse(cell.source).body:
            assert isinstance(statement, ast.Assign)
            assert ast.unparse(statement.value) == "None"
        assert names_set(cell.source) == names_set(answers(path, number))


@each
def test_no_solution_is_shown_before_it_is_asked_for(path):
    for cell in read(path).cells:
        assert cell.cell_type == "markdown" or not re.search(
            r"^solution\(", cell.source, re.MULTILINE
        )


@each
def test_it_says_how_to_open_it(path):
    first = read(path).cells[0].source
    assert '".[notebooks]"' in first
    assert f"jupyter lab notebooks/{path.name}" in first


@pytest.mark.slow
@each
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs_without_answers_and_says_what_is_missing(path):
    notebook = read(path)
    checks = execute(notebook)
    assert len(checks) == len(predictions(notebook))
    assert all("nothing here yet" in text and "not yet:" not in text for text in checks)


@pytest.mark.slow
@each
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_solutions_are_right(path):
    notebook = read(path)
    for number, cell in enumerate(predictions(notebook), start=1):
        cell.source = answers(path, number)
    checks = execute(notebook)
    assert len(checks) == len(predictions(notebook))
    for text in checks:
        assert "right" in text
        assert "nothing here yet" not in text
        assert "not yet:" not in text
        assert "wanted" not in text
