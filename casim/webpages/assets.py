"""The style and the scripts of pages, which lie beside this file and are written into each page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from casim.figures.style import colours


def read(name: str) -> str:
    """The text of an asset."""
    place = resources.files("casim.webpages") / "assets" / name
    return place.read_text(encoding="utf-8")


def style(methodologies: Mapping[str, str] | None = None) -> str:
    """The style of all pages, with a class for the colour of each methodology."""
    lines = [read("page.css")]
    for name, colour in (methodologies or {}).items():
        lines.append(f".{kind_class(name, methodologies or {})} {{ --series: {colour} }}")
    return "\n".join(lines)


def kind_class(
    methodology: str,
    known: Mapping[str, str],
) -> str:
    """The class of a methodology: its place, as a name may hold anything."""
    place = list(known).index(methodology)
    return f"kind-{place}"


def colours_of(methodologies: list[str]) -> dict[str, str]:
    """The colours that figures give to methodologies, in the order in which they are met."""
    chosen = colours(methodologies)
    return {name: chosen[name] for name in dict.fromkeys(methodologies)}
