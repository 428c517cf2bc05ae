"""What breaks which method: agentic methods on the six diagnostics of the survey, mild and strong.

Run with `casim run experiments/agentic_methods.py [--quick]`. The world is a chain of turns around
a tool, `casim.ToolChain`. A column switches on one diagnostic of agentic credit: T, a hidden
session that goes stale; O, outputs that omit what matters; R, going back to a step restores the
text alone; H, calls of several kinds; V, an end that cannot be verified on the way; C, a second
agent whose calls move the tool. The rest of the world is the same.

Left, what part of the credit's mean is wrong: the cosine of the mean gradient with the exact one.
Right, the aligned SNR over RLOO's on the same groups, which reads nothing but returns and so feels
no diagnostic but through the world: a dot where the two are not told apart, a cross where there is
no number, as where the method cannot run.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from matplotlib.figure import Figure

import casim
from casim import methods
from casim.compare import by_score, compare
from casim.figures import PAGE, Panel, matrix
from casim.panel import PANEL

METHODS = (
    methods.RLOO,
    methods.GRPO,
    methods.AGENT_LIGHTNING,
    methods.STARPO_S,
    methods.GIGPO,
    methods.GIGPO_STD,
    methods.HGPO,
    methods.TURN_LOO,
    methods.GRAPH_GPO,
    methods.VINEPPO,
    methods.CARL,
    methods.C3_REWARD,
    methods.CCPO,
    methods.DIFFERENCE_TURN,
    methods.PILOTRL,
    methods.VSPO,
    methods.IGPO,
    methods.MUTUAL_INFORMATION,
    methods.HCA_STATE,
    methods.HCA_RETURN,
    methods.HCAPO,
    methods.COCOA_REWARD,
    methods.RUDDER,
    methods.GAE,
    methods.AGENTPRM,
    methods.TURN_PPO,
    methods.POAD,
    methods.NTPO,
    methods.RAGEN_TURNS,
    methods.ARCHER,
    methods.SORL,
    methods.SPA_RL,
    methods.LARE,
    methods.ISTAR,
    methods.ITPO,
    methods.SWEET_RL,
    methods.STEPAGENT,
    methods.MT_GRPO_JUDGED,
    methods.TARL,
    methods.CRITICSEARCH,
    methods.SCRIBE,
    methods.ADAPTSEG,
)
JUDGES = {**PANEL, "judge": casim.Judge(fidelity=0.9)}
AGAINST = "RLOO"
ALIGNED = "snr_aligned"
SCORES = ("centred_bias", "gradient_cosine", ALIGNED, "env_steps", "judge_calls")
DIAGNOSTICS = {
    "T": ("non_closure", 0.1, 0.4),
    "O": ("observation_noise", 0.1, 0.4),
    "R": ("replay_noise", 0.3, 1.0),
    "H": ("heterogeneity", 0.5, 1.0),
    "V": ("unverified", 0.5, 1.0),
    "C": ("coupling", 0.3, 1.0),
}
"""The field of each, and a mild and a strong setting."""
STRENGTHS = ("mild", "strong")


def worlds(num_turns: int) -> dict[str, casim.ToolChain]:
    """The plain chain, and one for each diagnostic and strength, by the name of the column."""
    plain = casim.ToolChain(num_turns, tokens_per_turn=3, output_tokens=2)
    found = {"off": plain}
    for (letter, (field, *levels)), place in itertools.product(DIAGNOSTICS.items(), range(2)):
        name = f"{letter}, {STRENGTHS[place]}"
        found[name] = dataclasses.replace(plain, **{field: levels[place]})
    return found


def study(name: str, num_turns: int, replicates: int) -> casim.Study:
    return casim.Study(
        name=name,
        tasks=tuple(worlds(num_turns).values()),
        estimators=METHODS,
        policies=(casim.Softmax(scale=0.5),),
        judges=JUDGES,
        reference=casim.Uniform(),
        num_prompts=4,
        num_trajectories=8,
        replicates=replicates,
        controls=("exact", "shuffled"),
    )


STUDY = study("agentic_methods", 6, 2000)
QUICK = study("agentic_methods_quick", 3, 100)


def column_of(row: casim.Row) -> str:
    """Which diagnostic is on in the world of a row."""
    for letter, (field, *levels) in DIAGNOSTICS.items():
        if row.task[field] > 0:
            return f"{letter}, {STRENGTHS[levels.index(row.task[field])]}"
    return "off"


def draw(rows: list[casim.Row], width: float = PAGE) -> Figure:
    """Methods by diagnostics: the cosine, and the aligned SNR over RLOO's."""
    methodologies = {row.label: row.methodology for row in rows}
    columns = list(dict.fromkeys(column_of(row) for row in rows))
    return matrix([cosines(rows), gains(rows)], methodologies, columns, width=width)


def cosines(rows: list[casim.Row]) -> Panel:
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        values.setdefault(row.label, {})[column_of(row)] = row.scores["gradient_cosine"].value
    return Panel("cosine of the mean gradient", values, (-1.0, 1.0), neutral=0.0)


def gains(rows: list[casim.Row]) -> Panel:
    """The ratio of aligned SNRs; one that is not above 0 has the darkest red."""
    values: dict[str, dict[str, float]] = {AGAINST: dict.fromkeys(map(column_of, rows), 1.0)}
    unsure = set()
    for pair in compare(rows, by_score(rows, ALIGNED), AGAINST):
        row = pair.rows[0]
        column = column_of(row)
        ratio = pair.value / pair.reference
        values.setdefault(row.label, {})[column] = max(ratio, 0.0) if np.isfinite(ratio) else np.nan
        if pair.verdict == "not told apart":
            unsure.add((row.label, column))
    title = f"aligned SNR over that of {AGAINST}"
    return Panel(title, values, (0.1, 10.0), neutral=1.0, log=True, unsure=unsure)
