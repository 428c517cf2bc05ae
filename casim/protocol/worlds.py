"""The controlled worlds of the protocol: what each asks, its task, and the policy it is under.

All families run for `turns` turns of three tokens, in tables of one size, so that one program of a
method measures all of them. What a world is like in numbers is computed, see `metadata`.

References:
    Controlled bifurcation tasks: Zhang 2026, arXiv:2604.09459. The families and their settings are
    casim's own.
"""

from __future__ import annotations

from typing import NamedTuple

from casim.policies import EntropyControlled, Policy, Softmax
from casim.protocol.fitted import fit
from casim.protocol.trained import Trained
from casim.tasks import (
    Bifurcation,
    EchoTrap,
    HackableProcess,
    HiddenCause,
    InformationSeeking,
    MemoryChain,
    Task,
    Team,
    ToolChain,
)

TOKENS = 3
"""Of a turn."""
AGENTS = 4
RANDOM = Softmax(scale=0.5)
"""A policy that has learned nothing."""
TRAINED = Trained(RANDOM, steps=20, step_size=4.0)
"""One that uses what it wrote down or asked for."""
DECOYS = EntropyControlled(pivot=0.1, filler=0.6)
"""One that is sure where it matters and hesitates where it does not."""


class Controlled(NamedTuple):
    """A world of the protocol.

    Attributes:
        name: its name in tables.
        asks: the question that it puts to a method.
        task: with its settings.
        policy: whose credit is asked for.
    """

    name: str
    asks: str
    task: Task
    policy: Policy


def single_agent(turns: int) -> list[Controlled]:
    """The worlds with one agent, in one shape.

    Args:
        turns: of an episode, at least 4.
    """
    steps = TOKENS * turns
    early, late = steps // 8, steps - 1 - steps // 8
    hidden = ToolChain(
        num_turns=turns,
        tokens_per_turn=TOKENS - 1,
        observation_noise=0.2,
        unverified=0.8,
        non_closure=0.1,
    )
    worlds = [
        Controlled(
            "every turn", "does every turn get its little?", EchoTrap(turns, TOKENS), RANDOM
        ),
        Controlled("early", "is an early decision found?", Bifurcation(steps, (early,)), RANDOM),
        Controlled("late", "is a late decision found?", Bifurcation(steps, (late,)), RANDOM),
        Controlled("several", "are four decisions found?", Bifurcation(steps, 4), RANDOM),
        Controlled(
            "recovery",
            "is what can be undone told from what cannot?",
            Bifurcation(steps, 4, recovery=0.5),
            RANDOM,
        ),
        Controlled(
            "decoys",
            "is a sure but decisive step told from hesitation?",
            Bifurcation(steps, 2),
            DECOYS,
        ),
        Controlled(
            "luck",
            "is luck kept out of credit?",
            Bifurcation(steps, (early,), gap=0.3, noise=0.2),
            RANDOM,
        ),
        Controlled(
            "information",
            "is a question worth its answer?",
            InformationSeeking(steps),
            TRAINED,
        ),
        Controlled(
            "memory",
            "does credit reach from the use back to the write?",
            MemoryChain(delay=turns - 2, write_turn=1, tokens_per_turn=TOKENS),
            TRAINED,
        ),
        Controlled("aliased", "does credit hold where states look alike?", hidden, RANDOM),
        Controlled(
            "hackable",
            "is praise told from success?",
            HackableProcess(steps, num_actions=2),
            RANDOM,
        ),
        Controlled("cause +", "is the sign of the effect right?", HiddenCause(1, steps), RANDOM),
        Controlled("cause -", "and in its mirror?", HiddenCause(-1, steps), RANDOM),
    ]
    return _fitted(worlds, turns)


def no_reset(turns: int) -> list[Controlled]:
    """Worlds that one cannot go back in, or only as far as the text goes."""
    tool = {"num_turns": turns, "tokens_per_turn": TOKENS - 1, "observation_noise": 0.2}
    text = ToolChain(**tool, replay_noise=1.0)
    never = ToolChain(**tool, branching=False)
    worlds = [
        Controlled("text only", "do branches help that restore the text alone?", text, RANDOM),
        Controlled("no reset", "what is left without branches?", never, RANDOM),
    ]
    return _fitted(worlds, turns)


def teams(turns: int) -> list[Controlled]:
    """Teams of agents that share an outcome, each with an equal part of the tokens."""
    tokens = TOKENS * turns // AGENTS
    alone = {"order": "simultaneous", "coupling": 1.0}
    worlds = [
        Controlled(
            "adding up",
            "is each paid its own part?",
            Team(tokens, AGENTS, coupling=0.0, order="simultaneous"),
            RANDOM,
        ),
        Controlled(
            "redundant",
            "who is paid where one is enough?",
            Team(tokens, AGENTS, joint="any", **alone),
            RANDOM,
        ),
        Controlled(
            "synergy",
            "who is paid where all are needed?",
            Team(tokens, AGENTS, joint="all", **alone),
            RANDOM,
        ),
        Controlled(
            "free rider",
            "is the one who does nothing paid?",
            Team(tokens, AGENTS, joint="all", null_agent=1, **alone),
            RANDOM,
        ),
        Controlled(
            "router",
            "is the one who is called after failure blamed?",
            Team(tokens, AGENTS, joint="any", coupling=1.0, router=True),
            RANDOM,
        ),
    ]
    return _fitted(worlds, 0)


def _fitted(worlds: list[Controlled], units: int) -> list[Controlled]:
    """The same in tables of one size."""
    tasks = fit([world.task for world in worlds], units)
    return [world._replace(task=task) for world, task in zip(worlds, tasks, strict=True)]
