"""A real browser for tests: the system's Chromium, driven by Playwright; skipped where none is."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LEAST_CONTRAST = 4.5
"""Of text, by the Web Content Accessibility Guidelines, level AA."""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser. Skips, and says what is missing, where there is none."""
    api = pytest.importorskip(
        "playwright.sync_api",
        reason='needs Playwright: pip install -e ".[browser]"',
    )
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as driver:
        # A container's root may have no sandbox; the pages are our own.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened(NamedTuple):
    """A page, and what went wrong while it was open."""

    page: Any
    errors: list[str]
    asked: list[str]
    """Addresses that were asked for, the file's own among them."""


def opened(browser: Any, path: Path, width: int = 1440, scheme: str = "light") -> Opened:
    """A page from the disk."""
    size = {"width": width, "height": 900}
    page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page.set_default_timeout(20_000)
    found = Opened(page, [], [])
    page.on("console", lambda said: found.errors.append(said.text))
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on("dialog", lambda dialog: found.errors.append(dialog.message))
    page.on("request", lambda request: found.asked.append(request.url))
    page.goto(path.as_uri())
    return found


def scrolls_sideways(page: Any) -> bool:
    """Whether the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


CONTRASTS = """() => {
  const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    return [...brush.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const parts = rgb(colour).slice(0, 3).map((x) => x / 255);
    const [r, g, b] = parts.map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let place = node; place; place = place.parentElement) {
      const colour = getComputedStyle(place).backgroundColor;
      if (rgb(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const found = {};
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((x) => x.nodeType === 3 && x.textContent.trim());
    const apart = ["OPTION", "SCRIPT", "TITLE"].includes(node.tagName);
    if (!own || apart || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const colour = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [one, other] = [light(colour), light(behind(node))].sort((a, b) => b - a);
    const name = `${node.tagName} ${node.getAttribute("class") ?? ""} ${colour}`;
    found[name] = Math.min(found[name] ?? 99, (one + 0.05) / (other + 0.05));
  }
  return found;
}"""
"""The least contrast of each kind of text with what is behind it."""


def too_faint(page: Any) -> dict[str, float]:
    """Text without enough contrast."""
    found = page.evaluate(CONTRASTS)
    assert len(found) > 5
    return {name: ratio for name, ratio in found.items() if ratio < LEAST_CONTRAST}


UNNAMED = """() => [...document.querySelectorAll("button, select, input, a, [tabindex]")]
  .filter((node) => node.getClientRects().length)
  .filter((node) => !node.getAttribute("aria-label") && !node.textContent.trim())
  .filter((node) => !node.labels?.length)
  .map((node) => node.outerHTML.slice(0, 100))"""
"""What can have the focus and has no name for those who hear the page."""
