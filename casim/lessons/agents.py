"""The answers of lesson 8: agents."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

import casim
from casim.lessons.branching import coalitions
from casim.oracle import optimal
from casim.oracle.moments import Enumeration, enumerate_trajectories, precise_truth
from casim.oracle.shapley import difference_rewards
from casim.teaching import Answer, Lesson

ASK, STOP, RIGHT = 0, 0, 0
FACT = casim.InformationSeeking(horizon=2, accuracy=0.95, cost=0.1)
TURNS = casim.VariableTurns()
TOOL = casim.ToolChain(num_turns=2, tokens_per_turn=2)
TEAM = casim.Team(num_agents=3, coupling=1.0, joint="any", order="simultaneous")
CONTINUES = 0.7
"""Probability that the agent goes on after a turn."""


def believes(mdp: casim.MDP) -> np.ndarray:
    """Asks by a coin flip, and then believes what it is told; told nothing, it says 0."""
    policy = np.full((*mdp.emission.shape[::2], 2), 0.5)
    policy[int(mdp.schedule[-1])] = [[1, 0], [1, 0], [0, 1]]
    return policy


def goes_on(mdp: casim.MDP) -> np.ndarray:
    """Stops with probability 0.3 at every turn."""
    return np.broadcast_to([1 - CONTINUES, CONTINUES], (*mdp.emission.shape[::2], 2))


def coin(mdp: casim.MDP) -> np.ndarray:
    """Flips a coin at every step."""
    return np.full((*mdp.emission.shape[::2], 2), 0.5)


def _mean_return(
    paths: Enumeration,
    first_action: int | None = None,
) -> float:
    """E[R], or E[R | the first action]: from all trajectories and their probabilities."""
    weight = paths.probability
    if first_action is not None:
        weight = weight * (paths.trajectory.action[:, 0] == first_action)
    return float(weight @ paths.trajectory.reward.sum(axis=1) / weight.sum())


def price_of_asking() -> dict[str, Answer]:
    """8.1: what asking is worth to the agent, and to a critic that knows the fact."""
    mdp = FACT.build()
    paths = enumerate_trajectories(mdp, believes(mdp))
    before = _mean_return(paths)
    asked = _mean_return(paths, ASK)
    silent = _mean_return(paths, 1 - ASK)
    best = jax.jit(optimal)(mdp)
    knows = np.asarray(mdp.start @ best.q_value[0])
    clairvoyant = float(knows[ASK] - mdp.start @ best.value[0])
    own = {
        "that is Q, the success after asking less the price, and not yet A": asked,
        "that is asking against not asking; A compares with V, and the agent asks half of the "
        "time": asked - silent,
        "the price is missing": asked + FACT.cost - before,
        "that is what the clairvoyant critic says": clairvoyant,
    }
    omniscient = {
        "that is what the agent's own critic says; this one knows the fact already": asked - before,
        "the answer is worth nothing to it, but it has its price": 0.0,
        "that is Q: it knows the fact, names it, and has paid": float(knows[ASK]),
    }
    pays = {
        "that is the accuracy; without asking the agent is right half of the time": FACT.accuracy,
        "that is what is left at this price": asked - silent,
        "the clairvoyant critic would say so": 0.0,
    }
    return {
        "agent": Answer(asked - before, own),
        "clairvoyant": Answer(clairvoyant, omniscient),
        "largest price": Answer(asked + FACT.cost - silent, pays),
    }


def scale_of_turn(num: int, own: bool = True) -> np.ndarray:
    """By how much a mean over those who are at a turn scales the advantage there, exactly.

    In maths, 1 - E[1 / K_t], with K_t - 1 of the others alive, each with probability p_t; 1 where
    oneself is left out.
    """
    if not own:
        return np.ones(TURNS.num_turns)
    mdp = TURNS.build()
    paths = enumerate_trajectories(mdp, goes_on(mdp))
    alive = paths.probability @ paths.trajectory.live
    return 1 - (1 - (1 - alive) ** num) / (num * alive)


def gap_of_turns() -> np.ndarray:
    """What going on earns more than stopping, by turn."""
    mdp = TURNS.build()
    paths = enumerate_trajectories(mdp, goes_on(mdp))
    action = paths.trajectory.action
    earned = paths.trajectory.reward.sum(axis=1, keepdims=True)
    mean = []
    for chosen in (1 - STOP, STOP):
        weight = paths.probability[:, None] * paths.trajectory.live * (action == chosen)
        mean.append(np.sum(weight * earned, axis=0) / weight.sum(axis=0))
    return mean[0] - mean[1]


def peers_of_turns() -> dict[str, Answer]:
    """8.2: the scale of the advantage by a mean of the turn, in groups of 2."""
    exact = scale_of_turn(2)
    first = {
        "that is with oneself left out": 1.0,
        "both are there at turn 0: the mean takes back half of one's own return": 0.0,
    }
    alone = CONTINUES
    second = {
        "that is turn 0, where the other is there for certain": exact[0],
        "that would be if a step without peers kept its return": 1 - CONTINUES / 2,
        "that is how often the other is there; if it is, the mean takes back a half": alone,
        "that is with oneself left out": 1.0,
    }
    out = {
        "that is with oneself in the mean": exact[1],
        "that is where a step without peers gets 0; here it keeps its return": alone,
    }
    return {
        "turn 0, own in": Answer(exact[0], first),
        "turn 1, own in": Answer(exact[1], second),
        "turn 1, own out": Answer(scale_of_turn(2, own=False)[1], out),
    }


@functools.cache
def tool_paths() -> tuple[Enumeration, Any]:
    """All trajectories of the chain of two tool calls, and its truth."""
    mdp = TOOL.build()
    policy = coin(mdp)
    return enumerate_trajectories(mdp, policy), precise_truth(mdp, policy)


def along(paths: Enumeration, truth: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards `[N, T]`, values `[N, T + 1]`, 0 at the end, and Q of what was done `[N, T]`."""
    state, action = paths.trajectory.state, paths.trajectory.action
    steps = np.arange(state.shape[1])
    value = truth.value[steps, state]
    ended = np.zeros((len(state), 1))
    q_taken = truth.q_value[steps, state, action]
    return paths.trajectory.reward, np.hstack([value, ended]), q_taken


