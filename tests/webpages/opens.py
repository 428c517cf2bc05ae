"""`python -m tests.webpages.opens FILE`: a report opens in a browser, asks for nothing, and draws.

Exits with 1 where it does not; says so and passes where there is no browser.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.webpages.browser import chromium, opened


def main(path: Path) -> str | None:
    """What is wrong, or None."""
    try:
        with chromium() as browser:
            return wrong(browser, path.resolve())
    except pytest.skip.Exception as missing:
        print(f"the report is not opened: {missing}")
        return None


def wrong(browser, path: Path) -> str | None:
    """What a reader of a page would miss."""
    page, errors, asked = opened(browser, path)
    if errors:
        return f"{path} says: {errors}"
    if asked != [path.as_uri()]:
        return f"{path} asks for {asked}"
    points = page.locator("#panels .point").count()
    if not points:
        return f"{path} draws nothing"
    shown = page.locator("#count").inner_text()
    print(f"the report opens: {shown}, {points} points")
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
