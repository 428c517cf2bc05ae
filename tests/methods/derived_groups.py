"""Critic-free groups by plain loops in NumPy, from their formulas alone. Nothing here uses casim.

Every function takes a log of `tests.methods.derived_log` and gives an array `[R, T]`, of which only
the policy's tokens mean anything.
"""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np

from tests.methods.derived_log import (
    anchors,
    at_turn,
    by_turn,
    deviation,
    groups,
    outcome,
    paid,
    tokens,
    without,
)

SMALL = 1e-6


def discounted(rewards: list[float], discount: float) -> list[float]:
    """What each turn and those after it earn."""
    return [
        sum(discount ** (k - t) * rewards[k] for k in range(t, len(rewards)))
        for t in range(len(rewards))
    ]


def z(x: float, peers: list[float], std: bool, ddof: int = 1, single: float | None = 0.0) -> float:
    """x less the mean of the peers, over their deviation + 1e-6; one peer has mean `single`."""
    if len(peers) == 1:
        mean, deviated = (peers[0] if single is None else single), 1.0
    else:
        mean, deviated = sum(peers) / len(peers), deviation(peers, ddof)
    if len(peers) > 1 and max(peers) == min(peers):
        return 0.0
    return (x - mean) / (deviated + SMALL) if std else x - mean


def episode_part(log, std: bool, each_row: bool) -> dict[int, float]:
    """(R - mean) of the episode; a turn is a row, and rows or trajectories vote.

    Of a single vote the mean is 0 and the deviation 1.
    """
    out = {}
    for rows in groups(log):
        votes = [
            outcome(log, i) for i in rows for _ in range(len(tokens(log, i)) if each_row else 1)
        ]
        for i in rows:
            out[i] = z(outcome(log, i), votes, std)
    return out


def gigpo(log, std: bool = False, each_row: bool = True, discount: float = 0.95):
    """A^E + A^S: the step return less the mean of all rows with the same anchor in the group."""
    episode = episode_part(log, std, each_row)
    numbers = {}
    for rows in groups(log):
        found = defaultdict(list)
        for i in rows:
            for seen, later in zip(
                anchors(log, i), discounted(paid(log, i), discount), strict=True
            ):
                found[seen].append(later)
        for i in rows:
            numbers[i] = [
                episode[i] + z(later, found[seen], std, single=None)
                for seen, later in zip(
                    anchors(log, i), discounted(paid(log, i), discount), strict=True
                )
            ]
    return by_turn(log, numbers)


def hgpo(
    log, longest: int, std: bool = True, base: bool = False, discount: float = 0.95, power=1.0
):
    """Nested groups of rows whose last k observations agree, weighed by (k + 1)^alpha."""
    episode = episode_part(log, std, True)
    numbers = {}
    for rows in groups(log):
        found = defaultdict(list)
        for i in rows:
            seen, later = anchors(log, i), discounted(paid(log, i), discount)
            for t in range(len(seen)):
                for k in range(1, longest + 1):
                    if t + 1 >= k:
                        found[k, tuple(seen[t + 1 - k : t + 1])].append(later[t])
        for i in rows:
            seen, later = anchors(log, i), discounted(paid(log, i), discount)
            numbers[i] = []
            for t in range(len(seen)):
                items = [(1.0, episode[i])] if base else []
                for k in range(1, longest + 1):
                    if t + 1 < k:
                        continue
                    peers = found[k, tuple(seen[t + 1 - k : t + 1])]
                    if len(peers) > 1:
                        items.append(((k + 1.0) ** power, z(later[t], peers, std, ddof=0)))
                items = [(w, a) for w, a in items if a != 0]
                total = sum(w for w, _ in items) + SMALL
                numbers[i].append(sum(w * a for w, a in items) / total)
    return by_turn(log, numbers)


