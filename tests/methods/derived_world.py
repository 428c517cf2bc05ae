"""A small process in NumPy, solved by loops, and what happened in it as a log.

Nothing here uses casim's solvers or estimators. A log has the arrays of those of
`tests.methods.derived_log`, a row for each trajectory, groups side by side.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from casim.types import MDP, Batch, Kind
from tests.methods.derived_groups import SMALL
from tests.methods.derived_log import groups, outcome

STEPS, STATES, ACTIONS = 6, 5, 3
END = STATES - 1
TURN = np.array([0, 0, 0, 1, 1, 2])
DECISION = np.array([True, True, False, True, True, True])
AGENT = np.array([0, 0, 0, 1, 1, 0])


def process(seed: int = 0, binary: bool = True) -> tuple[MDP, np.ndarray]:
    """Six steps of three turns, one token of the environment, early ends; the last step pays."""
    rng = np.random.default_rng(seed)
    shape = (STEPS, STATES, ACTIONS, 2)
    successor = rng.integers(0, END, shape)
    ends = rng.random(shape) < 0.12
    successor[ends] = END
    successor[:, END] = END
    prob = rng.uniform(0.2, 0.8, shape)
    prob = prob / prob.sum(-1, keepdims=True)
    worth = np.array([0.0, 1.0, 0.0, 1.0, 1.0]) if binary else rng.uniform(0.0, 1.0, STATES)
    pays = successor == END
    pays[-1] = True
    pays[:, END] = False
    emission = np.broadcast_to(np.eye(STATES), (STEPS, STATES, STATES))
    policy = rng.uniform(0.1, 1.0, (STEPS, STATES, ACTIONS))
    start = np.array([0.3, 0.4, 0.2, 0.1, 0.0])
    mdp = MDP(
        start=start,
        schedule=np.arange(STEPS),
        successor=successor,
        prob=prob,
        reward=np.where(pays, worth[successor], 0.0),
        emission=emission,
        terminal=np.arange(STATES) == END,
        decision=DECISION,
        kind=np.where(DECISION, int(Kind.THINK), int(Kind.OUTPUT)),
        segment=TURN,
        turn=TURN,
        agent=AGENT,
        discount=np.ones(STEPS),
        prompt=np.zeros(STATES, int),
    )
    return mdp, policy / policy.sum(-1, keepdims=True)


def certain(seed: int = 0, binary: bool = False) -> tuple[MDP, np.ndarray, np.ndarray]:
    """The same without chance: the first successor, one action of the policy; and who acts freely.

    So what the policy makes of a point that it is brought back to is one number.
    """
    mdp, behaviour = process(seed, binary)
    prob = np.zeros(mdp.prob.shape)
    prob[..., 0] = 1.0
    policy = np.eye(ACTIONS)[behaviour.argmax(-1)]
    return mdp._replace(prob=prob), policy, behaviour


def either(seed: int = 0, even: bool = False) -> tuple[MDP, np.ndarray, np.ndarray]:
    """The same where the policy takes one of two actions that do the same, and others are free.

    So a point to fork at can be uncertain, and what is made of it is one number all the same. They
    can be even: each as likely.
    """
    mdp, _, behaviour = certain(seed, binary=True)
    for x in (mdp.successor, mdp.reward):
        x[:, :, 1] = x[:, :, 0]
    policy = np.ones(behaviour.shape) if even else behaviour.copy()
    policy[..., 2] = 0.0
    return mdp, policy / policy.sum(-1, keepdims=True), behaviour


class Known(NamedTuple):
    """Values by backward induction, of the policy and of the best one; 0 at the end."""

    policy: np.ndarray
    value: np.ndarray
    q_value: np.ndarray
    best_value: np.ndarray
    best_q: np.ndarray


def solved(mdp: MDP, policy: np.ndarray) -> Known:
    """A token of the environment is action 0, whatever the policy."""
    act = policy.copy()
    act[~DECISION] = np.eye(ACTIONS)[0]
    value, best = np.zeros((2, STEPS + 1, STATES))
    q_value, best_q = np.zeros((2, STEPS, STATES, ACTIONS))
    for t in reversed(range(STEPS)):
        for s, a in itertools.product(range(END), range(ACTIONS)):
            for k in range(2):
                cell = (t, s, a, k)
                chance, then = mdp.prob[cell], mdp.successor[cell]
                q_value[t, s, a] += chance * (mdp.reward[cell] + value[t + 1, then])
                best_q[t, s, a] += chance * (mdp.reward[cell] + best[t + 1, then])
        value[t] = (act[t] * q_value[t]).sum(-1)
        best[t] = best_q[t].max(-1) if DECISION[t] else best_q[t, :, 0]
    return Known(act, value, q_value, best, best_q)


def log_of(batch: Batch) -> dict[str, np.ndarray]:
    """The batch as a log, a row for each trajectory."""
    wanted = ("state", "observation", "action", "reward", "live", "turn", "segment", "agent")
    log = {name: np.asarray(getattr(batch, name)) for name in (*wanted, "log_prob")}
    prompts, members, steps = log["live"].shape
    log = {name: x.reshape(prompts * members, steps) for name, x in log.items()}
    log["reward"] = log["reward"].astype(np.float64)
    log["mask"] = log["live"] & DECISION
    log["prompt"] = np.repeat(np.arange(prompts), members)
    return log


def along(log, table: np.ndarray) -> np.ndarray:
    """A table `[T, S]` or `[T, S, A]` where each row is, and what it does."""
    time = np.broadcast_to(np.arange(STEPS), log["state"].shape)
    if table.ndim == 2:
        return table[time, log["state"]]
    return table[time, log["state"], log["action"]]


def next_value(log, table: np.ndarray) -> np.ndarray:
    """The value of the state that each step leads to, 0 at the end."""
    now = np.where(log["live"], along(log, table[:-1]), 0.0)
    return np.append(now[:, 1:], np.zeros((len(now), 1)), axis=1)


def td_error(log, known: Known) -> np.ndarray:
    change = log["reward"] + next_value(log, known.value) - along(log, known.value[:-1])
    return np.where(log["live"], change, 0.0)


def turn_sums(log, x: np.ndarray) -> dict[int, list[float]]:
    """What x adds up to over all steps of each turn that decides something, of each row."""
    out = {}
    for i in range(len(x)):
        kinds = np.unique(log["turn"][i, log["mask"][i]])
        mine = [log["live"][i] & (log["turn"][i] == k) for k in kinds]
        out[i] = [float(x[i, where].sum()) for where in mine]
    return out


def z_outcome(log, ddof: int = 1, small: float = SMALL):
    """The z-score of the outcome in its group of several."""
    out = np.zeros(len(log["mask"]))
    for rows in groups(log):
        each = np.array([outcome(log, i) for i in rows])
        if each.max() > each.min():
            out[rows] = (each - each.mean()) / (each.std(ddof=ddof) + small)
    return out
