"""What `casim choose --world` says of the world: how far measured ones are, what is unknown."""

from __future__ import annotations

from typing import Any

from casim.survey.regime import Distance, Regime
from casim.survey.shipped import SETTINGS, length_of
from casim.survey.tree import Situation
from casim.tables import aligned

UNKNOWN = ("budget", "auxiliary", "reset", "privileged")
"""Of a situation, what no log says."""


def of_world(
    regime: Regime,
    situation: Situation,
    near: Distance | None,
) -> str:
    """What is known of the world, and how far the nearest that came with casim is.

    Args:
        regime: the world.
        situation: what it says, and what was said beside it.
        near: the nearest; None where the world itself is measured.
    """
    size = f"{length_of(situation):,} {SETTINGS[situation.setting].knob}"
    said = f"success {regime.success:.3g}, groups of {regime.rollouts}"
    lines = [f"Your world: {regime.task['recipe']}, {size}, {said}"]
    lines += [] if near is None else _of_distance(near, size)
    told = ", ".join(f"{name} {_told(getattr(situation, name))}" for name in UNKNOWN)
    lines += [f"No log says: {told}", ""]
    return "\n".join(lines)


def _of_distance(
    near: Distance,
    size: str,
) -> list[str]:
    """How far it is, and what is another there."""
    times = f"yours is {near.ratio:.3g} times as long"
    lines = [f"The nearest that came with casim: {near.length:,}, {times}"]
    cells = [["", "yours", "nearest"]]
    for name, mine, other in near.differences:
        cells.append([name, _told(mine), _told(other)])
    lines += ["", aligned(cells, 1), ""]
    if near.reasons:
        why = " and ".join(near.reasons)
        lines.append(f"It does not cover your world: {why}. --measure measures yours.")
    else:
        lines.append(f"It covers {size} and this success; what else differs is above.")
    return lines


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_told, value))
    return f"{value:,.3g}" if isinstance(value, float) else f"{value}"
