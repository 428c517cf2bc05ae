"""The reasoning column of the survey, all on the same groups: what each buys, and what it costs.

Run with `casim run experiments/reasoning_methods.py [--quick]`. Two worlds: a chain of ten steps of
reasoning whose steps grow from 50 to 3,000 tokens, and a process that can please its judge without
solving the task. Eight prompts of eight rollouts, because some methods normalise over a batch.
Methods that play on from a point do so at the ten boundaries of steps, whatever the length; so
SPO-chain, which cuts at every fifth unlikely token, is left to `reasoning_claims.py`, and SCAR's
feature game, whose reader goes through the whole text for each coalition, is left out.

Each method is a row, each horizon a dot. Bias is of the credit, with what no action changes taken
away. The aligned SNR is hollow where it is not told apart from RLOO's, by pairs. Worth is one over
the error that is left of the gradient after so many environment steps as make `GROUPS` groups
without anything extra: what a method buys at equal cost.

docs/reasoning-methods.md says what follows from it.
"""

from __future__ import annotations

from matplotlib.figure import Figure

import casim
from casim import methods
from casim.figures import (
    PAGE,
    Column,
    alike,
    by_place,
    cost_column,
    ladder,
    score_of,
    worth_column,
)
from casim.panel import PANEL

METHODS = (
    methods.REINFORCE,
    methods.RLOO,
    methods.GRPO,
    methods.DR_GRPO,
    methods.REINFORCE_PP,
    methods.REINFORCE_PP_BASELINE,
    methods.REMAX,
    methods.OPO,
    methods.OTB,
    methods.DAPO,
    methods.MAXRL,
    methods.GRPO_LAMBDA,
    methods.ENTROPY_80_20,
    methods.TEMPO,
    methods.PRL,
    methods.SPRO,
    methods.HICRA,
    methods.ACPO,
    methods.VINEPPO,
    methods.SPO_TREE,
    methods.MATH_SHEPHERD,
    methods.OMEGA_PRM_BLAME,
    methods.GAE,
    methods.GAE_NETWORK,
    methods.SCAR,
    methods.PURE_VERL,
    methods.PURE_OPENRLHF,
    methods.PROCESS_SUM,
    methods.CAPO,
    methods.FINEPO,
    methods.INT,
    methods.RED,
    methods.T_REG_TOKENS,
    methods.R_TO_Q,
    methods.PRIME,
    methods.MATH_SHEPHERD_PRM,
)
JUDGES = {**PANEL, "judge": casim.Judge(fidelity=0.9)}
AGAINST = "RLOO"
GROUPS = 100
"""Batches without anything extra that the budget of environment steps makes."""
ALIGNED = "snr_aligned"
SCORES = ("centred_bias", ALIGNED, "gradient_cosine", "env_steps", "judge_calls")
LEAST = 1e-6
"""Of an SNR that is drawn; what points away from the gradient is put there too."""
BIASES = (-3.0, 3e4)
"""Biases that are drawn; the sums of process rewards leave the column."""
LENGTHS = (500, 4_000, 30_000)
STEPS = 10


def study(name: str, lengths: tuple[int, ...], replicates: int) -> casim.Study:
    """Both worlds at these lengths, in tokens."""
    chains = (casim.ReasoningChain(STEPS, length // STEPS) for length in lengths)
    processes = (casim.HackableProcess(length, num_segments=STEPS) for length in lengths)
    return casim.Study(
        name=name,
        tasks=(*chains, *processes),
        estimators=METHODS,
        policies=(casim.Softmax(scale=0.5),),
        judges=JUDGES,
        reference=casim.Uniform(),
        num_prompts=8,
        num_trajectories=8,
        replicates=replicates,
        controls=("exact", "shuffled"),
    )


STUDY = study("reasoning_methods", LENGTHS, 200)
QUICK = study("reasoning_methods_quick", (50, 100), 20)


def draw(rows: list[casim.Row], width: float = PAGE) -> Figure:
    """A row a method: bias, cost, SNR and worth on the chain, SNR on the process."""
    chain = [row for row in rows if row.task["recipe"] == "ReasoningChain"]
    process = [row for row in rows if row.task["recipe"] == "HackableProcess"]
    columns = [
        bias_of(chain),
        cost_column(chain, place_of),
        snr_of(chain, "aligned SNR\n(hollow: as RLOO)"),
        worth_column(chain, place_of, GROUPS),
        snr_of(process, "aligned SNR, where\nthe judge can be pleased"),
    ]
    methodologies = {row.label: row.methodology for row in rows}
    lengths = sorted({row.num_steps for row in rows})
    places = [f"{length:,} tokens" for length in lengths]
    return ladder(columns, methodologies, places, width=width)


def place_of(row: casim.Row) -> str:
    return f"{row.num_steps:,} tokens"


def bias_of(rows: list[casim.Row]) -> Column:
    title = "action-centred\nbias² / signal"
    values = by_place(rows, place_of, score_of("centred_bias"))
    return Column(title, values, "symlog", 0.0, 0.1, limits=BIASES)


def snr_of(rows: list[casim.Row], title: str) -> Column:
    """Positive estimates on a logarithmic axis; hollow where a pair was not told apart."""
    values = by_place(rows, place_of, score_of(ALIGNED, LEAST))
    hollow = alike(rows, ALIGNED, AGAINST, place_of)
    return Column(title, values, "log", hollow=hollow)
