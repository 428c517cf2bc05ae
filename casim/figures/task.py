"""A task as a picture: kernels as graphs, the kernel of every step, a heat map of the advantage.

The advantage is exact.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import MaxNLocator

from casim.figures.style import PAGE
from casim.types import MDP, Kind, Truth

MAX_GRAPHS = 6
MAX_ROWS = 24
MAX_COLUMNS = 400
ACTIONS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9")
"""Colours of actions in the graphs; arrows that all actions share are grey."""
SAME = "#999999"


def task_figure(
    mdp: MDP,
    truth: Truth,
) -> Figure:
    """Draws a task under a policy.

    Top: one graph per kernel (the first six), from each state that can be there to its successors;
    grey where every action does the same, else a colour per action, opacity by probability; "+1" is
    a mean reward. Bottom: A_t(s, a) in units of reward for the (state, action) pairs that matter
    most, grey where the state cannot be; triangles mark pivots.

    Args:
        mdp: the process, as NumPy arrays.
        truth: what the oracle says of the policy, as NumPy arrays.
    """
    graphs = min(len(mdp.prob), MAX_GRAPHS)
    columns = graphs if graphs <= 4 else 3
    rows = -(-graphs // columns)
    figure = Figure(figsize=(PAGE, 2.1 * rows + 2.6), layout="constrained")
    top, bottom = cast(Any, figure.subfigures(2, 1, height_ratios=[2.1 * rows, 2.6]))
    actions = mdp.prob.shape[2]
    keys = [
        Line2D([], [], color=ACTIONS[a % len(ACTIONS)], label=f"action {a}")
        for a in range(min(actions, 6))
    ]
    top.legend(
        handles=[*keys, Line2D([], [], color=SAME, label="every action")],
        loc="outside lower center",
        ncols=len(keys) + 1,
    )
    for kernel, axes in enumerate(np.atleast_1d(top.subplots(rows, columns)).ravel()):
        if kernel < graphs:
            kernel_graph(axes, mdp, truth, kernel)
        else:
            axes.set_axis_off()
    strip, heat = bottom.subplots(2, 1, height_ratios=[1, 9], sharex=True)
    kernel_strip(strip, mdp)
    image = advantage_map(heat, mdp, truth)
    bottom.colorbar(image, ax=[strip, heat], label="advantage (reward)", shrink=0.8)
    return figure


def pivots(
    mdp: MDP,
    truth: Truth,
) -> np.ndarray:
    """Steps whose action matters at least half as much as that of the step where it matters most.

    In maths: I_t = sum_s P(s_t = s) (max_a Q_t(s, a) - min_a Q_t(s, a)) over decisions; those with
    I_t >= max I / 2.
    """
    gap = truth.q_value.max(-1) - truth.q_value.min(-1)
    importance = (truth.occupancy * gap).sum(-1) * mdp.decision[mdp.schedule]
    return np.flatnonzero((importance >= importance.max() / 2) & (importance > 1e-6))


def kernel_graph(
    axes: Axes,
    mdp: MDP,
    truth: Truth,
    kernel: int,
) -> None:
    """One kernel: states on a circle, an arrow per outcome."""
    here = truth.occupancy[mdp.schedule == kernel].sum(0) > 0
    states = np.flatnonzero(here)
    possible = mdp.prob[kernel][states] > 0
    targets = mdp.successor[kernel][states][possible]
    shown = sorted({*states.tolist(), *targets.tolist()})
    number = len(shown)
    place = {}
    for order, state in enumerate(shown):
        # Clockwise, from the top.
        angle = math.pi / 2 - 2 * math.pi * order / number
        place[state] = (math.cos(angle), math.sin(angle))
    for state in states:
        arrows = _arrows(mdp, kernel, int(state))
        paid = {round(reward, 6) for *_, reward in arrows}
        x, y = place[int(state)]
        # Said once, beside the state, if all its arrows pay the same.
        if len(paid) == 1 and paid != {0.0}:
            axes.text(
                1.32 * x, 1.32 * y, f"{arrows[0][3]:+.2g}", fontsize=5, ha="center", va="center"
            )
        said_here = len(paid) > 1
        for target, colour, prob, reward in arrows:
            told = reward if said_here else 0.0
            _arrow(axes, (x, y), place[target], colour, prob, told)
    size = 130 if len(shown) <= 12 else 45
    for state, (x, y) in place.items():
        end = bool(mdp.terminal[state])
        axes.scatter(
            x,
            y,
            s=size,
            marker="s" if end else "o",
            color="white",
            edgecolors="black",
            linewidths=0.6,
            zorder=3,
        )
        axes.text(
            x,
            y,
            str(state),
            ha="center",
            va="center",
            fontsize=6 if len(shown) <= 12 else 4,
            zorder=4,
        )
    kind = Kind(int(mdp.kind[kernel])).name.lower()
    count = int((mdp.schedule == kernel).sum())
    title = f"kernel {kernel}: {kind}, {count:,} step{'s' * (count > 1)}"
    forced = not mdp.decision[kernel] and kind != "output"
    axes.set_title(
        f"{title}, forced" if forced else title, color=_colour(kernel, len(mdp.prob)), fontsize=7
    )
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    axes.set_axis_off()


def _arrows(
    mdp: MDP,
    kernel: int,
    state: int,
) -> list[tuple[int, str, float, float]]:
    """Successor, colour, probability and mean reward of each arrow out of a state."""
    if mdp.terminal[state]:
        return []
    laws = []
    for action in range(mdp.prob.shape[2]):
        law: dict[int, list[float]] = {}
        entry = (kernel, state, action)
        outcomes = zip(mdp.successor[entry], mdp.prob[entry], mdp.reward[entry], strict=True)
        for s, p, r in outcomes:
            if p > 0:
                total = law.setdefault(int(s), [0.0, 0.0])
                total[0] += float(p)
                total[1] += float(p * r)
        laws.append(law)
    if all(law == laws[0] for law in laws):
        (law, *_) = laws
        return [(s, SAME, p, r / p) for s, (p, r) in law.items()]
    return [
        (s, ACTIONS[a % len(ACTIONS)], p, r / p)
        for a, law in enumerate(laws)
        for s, (p, r) in law.items()
    ]


def _arrow(
    axes: Axes,
    start: tuple,
    end: tuple,
    colour: str,
    prob: float,
    reward: float,
) -> None:
    alpha = 0.25 + 0.75 * min(prob, 1.0)
    # Keeps the arrows of different actions apart.
    shift = ACTIONS.index(colour) if colour in ACTIONS else 0
    if start == end:
        # A loop on the outer side of the state.
        x, y = start
        radius = 0.13 + 0.05 * shift
        centre = (x * (1 + radius + 0.04), y * (1 + radius + 0.04))
        turn = np.linspace(0, 2 * math.pi, 40)
        axes.plot(
            centre[0] + radius * np.cos(turn),
            centre[1] + radius * np.sin(turn),
            color=colour,
            alpha=alpha,
            lw=0.8,
        )
        label = (centre[0] * 1.18, centre[1] * 1.18)
    else:
        patch = FancyArrowPatch(
            start,
            end,
            connectionstyle=f"arc3,rad={0.12 + 0.1 * shift}",
            arrowstyle="-|>",
            mutation_scale=6,
            shrinkA=6,
            shrinkB=6,
            color=colour,
            alpha=alpha,
            lw=0.8,
        )
        axes.add_patch(patch)
        x = 0.4 * start[0] + 0.6 * end[0]
        y = 0.4 * start[1] + 0.6 * end[1]
        label = (x, y + 0.08)
    if abs(reward) > 1e-9:
        axes.text(
            *label, f"{reward:+.2g}", color=colour, fontsize=5, ha="center", va="center", zorder=5
        )


def kernel_strip(
    axes: Axes,
    mdp: MDP,
) -> None:
    """The kernel of every step as a colour, with a line where a turn begins."""
    steps = len(mdp.schedule)
    bins = _bins(steps)
    axes.imshow(
        np.array([[to_rgb(_colour(k, len(mdp.prob))) for k in mdp.schedule[bins[:-1]]]]),
        aspect="auto",
        extent=(-0.5, steps - 0.5, 0, 1),
        interpolation="nearest",
    )
    starts = np.flatnonzero(np.diff(mdp.turn)) + 0.5
    if len(starts) <= 60:
        axes.vlines(starts, 0, 1, color="white", linewidth=0.8)
    axes.set(yticks=[])
    axes.set_ylabel("kernel", rotation=0, ha="right", va="center")
    axes.grid(visible=False)


def advantage_map(
    axes: Axes,
    mdp: MDP,
    truth: Truth,
):
    """A_t(s, a) over steps; long episodes show the largest in size of each bin of steps."""
    steps, _, actions = truth.q_value.shape
    decides = mdp.decision[mdp.schedule]
    reached = (truth.occupancy > 0) & decides[:, None]
    # `[S A, T]`
    decided = reached[:, :, None]
    known = np.where(decided, truth.advantage, np.nan)
    advantage = known.reshape(steps, -1).T
    visits = np.repeat(truth.occupancy, actions, axis=1)
    weighed = np.abs(advantage) * visits.T
    weight = np.nansum(weighed, axis=1)
    seen = np.flatnonzero(np.isfinite(advantage).any(1))
    ranked = np.argsort(-weight[seen], kind="stable")
    rows = np.sort(seen[ranked][:MAX_ROWS])
    bins = _bins(steps)
    columns = []
    for first, end in itertools.pairwise(bins):
        inside = advantage[rows, first:end]
        columns.append(_largest(inside))
    image = np.stack(columns, axis=1)
    largest = np.nanmax(np.abs(image), initial=0.0)
    limit = max(float(largest), 1e-9)
    axes.set_facecolor("#dddddd")
    drawn = axes.imshow(
        image,
        aspect="auto",
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(-0.5, steps - 0.5, len(rows) - 0.5, -0.5),
    )
    marks = pivots(mdp, truth)
    axes.plot(marks, np.full(len(marks), -0.5), "v", color="black", markersize=3, clip_on=False)
    axes.set_yticks(
        range(len(rows)), [f"{row // actions}, {row % actions}" for row in rows], fontsize=5
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="step (triangles: pivots)", ylabel="state, action")
    axes.grid(visible=False)
    if len(rows) < len(seen):
        axes.set_title(
            f"{len(rows)} of {len(seen)} pairs, those that matter most", loc="right", fontsize=6
        )
    return drawn


def _colour(
    kernel: int,
    kernels: int,
):
    """The colour of a kernel in its title and in the strip."""
    return (
        mpl.colormaps["tab10"](kernel)
        if kernels <= 10
        else mpl.colormaps["viridis"](kernel / kernels)
    )


def _bins(steps: int) -> np.ndarray:
    number = min(steps, MAX_COLUMNS)
    ends = np.linspace(0, steps, number + 1)
    return np.unique(ends.astype(int))


def _largest(block: np.ndarray) -> np.ndarray:
    """The entry of largest size in each row, NaN where there is none."""
    sizes = np.where(np.isfinite(block), np.abs(block), -1.0)
    where = np.argmax(sizes, axis=1)
    rows = np.arange(len(block))
    return block[rows, where]