def luck_and_skill() -> dict[str, Answer]:
    """8.3: the luck in a TD error, and what squared TD errors add up to."""
    paths, truth = tool_paths()
    reward, value, q_taken = (x[_telling(paths)] for x in along(paths, truth))
    luck = reward + value[1:] - q_taken
    skill = q_taken - value[:-1]
    mistakes = {
        "that is the TD error, skill and luck together: what was before the action is not to be "
        "subtracted": skill + luck,
        "that is the skill, the advantage": skill,
        "the reward of the step is missing": luck - reward,
        "that is the value before the action: luck begins after it, at value[1:]": reward
        + value[:-1]
        - q_taken,
    }
    success = float(paths.probability @ paths.trajectory.reward.sum(axis=1))
    spread = success * (1 - success)
    total = {
        "that is the mean square of R: R is not R less its mean": success,
        "that is the deviation of R": np.sqrt(spread),
        "that would be for each of its 6 steps": 6 * spread,
        "TD errors have mean 0, and their squares have not": 0.0,
    }
    return {
        "luck": Answer(
            luck,
            mistakes,
            "Luck is what comes after the action, less what was to be expected.",
            of=lambda written: np.asarray(written(reward, value, q_taken), float),
        ),
        "sum of squares": Answer(spread, total),
    }


def _telling(paths: Enumeration) -> int:
    """The likeliest success."""
    success = paths.trajectory.reward.sum(axis=1) > 0
    return int(np.argmax(paths.probability * success))


def parts() -> dict[str, np.ndarray]:
    """The mean squares of skill and of luck at each step."""
    paths, truth = tool_paths()
    reward, value, q_taken = along(paths, truth)
    skill = q_taken - value[:, :-1]
    luck = reward + value[:, 1:] - q_taken
    return {"skill": paths.probability @ skill**2, "luck": paths.probability @ luck**2}


def shares_of_a_team() -> dict[str, Answer]:
    """8.4: what an agent makes of a difference, in one episode and on average."""
    worth = coalitions("any")
    here = float(difference_rewards(jax.numpy.asarray(worth))[0])
    shapley = (worth[-1] - worth[0]) / 3
    mdp = TEAM.build()
    paths = enumerate_trajectories(mdp, coin(mdp))
    advantage = _mean_return(paths, RIGHT) - _mean_return(paths)
    apart = _mean_return(paths, RIGHT) - _mean_return(paths, 1 - RIGHT)
    now = {
        "that is its Shapley value": shapley,
        "that is its advantage, before it is known what the others do": advantage,
        "its new draw may be wrong, but the others were right": 0.5,
    }
    mean = {
        "that is where all three were right: mostly they are not": here,
        "that is its Shapley value where all three were right": shapley,
        "that is against being wrong; an absent agent draws again, and is right half of the "
        "time": apart,
        "that is if it were alone": 0.5,
    }
    return {
        "all three were right": Answer(here, now),
        "mean over the others": Answer(advantage, mean),
    }


LESSON = Lesson(
    number=8,
    title="Agents: hidden state, turns, tools, teams",
    minutes=55,
    goals=(
        "say what a critic that knows more than the agent gets wrong",
        "say when a baseline by turn is biased, and by how much",
        "tell the agent's skill from its tools' luck",
        "say what an agent of a team is due, and what hides a free rider",
    ),
    needs="lessons 1 and 5",
    source=Path(__file__).parent / "sources" / "08_agents.py",
    questions={
        "8.1": price_of_asking,
        "8.2": peers_of_turns,
        "8.3": luck_and_skill,
        "8.4": shares_of_a_team,
    },
)
