"""What casim measures for the survey's tree: a world for each situation, and a study of it.

`casim.survey.shipped` has the rows of common worlds; `measure` makes those of any.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from casim.judges import Judge
from casim.methods import Method, named_methods
from casim.panel import PANEL
from casim.policies import Softmax, Uniform
from casim.report import Row, label
from casim.simulate import JUDGE
from casim.study import Study
from casim.survey.shipped import PROTOCOL, SETTINGS, length_of
from casim.survey.tree import Situation
from casim.tasks import ReasoningChain, Task, Team, ToolChain

STEPS = 10
"""Steps of a chain of reasoning, whatever its length."""
TOKENS_PER_TURN, OUTPUT_TOKENS = 3, 1
BLOCKS, MOST = 10, 500
"""Replicates are a multiple of the one, and no more than the other."""
SIZES = (2, 8)
"""Prompts, and rollouts of each."""


class World(NamedTuple):
    """How one of the three settings is measured."""

    task: Callable[[int], Task]
    """Of a length."""
    judge: Judge
    steps: int
    """Live and dead, of one trajectory of every replicate together: what a row may take."""


def _chain(tokens: int) -> Task:
    return ReasoningChain(STEPS, max(2, tokens // STEPS))


def _tools(turns: int) -> Task:
    return ToolChain(turns, TOKENS_PER_TURN, OUTPUT_TOKENS)


def _team(agents: int) -> Task:
    return Team(num_agents=agents, order="simultaneous")


WORLDS = {
    "reasoning": World(_chain, Judge(fidelity=0.9), steps=200_000),
    "agentic": World(_tools, Judge(fidelity=0.9), steps=30_000),
    "multi_agent": World(_team, Judge("gap", fidelity=0.9), steps=4_000),
}


def methods_of(setting: str) -> dict[str, Method]:
    """The methods that are measured in a setting, by their names in `casim.methods`."""
    known = named_methods()
    return {name: known[name] for name in SETTINGS[setting].methods}


def study_of(
    setting: str,
    length: int,
    replicates: int | None = None,
) -> Study:
    """The study of a setting at one length; the longer, the fewer replicates, if none are given."""
    world = WORLDS[setting]
    prompts, rollouts = SIZES
    methods = tuple(methods_of(setting).values())
    asked = set().union(*(method.recipe.judges for method in methods))
    others = {name: PANEL[name] for name in sorted(asked - {JUDGE})}
    task = world.task(length)
    if replicates is None:
        affordable = world.steps // len(task.build().schedule)
        replicates = min(max(affordable // BLOCKS, 1), MOST // BLOCKS) * BLOCKS
    return Study(
        name=f"choose-{setting}-protocol-{PROTOCOL}",
        tasks=(task,),
        estimators=methods,
        policies=(Softmax(scale=0.5),),
        judges={JUDGE: world.judge} | others,
        reference=Uniform(),
        num_prompts=prompts,
        num_trajectories=rollouts,
        replicates=replicates,
        controls=(),
    )


def measure(situation: Situation, path: Path | None = None, **options) -> list[Row]:
    """The rows of a situation at its own length, measured now.

    Args:
        situation: whose setting and length count.
        path: of a file that keeps rows.
        options: of `Study.run`.
    """
    return study_of(situation.setting, length_of(situation)).run(path, **options)


def facts() -> dict[str, Any]:
    """What shipped answers say of methods and worlds: names, labels and needs, for JSON."""
    methods, worlds = {}, {}
    for setting, chosen in SETTINGS.items():
        for name, method in methods_of(setting).items():
            methods[name] = {"label": method.name, "needs": sorted(method.needs)}
        worlds[setting] = {}
        for length in chosen.lengths:
            task = WORLDS[setting].task(length)
            worlds[setting][str(length)] = label(task)
    return {"methods": methods, "worlds": worlds}
