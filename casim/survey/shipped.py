"""What comes with casim for the survey's tree: rows of common worlds, and what is known of them.

Rows are of `PROTOCOL`, which changes when a number would: worlds, methods, judges or sizes.
`casim.survey.measured` has the studies that make them. What an answer says of methods and worlds
lies beside the rows, so that an answer from them needs no recipe, and none of JAX.
"""

from __future__ import annotations

import functools
import gzip
import json
import math
from importlib import resources
from typing import Any, NamedTuple

from casim.report import Row
from casim.storage import parse
from casim.survey.tree import Situation

PROTOCOL = "2"
FOLDER = resources.files("casim") / "survey" / "rows"
FACTS = "facts.json"
GROUP = 8
"""Rollouts of a group, in rows and in budgets."""
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


class Setting(NamedTuple):
    """What is compared in one of the three settings."""

    knob: str
    """Of a situation: what makes it longer."""
    methods: tuple[str, ...]
    """Names in `casim.methods`."""
    lengths: tuple[int, ...]
    """Values of the knob of which rows come with casim."""


SETTINGS = {
    "reasoning": Setting("tokens", BASELINES + REASONING, (500, 2_000, 5_000, 10_000)),
    "agentic": Setting("turns", BASELINES + AGENTIC, (5, 15, 30, 60)),
    "multi_agent": Setting("agents", BASELINES + TEAMS, (2, 4, 8)),
}


class Candidate(NamedTuple):
    """A method that is compared."""

    name: str
    """In `casim.methods`."""
    label: str
    """As the field calls it, and its rows do."""
    needs: frozenset[str]
    """What it needs beyond the batch."""


def candidates(setting: str) -> list[Candidate]:
    """The methods that are compared in a setting."""
    known = _facts()["methods"]
    found = []
    for name in SETTINGS[setting].methods:
        needs = frozenset(known[name]["needs"])
        found.append(Candidate(name, known[name]["label"], needs))
    return found


def world_of(setting: str, length: int) -> str:
    """The label of the task of a setting at one of the lengths that come with casim."""
    return _facts()["worlds"][setting][str(length)]


@functools.cache
def _facts() -> Any:
    """See `casim.survey.measured.facts`."""
    return json.loads((FOLDER / FACTS).read_text(encoding="utf-8"))


def rows_of(setting: str, length: int) -> list[Row]:
    """The rows of a setting at one of the lengths that come with casim."""
    name = file_of(setting, length)
    packed = (FOLDER / name).read_bytes()
    return parse(gzip.decompress(packed), name).rows


def file_of(setting: str, length: int) -> str:
    """The name of the file that holds these rows."""
    return f"{setting}-{length}.jsonl.gz"


def length_of(situation: Situation) -> int:
    """Tokens, turns or agents: whichever makes this situation longer."""
    return getattr(situation, SETTINGS[situation.setting].knob)


def nearest(situation: Situation) -> int:
    """The length, of those of which rows come with casim, that is nearest by its ratio."""
    wanted = length_of(situation)
    lengths = SETTINGS[situation.setting].lengths
    return min(lengths, key=lambda length: abs(math.log(length / wanted)))
