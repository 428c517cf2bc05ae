"""Words of the command line: ranges, values by the type of a field, recipes."""

from typing import Literal

import pytest

import casim
from casim.cli.values import parse
from casim.cli.words import expand, hints, recipe
from casim.methods import named_methods

ESTIMATORS = {kind.__name__: kind for kind in casim.ESTIMATORS}
RECIPES = [*casim.TASKS, *casim.ESTIMATORS, *casim.POLICIES, casim.Judge]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("8..2048", ["8", "16", "32", "64", "128", "256", "512", "1024", "2048"]),
        ("3..20", ["3", "6", "12"]),
        ("0.1...8", ["0.1", "0.2", "0.4", "0.8"]),
        ("1e3..4e3", ["1000", "2000", "4000"]),
        ("5..5", ["5"]),
        ("0:0.5:6", ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ("1:-1:3", ["1", "0", "-1"]),
        ("a, b,c", ["a", "b", "c"]),
        ("(1,4),2", ["(1,4)", "2"]),
        ("7", ["7"]),
    ],
)
def test_ranges_double_or_are_even_and_lists_are_lists(text, values):
    assert expand(text) == values


@pytest.mark.parametrize("text", ["9..8", "0..8", "-1..8", "0:1:1", "a,,b", "", "(1", "1)", "a,(b"])
def test_ranges_and_lists_that_hold_nothing_are_refused(text):
    with pytest.raises(ValueError, match=r"a (range|list)\b.*must"):
        expand(text)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("7", int, 7),
        ("1e6", int, 1_000_000),
        ("7", float, 7.0),
        ("td", Literal["td", "monte_carlo"], "td"),
        ("1", Literal[-1, 1], 1),
        ("None", int | None, None),
        ("2", int | None, 2),
        ("3", int | tuple[int, ...], 3),
        ("(1, 4)", int | tuple[int, ...], (1, 4)),
        ("(1,)", tuple[int, ...], (1,)),
        ("()", tuple[int, ...], ()),
        ("(0.5,2)", tuple[float, float], (0.5, 2.0)),
        ("yes", bool, True),
        ("False", bool, False),
        ("word", str, "word"),
    ],
)
def test_values_have_the_type_of_their_field(text, hint, value):
    found = parse("x", text, hint)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "wanted"),
    [
        ("1.5", int, "an integer"),
        ("x", float, "a number"),
        ("sum", Literal["td", "monte_carlo"], "one of td, monte_carlo"),
        ("x", int | None, "an integer or none"),
        ("(1,2,3)", tuple[float, float], r"values in brackets, as \(1,2\)"),
        ("1,2", tuple[int, ...], "values in brackets"),
        ("maybe", bool, "true or false"),
        ("x", casim.Task, "a Task, got 'x' .which the command line cannot write"),
    ],
)
def test_values_of_another_type_are_refused(text, hint, wanted):
    with pytest.raises(ValueError, match=f"x must be {wanted}"):
        parse("x", text, hint)


@pytest.mark.parametrize("kind", RECIPES, ids=lambda kind: kind.__name__)
def test_every_setting_of_every_recipe_can_be_written(kind):
    for name, hint in hints(kind).items():
        default = getattr(kind(), name)
        assert parse(name, str(default), hint) == default


def test_recipes_are_written_as_tables_label_them():
    td = casim.Gae(lambda_=0.5, fit="td")
    assert recipe("estimators", "Gae", ESTIMATORS) == casim.Gae()
    assert recipe("estimators", "Gae(lambda=0.5, fit=td)", ESTIMATORS) == td
    assert recipe("estimators", "Gae(lambda_=.5)", ESTIMATORS) == casim.Gae(lambda_=0.5)
    kinds = {"Bifurcation": casim.Bifurcation}
    chain = recipe("task", "Bifurcation(pivots=(1,4),horizon=9)", kinds)
    assert chain == casim.Bifurcation(horizon=9, pivots=(1, 4))
    preset = recipe("task", "reasoning_500(num_steps=3)", casim.PRESETS)
    assert preset == casim.ReasoningChain(num_steps=3, tokens_per_step=50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Gea", "estimators must be a known name, got 'Gea': did you mean Gae"),
        ("Gae(lamda=1)", "a setting of Gae must be a known name, got 'lamda'"),
        ("Gae(0.5)", "a setting of Gae must be name=value, got '0.5'"),
        ("Gae(fit=x)", "Gae.fit must be one of"),
        ("Gae(lambda=2)", r"lambda_ must be in \[0.0, 1.0\], got 2.0"),
        ("Gae(fit=td", r"estimators must be a name or name\(setting=value"),
    ],
)
def test_recipes_that_there_are_not_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        recipe("estimators", text, ESTIMATORS)


def test_a_published_method_is_a_name_without_settings():
    methods = named_methods()
    assert recipe("estimators", "GRPO", methods) is methods["GRPO"]
    assert hints(type(methods["GRPO"])) == {}
    with pytest.raises(ValueError, match="a setting of GRPO must be one of"):
        recipe("estimators", "GRPO(status=checked)", methods)
