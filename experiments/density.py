"""What credit by turns gains over credit by trajectories when few turns decide: exact, no samples.

Run with `python experiments/density.py [--quick] [--out FOLDER]`. The claim of arXiv:2606.22164, as
it is told by others: SNR by turns / SNR by trajectories goes as (decision density)^(-1/2). In
`casim.ToolChain` the density is the share of the turns whose call does anything. With g the policy
gradient of one group of 8 and g* the exact one, SNR = |g*|^2 / E|g - g*|^2, and its root is the SNR
of amplitudes; all are computed in double precision by recursion in time.

By trajectories is RLOO. By turns is the change of the exact value in a turn (the TD error, which
holds the tool's luck), or the advantage, which does not. Two ways to thin out: the calls that are
left matter more, so that failing all of them is as bad as before, or each matters as before.

The exponent is the slope of log ratio over log density, by least squares, in each of several
worlds; its interval is Student's over worlds.

Derived here, roughly: noise by trajectories is Var(R) at each of T decisions. The TD errors of an
episode add up to its return less the value of its start, so their variances add up to Var(R)
whatever the density: noise by turns is Var(R) in all, and the ratio is about T. Without the tool's
luck noise by turns is A^2 at each of density T decisions, and the ratio is Var(R) / (density A^2):
it rises as calls keep their effect and grow fewer, until Var(R) falls with them, and it falls where
the calls that are left share one effect, A^2 going as 1 / density^2.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import casim
from casim.compare import student_quantile
from casim.figures import PAGE, save, style
from casim.oracle import moments

GROUP = 8
BY_TURNS = {
    "TD error": moments.td_error,
    "advantage": moments.advantage,
}
COLOURS = dict(zip(BY_TURNS, ("#D55E00", "#009E73"), strict=True))
TOTAL = "the calls that are left matter more"
EACH = "each call matters as before"
MEASURES = {"power": 1.0, "amplitude": 0.5}
"""Powers of the ratio: of the squared SNR, and of its root."""
ROOM = 30.0
"""How far the axis goes above the curves, for what they are called."""


class Size(NamedTuple):
    """How much is computed."""

    name: str
    num_turns: int
    densities: tuple[float, ...]
    seeds: tuple[int, ...]
    reliabilities: tuple[float, ...]


FULL = Size(
    "density",
    num_turns=64,
    densities=tuple(2.0**-k for k in range(7)),
    seeds=tuple(range(6)),
    reliabilities=(0.7, 0.9),
)
QUICK = Size("density_quick", 16, (0.125, 0.25, 0.5, 1.0), (0, 1), (0.9,))


def world(size: Size, thinned: str, density: float, reliability: float) -> casim.ToolChain:
    """A chain whose calls break it with a hazard that depends on how it was thinned out."""
    damage = 0.9
    if thinned == EACH:
        # So many calls of the hazard that they have where all calls matter.
        damage = 1 - (1 - damage) ** max(density, 1 / size.num_turns)
    return casim.ToolChain(
        size.num_turns,
        tokens_per_turn=2,
        reliability=reliability,
        damage=damage,
        density=density,
    )


def snr(mdp: casim.MDP, policy: np.ndarray, form: Callable, num: int) -> float:
    """|g*|^2 / E|g - g*|^2 of groups of `num`; all forms here are unbiased."""
    found = moments.recursion_moments(mdp, policy, form, num)
    return moments.exact_scores(mdp, policy, found)["snr"]


def ratios(size: Size, thinned: str, seed: int, reliability: float) -> dict[str, list[float]]:
    """SNR by turns over SNR by trajectories, at each density, of one world."""
    found: dict[str, list[float]] = {name: [] for name in BY_TURNS}
    for density in size.densities:
        mdp = world(size, thinned, density, reliability).build()
        policy = np.asarray(casim.Softmax(0.5, seed).table(mdp))
        whole = snr(mdp, policy, moments.peer_baseline(), GROUP)
        for name, form in BY_TURNS.items():
            found[name].append(GROUP * snr(mdp, policy, form, 1) / whole)
    return found


def measure(size: Size) -> dict:
    """Ratios of every world, and the exponents over worlds, as plain numbers."""
    worlds = list(itertools.product(size.seeds, size.reliabilities))
    found: dict = {"densities": list(size.densities), "worlds": len(worlds), "found": {}}
    for thinned in (TOTAL, EACH):
        each = [ratios(size, thinned, *world) for world in worlds]
        for name in BY_TURNS:
            by_world = np.array([one[name] for one in each])
            exponents = slopes(size.densities, by_world)
            found["found"].setdefault(thinned, {})[name] = {
                "ratio": by_world.tolist(),
                **{measure: interval(power * exponents) for measure, power in MEASURES.items()},
            }
    return found


def slopes(densities: tuple[float, ...], by_world: np.ndarray) -> np.ndarray:
    """The exponent in each world, by least squares."""
    x = np.log(densities)
    y = np.log(by_world)
    x = x - x.mean()
    return y @ x / (x @ x)


def interval(x: np.ndarray) -> list[float]:
    """Mean over worlds, and its 95% interval."""
    half = student_quantile(len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return [float(x.mean()), float(x.mean() - half), float(x.mean() + half)]


def draw(found: dict, width: float = PAGE) -> Figure:
    """A panel for each way to thin out: the ratio over the density, with the law beside it."""
    with style():
        figure = Figure(figsize=(width, 2.7), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, thinned in zip(panels, (TOTAL, EACH), strict=True):
            _panel(axes, found, thinned)
        low, high = panels[0].get_ylim()
        panels[0].set_ylim(low, ROOM * high)
        panels[0].set_ylabel("SNR by turns / SNR by trajectories")
    return figure


def _panel(axes: Axes, found: dict, thinned: str) -> None:
    densities = np.array(found["densities"])
    middle = densities
    for name, numbers in found["found"][thinned].items():
        by_world = np.array(numbers["ratio"])
        middle = np.exp(np.log(by_world).mean(axis=0))
        value, low, high = numbers["power"]
        label = f"{name}: exponent {value:.2f} [{low:.2f}, {high:.2f}]"
        axes.plot(densities, middle, "o-", color=COLOURS[name], label=label)
        axes.fill_between(
            densities,
            by_world.min(axis=0),
            by_world.max(axis=0),
            color=COLOURS[name],
            alpha=0.15,
            linewidth=0,
        )
    # The last curve is that without luck.
    full = middle[np.argmax(densities)]
    for exponent, dashes in ((-1.0, "--"), (-0.5, ":")):
        law = full * densities**exponent
        name = f"exponent {exponent:g}"
        axes.plot(densities, law, dashes, color="#777777", linewidth=0.7, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(thinned, loc="left")
    axes.set_xlabel("share of the turns whose call matters")
    axes.legend(fontsize=6, loc="upper right")


def report(found: dict) -> str:
    """A line for each exponent."""
    lines = [f"exponent over the density, {found['worlds']} worlds: mean [95% interval]"]
    for thinned, by_credit in found["found"].items():
        for name, numbers in by_credit.items():
            for measure in MEASURES:
                text = "{:.3f} [{:.3f}, {:.3f}]".format(*numbers[measure])
                lines.append(f"  {thinned:36} {name:10} {measure:10} {text}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer worlds and turns")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    options.out.mkdir(parents=True, exist_ok=True)
    found = measure(size)
    (options.out / f"{size.name}.json").write_text(json.dumps(found, indent=1))
    save(draw(found), options.out / f"{size.name}.png")
    print(report(found))


if __name__ == "__main__":
    main()
