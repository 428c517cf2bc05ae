"""The explorer: one page on which knobs are moved and twelve methods answer with exact numbers.

Run with `python experiments/explorer.py [--out docs/explorer.html] [--page]`. Computes the grid,
which takes some minutes on one core, keeps it beside the page as JSON, and writes the page, which
opens from the disk. `--page` writes the page again from the grid that is kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from exploring.grid import grid, to_json

from casim.webpages import explorer_html


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/explorer.html"), help="the page")
    parser.add_argument("--page", action="store_true", help="only the page, from the kept grid")
    options = parser.parse_args()
    kept = options.out.with_suffix(".json")
    if not options.page:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(to_json(grid(print)), encoding="utf-8")
    if not kept.is_file():
        parser.error(f"--page needs the grid {kept}: leave it out once")
    page = explorer_html(json.loads(kept.read_text(encoding="utf-8")))
    options.out.write_text(page, encoding="utf-8")
    print(f"page: {options.out}, {options.out.stat().st_size / 1e6:.2g} MB")


if __name__ == "__main__":
    main()
