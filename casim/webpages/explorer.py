"""The explorer: a grid of exact numbers as one HTML file on which a reader moves knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from casim.markup import Markup, element, joined, page
from casim.webpages import assets
from casim.webpages.assets import kind_class
from casim.webpages.measured import definitions

SCRIPTS = ("page.js", "charts.js", "explorer.js")
TITLE = "Where did the reward come from?"
LEAD = (
    "An agent takes turns with a tool: it thinks, calls, reads the answer. Some calls decide "
    "whether the task survives, most steps decide nothing, and one reward comes at the very end. "
    "Move a knob and see what twelve ways to share out that reward say of each step, and how "
    "wrong, how noisy and how dear each of them is. Every number is exact: computed from the "
    "process, never sampled."
)
READ = (
    "Bars are the credit of a step on average, over all groups that could have been drawn; thin "
    "lines reach one standard deviation to both sides. The open diamonds are the truth: the exact "
    "advantage of what was done there. A bar that leaves its diamond is bias, a long line is noise."
)
UNITS = (
    "bias and variance are multiples of the signal, which is the mean square of the exact "
    "advantage over all decisions: 1 is as large as what is to be found, 0 is none."
)


def to_html(grid: Mapping[str, Any]) -> str:
    """The page.

    Args:
        grid: as `experiments/explorer.py` computes it: `knobs`, `pairs`, `methods`, `scores`,
            `costs`, `tokens`, and `points` by the places of the knobs' values.
    """
    methods = grid["methods"]
    colours = assets.colours_of([method["methodology"] for method in methods])
    kinds = {name: kind_class(name, colours) for name in colours}
    sections = {
        "world": ("The world", _world(grid["pairs"], grid["knobs"])),
        "episode": ("One trajectory", _episode()),
        "credit": ("What each method says of its steps", _credit()),
        "numbers": ("Over all trajectories", _numbers(grid)),
        "along": ("Along a knob", _along()),
        "methods": ("The methods", _methods(methods)),
        "definitions": ("The scores", definitions([*grid["scores"], *grid["costs"]])),
    }
    body = [
        element("header", element("h1", TITLE), element("p", LEAD, class_="lead")),
        element("noscript", element("p", "Knobs need JavaScript.")),
        element("main", *(_section(name, *section) for name, section in sections.items())),
    ]
    scripts = [assets.read(name) for name in SCRIPTS]
    values = {"grid": dict(grid), "kinds": kinds}
    return page(f"casim: {TITLE}", body, assets.style(colours), scripts, values)


def _section(name: str, head: str, inside: Markup) -> Markup:
    title = element("h2", head, id=f"{name}-head")
    return element("section", title, inside, id=f"{name}-section", aria_labelledby=f"{name}-head")


def _world(pairs: Sequence[Any], knobs: Sequence[Any]) -> Markup:
    """The knobs, which the script makes, and what can be moved together."""
    together = []
    for one, other, question in pairs:
        said = f"{knobs[one]['name']} and {knobs[other]['name']}: {question}"
        together.append(element("li", said))
    hint = (
        "Each knob moves by itself around the reference; these move together. Where a combination "
        "was not computed, the knob that was moved longest ago goes back to its reference."
    )
    return joined(
        [
            element("form", id="knobs", class_="knobs", aria_label="knobs"),
            element("p", id="moved", role="status", class_="note"),
            element(
                "details",
                element("summary", "What moves together"),
                element("p", hint),
                element("ul", *together),
            ),
        ]
    )


def _episode() -> Markup:
    return joined(
        [
            element("form", id="outcomes", class_="controls", aria_label="which trajectory"),
            element("p", id="story", class_="note", role="status"),
            element("div", id="path"),
        ]
    )


def _credit() -> Markup:
    keys = (
        "Rest a pointer on a step, or go to a method with Tab and along its steps with the arrows."
    )
    return joined(
        [
            element("p", READ, class_="hint"),
            element("p", UNITS, class_="hint"),
            element("p", keys, class_="hint"),
            element("form", id="credit-controls", class_="controls", aria_label="how it is drawn"),
            element("div", id="panels", class_="panels"),
        ]
    )


def _numbers(grid: Mapping[str, Any]) -> Markup:
    """An empty table with its heads; the script fills the lines."""
    heads = [_head("method")]
    for score in [*grid["scores"], *grid["costs"]]:
        link = element(
            "a", "?", href=f"#define-{score}", class_="define", aria_label=f"definition of {score}"
        )
        heads.append(_head(score, link))
    head = element("thead", element("tr", *heads))
    numbers = element("table", head, element("tbody"), id="numbers")
    box = element("div", numbers, class_="wide", tabindex=0, role="region", aria_label="scores")
    return joined([element("p", id="success", class_="note"), box])


def _head(name: str, link: Markup | None = None) -> Markup:
    button = element("button", name, type="button")
    return element("th", button, link, scope="col", aria_sort="none")


def _along() -> Markup:
    hint = "A score against the knob that was moved last, the others as they are."
    return joined(
        [
            element("p", hint, class_="hint"),
            element("form", id="along-controls", class_="controls", aria_label="score and knob"),
            element("div", id="along-panels", class_="panels"),
        ]
    )


def _methods(methods: Sequence[Any]) -> Markup:
    lines = []
    for method in methods:
        kind = method["methodology"].replace("_", " ")
        lines += [element("dt", method["name"]), element("dd", f"{method['said']} ({kind})")]
    free = (
        "Critics and hindsight are given exactly and cost nothing here; learned ones would cost, "
        "and be wrong in ways of their own."
    )
    return joined([element("dl", *lines), element("p", free, class_="hint")])
