"""The knobs of the explorer: a reference point, each knob by itself around it, and three pairs."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from casim.policies import EpsilonOptimal, Policy
from casim.tasks import ToolChain

POLICY: Policy = EpsilonOptimal(0.5)
"""Half trained: at a call it does what looks best in three cases of four."""
TOKENS = 3
"""Steps of a turn: a thought, a call, and what the tool answers."""
Place = tuple[int, ...]
"""A point: the place of each knob's value among its values."""


class Knob(NamedTuple):
    """One thing that a reader moves."""

    name: str
    unit: str
    values: tuple[float, ...]
    reference: int
    """The place of the reference among the values."""
    said: str
    """What it changes."""


KNOBS = (
    Knob(
        "horizon",
        "turns",
        (2, 3, 5, 8, 16),
        2,
        "turns of the episode, three steps each; longer is not harder: every call then does less",
    ),
    Knob(
        "decision density",
        "of the calls",
        (0.2, 0.4, 0.6, 0.8),
        2,
        "share of the calls that do something; the others look alike and change nothing",
    ),
    Knob(
        "gap",
        "",
        (0.3, 0.5, 0.7, 0.9, 1.0),
        3,
        "what the calls that count decide together: the chance that failing all breaks the task",
    ),
    Knob(
        "group size",
        "rollouts",
        (2, 4, 8, 16, 32),
        2,
        "rollouts of one prompt, on which groups are normalised and the gradient is averaged",
    ),
    Knob(
        "noise",
        "",
        (0.0, 0.05, 0.1, 0.2, 0.4),
        2,
        "chance that the tool fails a right call, or lets a wrong one work",
    ),
    Knob(
        "observability",
        "",
        (1.0, 0.9, 0.8, 0.65, 0.5),
        1,
        "chance that the tool's output tells its hidden mode as it is; 0.5 tells nothing",
    ),
)
HORIZON, DENSITY, GAP, GROUP, NOISE, SIGHT = range(len(KNOBS))
PAIRS = (
    (HORIZON, DENSITY, "More steps, or more decisions?"),
    (GAP, GROUP, "Does a larger group make up for a weaker signal?"),
    (NOISE, SIGHT, "Luck, or blindness?"),
)
"""Knobs that are moved together."""


def reference() -> Place:
    """The point that all others are reached from."""
    return tuple(knob.reference for knob in KNOBS)


def places() -> list[Place]:
    """Every point of the grid."""
    start = reference()
    found = {start: None}
    for knob, known in enumerate(KNOBS):
        for value in range(len(known.values)):
            found[_moved(start, {knob: value})] = None
    for one, other, _ in PAIRS:
        sizes = (len(KNOBS[one].values), len(KNOBS[other].values))
        for first, second in itertools.product(*map(range, sizes)):
            found[_moved(start, {one: first, other: second})] = None
    return list(found)


def _moved(place: Place, changes: dict[int, int]) -> Place:
    return tuple(changes.get(knob, value) for knob, value in enumerate(place))


def task_at(place: Place) -> ToolChain:
    """The world of a point."""
    values = [knob.values[at] for knob, at in zip(KNOBS, place, strict=True)]
    return ToolChain(
        num_turns=int(values[HORIZON]),
        tokens_per_turn=TOKENS - 1,
        output_tokens=1,
        density=values[DENSITY],
        damage=values[GAP],
        repair=0.5,
        reliability=1 - values[NOISE],
        observation_noise=round(1 - values[SIGHT], 6),
    )


def group_at(place: Place) -> int:
    """The group size of a point."""
    return int(KNOBS[GROUP].values[place[GROUP]])