def graph_gpo(log, omega: float = 0.1, success: float = 1.0):
    """Edges of the merged graph, by the least number of steps to success."""
    numbers = {}
    for rows in groups(log):
        returns = [outcome(log, i) for i in rows]
        episode = {i: z(outcome(log, i), returns, True, single=None) for i in rows}
        edges, nodes = set(), set()
        for i in rows:
            path = [*anchors(log, i), ("end", outcome(log, i) >= success)]
            edges |= set(itertools.pairwise(path))
            nodes |= set(path)
        far = {("end", True): 0}
        for _ in nodes:
            for a, b in edges:
                if b in far:
                    far[a] = min(far.get(a, np.inf), far[b] + 1)
        if ("end", True) not in nodes:
            for i in rows:
                numbers[i] = [episode[i]] * len(anchors(log, i))
            continue
        beyond = max(d for n, d in far.items() if n in nodes) + 1
        value = {n: 10 * omega ** far.get(n, beyond) for n in nodes}
        leaving = defaultdict(list)
        for i in rows:
            path = [*anchors(log, i), ("end", outcome(log, i) >= success)]
            for a, b in itertools.pairwise(path):
                leaving[a].append(value[b])
        for i in rows:
            path = [*anchors(log, i), ("end", outcome(log, i) >= success)]
            numbers[i] = [
                episode[i] + z(value[b], leaving[a], True, single=None)
                for a, b in itertools.pairwise(path)
            ]
    return by_turn(log, numbers)


def g2po(log, discount: float = 0.95, win=lambda r: 10.0 if r == 10 else 0.0):
    """Node and edge part over the values of observations, .95^(len - t) R averaged over visits."""
    episode = episode_part(log, True, True)
    numbers = {}
    for rows in groups(log):
        visits = defaultdict(list)
        for i in rows:
            seen = anchors(log, i)
            for t, node in enumerate(seen):
                visits[node].append(discount ** (len(seen) - t) * outcome(log, i))
        value = {node: sum(v) / len(v) for node, v in visits.items()}
        after, edge = defaultdict(list), []
        steps = {}
        for i in rows:
            seen = anchors(log, i)
            later = [*(value[n] for n in seen[1:]), win(outcome(log, i))]
            steps[i] = list(zip(seen, later, strict=True))
            for node, v in steps[i]:
                after[node].append(v)
                edge.append(v - value[node])
        for i in rows:
            numbers[i] = [
                episode[i] + z(v, after[node], True, single=None) + z(v - value[node], edge, True)
                for node, v in steps[i]
            ]
    return by_turn(log, numbers)


def graft(log, discount: float = 0.99):
    """One-step error of the certainty-equivalent value of the merged graph; sinks pay the outcome.

    Equal to Graph GAE at every lambda where the value has converged.
    """
    numbers = {}
    for rows in groups(log):
        names = sorted({a for i in rows for a in anchors(log, i)})
        where = {a: n for n, a in enumerate(names)}
        move = np.zeros((len(names), len(names)))
        pay = np.zeros(len(names))
        for i in rows:
            seen = anchors(log, i)
            for a, b in itertools.pairwise(seen):
                move[where[a], where[b]] += 1
            pay[where[seen[-1]]] += outcome(log, i)
            move[where[seen[-1]]] += 0
        met = [a for i in rows for a in anchors(log, i)]
        count = np.array([met.count(a) for a in names], float)
        chance = move / count[:, None]
        ahead = np.eye(len(names)) - discount * chance
        value = np.linalg.solve(ahead, discount * pay / count)
        for i in rows:
            worth = [value[where[a]] for a in anchors(log, i)]
            later = [*worth[1:], outcome(log, i)]
            numbers[i] = [discount * v - now for now, v in zip(worth, later, strict=True)]
    return by_turn(log, numbers)


def turn_loo(log):
    """G_t less the mean of the others' at the same turn; the raw return where there is no other."""
    numbers = {}
    for rows in groups(log):
        later = {i: discounted(paid(log, i), 1.0) for i in rows}
        for i in rows:
            numbers[i] = []
            for t, mine in enumerate(later[i]):
                others = at_turn(later, without(rows, i), t)
                numbers[i].append(mine - np.mean(others) if others else mine)
    return by_turn(log, numbers)


def turn_action(log, i: int) -> list[tuple[int, ...]]:
    """What the policy wrote in each turn."""
    return [tuple(log["action"][i, where]) for where in tokens(log, i)]


def rtmc(log, scaled: bool = False, discount: float = 0.99, prior: float = 2.0):
    """First-visit Monte Carlo over the group, the state's value shrunk to the group's mean."""
    numbers = {}
    for rows in groups(log):
        by_action, by_state = defaultdict(list), defaultdict(list)
        mean = sum(outcome(log, i) for i in rows) / len(rows)
        for i in rows:
            met = set()
            acts, seen = turn_action(log, i), anchors(log, i)
            for t in range(len(seen)):
                late = discount ** (len(seen) - 1 - t) * outcome(log, i)
                if (seen[t], acts[t]) not in met:
                    met.add((seen[t], acts[t]))
                    by_action[seen[t], acts[t]].append(late)
                    by_state[seen[t]].append(late)
        for i in rows:
            numbers[i] = []
            for s, a in zip(anchors(log, i), turn_action(log, i), strict=True):
                n = len(by_state[s])
                value = (sum(by_state[s]) + prior * mean) / (n + prior)
                of_action = np.mean(by_action[s, a])
                numbers[i].append(of_action - value)
        if scaled:
            every = [x for i in rows for x in numbers[i]]
            for i in rows:
                numbers[i] = [x / deviation(every, 0) for x in numbers[i]]
    return by_turn(log, numbers)


