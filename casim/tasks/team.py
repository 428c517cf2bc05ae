"""Team: agents that share one outcome, from independent subtasks to full coupling.

In maths: agent i acts at the last token of its turn; its action a_i is right if it is 0. Of the n
agents that count, c were not wrong; u says whether they did together what they had to: all took the
same action ("agree"), at least one was right ("any": OR, the others are redundant), or all were
("all": AND, each is needed). The last step pays 1 with probability (1 - coupling) c / n + coupling
u. In sequence, agent i sees the action of the agent before it, through a channel that replaces it
by another at random with probability `message_noise`; simultaneously, no agent sees anything. A
null agent, a free rider, acts like the others; its action counts for nothing and is not passed on.
With a router the episode ends and pays as soon as an agent was right: an agent is called only after
all before it failed.

Optimum: 1, when all play action 0.
Without coupling, messages or router the game v(S) = E[R | actions of S as taken, the others drawn]
is additive: the Shapley value of agent i is (1{a_i = 0} - P(a_i = 0)) / n, and 0 for the null
agent. At coupling 1, simultaneously, where all of n were right and each is so with probability p,
Shapley values are (1 - p)^n / n for "any" and (1 - p^n) / n for "all"; leaving one out loses 0 and
1 - p.

What it separates: Shapley values from leave-one-out and from a broadcast, under redundancy and
synergy; credit that notices a free rider from credit that does not; baselines of an agent from
those of the team, where a router makes them differ.

References:
    Agent coupling as a diagnostic: Zhang 2026, arXiv:2604.09459. A router that calls an agent only
    after failure: Feng et al. 2026, arXiv:2602.08847 (Dr. MAS, where such agents have other means).
    The table is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import numpy as np

from casim.checks import check_choice, check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

TALK = -1
"""Code of a token that does nothing; the act of agent i has code i."""
SILENT = -1
UNSET, SPLIT, ENDED = -1, -2, -3
JOINT = ("agree", "any", "all")
"""What a team can have to do together."""


@final
@dataclasses.dataclass(frozen=True)
class Team(RuleTask):
    """Agents that act once each. The horizon is `tokens_per_agent`.

    Attributes:
        tokens_per_agent: tokens of an agent's turn, at least 1; T = num_agents tokens_per_agent.
        num_agents: the null agent included, at least 2.
        coupling: from 0 (independent subtasks) to 1 (only what they do together pays).
        joint: what they have to do together: "agree", "any" of them be right, or "all".
        order: "sequential", each agent seeing the message of the one before, or "simultaneous".
        message_noise: probability that a message is replaced by another, in [0, 1].
        null_agent: index of the agent that does not matter, or None.
        router: whether an agent is called only after those before it failed; then `joint` is "any"
            and the order sequential.
        num_actions: at least 2.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    tokens_per_agent: int = 1
    num_agents: int = 3
    coupling: float = 0.5
    joint: Literal["agree", "any", "all"] = "agree"
    order: Literal["sequential", "simultaneous"] = "sequential"
    message_noise: float = 0.0
    null_agent: int | None = None
    router: bool = False
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "tokens_per_agent"

    def __post_init__(self) -> None:
        check_integer("tokens_per_agent", self.tokens_per_agent, 1)
        check_integer("num_agents", self.num_agents, 2)
        check_integer("num_actions", self.num_actions, 2)
        check_choice("joint", self.joint, JOINT)
        check_choice("order", self.order, ("sequential", "simultaneous"))
        if self.router:
            check_choice("joint of a team with a router", self.joint, ("any",))
            check_choice("order of a team with a router", self.order, ("sequential",))
        for field in ("coupling", "message_noise", "discount"):
            check_range(field, getattr(self, field), 0.0, 1.0)
        if self.null_agent is not None:
            check_integer("null_agent", self.null_agent, 0, self.num_agents - 1)

    @property
    def kinds(self) -> dict[int, Kind]:
        return {TALK: Kind.THINK} | dict.fromkeys(range(self.num_agents), Kind.MESSAGE)

    def layout(self) -> Layout:
        agent = np.repeat(np.arange(self.num_agents), self.tokens_per_agent)
        acts = np.arange(len(agent)) % self.tokens_per_agent == self.tokens_per_agent - 1
        return Layout(np.where(acts, agent, TALK), segment=agent, turn=agent, agent=agent)

    def start(self) -> dict:
        return {(0, UNSET, SILENT): 1.0}

    def shows(
        self,
        code: int,
        state: tuple[int, int, int],
    ) -> int:
        return state[2]

    def ends(
        self,
        state: tuple[int, int, int],
    ) -> bool:
        return state[1] == ENDED

    def moves(
        self,
        code: int,
        state: tuple[int, int, int],
        action: int,
    ) -> list:
        if code == TALK:
            return [(state, 1.0, 0.0)]
        right, common, message = state
        messages = {message: 1.0}
        if code != self.null_agent:
            right += int(action == 0)
            common = self._common(common, action)
            messages = self._heard(action)
        solved = self.router and right > 0
        if solved:
            common, messages = ENDED, {SILENT: 1.0}
        last = code == self.num_agents - 1
        pays = self._pays(code, right, common) if solved or last else 0.0
        return [
            ((right, common, heard), p * q, reward)
            for heard, p in messages.items()
            for reward, q in ((1.0, pays), (0.0, 1 - pays))
        ]

    def _common(
        self,
        common: int,
        action: int,
    ) -> int:
        """The action that all have taken so far; it is kept only where they have to agree."""
        if self.joint != "agree":
            return UNSET
        return action if common in (UNSET, action) else SPLIT

    def _pays(
        self,
        code: int,
        right: int,
        common: int,
    ) -> float:
        """The probability of success, if agent `code` was the last to act."""
        null = self.num_agents if self.null_agent is None else self.null_agent
        counted = self.num_agents - (null < self.num_agents)
        acted = code + 1 - (null <= code)
        wrong = acted - right
        together = {"agree": common != SPLIT, "any": right > 0, "all": wrong == 0}
        share = (counted - wrong) / counted
        return (1 - self.coupling) * share + self.coupling * together[self.joint]

    def _heard(
        self,
        action: int,
    ) -> dict[int, float]:
        """What the next agent hears."""
        if self.order == "simultaneous":
            return {SILENT: 1.0}
        other = self.message_noise / (self.num_actions - 1)
        return {
            x: 1 - self.message_noise if x == action else other for x in range(self.num_actions)
        }
