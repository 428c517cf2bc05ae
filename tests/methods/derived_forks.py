"""Trees around the trajectories of a group, by loops in NumPy.

In the process of `tests.methods.derived_world.either` whatever the policy makes of a point earns
the same, so that a tree is known without a draw. Every recipe is a function of a log, the process
and its values, and gives value and weight `[R, T]`. Nothing here uses casim.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.methods.derived_log import groups, outcome
from tests.methods.derived_tokens import share_of
from tests.methods.derived_world import DECISION, END, STEPS, TURN


def entropies(known) -> np.ndarray:
    """Of the policy at each step and state, in nats."""
    chance = np.where(known.policy > 0, known.policy, 1.0)
    return -(chance * np.log(chance)).sum(-1)


def spo_tree(log, mdp, known, children: int = 6, length: int = 2, baseline: str = "all"):
    """Edge value less the mean of the siblings', own included, at each of the three levels.

    The prompt's children are the group; below, all but the row itself are the policy's. Edges of 0
    are dropped, and the loss is a mean over the rest.
    """
    out = np.zeros(log["mask"].shape)

    def relative(own, others):
        every = np.array([own, *others])
        if baseline == "others":
            return own - np.mean(others)
        away = own - every.mean()
        return away / (every.std() + 1e-8) if baseline == "scaled" else away

    begins = range(0, STEPS, length)
    edge = {}
    for i in range(len(out)):
        after = 0.0
        for begin in reversed(begins):
            earned = log["reward"][i, begin : begin + length][
                log["live"][i, begin : begin + length]
            ].sum()
            edge[i, begin] = earned + after
            alive = log["live"][i, begin]
            policy = known.value[begin, log["state"][i, begin]] if alive else 0.0
            others = [policy] * (children - 1)
            after = np.mean([edge[i, begin], *others])
            if begin:
                out[i, begin : begin + length] = relative(edge[i, begin], others)
    for rows in groups(log):
        for i in rows:
            siblings = [edge[j, 0] for j in rows if j != i]
            out[i, :length] = relative(edge[i, 0], siblings)
    kept = log["mask"] & (np.abs(out) > 1e-12)
    return out, share_of(1.0 * kept)


def bpo(log, mdp, known, forks: int = 2, fade: float = 0.0):
    """From each of the most uncertain decisions on R less that of siblings, which earn V there.

    Before the first of them it is faded by as many steps.
    """
    unsure, out = entropies(known), np.zeros(log["mask"].shape)
    for i in range(len(out)):
        mine = [int(t) for t in np.nonzero(log["mask"][i])[0]]
        chosen = sorted(sorted(mine, key=lambda t: -unsure[t, log["state"][i, t]])[:forks])
        for t in range(STEPS):
            so_far = [u for u in chosen if u <= t]
            fork = so_far[-1] if so_far else chosen[0]
            ahead = log["reward"][i, fork:][log["live"][i, fork:]].sum()
            gain = ahead - known.value[fork, log["state"][i, fork]]
            out[i, t] = gain * (1.0 if so_far else fade ** (fork - t))
    return out, 1.0 * log["mask"]


class Grown(NamedTuple):
    """Rows of a tree: the group's, and those that left the row `parent` at the step `leave`."""

    state: list[np.ndarray]
    live: list[np.ndarray]
    outcome: list[float]
    parent: list[int]
    leave: list[int]

    def owner(self, row: int, step: int) -> int:
        """Whose the point is at which the row takes this step."""
        while row and step <= self.leave[row]:
            row = self.parent[row]
        return row

    def children(self, row: int, step: int) -> list[int]:
        """The rows that take an action of their own at a point that is the row's."""
        left = [
            j for j in range(1, len(self.parent)) if (self.parent[j], self.leave[j]) == (row, step)
        ]
        return [row, *left]

    def points(self) -> list[tuple[int, int]]:
        """Points that decide something, each once."""
        rows = range(len(self.parent))
        every = [(i, t) for i in rows for t in range(STEPS) if DECISION[t] and self.live[i][t]]
        return [(i, t) for i, t in every if self.owner(i, t) == i]


def planted(log, rows) -> Grown:
    """The group alone: its rows leave the first one at the prompt."""
    return Grown(
        [log["state"][i] for i in rows],
        [log["live"][i] for i in rows],
        [outcome(log, i) for i in rows],
        [0] * len(rows),
        [-1] + [0] * (len(rows) - 1),
    )


