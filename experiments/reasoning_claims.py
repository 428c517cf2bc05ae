"""Under which knob does the answer flip? Claims of the reasoning column, each along one setting.

Run with `python experiments/reasoning_claims.py [--quick] [--out FOLDER]`. A claim says that one
method is better than another. A panel compares the two on the same groups, by pairs, along the
setting of the world, the policy or the judge on which the answer depends: above the line the claim
holds. Rows are kept in FOLDER, one file a claim, and are not measured again.

docs/reasoning-methods.md says what follows from it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

import casim
from casim import methods
from casim.compare import Comparison, Measure, by_budget, by_score, compare
from casim.compare.methods import By
from casim.figures import PAGE, save, style
from casim.figures.style import MARKERS
from casim.methods import Method
from casim.policies import Policy
from casim.tasks import Task

COLOURS = ("#0072B2", "#D55E00", "#009E73")
COLUMNS = 3
BUDGET = 100
"""Batches without anything extra that the budget of environment steps makes."""
NARROW = 30
"""Ratios whose axis spans less are written out."""
FULL, QUICK = 2000, 20
"""Replicates."""
CHAIN = casim.ReasoningChain(num_steps=4, tokens_per_step=10)


class Claim(NamedTuple):
    """A claim that a method is better than another, along one setting.

    Attributes:
        name: of its rows.
        says: above the panel.
        knob: below the panel.
        values: of the setting.
        better: the methods that are said to be better, at a value of the setting.
        other: the method that they are compared with.
        task, policy, judge: at a value of the setting.
        measure: what is compared.
        by: differences or ratios.
    """

    name: str
    says: str
    knob: str
    values: tuple[float, ...]
    better: Callable[[float], tuple[Method, ...]]
    other: Method
    task: Callable[[float], Task] = lambda _: CHAIN
    policy: Callable[[float], Policy] = lambda _: casim.Softmax(scale=0.5)
    judge: Callable[[float], casim.Judge] = lambda _: casim.Judge(fidelity=0.9)
    measure: Callable[[list[casim.Row]], Measure] = lambda rows: by_score(rows, "snr_aligned")
    by: By = "ratio"

    def study(self, value: float, replicates: int) -> casim.Study:
        """What is measured at one value of the setting."""
        return casim.Study(
            name=f"{self.name}-{value:g}",
            tasks=(self.task(value),),
            estimators=(self.other, *self.better(value)),
            policies=(self.policy(value),),
            judges={"judge": self.judge(value)},
            reference=casim.Uniform(),
            num_prompts=8,
            replicates=replicates,
            controls=(),
        )


def cosine(rows: list[casim.Row]) -> Measure:
    return by_score(rows, "gradient_cosine")


def equal_cost(rows: list[casim.Row]) -> Measure:
    """The error of the gradient that as many environment steps buy."""
    return by_budget(BUDGET * rows[0].scores["batch_steps"].value)


def vine(rollouts: float) -> Method:
    """VinePPO of so many rollouts a step."""
    return Method("VinePPO", casim.Vine(int(rollouts)), methods.VINEPPO.reference)


def always(*found: Method) -> Callable[[float], tuple[Method, ...]]:
    """The same methods at every value of the setting."""
    return lambda _: found


CLAIMS = (
    Claim(
        name="rollouts",
        says="rollouts beat a critic, group by group",
        knob="rollouts K of each step",
        values=(1, 3, 9, 27),
        better=lambda num: (vine(num),),
        other=methods.GAE_NETWORK,
    ),
    Claim(
        name="rollouts_at_equal_cost",
        says="... and at equal cost",
        knob="rollouts K of each step",
        values=(1, 3, 9, 27),
        better=lambda num: (vine(num),),
        other=methods.GAE_NETWORK,
        measure=equal_cost,
    ),
    Claim(
        name="entropy",
        says="the 20% of highest entropy suffice",
        knob="entropy of the other tokens (forks: 0.5 nats)",
        values=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        better=always(methods.ENTROPY_80_20),
        other=methods.GRPO,
        policy=lambda filler: casim.EntropyControlled(pivot=0.5, filler=filler),
    ),
    Claim(
        name="minimum",
        says="the least process reward beats their sum",
        knob="what the judge thinks of a hacked end",
        values=(0.0, 0.25, 0.5, 0.75, 0.95),
        better=always(methods.PURE_VERL),
        other=methods.PROCESS_SUM,
        task=lambda praise: casim.HackableProcess(praise=praise),
        measure=cosine,
        by="difference",
    ),
    Claim(
        name="judges",
        says="a judge of steps beats the outcome alone",
        knob="fidelity of the judge",
        values=(0.0, 0.25, 0.5, 0.75, 1.0),
        better=always(methods.PURE_VERL),
        other=methods.RLOO,
        judge=lambda fidelity: casim.Judge(fidelity=fidelity),
        measure=cosine,
        by="difference",
    ),
    Claim(
        name="first_error",
        says="blaming the first error pays, at equal cost",
        knob="probability that right steps mend an error",
        values=(0.0, 0.25, 0.5, 0.75, 1.0),
        better=always(methods.OMEGA_PRM_BLAME),
        other=methods.RLOO,
        task=lambda correction: dataclasses.replace(CHAIN, correction=correction),
        measure=equal_cost,
    ),
    Claim(
        name="batches",
        says="the batch's mean or deviation helps",
        knob="difficulties of the prompts: 0.5 plus and minus",
        values=(0.0, 0.15, 0.3, 0.45),
        better=always(methods.REINFORCE_PP, methods.GRPO),
        other=methods.RLOO,
        task=lambda spread: dataclasses.replace(CHAIN, difficulty=(0.5 - spread, 0.5 + spread)),
    ),
    Claim(
        name="segments",
        says="cuts at unlikely tokens pay, at equal cost",
        knob="share of tokens that matter",
        values=(0.05, 0.2, 0.5, 0.9),
        better=always(methods.SPO_CHAIN, methods.SPO_TREE),
        other=methods.VINEPPO,
        task=lambda share: dataclasses.replace(CHAIN, fork_share=share),
        measure=equal_cost,
    ),
)


def measured(
    claim: Claim,
    folder: Path,
    replicates: int,
) -> dict[float, list[Comparison]]:
    """Comparisons by the value of the setting; rows are kept in the folder."""
    found = {}
    for value in claim.values:
        study = claim.study(value, replicates)
        rows = study.run(folder / f"{study.name}.jsonl")
        found[value] = compare(rows, claim.measure(rows), claim.other.name, claim.by)
    return found


def gain(claim: Claim, pair: Comparison, lower: bool) -> tuple[float, float, float]:
    """How much better, with its interval; where less is better, its inverse."""
    value, low, high = pair.estimate[:3]
    if not lower:
        return value, low, high
    return (-value, -high, -low) if claim.by == "difference" else (1 / value, 1 / high, 1 / low)


def draw(results: Mapping[str, Mapping[float, list[Comparison]]], width: float = PAGE) -> Figure:
    """A panel a claim: above the line it holds."""
    rows = math.ceil(len(CLAIMS) / COLUMNS)
    with style():
        figure = Figure(figsize=(width, 1.75 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, claim in zip(panels, CLAIMS, strict=False):
            _panel(axes, claim, results[claim.name])
        for spare in panels[len(CLAIMS) :]:
            spare.set_axis_off()
    return figure


def _panel(
    axes: Axes,
    claim: Claim,
    results: Mapping[float, list[Comparison]],
) -> None:
    lower = claim.measure is equal_cost
    names = [pair.rows[0].label for pair in results[claim.values[0]]]
    for place, name in enumerate(names):
        points = [
            gain(claim, pair, lower)
            for value in claim.values
            for pair in results[value]
            if pair.rows[0].label == name
        ]
        middle, low, high = np.array(points).T
        axes.errorbar(
            claim.values,
            middle,
            yerr=(middle - low, high - middle),
            color=COLOURS[place],
            marker=MARKERS[place],
            linewidth=1.0,
            elinewidth=0.7,
            label=name,
        )
    axes.axhline(1.0 if claim.by == "ratio" else 0.0, color="black", linewidth=0.6)
    if claim.by == "ratio":
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high / low < NARROW:
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_locator(NullLocator())
    if claim.values[-1] > 10:
        axes.set_xscale("log")
        axes.set_xticks(claim.values, [f"{value:g}" for value in claim.values], minor=False)
        axes.minorticks_off()
    axes.set_title(claim.says, fontsize=7, loc="left")
    axes.set_xlabel(claim.knob, fontsize=7)
    axes.set_ylabel(_axis(claim), fontsize=7)
    axes.legend(fontsize=6)


def _axis(claim: Claim) -> str:
    """What is compared, in words."""
    if claim.measure is equal_cost:
        return f"times less error\nthan {claim.other.name}"
    if claim.measure is cosine:
        return f"cosine less that of\n{claim.other.name}"
    return f"aligned SNR over\nthat of {claim.other.name}"


def report(results: Mapping[str, Mapping[float, list[Comparison]]]) -> str:
    """A line for each claim, value and method."""
    lines = []
    for claim in CLAIMS:
        lines.append(f"{claim.says} ({_axis(claim)}; {claim.knob})".replace("\n", " "))
        for value, pairs in results[claim.name].items():
            for pair in pairs:
                numbers = gain(claim, pair, claim.measure is equal_cost)
                text = "{:.3g} [{:.3g}, {:.3g}]".format(*numbers)
                lines.append(f"  {value:<6g} {pair.rows[0].label:24} {text:28} {pair.verdict}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few replicates")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args()
    folder = options.out / ("reasoning_claims_quick" if options.quick else "reasoning_claims")
    folder.mkdir(parents=True, exist_ok=True)
    replicates = QUICK if options.quick else FULL
    results = {claim.name: measured(claim, folder, replicates) for claim in CLAIMS}
    print(report(results))
    save(draw(results), folder.with_suffix(".png"))


if __name__ == "__main__":
    main()
