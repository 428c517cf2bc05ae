"""Groups by what was seen, by plain loops in NumPy float64, from the formulas. Nothing is casim's.

A row is a decision: a token of the mask. Functions are of a log as in `reference_trainers`, with
the label of what was seen, and give `[R, T]`, of which only decisions mean anything.
"""

from __future__ import annotations

import collections

import numpy as np

from tests.methods.reference_trainers import deviation, groups, nasty, scores

NAMES = 3
"""Observations, so few that they are met again."""


def seen(seed=0):
    """The nasty log with observations; all begin with the same one."""
    log = nasty(seed)
    rng = np.random.default_rng(seed + 100)
    label = rng.integers(0, NAMES, log["mask"].shape) * 7 + 11
    label[:, 0] = 11
    label[0, 1] = 5000  # met once
    return {**log, "observation": label}


def visits(log, rows):
    """Decisions of some rows, in order."""
    return [(i, t) for i in rows for t in np.nonzero(log["mask"][i])[0]]


def to_go(log, gamma=0.95):
    """A row is a decision with what the environment's tokens after it earn: those are no steps."""
    out = np.zeros(log["reward"].shape)
    for i, live in enumerate(log["live"]):
        after = earned = 0.0
        for t in reversed(np.nonzero(live)[0]):
            earned += log["reward"][i, t]
            out[i, t] = earned + gamma * after
            if log["mask"][i, t]:
                after, earned = out[i, t], 0.0
    return out


def normed(values, std, ddof=1, single="zero"):
    """Values less their mean, over their deviation + 1e-6; one alone is raw or 0."""
    values = np.asarray(values, float)
    if len(values) == 1:
        return values / (1 + 1e-6 * std) if single == "raw" else np.zeros(1)
    away = values - sum(values) / len(values)
    if not std:
        return away
    if np.ptp(values) == 0:
        return np.zeros(len(values))
    return away / (deviation(values, ddof) + 1e-6)


def episodes(log, std, votes="row", single="raw"):
    each = scores(log)
    out = np.zeros(log["reward"].shape)
    for rows in groups(log):
        places = visits(log, rows) if votes == "row" else [(i, 0) for i in rows]
        given = normed([each[i] for i, _ in places], std, single=single)
        for (i, _), value in zip(places, given, strict=True):
            out[i] = value
    return out


def among(log, value, key, std, ddof=1):
    """Values beside those of the same prompt and key; a key of None is of nobody else."""
    out = np.zeros(value.shape)
    for rows in groups(log):
        classes = collections.defaultdict(list)
        for i, t in visits(log, rows):
            label = key(i, t)
            classes[(i, t, "alone") if label is None else label].append((i, t))
        for members in classes.values():
            given = normed([value[m] for m in members], std, ddof)
            for member, v in zip(members, given, strict=True):
                out[member] = v
    return out


def gigpo(log, std=False, votes="row"):
    label = log["observation"]
    steps = among(log, to_go(log), lambda i, t: label[i, t], std)
    return episodes(log, std, votes) + steps


def hgpo(log, memory=2, std=True, base=False):
    label, mask = log["observation"], log["mask"]

    def last(k):
        def key(i, t):
            before = [int(label[i, u]) for u in np.nonzero(mask[i])[0] if u <= t]
            return tuple(before[-k:]) if len(before) >= k else None

        return key

    items = [(0, episodes(log, std))] if base else []
    items += [(k, among(log, to_go(log), last(k), std, 0)) for k in range(1, memory + 2)]
    out = np.zeros(mask.shape)
    for i, t in visits(log, range(len(mask))):
        given = [(k + 1, a[i, t]) for k, a in items if a[i, t] != 0]
        total = sum(w for w, _ in given) + 1e-6
        out[i, t] = sum(w / total * a for w, a in given)
    return out


def edges(log, rows):
    """From each decision of some rows: what was seen, what is seen next (None is the end)."""
    out = []
    for i in rows:
        places = np.nonzero(log["mask"][i])[0]
        for n, t in enumerate(places):
            then = None if n + 1 == len(places) else int(log["observation"][i, places[n + 1]])
            out.append((i, t, int(log["observation"][i, t]), then, len(places) - n))
    return out


def graph_gpo(log, omega=0.1, least=0.5):
    each = scores(log)
    value = np.zeros(log["reward"].shape)
    for rows in groups(log):
        walked = edges(log, rows)
        distance = {}
        for _ in walked:  # as often as there are edges is often enough
            for i, _, s, then, _ in walked:
                after = distance.get(then) if then is not None else 0 if each[i] >= least else None
                if after is not None:
                    distance[s] = min(distance.get(s, np.inf), after + 1)
        if not any(each[i] >= least for i in rows):
            continue
        far = max(distance.values(), default=0) + 1
        for i, t, _, then, _ in walked:
            end = 0 if each[i] >= least else far
            d = end if then is None else distance.get(then, far)
            value[i, t] = 10 * omega**d
    label = log["observation"]
    steps = among(log, value, lambda i, t: label[i, t], std=True)
    return episodes(log, True, "trajectory", "zero") + steps


def node_values(log, rows, gamma):
    """Mean of gamma^k R over the visits of each observation."""
    each = scores(log)
    met = collections.defaultdict(list)
    for i, _, s, _, left in edges(log, rows):
        met[s].append(gamma**left * each[i])
    return {s: sum(x) / len(x) for s, x in met.items()}


