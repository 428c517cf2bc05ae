"""What casim measures for the survey's tree: a world for each situation, and methods to compare.

Rows of common worlds come with casim, in `measured.jsonl.gz`. They are of `PROTOCOL`, which changes
when a number would: worlds, methods, judges or sizes. `measure` makes them anew.
"""

from __future__ import annotations

import functools
import gzip
import math
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from casim.judges import Judge
from casim.methods import Method, named_methods
from casim.panel import PANEL
from casim.policies import Softmax, Uniform
from casim.report import Row, describe
from casim.simulate import JUDGE
from casim.storage import parse
from casim.study import Study
from casim.survey.tree import Situation
from casim.tasks import ReasoningChain, Task, Team, ToolChain

PROTOCOL = "2"
FILE = "measured.jsonl.gz"
BASELINES = ("RLOO", "GRPO", "GAE")
"""Measured in every world, whatever the tree proposes."""
REASONING = (
    *("PURE_OPENRLHF", "SPO_TREE", "SPRO", "HICRA", "CAPO"),
    *("GRPO_LAMBDA", "VINEPPO", "SCAR", "GRAIL"),
)
AGENTIC = (
    *("GIGPO", "CARL", "ISTAR", "POAD", "AGENTPRM", "SWEET_RL"),
    *("C3_REWARD", "CCPO", "HCAPO", "IGPO", "TURN_PPO"),
)
TEAMS = ("M_GRPO", "SHARP", "MAPPA", "DR_MAS", "LLM_MCA")
STEPS = 10
"""Steps of a chain of reasoning, whatever its length."""
TOKENS_PER_TURN, OUTPUT_TOKENS = 3, 1
BLOCKS, MOST = 10, 500
"""Replicates are a multiple of the one, and no more than the other."""
SIZES = (2, 8)
"""Prompts, and rollouts of each."""


class Setting(NamedTuple):
    """How one of the three settings is measured."""

    knob: str
    """Of a situation: what makes it longer."""
    task: Callable[[int], Task]
    methods: tuple[str, ...]
    judge: Judge
    shipped: tuple[int, ...]
    """Values of the knob of which rows come with casim."""
    steps: int
    """Live and dead, of one trajectory of every replicate together: what a row may take."""


def _chain(tokens: int) -> Task:
    return ReasoningChain(STEPS, max(2, tokens // STEPS))


def _tools(turns: int) -> Task:
    return ToolChain(turns, TOKENS_PER_TURN, OUTPUT_TOKENS)


def _team(agents: int) -> Task:
    return Team(num_agents=agents, order="simultaneous")


SETTINGS = {
    "reasoning": Setting(
        knob="tokens",
        task=_chain,
        methods=BASELINES + REASONING,
        judge=Judge(fidelity=0.9),
        shipped=(500, 2_000, 5_000, 10_000),
        steps=200_000,
    ),
    "agentic": Setting(
        knob="turns",
        task=_tools,
        methods=BASELINES + AGENTIC,
        judge=Judge(fidelity=0.9),
        shipped=(5, 15, 30, 60),
        steps=30_000,
    ),
    "multi_agent": Setting(
        knob="agents",
        task=_team,
        methods=BASELINES + TEAMS,
        judge=Judge("gap", fidelity=0.9),
        shipped=(2, 4, 8),
        steps=4_000,
    ),
}


def methods_of(setting: str) -> dict[str, Method]:
    """The methods that are measured in a setting, by their names in `casim.methods`."""
    known = named_methods()
    return {name: known[name] for name in SETTINGS[setting].methods}


def study_of(setting: str, length: int, replicates: int | None = None) -> Study:
    """The study of a setting at one length; the longer, the fewer replicates, if none are given."""
    chosen = SETTINGS[setting]
    prompts, rollouts = SIZES
    methods = tuple(methods_of(setting).values())
    asked = set().union(*(method.recipe.judges for method in methods)) - {JUDGE}
    task = chosen.task(length)
    if replicates is None:
        affordable = chosen.steps // len(task.build().schedule)
        replicates = min(max(affordable // BLOCKS, 1), MOST // BLOCKS) * BLOCKS
    return Study(
        name=f"choose-{setting}-protocol-{PROTOCOL}",
        tasks=(task,),
        estimators=methods,
        policies=(Softmax(scale=0.5),),
        judges={JUDGE: chosen.judge} | {name: PANEL[name] for name in sorted(asked)},
        reference=Uniform(),
        num_prompts=prompts,
        num_trajectories=rollouts,
        replicates=replicates,
        controls=(),
    )


@functools.cache
def shipped() -> tuple[Row, ...]:
    """The rows that come with casim."""
    file = resources.files("casim") / "survey" / FILE
    return tuple(parse(gzip.decompress(file.read_bytes()), FILE).rows)


def nearest(situation: Situation) -> int:
    """The length, of those of which rows come with casim, that is nearest by its ratio."""
    chosen = SETTINGS[situation.setting]
    wanted = getattr(situation, chosen.knob)
    return min(chosen.shipped, key=lambda length: abs(math.log(length / wanted)))


def rows_of(setting: str, length: int) -> list[Row]:
    """The shipped rows of a setting at one of its shipped lengths."""
    task = describe(SETTINGS[setting].task(length))
    return [row for row in shipped() if row.task == task]


def measure(situation: Situation, path: Path | None = None, **options) -> list[Row]:
    """The rows of a situation at its own length, measured now.

    Args:
        situation: whose setting and length count.
        path: of a file that keeps rows.
        options: of `Study.run`.
    """
    length = getattr(situation, SETTINGS[situation.setting].knob)
    return study_of(situation.setting, length).run(path, **options)
