"""new_experiment: how methods lose their signal when one step decides among more and more filler.

Run the small version first. It prints a table, and writes rows and a figure under results/:

    casim run new_experiment.py --quick
    casim run new_experiment.py

Rows are written as they finish: a run that was stopped goes on where it was. To draw again from
the rows alone:

    casim figure new_experiment.py results/new_experiment.jsonl --out figure.pdf

`docs/experiments.md` describes these files.
"""

from __future__ import annotations

import casim
from casim.figures import PAGE, horizon_panel, style

# Methods, casim's or your own: a file beside this one can be imported here.
ESTIMATORS = (
    casim.GroupRelative(scale="none"),
    casim.LeaveOneOut(),
    casim.Vine(),
)
# Columns of the printed table; `docs/scores.md` says what each is.
SCORES = ("bias", "centred_bias", "variance", "snr", "sign_accuracy", "env_steps")


def study(name: str, horizons: tuple[int, ...], replicates: int) -> casim.Study:
    """Worlds x methods: each pair becomes a row."""
    return casim.Study(
        name=name,
        tasks=tuple(casim.Bifurcation(horizon=horizon, noise=0.05) for horizon in horizons),
        estimators=ESTIMATORS,
        policies=(casim.Softmax(scale=0.5),),
        num_trajectories=8,
        replicates=replicates,
    )


# The name of a study is the name of its files.
STUDY = study("new_experiment", (8, 16, 32, 64, 128), 200)
QUICK = study("new_experiment_quick", (8, 32), 50)


def draw(rows: list[casim.Row]):
    """A matplotlib figure from rows alone."""
    import matplotlib.pyplot as plt

    panels = (
        ("snr", "(a) SNR of the policy gradient", "log"),
        ("sign_accuracy", "(b) sign accuracy at the pivot", "linear"),
    )
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6), layout="constrained")
        for axis, (score, title, scale) in zip(axes, panels, strict=True):
            horizon_panel(axis, rows, score, title, scale)
            axis.set_xlabel("horizon T (steps)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
