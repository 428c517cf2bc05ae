"""Teams that share one outcome: who finds what each agent did, as they are coupled and grow?

Run with `casim run experiments/teams.py [--quick]`. Agents act once each, at the same time. Without
coupling each has a subtask of its own; with full coupling the outcome is whether they all agree.
One agent is a free rider: nothing that it does counts.

Each method is a row, each number of agents a dot; a column is a score at one coupling. Bias is of
the credit beside the exact advantage, with what no action changes taken away, and the aligned SNR
is that of the policy gradient after the best single scalar. Judges err: shares are a quarter
uninformed with noise, the joint critic is noisy, the coach has 11 levels. `shuffled` has the exact
credit at the wrong steps.
"""

from __future__ import annotations

from matplotlib.figure import Figure

import casim
from casim import methods
from casim.figures import PAGE, Column, by_place, ladder, score_of
from casim.panel import PANEL

METHODS = (
    methods.RLOO,
    methods.DR_MAS_GLOBAL,
    methods.DR_MAS,
    methods.M_GRPO,
    methods.MAPPA,
    methods.COMA,
    methods.LLM_MCA,
    methods.SHARP,
    methods.SHARP_MARGINAL,
    methods.DIFFERENCE_REWARDS,
    methods.ARISTOCRAT,
    methods.C3_AGENTS,
    methods.CCPO_AGENTS,
    methods.SHAPLEY_AGENTS,
    methods.SHAPLEY_AGENTS_EXACT,
    methods.VDN,
    methods.QLLM,
    methods.QMIX,
)
NAMES = {"Shapley, agents, all coalitions": "Shapley, exact"}
JUDGES = {
    **PANEL,
    "judge": casim.Judge("gap", fidelity=0.9),
}
BIAS, ALIGNED = "centred_bias", "snr_aligned"
SCORES = (BIAS, ALIGNED, "gradient_cosine", "env_steps", "judge_calls")
COUPLINGS = (0.0, 0.5, 1.0)
LEAST = 1e-5
"""Of an SNR that is drawn; what points away from the gradient is put there too."""
BIASES = (-0.5, 3e3)
"""Biases that are drawn."""


def study(
    name: str,
    couplings: tuple[float, ...],
    sizes: tuple[int, ...],
    replicates: int,
) -> casim.Study:
    """Teams of these sizes, the free rider included, at these couplings."""
    teams = []
    for coupling in couplings:
        for size in sizes:
            team = casim.Team(
                num_agents=size,
                coupling=coupling,
                order="simultaneous",
                null_agent=1,
            )
            teams.append(team)
    return casim.Study(
        name=name,
        tasks=tuple(teams),
        estimators=METHODS,
        policies=(casim.Softmax(scale=0.5),),
        judges=JUDGES,
        num_prompts=2,
        num_trajectories=8,
        replicates=replicates,
        controls=("exact", "shuffled"),
    )


STUDY = study("teams", COUPLINGS, (2, 4, 8, 12), 200)
QUICK = study("teams_quick", (0.0, 1.0), (3,), 20)


def draw(rows: list[casim.Row], width: float = PAGE) -> Figure:
    """A row a method: bias, then aligned SNR, at every coupling."""
    couplings = sorted({row.task["coupling"] for row in rows})
    columns = []
    for make in (bias_of, snr_of):
        for coupling in couplings:
            own = [row for row in rows if row.task["coupling"] == coupling]
            columns.append(make(own, coupling))
    methodologies = {row.label: row.methodology for row in rows}
    sizes = sorted({row.task["num_agents"] for row in rows})
    places = [f"{size} agents" for size in sizes]
    return ladder(columns, methodologies, places, names=NAMES, width=width)


def place_of(row: casim.Row) -> str:
    return f"{row.task['num_agents']} agents"


def bias_of(rows: list[casim.Row], coupling: float) -> Column:
    title = f"bias² / signal\nat coupling {coupling:g}"
    values = by_place(rows, place_of, score_of(BIAS))
    return Column(title, values, "symlog", 0.0, 0.1, limits=BIASES)


def snr_of(rows: list[casim.Row], coupling: float) -> Column:
    """Positive estimates on a logarithmic axis."""
    title = f"aligned SNR\nat coupling {coupling:g}"
    values = by_place(rows, place_of, score_of(ALIGNED, LEAST))
    return Column(title, values, "log")
