"""Measures the rows that `casim choose` answers from, and packs them where casim ships them.

Run with `python benchmarks/choices.py`, after `PROTOCOL` of `casim.survey.shipped` was raised, as a
change that moves a number asks for. Rows that are in results/choices.jsonl are not measured again.
With `--facts` nothing is measured: only what answers say of methods and worlds is written anew.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

from casim.failures import StudyError
from casim.report import Row
from casim.survey import measured, shipped

ROWS = Path("results") / "choices.jsonl"
FOLDER = Path(shipped.__file__).with_name("rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", action="store_true", help="measure nothing")
    only_facts = parser.parse_args().facts
    write_facts()
    if only_facts:
        return
    ROWS.parent.mkdir(exist_ok=True)
    for setting, chosen in shipped.SETTINGS.items():
        for length in chosen.lengths:
            pack(setting, length, rows_of(setting, length))
            print(f"{setting} at {length}: measured", flush=True)


def write_facts() -> None:
    """Labels and needs of methods, and labels of worlds."""
    text = json.dumps(measured.facts(), indent=1, ensure_ascii=False)
    (FOLDER / shipped.FACTS).write_text(text + "\n", encoding="utf-8")


def rows_of(setting: str, length: int) -> list[Row]:
    """Measures one world; what fails is named and left out."""
    try:
        return measured.study_of(setting, length).run(ROWS)
    except StudyError as error:
        print(error)
        return error.rows


def pack(setting: str, length: int, rows: list[Row]) -> None:
    """Writes the rows of one world where casim ships them."""
    lines = "".join(row.to_json() + "\n" for row in rows)
    # Without a time in it, equal rows make an equal file.
    packed = gzip.compress(lines.encode(), mtime=0)
    (FOLDER / shipped.file_of(setting, length)).write_bytes(packed)


if __name__ == "__main__":
    main()
