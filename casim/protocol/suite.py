"""The suite: worlds, methods, budgets and controls of the protocol, with a version.

What changes a number bumps `VERSION`: `Suite.digest` is a digest of everything that was set, and a
test holds it beside the version. Rows carry the version in the name of their study.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, final

from casim import methods
from casim.controls import CONTROLS
from casim.estimators import Estimator
from casim.graders import Grader, Judge
from casim.jobs import label_of
from casim.methods import Method, recipe_of
from casim.panel import PANEL
from casim.policies import Uniform
from casim.protocol.worlds import Controlled, no_reset, single_agent, teams
from casim.report import Row, describe
from casim.simulate import JUDGE
from casim.study import Study

VERSION = "1.1"
"""Changes when a number would, and only then."""
AGAINST = "RLOO"
"""The method that all others are compared with."""
IDENTIFICATION = ("centred_bias", "sign_accuracy", "rank_correlation", "leakage")
GRADIENT = ("gradient_cosine", "gradient_bias", "gradient_variance", "snr_aligned")
COST = ("env_steps", "judge_calls", "critic_updates")
SCORES = IDENTIFICATION + GRADIENT + COST
"""The three families, never one number."""
GROUPS = 300
"""Batches without anything extra that the equal budget of environment steps makes."""
JUDGES: dict[str, Grader] = {**PANEL, JUDGE: Judge(fidelity=0.9)}

QUICK_METHODS = (
    methods.RLOO,
    methods.GRPO,
    methods.GIGPO,
    methods.VINEPPO_STEP,
    methods.GAE,
    methods.CAPO,
    methods.HCAPO,
    methods.IGPO,
)
"""At most eight: each is compiled."""
FULL_METHODS = (
    *QUICK_METHODS,
    methods.REINFORCE,
    methods.DR_GRPO,
    methods.REINFORCE_PP,
    methods.OTB,
    methods.GRPO_LAMBDA,
    methods.ENTROPY_80_20,
    methods.TEMPO,
    methods.CARL,
    methods.C3_REWARD,
    methods.CCPO,
    methods.DIFFERENCE_TURN,
    methods.AGENTPRM,
    methods.TURN_PPO,
    methods.ARCHER,
    methods.PURE_VERL,
    methods.PROCESS_SUM,
    methods.RUDDER,
    methods.COCOA_REWARD,
    methods.SPRO,
    methods.ISTAR,
    methods.HICRA,
)


@final
@dataclasses.dataclass(frozen=True)
class Suite:
    """What one run of the protocol measures.

    Attributes:
        size: "quick" or "full".
        worlds: all of different names.
        methods: the protocol's own.
        num_prompts: P, groups of a batch.
        num_trajectories: N, of a group.
        replicates: batches of a row.
        seeds: a row each.
    """

    size: str
    worlds: tuple[Controlled, ...]
    methods: tuple[Method, ...]
    num_prompts: int = 2
    num_trajectories: int = 8
    replicates: int = 100
    seeds: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        """Of its studies, with the version."""
        return f"protocol_{VERSION}_{self.size}"

    def studies(self, own: Sequence[Estimator | Method] = ()) -> list[Study]:
        """Studies that share a file and together measure everything.

        Worlds are apart that have another policy, or that no method can go back in.

        Args:
            own: methods beside those of the protocol.

        Raises:
            ValueError: methods that a study refuses, as two of one label.
        """
        found = []
        parts = dict.fromkeys((world.policy, world.task.replay.possible) for world in self.worlds)
        for policy, possible in parts:
            tasks = [
                world.task
                for world in self.worlds
                if (world.policy, world.task.replay.possible) == (policy, possible)
            ]
            asked = [
                method for method in (*self.methods, *own) if possible or not _goes_back(method)
            ]
            found.append(self._study(tasks, policy, asked))
        return found

    def _study(self, tasks: list, policy: Any, asked: list) -> Study:
        return Study(
            name=self.name,
            tasks=tuple(tasks),
            estimators=tuple(asked),
            policies=(policy,),
            judges=judges_of(asked),
            num_prompts=self.num_prompts,
            num_trajectories=self.num_trajectories,
            replicates=self.replicates,
            seeds=self.seeds,
            controls=CONTROLS,
            reference=Uniform(),
        )

    def world_of(self, row: Row) -> Controlled | None:
        """The world of a row; None if it is none of these."""
        return self._by_recipes.get(_key(row.task, row.policy))

    @functools.cached_property
    def _by_recipes(self) -> dict[str, Controlled]:
        return {_key(describe(x.task), describe(x.policy)): x for x in self.worlds}

    @property
    def digest(self) -> str:
        """Of everything that is set: recipes with their settings, budgets, controls, judges.

        Of methods, settings that are not the defaults: a part may learn a new one.
        """
        asked = judges_of(self.methods)
        settings = {
            "worlds": {x.name: [describe(x.task), describe(x.policy)] for x in self.worlds},
            "methods": {label_of(x): _changed(recipe_of(x)) for x in self.methods},
            "judges": {name: describe(judge) for name, judge in asked.items()},
            "budgets": [self.num_prompts, self.num_trajectories, self.replicates, *self.seeds],
            "controls": CONTROLS,
            "scores": [SCORES, AGAINST, GROUPS],
        }
        text = json.dumps(_without_modules(settings), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def judges_of(asked: Iterable[Estimator | Method]) -> dict[str, Grader]:
    """The judges that methods ask, by name, as far as the protocol has them."""
    names = set().union(*(recipe_of(method).judges for method in asked))
    return {name: JUDGES[name] for name in sorted(names) if name in JUDGES}


def _goes_back(method: Estimator | Method) -> bool:
    return "reset" in method.needs


def _key(task: Any, policy: Any) -> str:
    return json.dumps([task, policy], sort_keys=True)


def _changed(recipe: Any) -> Any:
    """A recipe as JSON, with those of its settings that are not the defaults."""
    if isinstance(recipe, tuple):
        return [_changed(item) for item in recipe]
    if not dataclasses.is_dataclass(recipe):
        return describe(recipe)
    found = {"recipe": type(recipe).__name__}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if value != field.default:
            found[field.name] = _changed(value)
    return found


def _without_modules(tree: Any) -> Any:
    """Where a recipe is defined changes no number."""
    if isinstance(tree, dict):
        kept = {name: x for name, x in tree.items() if name != "module"}
        return {name: _without_modules(x) for name, x in kept.items()}
    if isinstance(tree, list | tuple):
        return [_without_modules(x) for x in tree]
    return tree


QUICK_TURNS = 8
FULL_TURNS = (8, 32, 256)


def quick() -> Suite:
    """The small suite: one shape, eight methods."""
    return Suite("quick", tuple(single_agent(QUICK_TURNS)), QUICK_METHODS)


def full() -> Suite:
    """All families, also without a reset and with several agents, at three lengths."""
    worlds = []
    for turns in FULL_TURNS:
        families = (*single_agent(turns), *no_reset(turns), *teams(turns))
        worlds += [x._replace(name=f"{x.name}, {turns} turns") for x in families]
    return Suite("full", tuple(worlds), FULL_METHODS, num_prompts=4, replicates=200)
