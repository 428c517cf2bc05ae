"""Methods that go back to a point, in a process without chance, by loops in NumPy.

There the policy makes one number of any point, so that means of rollouts are values. Every function
takes a log of `tests.methods.derived_world` of who acts freely, the process and its values, and
gives `[R, T]`. Nothing here uses casim.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from tests.methods.derived_groups import z
from tests.methods.derived_log import at_turn, by_turn, groups, outcome, tokens, whitened
from tests.methods.derived_world import DECISION, END, STEPS, td_error, turn_sums


def replayed(log, mdp, known, i: int, imposed: dict[int, int], begin: int = 0) -> float:
    """What row i earns from step `begin` on where these actions are imposed and the policy acts."""
    state, earned = int(log["state"][i, begin]), 0.0
    for t in range(begin, STEPS):
        if state == END:
            break
        own = int(known.policy[t, state].argmax())
        action = imposed.get(t, own) if DECISION[t] else 0
        earned += mdp.reward[t, state, action, 0]
        state = int(mdp.successor[t, state, action, 0])
    return earned


def observed(log, i: int, steps) -> dict[int, int]:
    """What row i did at those of the steps at which it decided."""
    return {int(t): int(log["action"][i, t]) for t in steps if log["mask"][i, t]}


def present(log, i: int, steps, null: int | None) -> dict[int, int]:
    """What row i did at those of the steps; at all others a default, unless that is None.

    So also at what it did not live to see.
    """
    default = {} if null is None else dict.fromkeys(range(STEPS), null)
    return default | observed(log, i, steps)


def values_at_ends(log, known, i: int) -> tuple[list[float], list[float]]:
    """The value before each turn of a row, and after it: the outcome where it has ended."""
    begins = [where[0] for where in tokens(log, i)]
    before = [float(known.value[t, log["state"][i, t]]) for t in begins]
    return before, [*before[1:], outcome(log, i)]


def vine(log, mdp, known, whiten: bool = False):
    """r_j + V(s_{j+1}) - V(s_j) of each segment."""
    out = by_turn(log, turn_sums(log, td_error(log, known)))
    return whitened(out, log["mask"]) if whiten else out


def spo_chain(log, mdp, known, interval: int, threshold: float | None):
    """V(end) - V(start) between cuts, before each `interval`-th unlikely decision; 0 before."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        mine = np.nonzero(log["mask"][i])[0]
        unlikely = mine
        if threshold is not None:
            unlikely = mine[np.exp(log["log_prob"][i, mine]) < threshold]
        cuts = list(unlikely[::interval])
        values = [known.value[t, log["state"][i, t]] for t in cuts]
        values.append(outcome(log, i))
        for n, (begin, end) in enumerate(itertools.pairwise([*cuts, STEPS])):
            out[i, begin:end] = values[n + 1] - values[n]
    return out


def c3(log, mdp, known, form: str = "reward"):
    """The own subtree of a turn beside three siblings that the policy draws, which earn V(h)."""
    numbers = {}
    for i in range(len(log["mask"])):
        before, after = values_at_ends(log, known, i)
        numbers[i] = []
        for v, then in zip(before, after, strict=True):
            whole = outcome(log, i)
            two_leaves = (whole + then) / 2
            score = {
                "reward": whole - v,
                "value": then - v,
                "assisted": two_leaves - v,
                "full_mean": whole - (whole + 3 * v) / 4,
            }
            if form == "scaled":
                others = [v - (then + 2 * v) / 3] * 3
                every = np.array([two_leaves - v, *others])
                number = (every[0] - every.mean()) / (every.std(ddof=1) + 1e-6)
                numbers[i].append(number if np.ptp(every) > 1e-12 else 0.0)
            else:
                numbers[i].append(score[form])
    return by_turn(log, numbers)


def without_turn(log, mdp, known, null: int | None):
    """R less the outcome with the turn's actions the policy's, or a default; the rest is kept."""
    numbers = {}
    for i in range(len(log["mask"])):
        numbers[i] = []
        for where in tokens(log, i):
            turn = np.nonzero(log["turn"][0] == log["turn"][i, where[0]])[0]
            kept = present(log, i, [t for t in range(STEPS) if t not in turn], null)
            numbers[i].append(outcome(log, i) - replayed(log, mdp, known, i, kept))
    return by_turn(log, numbers)


def solo(log, mdp, known, i: int) -> float:
    """The outcome where the first turn takes the default action and the policy plays on."""
    first = {int(t): 0 for t in range(STEPS) if log["turn"][0, t] == 0}
    return replayed(log, mdp, known, i, first)


