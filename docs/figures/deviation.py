"""What dividing by a group's deviation does: how much a prompt counts, by its success rate."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from casim.figures import COLOR, style
from casim.oracle.closed_forms import binary_group_scale

SUCCESS = np.linspace(0.02, 0.98, 49)
GROUPS = {4: ":", 8: "--", 64: "-"}
"""Sizes of groups, and how they are drawn."""


def draw() -> Figure:
    """The factor of each prompt's gradient, exactly, against its success rate."""
    with style():
        figure, axes = plt.subplots(figsize=(4.0, 2.3))
        for num, dashes in GROUPS.items():
            factor = [float(binary_group_scale(p, num)) for p in SUCCESS]
            axes.plot(
                SUCCESS,
                factor,
                color=COLOR["monte_carlo"],
                linestyle=dashes,
                label=f"GRPO, groups of {num}",
            )
        axes.axhline(1.0, color=COLOR["control"], label="RLOO, any size")
        axes.set_ylim(0, None)
        axes.set_xlabel("success rate of the prompt")
        axes.set_ylabel("factor of its gradient")
        axes.legend()
    return figure
