"""Sphinx extension: writes the survey's papers as BibTeX, beside those of docs/references.bib."""

from __future__ import annotations

from pathlib import Path

from casim.survey import inventory
from casim.survey.formats import to_bibtex

SURVEY = Path(__file__).parent.parent / "survey.bib"


def setup(app):
    """Writes before the bibliography is read."""
    SURVEY.write_text(to_bibtex(inventory()) + "\n", encoding="utf-8")
    return {"parallel_read_safe": True}
