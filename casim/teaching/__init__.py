"""Lessons that check themselves: one source, an exercise and a solution, answers by the oracle.

`casim.lessons` are the lessons that come with casim; this package is what they are made of, and
what lessons of one's own may be made of. A lesson is two files and a line:

1. **The source**, `casim/lessons/sources/NN_name.py`: a notebook as Python in the percent format,
   which Jupytext, VS Code and Spyder read, linters check and reviews show line by line.

   - `# %% [markdown]` begins text: each line behind `# `, formulas between dollars.
   - `# %%` begins code. `# %% tags=["answer"]` begins code that readers are to write: the source
     has the right code, and in the exercise every assigned value becomes `...`, and so does every
     body of a function behind its docstring and the comments that follow it. Comments behind an
     assignment stay: they ask the question. Nothing else may stand in such a cell.
   - The next cell checks what was written, `check("3.2", one, another)`, as its last expression.
     What readers write is used there and in other answers alone, so that the notebook runs from
     top to bottom while it is empty.
   - `# %% [markdown] tags=["solution"]` begins text that only the solution has. Directly behind
     the check it explains the answer, and `solution("3.2")` shows it.
   - `tags=["hide-input"]` folds the code of a cell: plots that are looked at and not read.
   - The first cell is `# # Title` and a paragraph; goals, minutes and how it works are put behind
     it. The last one has the headings `## An open question` and `## Carry on`, the latter with one
     casim command in a block of `sh`, and the cell before it draws the lesson's one figure.

2. **The questions**, `casim/lessons/name.py`: a function without arguments for each, which returns
   an `Answer`, or a dict of them by the names of what is asked, computed by the oracle and never
   written down; and `LESSON`, which lists them.

   - `near` are wrong answers that tell what went wrong, each computed too: `{"that is V, and not
     A": value}`. They differ from the right one and from each other by more than `tolerance`.
   - An answer that is a word is one of a choice: then all other words are in `near`.
   - What readers write may be a function: `of` says what is done with it to get its answer.

3. **The line**: the lesson in `COURSE` of `casim/lessons/__init__.py`, and a row in docs/teach.md.

`make notebooks` writes the exercises into `notebooks/`, where they are kept without outputs; `casim
teach 3 --grade FILE` says which answers in a notebook are right. `tests/test_notebooks.py` holds
every lesson to these rules, without running it. The build of the documentation executes the
solutions, and fails where a check does, or where a wrong answer is not told what it is: `python -c
"from casim.lessons import COURSE; from casim.teaching import misjudged;
print(misjudged(COURSE.lesson(3)))"` says the latter beforehand.
"""

from casim.teaching.answer import Answer, judge, together
from casim.teaching.grading import grade, run
from casim.teaching.hints import misjudged
from casim.teaching.lesson import Course, Lesson, Solution
from casim.teaching.notebook import digest, exercise, solved, text, write
from casim.teaching.percent import CHECK, Cell, blanked, cells
from casim.teaching.verdict import MARKS, Verdict

__all__ = [
    "CHECK",
    "MARKS",
    "Answer",
    "Cell",
    "Course",
    "Lesson",
    "Solution",
    "Verdict",
    "blanked",
    "cells",
    "digest",
    "exercise",
    "grade",
    "judge",
    "misjudged",
    "run",
    "solved",
    "text",
    "together",
    "write",
]
