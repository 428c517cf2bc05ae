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
from casim.figures import small_multiples

# Published methods, casim's estimators or your own, for which
# `from mine import METHOD` at the top takes METHOD from mine.py beside this file.
ESTIMATORS = (
    casim.methods.DR_GRPO,
    casim.methods.RLOO,
    casim.Vine(),
)
# Columns of the printed table; the page of `casim report ROWS --out FILE` says what each is.
SCORES = ("bias", "centred_bias", "variance", "snr_aligned", "sign_accuracy", "env_steps")


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


# The name of a study is the name of its files; QUICK is what `--quick` measures, to try the file.
STUDY = study("new_experiment", (8, 16, 32, 64, 128), 200)
QUICK = study("new_experiment_quick", (8, 32), 50)


def draw(rows: list[casim.Row]):
    """A matplotlib figure from rows: x may be any setting of task, policy, judge or method."""
    scores = ("snr_aligned", "sign_accuracy", "variance", "env_steps")
    return small_multiples(rows, scores, x="task.horizon")