def ecpo(log, prior: float = 2.0):
    """A_GRPO + rho(s) (mu~ - mu): shrunk action means, and the share of variance between them."""
    numbers = {}
    for rows in groups(log):
        returns = [outcome(log, i) for i in rows]
        by_state, by_action = defaultdict(list), defaultdict(list)
        visits = {
            i: list(
                zip(
                    anchors(log, i),
                    turn_action(log, i),
                    discounted(paid(log, i), 1.0),
                    strict=True,
                )
            )
            for i in rows
        }
        for i in rows:
            for s, a, later in visits[i]:
                by_state[s].append((a, later))
                by_action[s, a].append(later)
        for i in rows:
            numbers[i] = []
            for s, a, _ in visits[i]:
                n = len(by_state[s])
                mean = sum(x for _, x in by_state[s]) / n
                own = {b: np.mean(by_action[s, b]) for b, _ in by_state[s]}
                between = sum((own[b] - mean) ** 2 for b, _ in by_state[s]) / n
                within = sum((x - own[b]) ** 2 for b, x in by_state[s]) / n
                spread = between + within
                rho = between / spread if spread > 1e-20 else 0.0
                mine = by_action[s, a]
                shrunk = (sum(mine) + prior * mean) / (len(mine) + prior)
                of_row = z(outcome(log, i), returns, True)
                numbers[i].append(of_row + rho * (shrunk - mean))
    return by_turn(log, numbers)


def gaca(log):
    """(1 - l) A^E + l A^S, l the surprise of the action over the largest of the trajectory."""
    step = gigpo(log, std=True, each_row=False)
    episode = episode_part(log, True, False)
    out = np.zeros(step.shape)
    for rows in groups(log):
        for i in rows:
            mine = log["mask"][i]
            surprise = -log["log_prob"][i] / np.max(-log["log_prob"][i][mine])
            own = 0.0 if len(rows) == 1 else episode[i]
            out[i] = (1 - surprise) * own + surprise * (step[i] - episode[i])
    return out


def agent_lightning(log, each_row: bool = True):
    """GRPO whose rows are transitions, or one a rollout."""
    part = episode_part(log, True, each_row)
    return by_turn(log, {i: [part[i]] * len(tokens(log, i)) for i in part})


def agents(log, i: int) -> list[int]:
    return [int(log["agent"][i, where[0]]) for where in tokens(log, i)]


def dr_mas(log, by_agent: bool = True):
    """(R - mu_k) / (sigma_k + 1e-6), over the turns of the agent in the group: each turn a vote.

    A single vote has mean 0 and deviation 1. Globally the turns of all agents vote.
    """
    if not by_agent:
        return agent_lightning(log)
    numbers = {}
    for rows in groups(log):
        votes = defaultdict(list)
        for i in rows:
            for k in agents(log, i):
                votes[k].append(outcome(log, i))
        for i in rows:
            numbers[i] = [z(outcome(log, i), votes[k], True) for k in agents(log, i)]
    return by_turn(log, numbers)


def m_grpo(log, main: int = 0):
    """The main agent: one vote a rollout; a sub-agent: one vote a call, pooled over the group.

    R is .1 for the form and .9 more for the right answer.
    """
    numbers = {}

    def worth(right):
        return 0.1 + 0.9 * right

    for rows in groups(log):
        mains = [worth(outcome(log, i)) for i in rows if main in agents(log, i)]
        calls = defaultdict(list)
        for i in rows:
            for k in agents(log, i):
                calls[k].append(worth(outcome(log, i)))
        for i in rows:
            numbers[i] = [
                z(worth(outcome(log, i)), mains if k == main else calls[k], True, single=None)
                for k in agents(log, i)
            ]
    return by_turn(log, numbers)


def starpo(log):
    """GRPO of trajectories."""
    return agent_lightning(log, each_row=False)
