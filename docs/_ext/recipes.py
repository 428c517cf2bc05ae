"""Sphinx extension: tables of recipes, of what is measured and of the survey, made by the build.

They are HTML; other formats leave them out.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

import casim
from casim.methods import Method, named_methods
from casim.survey import choice, inventory, to_html
from casim.survey.page import plain_table

HEADS = ("recipe", "name", "what it is", "survey", "unit", "status", "target")
NONE = "-"


def recipes(methodology: str) -> str:
    """The table of the recipes of a family.

    Raises:
        ValueError: a family without recipes.
    """
    chosen = {
        name: method
        for name, method in named_methods().items()
        if method.methodology == methodology
    }
    if not chosen:
        raise ValueError(f"methodology must be that of a recipe, got {methodology!r}")
    lines = [_line(name, method) for name, method in chosen.items()]
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    body = "\n".join(lines)
    table = f'<table class="docutils recipes"><tr>{head}</tr>\n{body}</table>'
    return f'<div class="wide">{table}</div>'


def _line(name: str, method: Method) -> str:
    cells = (
        f'<a href="#{name}"><code>{name}</code></a>',
        _paper(method),
        escape(first_lines()[name]),
        NONE if method.number is None else str(method.number),
        method.granularity.replace("_", "-"),
        method.status,
        f"<code>{escape(_target(method))}</code>",
    )
    inside = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr id="{name}">{inside}</tr>'


def _paper(method: Method) -> str:
    """The name, which leads to the paper where it is on arXiv."""
    name = escape(method.name)
    title = escape(method.reference)
    if method.arxiv is None:
        return f'<span title="{title}">{name}</span>'
    return f'<a href="https://arxiv.org/abs/{method.arxiv}" title="{title}">{name}</a>'


def _target(method: Method) -> str:
    """Its class, and the settings that are not the defaults."""
    target = method.target
    if target is None:
        return NONE
    changed = []
    for field in dataclasses.fields(target):
        value = getattr(target, field.name)
        if value != field.default:
            changed.append(f"{field.name}={value!r}")
    return f"{type(target).__name__}({', '.join(changed)})"


@functools.cache
def first_lines() -> dict[str, str]:
    """What the line below each recipe says, by the name of the recipe."""
    said: dict[str, str] = {}
    for path in sorted((Path(casim.__file__).parent / "methods").glob("*.py")):
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        for set_, told in itertools.pairwise(statements):
            if isinstance(set_, ast.Assign) and _is_text(told):
                text = told.value.value.strip()
                said[set_.targets[0].id] = text.partition("\n")[0]
    return said


def _is_text(statement: ast.stmt) -> bool:
    """Whether this is a string that stands alone."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return False
    return isinstance(statement.value.value, str)


def family_counts() -> str:
    """How many recipes each family has, by the unit that gets credit."""
    methods = named_methods().values()
    units = list(dict.fromkeys(method.granularity for method in methods))
    families = dict.fromkeys(method.methodology for method in methods)
    lines = [["", *(unit.replace("_", "-") for unit in units), "all"]]
    for family in families:
        own = [method.granularity for method in methods if method.methodology == family]
        counts = [own.count(unit) for unit in units]
        lines.append([family.replace("_", " "), *map(str, counts), str(len(own))])
    return plain_table(lines)


def directive(make: Callable[..., str], arguments: int = 0) -> type[Directive]:
    """A directive whose arguments make a table."""

    class Table(Directive):
        required_arguments = arguments

        def run(self) -> Iterable[nodes.Node]:
            return [nodes.raw("", make(*self.arguments), format="html")]

    return Table


def setup(app):
    """Registers the directives."""
    tables = {
        "recipes": directive(recipes, 1),
        "families": directive(family_counts),
        "inventory": directive(lambda: to_html(inventory(), "_static/inventory.js")),
        "choices": directive(lambda setting: plain_table(choice.summary(setting)), 1),
    }
    for name, table in tables.items():
        app.add_directive(name, table)
    return {"parallel_read_safe": True}
