"""Sphinx extension: docstrings, which are plain text, as reStructuredText.

They are Google's, read by napoleon, with code in single backticks or between fences and formulas as
text. So here code becomes literal, an indented block becomes a literal block, and what would be
markup is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`", re.DOTALL)
MARKUP = re.compile(r"[*|]|_(?!\w)|(?<=: )(?=[A-Za-z]\.$)", re.MULTILINE)
"""Emphasis, a substitution, a reference, and a letter that would number a list."""
SECTION = re.compile(
    r"(Args|Attributes|Raises|Returns|Yields|References|Examples?|Notes?|Warns):$",
)
CLASS_ATTRIBUTES = re.compile(r"^(Class attributes)(.*):$", re.MULTILINE)
INDENT = "    "
PLAIN = ("attribute", "data", "property")
"""What has a sentence and no sections: napoleon would take what is before a colon for a type."""


def translated(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    text = CLASS_ATTRIBUTES.sub(_section, "\n".join(lines))
    parts = FENCE.split(text)
    made = []
    for place in range(0, len(parts), 3):
        plain = _escaped(parts[place]).split("\n")
        made += _with_blocks(plain)
        if place + 2 < len(parts):
            language, code = parts[place + 1 : place + 3]
            made += [f".. code-block:: {language}", ""]
            made += [f"{INDENT}{line}" for line in code.split("\n")]
    return made


def _section(found: re.Match[str]) -> str:
    """The heading that napoleon knows, and before it the sentence that stood in its place."""
    first, rest = found.groups()
    sentence = f"{first}{rest}.\n\n" if rest else ""
    return f"{sentence}Attributes:"


def _escaped(text: str) -> str:
    """Code as literals; outside of it nothing is markup."""
    parts = []
    for place, part in enumerate(CODE.split(text)):
        if place % 2:
            parts.append(f"``{part.strip()}``\\ ")
        else:
            parts.append(MARKUP.sub(lambda found: f"\\{found.group()}", part))
    return "".join(parts)


def _with_blocks(lines: list[str]) -> Iterator[str]:
    """Marks the indented blocks that belong to no section as literal."""
    in_section = in_block = False
    last = "."
    for line in lines:
        if line and not line.startswith(" "):
            in_section = SECTION.match(line) is not None
            in_block = False
        elif line.startswith(INDENT) and not last.strip() and not in_section and not in_block:
            in_block = True
            yield from ("::", "")
        last = line
        yield _plain(line) if in_block else line


def _plain(line: str) -> str:
    """A line of a literal block, in which nothing is escaped."""
    line = line.replace("``\\ ", "").replace("``", "")
    return re.sub(r"\\([*|_])", r"\1", line)


_KEPT: dict[str, list[str]] = {}


def _before(app, what, name, obj, options, lines):
    lines[:] = translated(lines)
    _KEPT[name] = list(lines)


def _after(app, what, name, obj, options, lines):
    if what in PLAIN:
        lines[:] = [*_KEPT[name], ""]


def setup(app):
    """Translates before napoleon reads the sections, which sentences have none of."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _before, priority=100)
    app.connect("autodoc-process-docstring", _after, priority=900)
    return {"parallel_read_safe": True}
