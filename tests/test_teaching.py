"""Answers are judged: right, a known mistake, another, missing. Sources become notebooks."""

import json
from pathlib import Path

import numpy as np
import pytest

from casim.cli import main
from casim.teaching import (
    Answer,
    Cell,
    Course,
    Lesson,
    Verdict,
    blanked,
    cells,
    exercise,
    grade,
    judge,
    misjudged,
    run,
    solved,
    text,
    together,
    write,
)

HINTS = {"that is V, and not A": 0.5, "that is Q, and not A": 0.8}
NUMBER = Answer(0.3, HINTS, "Compare with V.")
WORD = Answer("falls", {"it has less to go on": "grows", "look again": "stays"})
SOURCE = '''# %% [markdown]
# # Halves
#
# A paragraph with $x^2$.

# %% tags=["hide-input"]
x = 3

# %% tags=["answer"]
half = x / 2  # of x
both = {
    "x": x,
    "é": half,
}  # and behind


def quarter(y):
    """A quarter of y."""
    # one line
    z = y / 2
    return z / 2  # half of it
    # a half of a half


# %%
check("7.1", half)

# %% [markdown] tags=["solution"]
# It is half.

# %% [markdown]
# So it is.

# %% [markdown] tags=["solution"]
# Of no question.
'''
BLANKED = '''half = ...  # of x
both = ...  # and behind


def quarter(y):
    """A quarter of y."""
    # one line
    ...
'''


@pytest.fixture
def lesson(tmp_path):
    path = tmp_path / "07_halves.py"
    path.write_text(SOURCE)
    return Lesson(
        number=7,
        title="Halves",
        minutes=5,
        goals=("halve", "quarter"),
        needs="numbers",
        source=path,
        questions={"7.1": lambda: Answer(1.5, {"that is x": 3.0})},
    )


@pytest.mark.parametrize(
    ("written", "state", "said"),
    [
        (0.3, "right", "right"),
        (0.3004, "right", "right"),
        (np.float32(0.3), "right", "right"),
        (0.5, "wrong", "not yet: that is V, and not A"),
        (0.8, "wrong", "not yet: that is Q, and not A"),
        (-0.3, "wrong", "not yet: the size is right, and the sign is not"),
        (0.31, "wrong", "not yet: too large. Compare with V."),
        (-4, "wrong", "not yet: too small. Compare with V."),
        (float("nan"), "wrong", "not yet: it must be finite. Compare with V."),
        (None, "missing", "nothing here yet: write a number"),
        (..., "missing", "nothing here yet: write a number"),
        ("a third", "wrong", "a number is wanted, got 'a third'"),
        ([0.3, 0.3], "wrong", "a number is wanted, got an array of shape (2,)"),
    ],
)
def test_a_number_is_judged(written, state, said):
    assert judge(written, NUMBER) == Verdict(state, said)


@pytest.mark.parametrize(
    ("written", "state", "said"),
    [
        (" Falls", "right", "right"),
        ("grows", "wrong", "not yet: it has less to go on"),
        ("jumps", "wrong", "one of 'falls', 'grows', 'stays' is wanted, got 'jumps'"),
        (..., "missing", "nothing here yet: write one of 'falls', 'grows', 'stays'"),
    ],
)
def test_a_word_is_judged(written, state, said):
    assert judge(written, WORD) == Verdict(state, said)


def no_number(x):
    raise TypeError("no number")


@pytest.mark.parametrize(
    ("written", "state", "said"),
    [
        (lambda x: x / 2, "right", "right"),
        (lambda x: x, "wrong", "not yet: that is x"),
        (lambda x: ..., "missing", "nothing here yet: write a function"),
        (..., "missing", "nothing here yet: write a function"),
        (no_number, "wrong", "not yet: your function raises TypeError: no number"),
        (1.5, "wrong", "a function is wanted, got 1.5"),
    ],
)
def test_a_function_is_judged_by_what_it_returns(written, state, said):
    answer = Answer(1.5, {"that is x": 3.0}, of=lambda function: function(3.0))
    assert judge(written, answer) == Verdict(state, said)


def test_a_function_may_be_asked_more_than_once():
    answer = Answer([1.0, 2.0], {"squared": [1.0, 4.0]}, of=lambda f: [f(1), f(2)])
    assert judge(lambda x: x, answer).state == "right"
    assert judge(lambda x: x**2, answer).text == "not yet: squared"
    assert judge(lambda x: ..., answer).text == "nothing here yet: write a function"


def test_an_array_is_judged_in_every_entry():
    exact = np.arange(6.0).reshape(2, 3)
    answer = Answer(exact, {"that is the transpose": exact.T, "that is twice as much": 2 * exact})
    wrong = exact.copy()
    wrong[1, 0] = 9
    assert judge(exact, answer).state == "right"
    assert judge(exact.T, answer).text == "not yet: that is the transpose"
    assert judge(2 * exact, answer).text == "not yet: that is twice as much"
    assert judge(wrong, answer).text == "not yet: 1 of 6 entries are wrong, the first at [1, 0]"
    assert (
        judge(exact[0], answer).text
        == "an array of shape (2, 3) is wanted, got an array of shape (3,)"
    )
    assert judge(None, answer).text == "nothing here yet: write an array of shape (2, 3)"


