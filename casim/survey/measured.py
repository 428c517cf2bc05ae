"""What casim measures for the survey's tree: a world for each situation, and a study of it.

`casim.survey.shipped` has the rows of common worlds; `measure` makes those of any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from casim.judges import Judge
from casim.methods import Method, named_methods
from casim.panel import PANEL
from casim.policies import Softmax, Uniform
from casim.report import Row, label, rebuild
from casim.simulate import JUDGE
from casim.study import Study
from casim.survey.regime import Regime
from casim.survey.shipped import GROUP, PROTOCOL, SETTINGS, length_of
from casim.survey.tree import Situation
from casim.tasks import ReasoningChain, Task, Team, ToolChain

STEPS = 10
"""Steps of a chain of reasoning, whatever its length."""
TOKENS_PER_TURN, OUTPUT_TOKENS = 3, 1
SCALE = 0.5
"""Of the logits of the policy."""
BLOCKS, MOST = 10, 500
"""Replicates are a multiple of the one, and no more than the other."""
PROMPTS = 2
"""Of a batch."""


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
    return _study(
        f"choose-{setting}-protocol-{PROTOCOL}",
        setting,
        WORLDS[setting].task(length),
        replicates,
    )


def study_in(
    regime: Regime,
    replicates: int | None = None,
) -> Study:
    """The study of a user's own regime: its world, and groups of as many rollouts.

    The policy is the uniform one, under which the world succeeds as the log does; what asks for a
    reference has a policy beside it.

    Raises:
        ValueError: a log of several agents, whose world has one.
    """
    if regime.agents > 1:
        wanted = "measure must be left out where a log has several agents, as its world has one"
        raise ValueError(f"{wanted}, got {regime.agents}")
    study = _study(
        f"choose-world-protocol-{PROTOCOL}",
        regime.setting,
        rebuild(regime.task),
        replicates,
    )
    return dataclasses.replace(
        study,
        policies=(Uniform(),),
        reference=Softmax(scale=SCALE),
        num_trajectories=regime.rollouts if regime.rollouts > 1 else GROUP,
    )


def _study(
    name: str,
    setting: str,
    task: Task,
    replicates: int | None,
) -> Study:
    world = WORLDS[setting]
    methods = tuple(methods_of(setting).values())
    asked = set().union(*(method.recipe.judges for method in methods))
    others = {judge: PANEL[judge] for judge in sorted(asked - {JUDGE})}
    if replicates is None:
        affordable = world.steps // len(task.build().schedule)
        replicates = min(max(affordable // BLOCKS, 1), MOST // BLOCKS) * BLOCKS
    return Study(
        name=name,
        tasks=(task,),
        estimators=methods,
        policies=(Softmax(scale=SCALE),),
        judges={JUDGE: world.judge} | others,
        reference=Uniform(),
        num_prompts=PROMPTS,
        num_trajectories=GROUP,
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


def measure_in(
    regime: Regime,
    path: Path | None = None,
    **options,
) -> list[Row]:
    """The rows of a user's own regime, measured now; see `measure`."""
    return study_in(regime).run(path, **options)


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
