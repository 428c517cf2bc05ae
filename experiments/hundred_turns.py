"""A hundred turns of a thousand tokens: what is left of each agentic method at that length?

Run with `casim run experiments/hundred_turns.py [--quick]`; the full study is meant for a GPU. The
world is the preset agentic_100_turns: turns of 300 tokens of the agent and 700 of the tool, outputs
that are wrong with probability 0.1, an end that is half unverified.

Each method is a row. Bias is of the credit, with what no action changes taken away. The aligned SNR
is hollow where it is not told apart from RLOO's, by pairs. Worth is one over the error that is left
of the gradient after so many environment steps as make `GROUPS` groups without anything extra.
`shuffled` has the exact credit at the wrong steps.
"""

from __future__ import annotations

import dataclasses

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
from casim.tasks import Task

METHODS = (
    methods.RLOO,
    methods.GRPO,
    methods.GIGPO,
    methods.TURN_LOO,
    methods.VINEPPO,
    methods.IGPO,
    methods.HCA_RETURN,
    methods.HCAPO,
    methods.RUDDER,
    methods.GAE,
    methods.AGENTPRM,
    methods.TURN_PPO,
    methods.POAD,
    methods.RAGEN_TURNS,
    methods.ARCHER,
    methods.ISTAR,
    methods.SWEET_RL,
    methods.MT_GRPO_JUDGED,
    methods.TARL,
    methods.CRITICSEARCH,
)
JUDGES = {**PANEL, "judge": casim.Judge(fidelity=0.9)}
AGAINST = "RLOO"
GROUPS = 100
"""Batches without anything extra that the budget of environment steps makes."""
ALIGNED = "snr_aligned"
SCORES = ("centred_bias", "gradient_slope", ALIGNED, "env_steps", "judge_calls")
LEAST = 1e-7
"""Of an SNR that is drawn; what points away from the gradient is put there too."""
LONG = casim.PRESETS["agentic_100_turns"]
SHORT = dataclasses.replace(LONG, num_turns=10, tokens_per_turn=3, output_tokens=7)


def study(name: str, task: Task, replicates: int) -> casim.Study:
    return casim.Study(
        name=name,
        tasks=(task,),
        estimators=METHODS,
        policies=(casim.Softmax(scale=0.5),),
        judges=JUDGES,
        reference=casim.Uniform(),
        num_trajectories=8,
        replicates=replicates,
        controls=("exact", "shuffled"),
    )


STUDY = study("hundred_turns", LONG, 200)
QUICK = study("hundred_turns_quick", SHORT, 20)


def draw(rows: list[casim.Row], width: float = PAGE) -> Figure:
    """A row a method: bias, cost, SNR and worth."""
    bias = by_place(rows, place_of, score_of("centred_bias"))
    ratio = by_place(rows, place_of, score_of(ALIGNED, LEAST))
    hollow = alike(rows, ALIGNED, AGAINST, place_of)
    columns = [
        Column("action-centred\nbias² / signal", bias, "symlog", 0.0, 0.1),
        cost_column(rows, place_of),
        Column("aligned SNR\n(hollow: as RLOO)", ratio, "log", hollow=hollow),
        worth_column(rows, place_of, GROUPS),
    ]
    methodologies = {row.label: row.methodology for row in rows}
    places = list(dict.fromkeys(map(place_of, rows)))
    return ladder(columns, methodologies, places, width=width)


def place_of(row: casim.Row) -> str:
    return f"{row.num_steps:,} tokens"
