"""How credit degrades with the horizon: one pivot, everything else filler, 8 to 4,096 steps.

Run with `casim run experiments/horizon.py [--quick]`. The world is a token chain with one pivotal step in the middle
and a success probability of 0.8 or 0.2 behind it; a symbol that means nothing is shown at every other step. Only the
length changes.
"""

from __future__ import annotations

import casim
from casim.figures import PAGE, horizon_panel, style
from casim.oracle import closed_forms

ESTIMATORS = (
    casim.Return(),
    casim.RewardToGo(),
    casim.GroupRelative(),
    casim.GroupRelative(scale="none"),
    casim.LeaveOneOut(),
    casim.Vine(),
    casim.Gae(),
    casim.Gae(lambda_=1.0, fit="td"),
    casim.GaeNetwork(),
    casim.Hindsight(),
    casim.Hindsight(condition="state"),
    casim.ProcessReward(form="sum"),
    casim.ProcessReward(form="min"),
    casim.InformationGain(),
    casim.InformationGain(form="log"),
    casim.Shapley(),
)
SCORES = ("bias", "centred_bias", "variance", "snr", "sign_accuracy", "env_steps")


def study(name: str, horizons: tuple[int, ...], replicates: int) -> casim.Study:
    task = casim.Bifurcation(filler_entropy=0.5, noise=0.05)
    return casim.Study(
        name=name,
        tasks=tuple(task.with_horizon(horizon) for horizon in horizons),
        estimators=ESTIMATORS,
        policies=(casim.Softmax(scale=0.5),),
        judge=casim.Judge(fidelity=0.9),
        num_trajectories=8,
        replicates=replicates,
    )


STUDY = study("horizon", tuple(2**k for k in range(3, 13)), 400)
QUICK = study("horizon_quick", (8, 32, 128), 200)


def draw(rows: list[casim.Row]):
    import matplotlib.pyplot as plt

    exact: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        for label, scores in closed_forms(row.exact, row.num_trajectories).items():
            for score, value in scores.items():
                exact.setdefault(score, {}).setdefault(label, {})[row.num_steps] = value
    panels = (
        ("bias", "(a) squared bias / signal", "symlog", 0.1),
        ("centred_bias", "(b) action-centred bias² / signal", "symlog", 0.1),
        ("variance", "(c) variance / signal", "log", None),
        ("snr", "(d) SNR of the policy gradient", "log", None),
        ("sign_accuracy", "(e) sign accuracy at the pivot", "linear", None),
        ("env_steps", "(f) extra environment steps", "symlog", 100.0),
    )
    with style():
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, 4.9), sharex=True, layout="constrained")
        for axis, (score, title, scale, linthresh) in zip(axes.flat, panels, strict=True):
            horizon_panel(axis, rows, score, title, scale, linthresh, exact.get(score))
        # The sum of process rewards leaves panels (a) to (d); the zero credit has no variance to show in (c).
        axes[0, 0].set_ylim(-0.3, 1e5)
        axes[0, 1].set_ylim(-1.0, 1e2)
        axes[0, 2].set_ylim(0.3, 1e5)
        axes[1, 0].set_ylim(1e-5, 2e1)
        axes[1, 2].set_ylim(bottom=-10)
        for axis in axes[1]:
            axis.set_xlabel("horizon T (steps)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
