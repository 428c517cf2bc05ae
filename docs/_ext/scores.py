"""Sphinx extension: the tables of `docs/scores.md`, from the definitions that reports show too."""

from __future__ import annotations

from html import escape

from docutils import nodes
from docutils.parsers.rst import Directive
from latex2mathml.converter import convert

from casim.scores.definitions import DEFINITIONS, Definition


def scores(family: str) -> str:
    """The table of a family of scores: name, words and formula.

    Raises:
        ValueError: a family without scores.
    """
    chosen = {name: said for name, said in DEFINITIONS.items() if said.family == family}
    if not chosen:
        raise ValueError(f"family must be that of a score, got {family!r}")
    lines = "".join(_line(name, said) for name, said in chosen.items())
    head = "<tr><th>score</th><th>what it is</th></tr>"
    return f'<div class="wide"><table class="docutils scores">{head}{lines}</table></div>'


def _line(name: str, said: Definition) -> str:
    """A score, which pages can link to by its name."""
    formula = f"<div>{convert(said.formula)}</div>" if said.formula else ""
    words = f"<td>{escape(said.words)}{formula}</td>"
    return f'<tr id="{name}"><td><code>{name}</code></td>{words}</tr>'


class Scores(Directive):
    """A table; its argument is the family."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The table as HTML."""
        return [nodes.raw("", scores(self.arguments[0]), format="html")]


def setup(app):
    """Registers the directive."""
    app.add_directive("scores", Scores)
    return {"parallel_read_safe": True}
