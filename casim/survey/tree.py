"""The survey's tree: from a few predicates of a situation to the methods that it proposes.

The order of its predicates is not public; this one gives each of its seven leaves what is known of
their conditions. Compute is asked first among reasoning methods, since its leaf overrides length.

References:
    Zhang 2026, arXiv:2604.09459, version 3, figure 4, second-hand. Its thresholds, 5,000 tokens and
    30 turns, are called coarse and unvalidated there.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, final

from casim.checks import check_choice, check_integer
from casim.survey.record import REGIMES

MAX_TOKENS = 5_000
"""Of a chain that is short."""
MAX_TURNS = 30
"""Of an episode that is short."""
GENEROUS = 1_000
"""Groups without anything extra that make a budget generous: a number of casim's."""


@final
@dataclasses.dataclass(frozen=True)
class Situation:
    """What is known before a method is chosen.

    Attributes:
        setting: "reasoning", "agentic" or "multi_agent".
        tokens: of a chain of reasoning, at least 1.
        turns: of an agent, at least 1.
        agents: of a team, at least 2.
        budget: groups of rollouts that can be paid for, without anything extra, at least 1.
        auxiliary: whether another model may be trained or asked: a critic, a judge.
        reset: whether the environment can go back to a step.
        privileged: whether the answer or the hidden state is known in training.

    Raises:
        ValueError: a setting out of its range.
    """

    setting: Literal["reasoning", "agentic", "multi_agent"]
    tokens: int = 2_000
    turns: int = 15
    agents: int = 3
    budget: int = 100
    auxiliary: bool = False
    reset: bool = False
    privileged: bool = False

    def __post_init__(self) -> None:
        check_choice("setting", self.setting, REGIMES)
        check_integer("tokens", self.tokens, 1)
        check_integer("turns", self.turns, 1)
        check_integer("agents", self.agents, 2)
        check_integer("budget", self.budget, 1)


class Leaf(NamedTuple):
    """Where the tree ends.

    `records` are ids in the inventory of what it proposes; `baselines` recipes that have no record.
    """

    name: str
    condition: str
    records: tuple[str, ...]
    baselines: tuple[str, ...] = ()


LEAVES = {
    leaf.name: leaf
    for leaf in (
        Leaf("R1", "reasoning, at most 5K tokens", ("pure", "spo", "spro"), ("GRPO",)),
        Leaf("R2", "reasoning, above 5K tokens", ("hicra", "capo", "spro", "grpo_lambda")),
        Leaf("R3", "reasoning, generous compute", ("vineppo", "scar", "grail")),
        Leaf(
            "A1",
            "agentic, at most 30 turns, no auxiliary model",
            ("gigpo", "carl", "istar", "poad"),
        ),
        Leaf("A2", "agentic, at most 30 turns, an auxiliary model", ("agentprm", "sweet_rl")),
        Leaf(
            "A3",
            "agentic, above 30 turns",
            ("c3", "ccpo", "hcapo", "igpo", "craft", "appo"),
        ),
        Leaf("M1", "multi-agent", ("m_grpo", "sharp", "mappa", "dr_mas")),
    )
}


def leaf_of(situation: Situation) -> Leaf:
    """The leaf that the survey's tree leads to."""
    return LEAVES[_name(situation)]


def _name(situation: Situation) -> str:
    if situation.setting == "multi_agent":
        return "M1"
    if situation.setting == "reasoning":
        if situation.budget >= GENEROUS:
            return "R3"
        return "R1" if situation.tokens <= MAX_TOKENS else "R2"
    if situation.turns > MAX_TURNS:
        return "A3"
    return "A2" if situation.auxiliary else "A1"