def test_the_right_answer_is_right_even_where_a_mistake_gives_the_same():
    assert judge(0.0, Answer(0.0, {"that is the share that is lost": 0.0})).state == "right"


def test_the_tolerance_is_a_distance():
    answer = Answer(29_999 / 30_000, tolerance=1e-6)
    assert judge(1.0, answer).state == "wrong"
    assert judge(0.999967, answer).state == "right"
    with pytest.raises(ValueError, match="tolerance must be in"):
        Answer(1.0, tolerance=-1.0)


def test_several_verdicts_become_one():
    right, wrong, missing = (judge(x, Answer(1.0)) for x in (1, 2, None))
    assert together({"a": right, "b": right}).state == "right"
    assert together({"a": right, "b": wrong}).state == "wrong"
    assert together({"a": wrong, "b": missing}).state == "missing"
    lines = repr(together({"a": right, "long name": wrong})).splitlines()
    assert lines[0].endswith("1 of 2 right")
    said = [line.split("  ")[-1][2:] for line in lines[1:]]
    assert said == ["right", "not yet: too large"]
    with pytest.raises(ValueError, match="at least one"):
        together({})


def test_a_source_is_read_cell_by_cell():
    first, plot, answer, check, explained, _, other = cells(SOURCE)
    assert first == Cell("markdown", "# Halves\n\nA paragraph with $x^2$.")
    assert plot == Cell("code", "x = 3", ("hide-input",))
    assert answer.question == check.question == explained.question == "7.1"
    assert other.question == ""
    assert explained.source == "It is half."
    assert blanked(answer.source) == BLANKED.strip()


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("x = 1\n# %%\ny = 2", "must begin with '# %%'"),
        ('# %% tags=["answers"]\nx = 1', "a tag must be one of"),
        ('# %% tags=["answer"]\nx = 1\n\n# %%\nx', "must be followed by its check, got none: x"),
    ],
)
def test_a_source_that_breaks_the_rules_is_refused(source, match):
    with pytest.raises(ValueError, match=match):
        cells(source)


def test_an_answer_holds_assignments_and_functions_alone():
    with pytest.raises(ValueError, match=r"alone, got print\(x\)"):
        blanked("x = 1\nprint(x)")


def test_one_source_makes_an_exercise_and_a_solution(lesson):
    asked, answered = exercise(lesson), solved(lesson)
    assert "z / 2" not in text(asked)
    assert "It is half" not in text(asked)
    assert "z / 2" in text(answered)
    assert "It is half" in text(answered)
    assert "**5 minutes.** You need: numbers." in text(asked)
    assert 'solution(\\"7.1\\")' in text(asked)
    assert "return z / 2" in lesson.solution("7.1").text
    assert "It is half." in lesson.solution("7.1")._repr_markdown_()
    assert "Of no question" not in repr(lesson.solution("7.1"))


