"""HTML in which text is escaped: elements, tables, and whole pages that need nothing else.

What is `Markup` is HTML already; any other text is escaped where it enters, so a page cannot be
changed by what a name or a note says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

VOID = ("meta", "input", "br")
"""Elements that hold nothing."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""A browser loads nothing for the page, whatever is in it."""


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


Inside = str | Markup | None
"""What an element can hold: None is nothing."""


def element(
    tag: str,
    *inside: Inside,
    **attributes: str | int | float | bool | None,
) -> Markup:
    """An element.

    Args:
        tag: its name.
        *inside: text, which is escaped, and `Markup`, which is not.
        **attributes: True is an attribute without a value; None and False are left out. In names an
            underscore at the end falls away, as in `class_`, and others become hyphens.
    """
    written = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        shown = name.removesuffix("_").replace("_", "-")
        written.append(shown if value is True else f'{shown}="{escape(str(value))}"')
    opened = f"<{' '.join(written)}>"
    if tag in VOID:
        return Markup(opened)
    return Markup(f"{opened}{joined(inside)}</{tag}>")


def joined(parts: Iterable[Inside]) -> Markup:
    """Parts, one after the other."""
    written = [_escaped(part) for part in parts if part is not None]
    return Markup("".join(written))


def _escaped(part: str) -> str:
    return part if isinstance(part, Markup) else escape(part)


def breakable(name: str) -> Markup:
    """A name that is broken before settings in brackets, or after a sign in it, not in a word."""
    parts = re.split(r"(?=\()|(?<=[=_])|(?<=\.)(?=[a-z])", name)
    escaped = [joined([part]) for part in parts]
    return Markup("<wbr>".join(escaped))


def table(
    cells: Iterable[Sequence[Inside]],
    **attributes: str | None,
) -> Markup:
    """Cells as a table, the first line its head."""
    head, *body = cells
    lines = [_line("th", head), *(_line("td", line) for line in body)]
    inside = Markup("\n".join(["", *lines, ""]))
    return element("table", inside, **attributes)


def _line(
    tag: str,
    cells: Iterable[Inside],
) -> Markup:
    return element("tr", *(element(tag, cell) for cell in cells))


def data(
    name: str,
    value: Any,
) -> Markup:
    """A value as JSON that a script of the page finds by its id.

    Raises:
        ValueError: a number that is not finite.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    # A "</script>" inside would end it.
    safe = Markup(text.replace("<", "\\u003c"))
    return element("script", safe, type="application/json", id=name)


def page(
    title: str,
    body: Iterable[Inside],
    style: str,
    scripts: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> str:
    """A whole page in one file, which asks for nothing else.

    Args:
        title: of the window.
        body: what is shown.
        style: CSS.
        scripts: JavaScript, run as one strict program after everything is there.
        values: by id, what scripts read, see `data`.
    """
    program = "\n".join(['"use strict";', *scripts])
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    ]
    shared = [data(name, value) for name, value in (values or {}).items()]
    code = element("script", Markup(program))
    whole = [
        Markup("<!doctype html>"),
        Markup('<html lang="en">'),
        element("head", *head),
        Markup("<body>"),
        *body,
        *shared,
        code,
        Markup("</body>"),
        Markup("</html>"),
        Markup(""),
    ]
    return "\n".join(joined([part]) for part in whole)
