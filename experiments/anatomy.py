"""Which part of a method does the work? The gain over REINFORCE, shared out among the parts.

Run with `casim run experiments/anatomy.py [--quick]`. Every coalition of a method's parts is
scored on the same groups; an absent source is the whole return, any other absent part is nothing.
A bar is the part's Shapley value of the aligned SNR, with its 95% interval: bars of a method sum to
what it gains over REINFORCE. See `casim.compare.anatomy`.

Prompts differ in difficulty and a group is of one prompt, so that methods that compare prompts
(REINFORCE++, the entropy mask) are shown as they are used.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import casim
from casim import methods
from casim.compare import Estimate, anatomy, players, without_parts
from casim.figures import COLOR, PAGE, style

METHODS = (
    methods.GRPO,
    methods.REINFORCE_PP,
    methods.ENTROPY_80_20,
    methods.GIGPO,
    methods.GAE,
    methods.PURE_VERL,
)
SCORE = "snr_aligned"
SCORES = (SCORE, "gradient_cosine", "env_steps")
PARTS = {
    "ToGo": "reward to go",
    "scale": "deviation",
    "baseline": "mean",
    "TopEntropy": "entropy mask",
    "Whole baseline": "episode's mean",
    "ToGo baseline": "anchor's mean",
    "Gae": "critic",
    "ProcessReward": "process rewards",
}
"""What the parts are called here."""
UNDEFINED = "undefined: a coalition has no gradient"
TITLES = {"ReasoningChain": "reasoning chain", "HackableProcess": "hackable process"}


def study(name: str, num_steps: int, tokens: int, replicates: int) -> casim.Study:
    """A reasoning chain of so many steps of so many tokens, and a process that can be hacked."""
    return casim.Study(
        name=name,
        tasks=(
            casim.ReasoningChain(num_steps=num_steps, tokens_per_step=tokens),
            casim.HackableProcess(),
        ),
        estimators=without_parts(METHODS),
        policies=(casim.Softmax(scale=0.5),),
        judges={"judge": casim.Judge(fidelity=0.9)},
        num_prompts=8,
        num_trajectories=8,
        replicates=replicates,
        controls=("exact",),
    )


STUDY = study("anatomy", num_steps=10, tokens=50, replicates=2000)
QUICK = study("anatomy_quick", num_steps=3, tokens=5, replicates=100)


def draw(rows: list[casim.Row], width: float = PAGE) -> Figure:
    """A column of panels per task, a panel per method, a bar per part."""
    tasks = list(dict.fromkeys(row.task["recipe"] for row in rows))
    heights = [len(players(method)) + 0.6 for method in METHODS]
    with style():
        figure = Figure(figsize=(width, 0.22 * sum(heights) + 2.2), layout="constrained")
        halves = figure.subfigures(1, len(tasks), squeeze=False)[0]
        for half, task in zip(halves, tasks, strict=True):
            own = [row for row in rows if row.task["recipe"] == task]
            panels = half.subplots(len(METHODS), 1, gridspec_kw={"height_ratios": heights})
            for axes, method in zip(panels, METHODS, strict=True):
                _bars(axes, anatomy(method, own, SCORE), method)
                axes.set_title(method.name, loc="left")
            panels[-1].set_xlabel("what the part adds to the aligned SNR")
            half.suptitle(TITLES.get(task, task), fontsize=9)
    return figure


def _bars(axes: Axes, found: dict[str, Estimate], method: methods.Method) -> None:
    """A bar for each part, the first one on top."""
    colour = COLOR.get(method.methodology, COLOR["control"])
    for place, share in enumerate(found.values()):
        axes.barh(-place, share.value, height=0.65, color=colour, alpha=0.75)
        axes.plot([share.low, share.high], [-place, -place], color="black", linewidth=0.9)
    axes.set_yticks([-place for place in range(len(found))], [PARTS.get(x, x) for x in found])
    axes.set_ylim(0.5 - len(found), 0.5)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if any(np.isnan(share.value) for share in found.values()):
        axes.set_xticks([])
        axes.text(0.03, 0.5, UNDEFINED, transform=axes.transAxes, va="center", fontsize=6.5)