def test_what_a_reader_changed_is_kept(lesson, tmp_path):
    path, written = write(exercise(lesson), tmp_path / "folder")
    assert (path.name, written) == ("07_halves.ipynb", True)
    notebook = json.loads(path.read_text())
    notebook["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "3"}]
    path.write_text(json.dumps(notebook))
    assert write(exercise(lesson), path.parent) == (path, True)  # outputs are no change
    notebook["cells"][3]["source"] = ["half = 1.5"]
    path.write_text(json.dumps(notebook))
    before = path.read_text()
    assert write(exercise(lesson), path.parent) == (path, False)
    assert path.read_text() == before


@pytest.mark.parametrize("there", ["not JSON", "[1]", '{"cells": [], "metadata": {}}'])
def test_a_file_of_others_is_not_overwritten(lesson, tmp_path, there):
    path = tmp_path / "07_halves.ipynb"
    path.write_text(there)
    with pytest.raises(ValueError, match="nothing is overwritten, choose another folder"):
        write(exercise(lesson), tmp_path)
    assert path.read_text() == there


def test_a_lesson_knows_its_questions(lesson):
    assert lesson.check("7.1", 3.0) == Verdict("wrong", "not yet: that is x", "7.1")
    with pytest.raises(ValueError, match=r"question must be one of \['7.1'\], got '7.2'"):
        lesson.check("7.2", 1)
    with pytest.raises(ValueError, match=r"question must be one of \['7.1'\], got '7.2'"):
        lesson.solution("7.2")
    with pytest.raises(ValueError, match=r"written must be 1 answers to 7.1, got 2"):
        lesson.check("7.1", 1, 2)
    course = Course((lesson,))
    assert course.check("7.1", 1.5).state == "right"
    with pytest.raises(ValueError, match=r"lesson must be one of \[7\], got 3"):
        course.check("3.1", 1)
    with pytest.raises(ValueError, match=r'question must be as in "3.2", got \'3\''):
        course.check("3", 1)
    with pytest.raises(ValueError, match="lessons must hold distinct values, got 7 twice"):
        Course((lesson, lesson))


def test_a_lesson_that_breaks_the_rules_is_refused(lesson):
    settings = {**vars(lesson)}
    with pytest.raises(ValueError, match="source must begin with 08_, got 07_halves"):
        Lesson(**{**settings, "number": 8, "questions": {}})
    with pytest.raises(ValueError, match=r"questions must be of 7, got '8.1'"):
        Lesson(**{**settings, "questions": {"8.1": lambda: Answer(1.0)}})
    with pytest.raises(ValueError, match=r"minutes must be in \[1, inf\], got 0"):
        Lesson(**{**settings, "minutes": 0})


CHECKED = "from casim.teaching import Answer, judge\ncheck = lambda _, x: judge(x, Answer(1.5))"


def test_cells_are_run_for_their_verdicts():
    verdicts = run(
        [CHECKED, 'x = 3\nprint("unseen")', 'check("7.1", x / 2)', 'x = "a" / 2', 'check("7.2", y)']
    )
    assert verdicts["7.1"].state == "right"
    assert verdicts["7.2"].state == "wrong"
    assert verdicts["7.2"].text.startswith("not yet: the code raises TypeError")
    assert list(run(["1 +", 'check("7.3", 1)'])) == ["7.3"]


def test_answers_are_graded_in_a_fresh_notebook(lesson, tmp_path):
    source = SOURCE.replace("x = 3\n", f"{CHECKED}\nx = 3\n")
    lesson.source.write_text(source)
    path, _ = write(exercise(lesson), tmp_path / "handed_in")
    assert grade(lesson, path)["7.1"].state == "missing"
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        cell.pop("id")
        tags = cell["metadata"].get("tags")
        if tags == ["answer", "question-7.1"]:
            cell["source"] = ["half = 3.0"]
        if tags == ["question-7.1"]:  # what checks is not the reader's to change
            cell["source"] = ['check("7.1", 1.5)']
    path.write_text(json.dumps(notebook))
    assert grade(lesson, path)["7.1"].state == "wrong"
    path, _ = write(solved(lesson), tmp_path / "handed_in")
    assert grade(lesson, path)["7.1"].state == "right"
    other = Lesson(**{**vars(lesson), "source": Path("07_thirds.py")})
    with pytest.raises(ValueError, match="must be a notebook of 07_thirds, got another"):
        grade(other, path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="must be a notebook, got something else"):
        grade(lesson, path)


def test_casim_teach_lists_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    main(["teach"])
    out = capsys.readouterr().out
    assert "1  What is credit? (45 minutes)" in out
    assert "     - say what the credit of a token is" in out
    main(["teach", "1", "--to", str(tmp_path)])
    out = capsys.readouterr().out
    path = tmp_path / "01_what_is_credit.ipynb"
    assert out.startswith(f"{path}\n")
    assert "pip install jupyterlab" in out
    assert f"Or open {path}" in out
    path.write_text(path.read_text().replace("value_before = ...", "value_before = 0.5"))
    main(["teach", "1", "--to", str(tmp_path), "--no-open"])
    assert "(yours, kept as it is" in capsys.readouterr().out
    assert "value_before = 0.5" in path.read_text()
    main(["teach", "1", "--solution", "--to", str(tmp_path), "--no-open"])
    assert (tmp_path / "01_what_is_credit_solution.ipynb").exists()


def test_casim_teach_opens_jupyterlab_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    started = []
    monkeypatch.setattr("subprocess.run", lambda words, check: started.append(words[1:]))
    main(["teach", "1", "--to", str(tmp_path)])
    path = str(tmp_path / "01_what_is_credit.ipynb")
    assert started == [["-m", "jupyterlab", path]]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["teach", "99"], "lesson must be one of"),
        (["teach", "--grade", "x.ipynb"], "lessons must be one where notebooks are graded, got"),
    ],
)
def test_casim_teach_says_what_is_wrong(words, match):
    with pytest.raises(SystemExit, match=match):
        main(words)


def test_answers_that_are_not_told_what_they_are_are_found(lesson):
    def questions(**answers):
        return Lesson(**{**vars(lesson), "questions": {"7.1": lambda: answers}})

    well = {"number": NUMBER, "word": WORD, "array": Answer(np.eye(2), hint="Look again.")}
    assert misjudged(questions(**well)) == []
    twice = Answer(1.0, {"first": 2.0, "second": 2.0}, of=lambda function: function())
    found = misjudged(questions(bare=Answer(1.0), twice=twice, undefined=Answer(np.nan, HINTS)))
    assert found[0] == "7.1 bare: has neither near answers nor a hint"
    assert found[1] == "7.1 twice: 2.0 is told 'not yet: first' instead of 'second'"
    assert found[2] == "7.1 undefined: nan is right"
    assert len(found) == 3
