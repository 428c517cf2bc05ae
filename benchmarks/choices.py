"""Measures the rows that `casim choose` answers from, and packs them where casim ships them.

Run with `python benchmarks/choices.py`, after `PROTOCOL` of `casim.survey.measured` was raised, as
a change that moves a number asks for. Rows that are in results/choices.jsonl are not measured
again.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from casim.failures import StudyError
from casim.survey import measured

ROWS = Path("results") / "choices.jsonl"
SHIPPED = Path(measured.__file__).with_name(measured.FILE)


def main() -> None:
    """Measures all that is shipped, names what fails, and packs the rest."""
    ROWS.parent.mkdir(exist_ok=True)
    rows = []
    for setting, chosen in measured.SETTINGS.items():
        for length in chosen.shipped:
            study = measured.study_of(setting, length)
            try:
                rows += study.run(ROWS)
            except StudyError as error:
                rows += error.rows
                print(error)
            print(f"{setting} at {length}: measured", flush=True)
    lines = "".join(row.to_json() + "\n" for row in rows)
    # Without a time in it, equal rows make an equal file.
    SHIPPED.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main()