def valued(tree: Grown, leaf, weigh) -> tuple[dict, dict]:
    """V of each point and of what each row's action leads to, by (row, step)."""
    node, child = {}, {}

    def of_action(row: int, step: int) -> float:
        if (row, step) not in child:
            ends = step + 1 == STEPS or not tree.live[row][step + 1]
            child[row, step] = leaf[row] if ends else of_point(row, step + 1)
        return child[row, step]

    def of_point(row: int, step: int) -> float:
        row = tree.owner(row, step)
        if (row, step) not in node:
            takers = tree.children(row, step)
            share = np.array([weigh(tree, j, step) for j in takers])
            each = np.array([of_action(j, step) for j in takers])
            node[row, step] = float(share @ each / share.sum())
        return node[row, step]

    for i in range(len(tree.parent)):
        for t in range(STEPS):
            if tree.live[i][t]:
                of_point(i, t)
                of_action(i, t)
    return node, child


def credited(tree: Grown, rows, leaf, weigh, give: str):
    """V(child), or less V of its point, for the rows of the group; and how many children it has."""
    node, child = valued(tree, leaf, weigh)
    value, number = np.zeros((2, len(rows), STEPS))
    for place in range(len(rows)):
        for t in range(STEPS):
            if tree.live[place][t]:
                at = (tree.owner(place, t), t)
                value[place, t] = child[place, t] - (node[at] if give == "gain" else 0.0)
                number[place, t] = len(tree.children(*at))
    return value, number


def fork_certain(log, mdp, known, tree: Grown, row: int, step: int) -> Grown:
    """The tree with a row more, that the policy plays on from this point."""
    state, live = tree.state[row].copy(), tree.live[row].copy()
    earned, now = 0.0, int(state[step])
    for t in range(step, STEPS):
        live[t] = now != END
        if not live[t]:
            continue
        state[t] = now
        action = int(known.policy[t, now].argmax()) if DECISION[t] else 0
        earned += mdp.reward[t, now, action, 0]
        now = int(mdp.successor[t, now, action, 0])
    # Before the last turn nothing is earned but at an end.
    return Grown(
        [*tree.state, state],
        [*tree.live, live],
        [*tree.outcome, earned],
        [*tree.parent, row],
        [*tree.leave, step],
    )


def at2po(log, mdp, known, rounds: int = 2, forks: int = 6):
    """V(child) of z-scored leaves; turns of largest H - .05 n are drawn anew, but for last ones.

    The prompt, of H 0, can always be left once more.

    H is the mean -log pi of what was decided in the turn, log 2 where the policy decides: it takes
    one of two actions, each as likely. Children are weighed by exp H of the turn that they begin.
    """
    out, weight = np.zeros(log["mask"].shape), 1.0 * log["mask"]
    for rows in groups(log):
        tree = planted(log, rows)

        def surprise(tree, row, step, rows=rows):
            if row >= len(rows):
                return np.log(2)
            mine = log["mask"][rows[row]] & (TURN[step] == TURN)
            return -log["log_prob"][rows[row], mine].mean()

        def weigh(tree, row, step, surprise=surprise):
            return np.exp(surprise(tree, row, step)) if DECISION[step] else 1.0

        for _ in range(rounds):
            score = {}
            for row in range(len(tree.parent)):
                decided = np.nonzero(DECISION & tree.live[row])[0]
                last = TURN[decided[-1]]
                for k in range(last):
                    step = int(np.nonzero(DECISION & (k == TURN))[0][0])
                    if step >= tree.leave[row]:
                        n = len(tree.children(tree.owner(row, step), step))
                        score[row, step] = surprise(tree, row, step) - 0.05 * (n - 1)
            times = dict.fromkeys(score, 0)
            for _ in range(forks):
                least = [x for x in score if times[x] == min(times.values())]
                row, step = max(least, key=lambda x: (round(score[x], 12), -x[0], -x[1]))
                times[row, step] += 1
                tree = fork_certain(log, mdp, known, tree, tree.owner(row, step), step)
        each = np.array(tree.outcome)
        leaf = (each - each.mean()) / (each.std() + 1e-6)
        out[rows], _ = credited(tree, rows, leaf, weigh, "value")
    return out, weight


def carl_by_entropy(log, mdp, known, forks: int = 16):
    """Forks one after the other at the largest H / n; V(child) - V, where there are several."""
    unsure = entropies(known)
    out, weight = np.zeros(log["mask"].shape), np.zeros(log["mask"].shape)
    for rows in groups(log):
        tree = planted(log, rows)
        for _ in range(forks):
            score = {
                x: unsure[x[1], tree.state[x[0]][x[1]]] / len(tree.children(*x))
                for x in tree.points()
            }
            best = max(score, key=lambda x: (score[x], -x[0], -x[1]))
            tree = fork_certain(log, mdp, known, tree, *best)
        out[rows], number = credited(tree, rows, tree.outcome, lambda *_: 1.0, "gain")
        weight[rows] = number > 1
    return out, weight * log["mask"]
