"""How credit degrades with the horizon: one pivot, everything else filler, 8 to 4,096 steps.

Run with `casim demo [--full]`. The world is a token chain with one pivotal step in the middle and a
success probability of 0.8 or 0.2 behind it; a symbol that means nothing is shown at every other
step. Only the length changes.

For one column of a paper, with `save` and `COLUMN` from `casim.figures`:
`save(draw(casim.load("results/horizon.jsonl"), width=COLUMN), "horizon.pdf")`.
"""

from __future__ import annotations

import casim
from casim.controls import Control
from casim.figures import PAGE, small_multiples
from casim.jobs import label_of
from casim.methods import Method
from casim.oracle import closed_forms
from casim.oracle.moments import Recursion, judged_gain

FIDELITY = 0.9
"""Of the judge."""
INFORMATION_GAIN = Method(
    name="info gain",
    recipe=casim.InformationGain(),
    reference="Wang et al. 2025",
    arxiv="2510.14967",
    recursion=Recursion(judged_gain(FIDELITY)),
)
"""Under this judge its moments are exact too."""
ESTIMATORS = (
    casim.methods.REINFORCE,
    casim.methods.REWARD_TO_GO,
    casim.methods.GRPO,
    casim.methods.DR_GRPO,
    casim.methods.RLOO,
    casim.Vine(),
    casim.Gae(),
    casim.Gae(lambda_=1.0, fit="td"),
    casim.GaeNetwork(),
    casim.Hindsight(),
    casim.Hindsight(condition="state"),
    casim.ProcessReward(form="sum"),
    casim.ProcessReward(form="min"),
    INFORMATION_GAIN,
    casim.InformationGain(form="log"),
    casim.Shapley(),
)
NAMES = {
    "Vine": "VinePPO",
    "Gae": "GAE",
    "Gae(lambda=1.0, fit=td)": "GAE, λ = 1, TD",
    "GaeNetwork": "GAE, network",
    "Hindsight(condition=state)": "Hindsight, state",
    "ProcessReward(form=sum)": "PRM, sum",
    "ProcessReward": "PRM, min",
    "InformationGain(form=log)": "info gain, log",
}
"""What the literature calls the methods, short."""
FORMS = {
    casim.methods.REINFORCE: closed_forms.plain_return,
    casim.methods.REWARD_TO_GO: closed_forms.plain_return,
    casim.methods.RLOO: closed_forms.leave_one_out,
    casim.methods.DR_GRPO: closed_forms.group_mean,
    casim.methods.GRPO: closed_forms.group_relative,
    Control("exact"): closed_forms.exact_advantage,
    Control("zero"): closed_forms.no_credit,
    Control("broadcast"): closed_forms.plain_return,
}
"""What the numbers of a task alone say of a method; rows of the full study say more."""
ALIGNED = "snr_aligned"
SCORES = ("bias", "centred_bias", "variance", ALIGNED, "sign_accuracy", "env_steps")
SPANS = {
    "bias": (-0.3, 1e5),
    "centred_bias": (-1.0, 1e2),
    "variance": (0.3, 1e5),
    ALIGNED: (1e-5, 2e1),
}
"""The sum of process rewards leaves these panels."""


def study(
    name: str,
    horizons: tuple[int, ...],
    replicates: int,
    exact: bool = False,
) -> casim.Study:
    """The same methods at these horizons."""
    task = casim.Bifurcation(filler_entropy=0.5, noise=0.05)
    return casim.Study(
        name=name,
        tasks=tuple(task.with_horizon(horizon) for horizon in horizons),
        estimators=ESTIMATORS,
        policies=(casim.Softmax(scale=0.5),),
        judges={"judge": casim.Judge(fidelity=FIDELITY)},
        num_trajectories=8,
        replicates=replicates,
        exact=exact,
    )


STUDY = study("horizon", tuple(2**k for k in range(3, 13)), 400, exact=True)
QUICK = study("horizon_quick", (8, 32, 128), 200)


def draw(rows: list[casim.Row], width: float = PAGE):
    """A row of panels per score, a column per methodology.

    On less than a page's width (`casim.figures.COLUMN` inches) the aligned SNR alone, the score by
    which methods are compared.
    """
    scores = SCORES if width >= PAGE else (ALIGNED,)
    return small_multiples(
        rows,
        scores,
        x="task.horizon",
        by="methodology",
        width=width,
        names=NAMES,
        exact=exact_values(rows),
        spans=SPANS,
    )


def exact_values(rows: list[casim.Row]) -> dict[str, dict[str, dict[float, float]]]:
    """What is exact, by score, label and horizon: closed forms, and what the rows hold."""
    forms = {label_of(method): form for method, form in FORMS.items()}
    exact: dict[str, dict[str, dict[float, float]]] = {}
    for row in rows:
        known = dict(row.expected or {})
        if row.label in forms:
            known |= forms[row.label](row.exact, row.num_trajectories)
        for score, value in known.items():
            by_label = exact.setdefault(score, {})
            by_label.setdefault(row.label, {})[row.horizon] = value
    return exact
