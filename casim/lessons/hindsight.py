"""The answers of lesson 6: hindsight and information."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float

import casim
from casim.oracle.moments import Enumeration, enumerate_trajectories
from casim.tasks.classics import KeyToDoor
from casim.teaching import Answer, Lesson

RIGHT, WRONG, PIVOT = 0, 1, 2
CHAIN = casim.Bifurcation(horizon=6, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=6)
LENGTH, TAKE, ACTIONS = 7, 0, 4
FLOOR = 0.01


@functools.cache
def episodes() -> tuple[Enumeration, Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """All episodes of the chain, their outcomes, and what was done at the pivot."""
    mdp = CHAIN.build()
    paths = enumerate_trajectories(mdp, casim.Uniform().table(mdp))
    outcome = paths.trajectory.reward.sum(axis=1)
    return paths, outcome, paths.trajectory.action[:, PIVOT]


def chance(of: np.ndarray, given: np.ndarray | bool = True) -> float:
    """P(of | given), from all episodes of the chain."""
    paths, _, _ = episodes()
    weight = paths.probability * given
    return float(weight @ of / weight.sum())


def outcome_speaks() -> dict[str, Answer]:
    """6.1: what the outcome says of the action at the pivot, and a credit that exaggerates."""
    _, outcome, action = episodes()
    right = action == RIGHT
    policy = chance(right)
    value = chance(outcome)
    q_right = chance(outcome, right)
    after_success = chance(right, outcome == 1)
    after_failure = chance(right, outcome == 0)
    taken = np.where(right, after_success, 1 - after_success) / policy * outcome
    exaggerated = chance(taken, right)
    credit = 1 - policy / after_success
    joint = chance(right & (outcome == 1))
    return {
        "h(right | success)": Answer(
            after_success,
            {
                "that is the policy: the outcome tells something of the action": policy,
                "that is P(right and success): divide by P(success)": joint,
                "that is after failure": after_failure,
            },
        ),
        "h(right | failure)": Answer(
            after_failure,
            {
                "that is the policy: the outcome tells something of the action": policy,
                "that is P(right and failure): divide by P(failure)": policy - joint,
                "that is after success": after_success,
            },
        ),
        "credit": Answer(
            credit,
            {
                "that is the ratio of hindsight and policy": after_success / policy,
                "that is the advantage: it is the mean over outcomes, and this is after success": (
                    q_right - value
                ),
                "the policy is divided by hindsight, and not the other way round": (
                    after_success / policy - 1
                ),
            },
        ),
        "mean of ratio times outcome": Answer(
            exaggerated,
            {
                "that is Q, which the ratio exaggerates here: it is applied to the taken action "
                "alone": q_right,
                "that is the ratio itself, as if every episode succeeded": after_success / policy,
                "that is V": value,
            },
        ),
    }


def contribution_of_rewards() -> dict[str, Answer]:
    """6.2: coefficients from what each action makes likely, and those of an apple."""
    policy = np.array([0.4, 0.3, 0.2, 0.1])
    likely = np.array([0.6, 0.1, 0.3, 0.0])
    overall = policy @ likely
    exact = likely / overall - 1
    mistakes = {
        "that is the ratio: subtract 1, so that what the action did not change counts 0": exact + 1,
        "that is h - pi: divide by pi": policy * exact,
        "that divides by the plain mean over actions; weigh it by the policy": likely
        / likely.mean()
        - 1,
        "that is what each action changes, and not in what proportion": likely - overall,
    }
    function = Answer(
        exact,
        mistakes,
        "P(u) is the mean of P(u | a) under the policy.",
        of=lambda written: np.asarray(written(likely, policy), float),
    )
    found = coefficients(2)
    apple = {
        "it is there whether the key was taken or not: the ratio is 1": 1.0,
        "that is what the treasure has": found["treasure"],
    }
    treasure = {
        "that is the ratio: subtract 1": found["treasure"] + 1,
        "that is the probability of the action": 1 / ACTIONS,
        "without the key there is no treasure at all: it says much of the action": 0.0,
    }
    return {
        "function": function,
        "treasure": Answer(found["treasure"], treasure),
        "apple": Answer(found["apple"], apple),
    }


@functools.cache
def corridor(apples: int) -> tuple[KeyToDoor, Enumeration]:
    """All episodes of the corridor with so many apples, under a uniform policy."""
    task = KeyToDoor(LENGTH, num_apples=apples, scale=1.0)
    mdp = task.build()
    return task, enumerate_trajectories(mdp, casim.Uniform().table(mdp))


def coefficients(apples: int) -> dict[str, float]:
    """What a treasure and an apple of 0.9 say of taking the key."""
    task, paths = corridor(apples)
    found = {}
    for name, reward in (("treasure", task.treasure), ("apple", task.apple[1])):
        found[name] = float(_coefficients(paths, reward)[TAKE])
    return found


def _coefficients(paths: Enumeration, reward: float) -> Float[np.ndarray, " A"]:
    """P(reward | action 0) / P(reward) - 1 of each action at the key, counted over all episodes."""
    number = np.sum(np.isclose(paths.trajectory.reward, reward), axis=1)
    first = paths.trajectory.action[:, 0]
    overall = paths.probability @ number
    given = np.empty(ACTIONS)
    for action in range(ACTIONS):
        weight = paths.probability * (first == action)
        given[action] = weight @ number / weight.sum()
    return given / overall - 1


def pushes(apples: int) -> dict[str, Float[np.ndarray, "N A"]]:
    """The gradient in the logits of the key step that each method makes of each episode."""
    task, paths = corridor(apples)
    first = paths.trajectory.action[:, 0]
    earned = paths.trajectory.reward.sum(axis=1)
    value = paths.probability @ earned
    score = np.eye(ACTIONS)[first] - 1 / ACTIONS
    hindsight = _hindsight(paths, np.round(earned, 6))

    contributed = np.zeros((len(first), ACTIONS))
    for reward in (task.treasure, *task.apple):
        number = np.sum(np.isclose(paths.trajectory.reward, reward), axis=1)
        if number.any():
            contributed += reward * np.outer(number, _coefficients(paths, reward))
    usual = contributed.mean(axis=1, keepdims=True)
    return {
        "return": earned[:, None] * score,
        "return less value": (earned - value)[:, None] * score,
        "hindsight on the return": ((1 - 1 / ACTIONS / hindsight) * earned)[:, None] * score,
        "coefficients of rewards": (contributed - usual) / ACTIONS,
    }


def _hindsight(paths: Enumeration, outcome: np.ndarray) -> Float[np.ndarray, " N"]:
    """P(the action that was taken at the key | the return)."""
    first = paths.trajectory.action[:, 0]
    _, of = np.unique(outcome, return_inverse=True)
    both = np.zeros((of.max() + 1, ACTIONS))
    np.add.at(both, (of, first), paths.probability)
    return both[of, first] / both[of].sum(axis=1)


def snr(apples: int) -> dict[str, float]:
    """The SNR at the key of each method, from one episode, by enumeration."""
    _, paths = corridor(apples)
    found = {}
    for name, push in pushes(apples).items():
        mean = paths.probability @ push
        signal = np.sum(mean**2)
        found[name] = float(signal / (paths.probability @ np.sum(push**2, axis=1) - signal))
    return found


def gains(floor: float) -> dict[str, np.ndarray]:
    """In each episode the gain in log-probability at the pivot, and at the end."""
    _, outcome, action = episodes()
    before = chance(outcome)
    after = np.where(
        action == RIGHT, chance(outcome, action == RIGHT), chance(outcome, action == WRONG)
    )
    said = np.maximum(outcome, floor)
    return {"choice": np.log(after / before), "luck": np.log(said / after)}


def gain_of_information() -> dict[str, Answer]:
    """6.3: mean gains in log-probability and in probability."""
    _, outcome, action = episodes()
    right = action == RIGHT
    value, kept, lost = chance(outcome), chance(outcome, right), chance(outcome, ~right)
    known = gains(FLOOR)
    of_right = chance(known["choice"], right)
    mean = chance(known["choice"])
    end = chance(known["luck"], right)
    return {
        "log gain of right": Answer(
            of_right,
            {
                "that is the gain in probability": kept - value,
                "that is the ratio: take its logarithm": kept / value,
                "that is in bits: the natural logarithm is asked for": of_right / np.log(2),
            },
        ),
        "mean log gain at the pivot": Answer(
            mean,
            {
                "that is the mean gain in probability; a logarithm loses more than it gains": 0.0,
                "that is the sum over both actions: each is taken half of the time": 2 * mean,
                "that is the gain of the wrong action": np.log(lost / value),
            },
        ),
        "mean log gain at the end": Answer(
            end,
            {
                "that is the mean gain in probability": 0.0,
                "that is when it fails, which it does in a fifth of the cases": np.log(
                    FLOOR / kept
                ),
                "that is without the floor's part: failures are the most of it": kept
                * np.log(1 / kept),
            },
        ),
    }


LESSON = Lesson(
    number=6,
    title="Hindsight and information: knowing the outcome",
    minutes=50,
    goals=(
        "say what an outcome tells of an action, and turn it into credit that is right on average",
        "compute contribution coefficients, and say which noise they leave out",
        "say what gains in log-probability add to credit that nobody decided",
    ),
    needs="lesson 1, Bayes' rule",
    source=Path(__file__).parent / "sources" / "06_hindsight.py",
    questions={
        "6.1": outcome_speaks,
        "6.2": contribution_of_rewards,
        "6.3": gain_of_information,
    },
)
