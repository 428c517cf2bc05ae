"""Records for people, papers and programs: flat records, Markdown, CSV, JSON, BibTeX and LaTeX."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from casim.survey.record import FIELDS, Correction, Record
from casim.tables import escaped, marked, tabular

COLUMNS = (
    "number",
    "name",
    "arxiv",
    "year",
    "kind",
    "granularity",
    "methodology",
    "baselines",
    "evidence",
    "compute",
    "methods",
)
"""What tables for people show."""
DASH = "-"
SEVERAL = "; "
"""Between values of one cell."""


def to_records(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as flat dicts of one set of keys, as `pandas.DataFrame` and `polars.DataFrame` want.

    Several values are one text with semicolons. What has fields of its own, as the place in the
    survey or the evidence, gives a key for each of them, with a dot.
    """
    return [_flat(record) for record in records]


def _flat(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(record, name)
        if dataclasses.is_dataclass(value):
            inner = dataclasses.asdict(value)  # pyright: ignore
            found |= {f"{name}.{field}": item for field, item in inner.items()}
        elif isinstance(value, tuple):
            found[name] = SEVERAL.join(map(_said, value))
        else:
            found[name] = value
    return found


def _said(item: str | Correction) -> str:
    """One of several values as text; of a correction, what is listed and why it is not so."""
    if isinstance(item, str):
        return item
    return f"{item.field}: listed as {item.listed or 'nothing'}. {item.reason}"


def to_csv(records: Sequence[Record]) -> str:
    """The records of `to_records` as CSV with a header."""
    text = io.StringIO()
    found = to_records(records)
    writer = csv.DictWriter(text, found[0] if found else FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def to_json(records: Sequence[Record]) -> str:
    """The records as `casim.survey.read_record` reads them, a list of JSON objects."""
    return json.dumps([dataclasses.asdict(record) for record in records], indent=2)


def to_markdown(records: Sequence[Record]) -> str:
    """A table of the columns that people ask for, in GitHub's Markdown."""
    return marked([list(COLUMNS), *map(_cells, records)], len(COLUMNS))


def to_latex(records: Sequence[Record]) -> str:
    """The same as a LaTeX tabular of the package booktabs."""
    lines = [list(COLUMNS), *map(_cells, records)]
    shape = "r" + "l" * (len(COLUMNS) - 1)
    return tabular([[escaped(cell) for cell in line] for line in lines], shape)


def _cells(record: Record) -> list[str]:
    known = {
        "evidence": record.evidence.level,
        "compute": record.compute.level,
        "baselines": ", ".join(record.baselines),
        "methods": ", ".join(record.methods) or f"not simulated: {record.not_simulated}",
    }
    values = [known.get(name, getattr(record, name)) for name in COLUMNS]
    return [DASH if value in (None, "") else str(value) for value in values]


def to_bibtex(records: Sequence[Record]) -> str:
    """An entry for each paper; its key is the id of the record."""
    return "\n\n".join(map(_entry, records))


def _entry(record: Record) -> str:
    fields = {
        "title": f"{{{_bibtex(record.title)}}}",
        "author": " and ".join(map(_bibtex, record.authors)),
        "year": str(record.year),
        "note": _bibtex(record.venue),
    }
    if record.arxiv is not None:
        fields |= {"eprint": record.arxiv, "archiveprefix": "arXiv", "url": str(record.link)}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{record.id},", *lines, "}"])


_BIBTEX = {character: f"\\{character}" for character in "&%$#_"}
_ACCENTS = {
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
}
_GREEK = {"\N{GREEK SMALL LETTER LAMDA}": r"$\lambda$"}


def _bibtex(text: str) -> str:
    """Text for BibTeX, in ASCII where LaTeX has a command for the letter."""
    text = re.sub(r"\^(\d)", r"@\1", text)  # AT^2PO: a power, not an accent
    letters = []
    for letter in unicodedata.normalize("NFD", text):
        if letter in _ACCENTS:
            letters[-1] = f"{{\\{_ACCENTS[letter]}{letters[-1]}}}"
        else:
            letters.append(_GREEK.get(letter) or _BIBTEX.get(letter, letter))
    return re.sub(r"@(\d)", r"$^\1$", "".join(letters))


FORMATS: dict[str, Callable[[Sequence[Record]], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "bibtex": to_bibtex,
    "latex": to_latex,
}
"""What writes records, by the name of the format."""
