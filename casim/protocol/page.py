"""The report of a run, and the leaderboard, as Markdown: from rows and from the worlds alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from casim.compare import Comparison
from casim.protocol.metadata import Metadata
from casim.protocol.results import Result, Results
from casim.protocol.suite import AGAINST, COST, GRADIENT, GROUPS, IDENTIFICATION, VERSION
from casim.tables import Lines, marked

DASH = "-"
VERDICTS = ("better", "worse", "not told apart")
FACTS = {
    "decisions": "decisions",
    "bifurcations": "bifurcations",
    "frequency": "frequency",
    "variance share": "variance_share",
    "luck share": "transition_noise",
    "recoverability": "recoverability",
    "recoverable": "recoverable",
    "entropy there": "entropy_bifurcation",
    "entropy of decoys": "entropy_decoy",
    "delay": "delay",
    "aliasing": "aliasing",
    "verifiability": "verifiability",
    "judge bias": "judge_bias",
    "coupling": "coupling",
}
"""Numbers of the table of worlds, by the heads of their columns."""


class Standing(NamedTuple):
    """A method over all worlds.

    Attributes:
        label: its name.
        worlds: in how many it has numbers.
        verdicts: how often `snr_aligned` is better, worse and not told apart.
        worth: geometric mean over the worlds of `Results.ranking` of what it buys at equal cost,
            over what `AGAINST` does; NaN unless it is known in all of them.
        bias: median of `centred_bias`.
    """

    label: str
    worlds: int
    verdicts: tuple[int, ...]
    worth: float
    bias: float


def to_report(results: Results, facts: Mapping[str, Metadata]) -> str:
    """One page: the standings, the worlds, and a table for each of them.

    Args:
        results: what was measured.
        facts: metadata of each world, by its name.
    """
    sizes = f"{results.suite.num_prompts} prompts x {results.suite.num_trajectories} rollouts"
    parts = [
        f"# Credit assignment protocol {VERSION}, {results.suite.size}",
        f"{len(results.methods)} methods in {len(results.worlds)} worlds, {sizes}, "
        f"{results.suite.replicates} replicates; settings {results.suite.digest}. "
        f"{_made_by(results)}",
        "## Standings",
        _standings(results),
        _READING,
        "## Worlds",
        _questions(results),
        _facts(results, facts),
        _FACTS_READING,
    ]
    for world in results.worlds:
        parts += [f"## {world}", _scores(results, world)]
    parts.append(_SCORES_READING)
    return "\n\n".join(parts) + "\n"


_READING = (
    f"Worth is one over the error of the gradient that {GROUPS} batches' environment steps buy, "
    f"over that of {AGAINST}: the geometric mean over worlds that one can go back in. Better and "
    f"worse count worlds whose paired difference of snr_aligned from {AGAINST} is told from 0 at "
    "5%, corrected by Holm's method over all of them. Bias is the median of centred_bias."
)
_FACTS_READING = (
    "Exact, from the process and the policy: entropies in nats, delays in steps, `-` where a "
    "number means nothing. docs/protocol.md defines each."
)
_SCORES_READING = (
    f"In brackets 95% intervals; the difference of snr_aligned is from {AGAINST}, by pairs. "
    "docs/scores.md defines the scores."
)


def to_leaderboard(results: Results) -> str:
    """The standings of a suite as a page, from rows alone."""
    parts = [
        f"# Leaderboard of protocol {VERSION}, {results.suite.size}",
        _standings(results),
        _READING,
        f"{len(results.worlds)} of {len(results.suite.worlds)} worlds, "
        f"settings {results.suite.digest}. {_made_by(results)}",
    ]
    return "\n\n".join(parts) + "\n"


def _made_by(results: Results) -> str:
    """The code and the devices that made the rows."""
    digests, devices, places = set(), set(), set()
    for row in results.rows:
        digests.add(row.sources["casim"])
        devices.add(row.device)
        places |= set(row.sources)
    made = f"Code {_listed(digests)} on {_listed(devices)}"
    elsewhere = places - {"casim"}
    if elsewhere:
        made += f", methods of {_listed(elsewhere)}"
    return f"{made}."


def _listed(words: set[str]) -> str:
    return ", ".join(sorted(words))


def standings(results: Results) -> list[Standing]:
    """The methods, the best first; those that lack a world come last."""
    found = [_standing(results, label) for label in results.methods]
    ranked = [each for each in found if not math.isnan(each.worth)]
    others = [each for each in found if math.isnan(each.worth)]
    ranked.sort(key=lambda each: -each.worth)
    return [*ranked, *others]


def _standing(results: Results, label: str) -> Standing:
    cells = {}
    for (world, other), cell in results.cells.items():
        if other == label:
            cells[world] = cell
    own = list(cells.values())
    ranked = [cells[world].worth for world in results.ranking if world in cells]
    everywhere = len(ranked) == len(results.ranking)
    biases = [cell.mean("centred_bias") for cell in own]
    known = [bias for bias in biases if not math.isnan(bias)]
    compared = [cell.difference for cell in own if cell.difference is not None]
    said = [difference.verdict for difference in compared]
    return Standing(
        label=label,
        worlds=len(own),
        verdicts=tuple(map(said.count, VERDICTS)),
        worth=_geometric(ranked) if everywhere else math.nan,
        bias=float(np.median(known)) if known else math.nan,
    )


def _geometric(x: list[float]) -> float:
    """The geometric mean; NaN unless all are positive."""
    if not all(each > 0 for each in x):
        return math.nan
    logs = np.log(x)
    return float(np.exp(logs.mean()))


def _standings(results: Results) -> str:
    lines = [["", "method", "methodology", "worlds", "worth", *VERDICTS, "bias"]]
    for place, each in enumerate(standings(results), start=1):
        is_ranked = not math.isnan(each.worth)
        cells = [
            str(place) if is_ranked else DASH,
            each.label,
            results.methodologies[each.label],
            f"{each.worlds} of {len(results.worlds)}",
            _number(each.worth),
            *map(str, each.verdicts),
            _number(each.bias),
        ]
        lines.append(cells)
    return marked(lines, 3)


def _questions(results: Results) -> str:
    """What each world asks."""
    measured = [world for world in results.suite.worlds if world.name in results.worlds]
    lines = [f"- **{world.name}**: {world.asks}" for world in measured]
    return "\n".join(lines)


def _facts(results: Results, facts: Mapping[str, Metadata]) -> str:
    """The metadata, a line for each world."""
    lines: Lines = [["world", "actions", "reset", "agents", "reward", *FACTS]]
    for world in results.worlds:
        own = facts[world]
        kinds = [f"{name} {share:.2g}" for name, share in own.actions.items()]
        numbers = [_number(getattr(own, field)) for field in FACTS.values()]
        words = [
            world,
            ", ".join(kinds),
            own.reset,
            str(own.agents),
            own.reward,
        ]
        lines.append([*words, *numbers])
    return marked(lines, 5)


def _scores(results: Results, world: str) -> str:
    """The scores of all methods in a world, by family, and the paired difference."""
    head = ["method", *IDENTIFICATION, *GRADIENT, f"difference from {AGAINST}", "worth", *COST]
    lines: Lines = [head]
    for label in results.labels:
        cell = results.cells.get((world, label))
        if cell is not None:
            lines.append([label, *_cells(cell)])
    return marked(lines, 1)


def _cells(cell: Result) -> list[str]:
    identification = [_score(cell, name) for name in IDENTIFICATION]
    gradient = [_score(cell, name) for name in GRADIENT]
    cost = [_score(cell, name) for name in COST]
    difference = _difference(cell.difference)
    worth = _number(cell.worth)
    return [*identification, *gradient, difference, worth, *cost]


def _score(cell: Result, name: str) -> str:
    """A score with its interval, if one seed has it."""
    value = _number(cell.mean(name))
    if value == DASH or name in COST or len(cell.rows) > 1:
        return value
    _, low, high, _ = cell.row.scores[name]
    return f"{value} [{_number(low)}, {_number(high)}]"


def _difference(found: Comparison | None) -> str:
    if found is None:
        return DASH
    value, low, high, _ = found.estimate
    if math.isnan(value):
        return found.verdict
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}] {found.verdict}"


def _number(x: float) -> str:
    return f"{x:.3g}" if math.isfinite(x) else DASH
