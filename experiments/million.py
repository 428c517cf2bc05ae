"""A million tokens: twelve estimators on 1,024 trajectories of 1,000,000 steps, scored against the exact truth.

Run with `casim run experiments/million.py [--quick]`. The world is the token chain of the horizon study at its far
end: one pivotal step in a million decides the outcome, and everything else is filler.
"""

from __future__ import annotations

import casim
from casim.figures import PAGE, style, styles

ESTIMATORS = (
    casim.Return(),
    casim.RewardToGo(),
    casim.GroupRelative(),
    casim.GroupRelative(scale="none"),
    casim.LeaveOneOut(),
    casim.Vine(),
    casim.Gae(),
    casim.GaeNetwork(),
    casim.Hindsight(),
    casim.ProcessReward(),
    casim.InformationGain(),
    casim.Shapley(),
)
FLOOR = 1e-10
"""The least that the figure shows."""
SCORES = ("bias", "centred_bias", "snr", "sign_accuracy", "precision_at_k", "env_steps")


def study(name: str, horizon: int, replicates: int) -> casim.Study:
    return casim.Study(
        name=name,
        tasks=(casim.Bifurcation(horizon=horizon, filler_entropy=0.5, noise=0.05),),
        estimators=ESTIMATORS,
        policies=(casim.Softmax(scale=0.5),),
        judge=casim.Judge(fidelity=0.9),
        num_trajectories=8,
        replicates=replicates,
    )


STUDY = study("million", 1_000_000, 128)
QUICK = study("million_quick", 2_000, 10)


def draw(rows: list[casim.Row]):
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    panels = (("snr", "(a) SNR of the policy gradient"), ("precision_at_k", "(b) precision at the pivot"))
    # What is 0 or below lies on the lower edge; the first row also pays for small programs that all rows share.
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6), sharex=True, layout="constrained")
        for axis, (score, title) in zip(axes, panels, strict=True):
            for row in rows:
                look = {**styles(rows)[row.label], "linestyle": "none"}
                value, low, high = (max(x, FLOOR) for x in row.scores[score][:3])
                bars = [[value - low], [high - value]]
                axis.errorbar(row.wall_time, value, bars, label=row.label, clip_on=False, **look)
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(LogFormatter())
            axis.set_yscale("log")
            axis.set_ylim(bottom=FLOOR)
            axis.set_xlabel("seconds to run")
            axis.set_title(title, loc="left")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