def g2po(log, success=1.0):
    each, label = scores(log), log["observation"]
    following, gain = (np.zeros(log["reward"].shape) for _ in range(2))
    for rows in groups(log):
        value = node_values(log, rows, 0.95)
        for i, t, s, then, _ in edges(log, rows):
            end = success if each[i] == success else 0.0
            after = end if then is None else value[then]
            following[i, t], gain[i, t] = after, after - value[s]
    steps = among(log, following, lambda i, t: label[i, t], std=True)
    return episodes(log, True) + steps + among(log, gain, lambda i, t: 0, std=True)


def bellman(log, rows, gamma):
    """The values of the process that the rows have walked, by a linear system."""
    walked, each = edges(log, rows), scores(log)
    names = sorted({s for _, _, s, _, _ in walked})
    place = {s: n for n, s in enumerate(names)}
    number = np.zeros(len(names))
    matrix, earned = np.zeros((len(names), len(names))), np.zeros(len(names))
    for i, _, s, then, _ in walked:
        number[place[s]] += 1
        if then is None:
            earned[place[s]] += each[i]
        else:
            matrix[place[s], place[then]] += 1
    chance = matrix / number[:, None]
    value = np.linalg.solve(np.eye(len(names)) - gamma * chance, gamma * earned / number)
    return dict(zip(names, value, strict=True))


def graft(log, gamma=0.99, trace=0.0):
    """Graph GAE: delta, and means of it over all edges that can be reached in 1, 2, ... steps."""
    each = scores(log)
    out = np.zeros(log["reward"].shape)
    for rows in groups(log):
        value = bellman(log, rows, gamma)
        walked = edges(log, rows)
        delta = {}
        for i, t, s, then, _ in walked:
            delta[i, t] = gamma * (each[i] if then is None else value[then]) - value[s]
        for i, t, _, then, _ in walked:
            out[i, t] = delta[i, t]
            front, hop = {then} - {None}, 1
            while front and hop < 40 and trace > 0:
                reached = [(j, u, after) for j, u, s, after, _ in walked if s in front]
                mean = sum(delta[j, u] for j, u, _ in reached) / len(reached)
                out[i, t] += (gamma * trace) ** hop * mean
                front = {after for _, _, after in reached} - {None}
                hop += 1
    return out


def rtmc(log, gamma=0.99, prior=2.0, scaled=False):
    each = scores(log)
    out = np.zeros(log["reward"].shape)
    for rows in groups(log):
        tree = {}
        for i in rows:
            met = set()
            for j, t, s, _, left in edges(log, [i]):
                key = (s, int(log["action"][j, t]))
                if key not in met:
                    met.add(key)
                    tree.setdefault(key, []).append(gamma ** (left - 1) * each[i])
        mean = sum(each[i] for i in rows) / len(rows)
        for i, t, s, _, _ in edges(log, rows):
            own = tree[s, int(log["action"][i, t])]
            here = [x for (name, _), returns in tree.items() if name == s for x in returns]
            smooth = (sum(here) + prior * mean) / (len(here) + prior)
            out[i, t] = sum(own) / len(own) - smooth
        if scaled:
            places = visits(log, rows)
            size = deviation([out[p] for p in places], ddof=0)
            for p in places:
                out[p] = out[p] / size if size > 1e-8 else out[p]
    return out


def ecpo(log, prior=2.0, explained=True, gamma=1.0):
    value = to_go(log, gamma)
    out = np.zeros(value.shape)
    for rows in groups(log):
        nodes = collections.defaultdict(list)
        for i, t in visits(log, rows):
            nodes[int(log["observation"][i, t])].append((i, t))
        for members in nodes.values():
            x = np.array([value[m] for m in members])
            did = np.array([log["action"][m] for m in members])
            mean = np.array([x[did == a].mean() for a in did])
            number = np.array([(did == a).sum() for a in did])
            share = ((mean - x.mean()) ** 2).mean() / x.var() if np.ptp(x) > 0 else 0.0
            given = number / (number + prior) * (mean - x.mean())
            for m, v in zip(members, given, strict=True):
                out[m] = v * (share if explained else 1.0)
    return out


def gaca(log):
    label = log["observation"]
    steps = among(log, to_go(log), lambda i, t: label[i, t], std=True)
    whole = episodes(log, True, "trajectory", "zero")
    surprise = np.where(log["mask"], -log["log_prob"], 0.0)
    share = surprise / surprise.max(axis=1, keepdims=True)
    return (1 - share) * whole + share * steps


def turn_loo(log):
    """To go, less the mean over the others of theirs in the same turn; raw without any."""
    value, mask, turn = to_go(log, 1.0), log["mask"], log["turn"]
    out = np.zeros(value.shape)
    for rows in groups(log):
        for i, t in visits(log, rows):
            same = [mask[j] & (turn[j] == turn[i, t]) for j in rows if j != i]
            others = [j for j in rows if j != i]
            means = [value[j][at].mean() for j, at in zip(others, same, strict=True) if at.any()]
            out[i, t] = value[i, t] - (sum(means) / len(means) if means else 0.0)
    return out


def coverage(log):
    """The share of the decisions at each step that are met again."""
    met, every = (np.zeros(log["mask"].shape[1]) for _ in range(2))
    for rows in groups(log):
        places = visits(log, rows)
        number = collections.Counter(int(log["observation"][p]) for p in places)
        for i, t in places:
            every[t] += 1
            met[t] += number[int(log["observation"][i, t])] >= 2
    with np.errstate(invalid="ignore"):
        return met / every