def raw_roles(log, mdp, known, form: str) -> dict[int, list[float]]:
    """What each turn gets before ten samples are known, when numbers are handed on as they are.

    The second version has outcomes +-1, and compares them with the mean of the group's solo runs.
    """
    raw = {}
    for rows in groups(log):
        alone = {i: solo(log, mdp, known, i) for i in rows}
        mean = sum(1.0 if x > 0 else -1.0 for x in alone.values()) / len(rows)
        for i in rows:
            joint, turns = outcome(log, i), len(tokens(log, i))
            sign = 1.0 if joint > 0 else -1.0
            helped = 1.0 if sign > 0 > mean else -1.0 if sign < 0 < mean else 0.0
            pairs = {
                "gated": (joint - alone[i], 0.5 * joint + 0.5 * alone[i]),
                "helped": (sign + 0.2 * helped, sign),
                "margin": (sign + 0.2 * 0.5 * (sign - mean), sign),
            }
            first, others = pairs[form]
            raw[i] = [first] + [others] * (turns - 1)
    return raw


def roles(log, mdp, known, form: str):
    return by_turn(log, raw_roles(log, mdp, known, form))


def remembered(batches: list[np.ndarray], decay: float = 0.99) -> tuple[float, float]:
    """Averages of the batches' means and variances, the first as it is; the deviation of it."""
    mean, variance = batches[0].mean(), batches[0].var()
    for x in batches[1:]:
        mean = decay * mean + (1 - decay) * x.mean()
        variance = decay * variance + (1 - decay) * x.var()
    return mean, variance**0.5 if variance > 1e-6 else 1.0


def gated(log, joint, alone, before) -> np.ndarray:
    """tanh of what the first turn changed; the others by both runs, z-scored by the past.

    `before` holds (joint, alone) of the batches so far.
    """
    past = {
        "gain": [r - s for r, s in before],
        "joint": [r for r, _ in before],
        "alone": [s for _, s in before],
    }
    now = {"gain": joint - alone, "joint": joint, "alone": alone}
    known = {name: remembered(batches) for name, batches in past.items()}
    score = {}
    for name, x in now.items():
        mean, deviation = known[name]
        score[name] = (x - mean) / (deviation + 1e-6)
    mean, deviation = known["gain"]
    gate = 1 / (1 + np.exp(-mean / (deviation + 1e-6)))
    first = np.tanh(score["gain"])
    others = gate * score["joint"] + (1 - gate) * score["alone"]
    numbers = {}
    for i in range(len(joint)):
        later = len(tokens(log, i)) - 1
        numbers[i] = [first[i]] + [others[i]] * later
    return by_turn(log, numbers)


def ccpo(log, mdp, known, form: str = "gated"):
    """z-scores of what the roles get over the same turn of the group."""
    raw, numbers = raw_roles(log, mdp, known, form), {}
    for rows in groups(log):
        for i in rows:
            numbers[i] = []
            for t, x in enumerate(raw[i]):
                peers = at_turn(raw, rows, t)
                numbers[i].append(z(x, peers, True, single=None))
    return by_turn(log, numbers)


def players(log, kind: str) -> list[np.ndarray]:
    """The steps of each player: a segment, or an agent."""
    label = log["segment" if kind == "segment" else "agent"][0]
    return [np.nonzero(label == k)[0] for k in np.unique(label)]


def shapley(log, mdp, known, kind: str):
    """Over all orders of joining: who has joined acts as observed, the policy for the others."""
    out = np.zeros(log["mask"].shape)
    steps = players(log, kind)
    n = len(steps)
    for i in range(len(out)):
        worth = {}
        for size in range(n + 1):
            for who in itertools.combinations(range(n), size):
                imposed = observed(log, i, [t for p in who for t in steps[p]])
                worth[frozenset(who)] = replayed(log, mdp, known, i, imposed)
        for p in range(n):
            others = [q for q in range(n) if q != p]
            share = 0.0
            for size in range(n):
                weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
                for who in itertools.combinations(others, size):
                    share += weight * (worth[frozenset((*who, p))] - worth[frozenset(who)])
            out[i, steps[p]] = share
    return out


def marginal(log, mdp, known, null: int | None):
    """R less the outcome where the agent has a default, or the policy; others as observed."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        for mine in players(log, "agent"):
            kept = present(log, i, [t for t in range(STEPS) if t not in mine], null)
            out[i, mine] = outcome(log, i) - replayed(log, mdp, known, i, kept)
    return out


def sharp(log, mdp, known):
    """R + the marginal of the agent, z-scored over the agent in the group."""
    both = marginal(log, mdp, known, 1)
    out = np.zeros(both.shape)
    for rows in groups(log):
        for mine in players(log, "agent"):
            acts = [i for i in rows if log["mask"][i, mine].any()]
            total = {i: outcome(log, i) + both[i, mine[0]] for i in acts}
            for i in acts:
                out[i, mine] = z(total[i], list(total.values()), True, single=None)
    return out
