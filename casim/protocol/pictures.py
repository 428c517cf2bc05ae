"""Figures of a run: methods by worlds, a matrix for each number of a family and each length."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure

from casim.figures import Panel, matrix
from casim.protocol.results import Result, Results
from casim.protocol.suite import AGAINST

Values = dict[str, dict[str, float]]
BIASES = (1e-2, 1e2)
LEAST_SNR = 1e-4
SNRS = (LEAST_SNR, 10.0)
RATIOS = (0.1, 10.0)


def figures(results: Results) -> dict[str, Figure]:
    """All figures, by the names of their files without ending.

    A suite of several lengths has a figure of each, as `gradient-8-turns`.
    """
    found = {}
    for length, worlds in by_length(results.worlds).items():
        ending = f"-{length.replace(' ', '-')}" if length else ""
        found[f"identification{ending}"] = identification(results, worlds)
        if results.methods:
            found[f"gradient{ending}"] = gradient(results, worlds)
    return found


def by_length(worlds: Sequence[str]) -> dict[str, list[str]]:
    """Worlds by what their names end with, as "8 turns"; "" where no length is in them."""
    found: dict[str, list[str]] = {}
    for world in worlds:
        found.setdefault(length_of(world), []).append(world)
    return found


def length_of(world: str) -> str:
    """What the name of a world ends with if that is a number of turns."""
    _, _, last = world.rpartition(", ")
    return last if last.endswith(" turns") else ""


def identification(
    results: Results,
    worlds: Sequence[str],
) -> Figure:
    """Whether the value is right: bias, sign and leakage of methods and controls.

    Args:
        results: of a suite.
        worlds: those drawn, all of one length.
    """
    panels = [
        Panel("action-centred bias² / signal", _scores(results, "centred_bias"), BIASES, log=True),
        Panel("sign accuracy", _scores(results, "sign_accuracy"), (0.0, 1.0), neutral=0.5),
        Panel("leakage", _scores(results, "leakage"), (0.0, 1.0)),
    ]
    return _matrix(panels, results.methodologies, worlds)


def gradient(
    results: Results,
    worlds: Sequence[str],
) -> Figure:
    """Whether value times weight trains: SNR, and what a method buys at equal cost.

    A dot is where the SNR is not told apart from that of `AGAINST`.

    Args:
        results: of a suite.
        worlds: those drawn, all of one length.
    """
    alike = set()
    for (world, label), found in results.cells.items():
        if _is_unsure(found):
            alike.add((label, world))
    ratios = _values(results, lambda found: found.worth)
    panels = [
        Panel("aligned SNR", _snr(results), SNRS, log=True, unsure=alike),
        Panel(f"worth over that of {AGAINST}", ratios, RATIOS, neutral=1.0, log=True),
    ]
    methods = {label: results.methodologies[label] for label in results.methods}
    return _matrix(panels, methods, worlds)


def _matrix(
    panels: Sequence[Panel],
    methodologies: Mapping[str, str],
    worlds: Sequence[str],
) -> Figure:
    """Columns are named without their length, which all share."""
    names = {}
    for world in worlds:
        names[world] = world.removesuffix(f", {length_of(world)}")
    return matrix(panels, methodologies, worlds, names)


def _is_unsure(found: Result) -> bool:
    difference = found.difference
    return difference is not None and difference.verdict == "not told apart"


def _scores(results: Results, score: str) -> Values:
    return _values(results, lambda found: found.mean(score))


def _snr(results: Results) -> Values:
    """Estimates of what is 0 are below 0 half of the time: they are drawn as the least."""

    def read(found: Result) -> float:
        value = found.mean("snr_aligned")
        if math.isnan(value):
            return value
        return max(value, LEAST_SNR)

    return _values(results, read)


def _values(results: Results, read: Callable[[Result], float]) -> Values:
    """What is read of each cell, by label and world."""
    found: Values = {}
    for (world, label), result in results.cells.items():
        row = found.setdefault(label, {})
        row[world] = read(result)
    return found
