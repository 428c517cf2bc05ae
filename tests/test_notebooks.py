"""Lessons keep the rules of `casim.teaching`, without being run; the documentation runs them."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from casim.cli.main import parse
from casim.lessons import COURSE
from casim.teaching import blanked, exercise, misjudged, run, solved, text
from casim.teaching.notebook import answer_in, file_name, tag_of

FOLDER = Path(__file__).parent.parent / "notebooks"
each = pytest.mark.parametrize("lesson", COURSE.lessons, ids=lambda lesson: lesson.name)


def code(lesson):
    return [cell for cell in lesson.cells() if cell.kind == "code"]


def names_set(source):
    """The names that a cell assigns or defines at its top level."""
    found = set()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            found.add(statement.name)
        for target in getattr(statement, "targets", []):
            found |= {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
    return found


def names_used(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_lessons_are_numbered_in_their_order():
    numbers = [lesson.number for lesson in COURSE.lessons]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_folder_holds_the_exercises_as_they_are_made():
    """`make notebooks` writes them."""
    made = {}
    for lesson in COURSE.lessons:
        notebook = exercise(lesson)
        made[file_name(notebook)] = text(notebook)
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert kept.keys() == made.keys()
    for name, wanted in made.items():
        assert kept[name] == wanted, f"{name} is out of date: make notebooks"


@each
def test_an_exercise_holds_no_answers_and_asks_for_the_same_names(lesson):
    shown = {}
    for cell in exercise(lesson)["cells"]:
        shown[answer_in(cell)] = "".join(cell["source"])
        assert "solution" not in cell["metadata"].get("tags", [])
    for cell in code(lesson):
        if "answer" not in cell.tags:
            continue
        asked = shown[tag_of(cell.question)]
        assert asked == blanked(cell.source)
        assert names_set(asked) == names_set(cell.source)
        for node in ast.walk(ast.parse(asked)):
            # Nothing is left but dots and what functions say of themselves.
            value = getattr(node, "value", ...)
            assert not isinstance(node, ast.Constant) or value is ... or isinstance(value, str)


@each
def test_every_question_is_asked_answered_and_checked_once_in_order(lesson):
    cells = code(lesson)
    answers = [cell.question for cell in cells if "answer" in cell.tags]
    checks = [cell.question for cell in cells if cell.question and "answer" not in cell.tags]
    explained = [cell.question for cell in lesson.cells() if "solution" in cell.tags]
    assert answers == checks == list(lesson.questions)
    assert set(explained) >= set(answers)
    asked = "\n".join(cell.source for cell in lesson.cells() if cell.kind == "markdown")
    for question in lesson.questions:
        assert f"**Question {question}.**" in asked


@each
def test_nothing_but_checks_and_answers_uses_what_readers_write(lesson):
    """So that the notebook runs from top to bottom while it is empty."""
    written = set()
    for cell in code(lesson):
        tree = ast.parse(cell.source)
        if "answer" in cell.tags:
            written |= names_set(cell.source)
        elif cell.question:
            (statement,) = tree.body
            assert isinstance(statement, ast.Expr)
            assert statement.value.func.id == "check"
            used = {argument.id for argument in statement.value.args[1:]}
            assert used <= written
        else:
            assert not names_used(tree) & written


@each
def test_a_lesson_ends_with_a_figure_an_open_question_and_a_command(lesson):
    *_, figure, last = lesson.cells()
    assert figure.kind == "code"
    assert "plt.show()" in figure.source
    assert last.kind == "markdown"
    assert "## An open question\n" in last.source
    (command,) = re.findall(r"## Carry on\n.*```sh\n(casim .*)\n```", last.source, re.DOTALL)
    words = shlex.split(command.replace("\\\n", ""))
    assert parse(words[1:])


@each
def test_no_line_inside_a_formula_begins_as_a_list_does(lesson):
    """Markdown would make a list of what follows a minus at the beginning of a line."""
    for cell in lesson.cells():
        inside = False
        for line in cell.source.splitlines() if cell.kind == "markdown" else ():
            begins = re.match(r"([-+*#>]|\d+[.)])( |$)", line)
            assert not (inside and begins), line
            inside ^= line.count("$") % 2 == 1


@each
def test_titles_agree(lesson):
    first = lesson.cells()[0]
    assert first.kind == "markdown"
    assert first.source.startswith(f"# {lesson.title}\n\n")


@each
def test_notebooks_hold_no_outputs(lesson):
    for notebook in (exercise(lesson), solved(lesson)):
        for cell in notebook["cells"]:
            assert cell.get("outputs", []) == []
            assert cell.get("execution_count") is None
        assert json.loads(text(notebook)) == notebook


@pytest.mark.slow
def test_an_exercise_runs_while_it_is_empty_and_its_wrong_answers_are_told_what_they_are():
    """Of the other lessons the rules above say the former, the build of the docs the latter."""
    lesson = COURSE.lesson(1)
    sources = ["".join(c["source"]) for c in exercise(lesson)["cells"] if c["cell_type"] == "code"]
    verdicts = run(sources)
    assert list(verdicts) == list(lesson.questions)
    for verdict in verdicts.values():
        assert verdict.state == "missing"
        assert "nothing here yet" in verdict.text
    assert misjudged(lesson) == []
