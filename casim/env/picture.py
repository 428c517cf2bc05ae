"""An episode so far, for the eye: a few lines of text, or a picture of its last steps.

In the picture time runs to the right, a column for each step. From top to bottom: the kernel that
governs the step, with its kind of action; what was observed; which action was taken, grey where the
environment writes; and what was earned. The framed column is the step to come. Step numbers are
below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from casim.types import Kind

WINDOW = 16
"""Steps in a picture."""
COLUMN, ROW = 40, 36
"""Pixels of a cell: width and height."""
LEFT, RIGHT, TOP, BOTTOM = 84, 12, 32, 28
"""Margins in pixels, for names, the title and step numbers."""
DPI = 100
ROWS = ("kernel", "observation", "action", "reward")
KINDS = {
    Kind.THINK: "#8FC1E3",
    Kind.TOOL: "#F2B37E",
    Kind.MEMORY: "#9FD3B5",
    Kind.MESSAGE: "#DDAFCB",
    Kind.ANSWER: "#EBD98B",
    Kind.OUTPUT: "#D9D9D9",
}
"""Colours of the kinds of action."""
EARNED, LOST, PLAIN = "#BFE3C0", "#F3B5AF", "#FFFFFF"
"""Colours of rewards above and below 0, and of everything else."""


class Moment(NamedTuple):
    """One step of an episode; what has not happened yet is None."""

    step: int
    kernel: int
    kind: Kind
    decision: bool
    """Whether the action counts."""
    observation: int
    action: int | None = None
    reward: float | None = None


class Scene(NamedTuple):
    """An episode so far."""

    task: str
    episode: int
    horizon: int
    """T."""
    gain: float
    """Discounted sum of the rewards so far."""
    past: Sequence[Moment]
    """The last steps."""
    now: Moment
    """The step to come; where the episode has ended, what is seen there."""
    ended: str
    """How the episode ended; empty while it runs."""


def as_text(scene: Scene) -> str:
    """Three lines: where the episode is, what is seen there, and what the last action brought."""
    return "\n".join([_where(scene), _seen(scene.now), _brought(scene)])


def _where(scene: Scene) -> str:
    if scene.ended:
        state = scene.ended
    elif scene.now.decision:
        state = "the agent decides"
    else:
        state = "the environment writes"
    step = f"step {scene.now.step} of {scene.horizon}"
    return f"{scene.task}, episode {scene.episode}, {step}: {state}"


def _seen(now: Moment) -> str:
    kind = now.kind.name.lower()
    return f"kernel {now.kernel} ({kind}), observation {now.observation}"


def _brought(scene: Scene) -> str:
    if not scene.past:
        return "no action yet"
    last = scene.past[-1]
    counted = "" if last.decision else " (no decision)"
    earned = f"reward {last.reward:.4g}, return so far {scene.gain:.4g}"
    return f"last action {last.action}{counted}, {earned}"


def as_picture(scene: Scene) -> np.ndarray:
    """The last `WINDOW` steps, `[height, width, 3]` of uint8."""
    shown = list(scene.past)
    if not scene.ended:
        shown.append(scene.now)
    shown = shown[-WINDOW:]

    inner_width = WINDOW * COLUMN
    inner_height = len(ROWS) * ROW
    width = LEFT + inner_width + RIGHT
    height = TOP + inner_height + BOTTOM
    figure = Figure(
        figsize=(width / DPI, height / DPI),
        dpi=DPI,
        facecolor="white",
    )
    place = (
        LEFT / width,
        BOTTOM / height,
        inner_width / width,
        inner_height / height,
    )
    axes = figure.add_axes(place)
    for column, moment in enumerate(shown):
        _draw_moment(axes, column, moment)
    if not scene.ended:
        _draw_frame(axes, len(shown) - 1)
    _label(axes, shown)
    figure.text(8 / width, 1 - 8 / height, _title(scene), va="top", fontsize=9)

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _draw_moment(axes: Axes, column: int, moment: Moment) -> None:
    """A column of cells."""
    for row, (text, colour) in enumerate(_cells(moment)):
        cell = Rectangle((column, row), 1, 1)
        cell.set_facecolor(colour)
        cell.set_edgecolor("#808080")
        cell.set_linewidth(0.5)
        cell.set_clip_on(False)  # or half of the outer lines is cut off
        axes.add_patch(cell)
        axes.text(
            column + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=9 if row else 7,
        )


def _draw_frame(axes: Axes, column: int) -> None:
    frame = Rectangle((column, 0), 1, len(ROWS))
    frame.set_fill(False)
    frame.set_edgecolor("black")
    frame.set_linewidth(2)
    frame.set_clip_on(False)
    axes.add_patch(frame)


def _label(axes: Axes, shown: Sequence[Moment]) -> None:
    """Step numbers below, names of the rows to the left."""
    axes.set_xlim(0, WINDOW)
    axes.set_ylim(len(ROWS), 0)
    steps = [str(moment.step) for moment in shown]
    axes.set_xticks(np.arange(len(steps)) + 0.5, steps, fontsize=8)
    axes.set_yticks(np.arange(len(ROWS)) + 0.5, ROWS, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _title(scene: Scene) -> str:
    state = scene.ended
    if not scene.ended:
        kind = scene.now.kind.name.lower()
        state = f"step {scene.now.step} of {scene.horizon}, {kind}"
    return f"{scene.task}, episode {scene.episode}: {state}; return {scene.gain:.4g}"


def _cells(moment: Moment) -> list[tuple[str, str]]:
    """Text and colour of each row."""
    kind = moment.kind.name.lower()
    number = str(moment.kernel)
    cells = [(f"{number}\n{kind}", KINDS[moment.kind])]
    cells.append((str(moment.observation), PLAIN))
    cells.append(_action_cell(moment))
    cells.append(_reward_cell(moment))
    return cells


def _action_cell(moment: Moment) -> tuple[str, str]:
    colour = PLAIN if moment.decision else KINDS[Kind.OUTPUT]
    if moment.action is None:
        return "", colour
    return str(moment.action), colour


def _reward_cell(moment: Moment) -> tuple[str, str]:
    if moment.reward is None:
        return "", PLAIN
    text = f"{moment.reward:.3g}"
    if moment.reward > 0:
        return text, EARNED
    if moment.reward < 0:
        return text, LOST
    return text, PLAIN
