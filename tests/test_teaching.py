"""Predictions are compared with exact answers: right, a known mistake, another mistake, missing."""

import numpy as np
import pytest

from casim.teaching import Verdict, check, solution, together

HINTS = {"that is V, and not A": 0.5, "that is Q, and not A": 0.8}


@pytest.mark.parametrize(
    ("prediction", "state", "text"),
    [
        (0.3, "right", "right"),
        (0.3004, "right", "right"),
        (np.float32(0.3), "right", "right"),
        (0.5, "wrong", "not yet: that is V, and not A"),
        (0.8, "wrong", "not yet: that is Q, and not A"),
        (-0.3, "wrong", "not yet: the size is right, and the sign is not"),
        (0.31, "wrong", "not yet: too large"),
        (-4, "wrong", "not yet: too small"),
        (float("nan"), "wrong", "not yet: it must be finite"),
        (None, "missing", "nothing here yet: write a number"),
        (..., "missing", "nothing here yet: write a number"),
        ("a third", "wrong", "a number is wanted, got 'a third'"),
        ([0.3, 0.3], "wrong", "a number is wanted, got an array of shape (2,)"),
    ],
)
def test_a_number_is_checked(prediction, state, text):
    assert check(prediction, 0.3, HINTS) == Verdict(state, text)


def test_an_array_is_checked_in_every_entry():
    exact = np.arange(6.0).reshape(2, 3)
    hints = {"that is the transpose": exact.T, "that is twice as much": 2 * exact}
    wrong = exact.copy()
    wrong[1, 0] = 9
    assert check(exact, exact, hints).state == "right"
    assert check(exact.T, exact, hints).text == "not yet: that is the transpose"
    assert check(2 * exact, exact, hints).text == "not yet: that is twice as much"
    assert (
        check(wrong, exact, hints).text == "not yet: 1 of 6 entries are wrong, the first at [1, 0]"
    )
    assert (
        check(exact[0], exact, hints).text
        == "an array of shape (2, 3) is wanted, got an array of shape (3,)"
    )
    assert check(None, exact).text == "nothing here yet: write an array of shape (2, 3)"


def test_the_right_answer_is_right_even_where_a_mistake_gives_the_same():
    assert check(0.0, 0.0, {"that is the share that is lost": 0.0}).state == "right"


def test_the_tolerance_is_a_distance():
    assert check(1.0, 29_999 / 30_000, tolerance=1e-6).state == "wrong"
    assert check(0.999967, 29_999 / 30_000, tolerance=1e-6).state == "right"


def test_several_verdicts_become_one():
    right, wrong, missing = check(1, 1), check(2, 1), check(None, 1)
    assert together({"a": right, "b": right}).state == "right"
    assert together({"a": right, "b": wrong}).state == "wrong"
    assert together({"a": wrong, "b": missing}).state == "missing"
    text = repr(together({"a": right, "long name": wrong}))
    assert text.splitlines()[0].endswith("1 of 2 right")
    assert [line.split("  ")[-1][2:] for line in text.splitlines()[1:]] == [
        "right",
        "not yet: too large",
    ]
    with pytest.raises(ValueError, match="at least one"):
        together({})


def test_a_solution_is_the_part_of_its_number():
    text = solution("what_is_credit", 2).text
    assert "my_advantage = " in text
    assert "##" not in text
    assert "vine_steps" not in text
    assert (
        solution("what_is_credit", 2)._repr_markdown_()
        == repr(solution("what_is_credit", 2))
        == text
    )


def test_unknown_solutions_are_refused():
    with pytest.raises(
        ValueError, match=r"lesson must be one of \['what_is_credit'\], got 'credit'"
    ):
        solution("credit", 1)
    with pytest.raises(ValueError, match=r"number must be one of \[1, 2, 3, 4, 5, 6\], got 7"):
        solution("what_is_credit", 7)
