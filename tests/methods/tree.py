"""Two questions of two steps each, small enough to write their values down.

Prompt 0 begins in state 0, whose action a leads to state 1 + a, and prompt 1 in state 4, whose
action a leads to state 5 + a; the second action pays. All is shown, and nothing else is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from casim.types import MDP, Kind

ROOTS = (0, 4)
STATES, ACTIONS, STEPS = 8, 3, 2


class Tree(NamedTuple):
    mdp: MDP
    policy: np.ndarray
    q_value: np.ndarray
    """`[T, S, A]`, 0 where a state cannot be."""
    start_value: np.ndarray
    """`[S]`: the value of the prompt to which each state belongs."""

    @property
    def target(self) -> np.ndarray:
        """Q less the value of the prompt."""
        return self.q_value - self.start_value[None, :, None]


def tree(binary: bool = True, prompts: int = 1) -> Tree:
    """The process, a policy for it, and its values.

    Args:
        binary: the second action pays 0 or 1.
        prompts: 1 or 2, the second with probability 0.375.
    """
    rng = np.random.default_rng(8)
    policy = rng.integers(2, 12, (STEPS, STATES, ACTIONS)).astype(float)
    policy[0] = 1.0 + np.arange(ACTIONS) / 8  # the first decision has the highest entropy
    policy = policy / policy.sum(axis=-1, keepdims=True)
    paid = rng.choice([0.0, 1.0] if binary else [-0.25, 0.1, 0.5, 1.75], (STATES, ACTIONS))
    reward = np.zeros((STEPS, STATES, ACTIONS, 1))
    reward[1, ..., 0] = paid
    successor = np.broadcast_to(np.arange(STATES)[:, None], (STATES, ACTIONS)).copy()
    q_value = np.zeros((STEPS, STATES, ACTIONS))
    start_value = np.zeros(STATES)
    for root in ROOTS:
        children = root + 1 + np.arange(ACTIONS)
        successor[root] = children
        q_value[1, children] = paid[children]
        q_value[0, root] = (policy[1, children] * paid[children]).sum(axis=-1)
        start_value[root : root + 4] = policy[0, root] @ q_value[0, root]
    start = np.zeros(STATES)
    start[list(ROOTS)] = [0.625, 0.375] if prompts == 2 else [1.0, 0.0]
    mdp = MDP(
        start=start,
        schedule=np.arange(STEPS),
        successor=np.broadcast_to(successor[..., None], (STEPS, STATES, ACTIONS, 1)),
        prob=np.ones((STEPS, STATES, ACTIONS, 1)),
        reward=reward,
        emission=np.broadcast_to(np.eye(STATES), (STEPS, STATES, STATES)),
        terminal=np.zeros(STATES, bool),
        decision=np.ones(STEPS, bool),
        kind=np.array([Kind.THINK, Kind.ANSWER], int),
        segment=np.arange(STEPS),
        turn=np.zeros(STEPS, int),
        agent=np.zeros(STEPS, int),
        discount=np.ones(STEPS),
        prompt=(np.arange(STATES) >= ROOTS[1]).astype(int),
    )
    return Tree(mdp, policy, q_value, start_value)
