"""Credit of what is fitted to rollouts that are given, by loops in NumPy.

Every recipe is a function of a log of `tests.methods.derived_world`, the log that it learns from,
the process and its values, and gives `[R, T]`, or `[R, T, A]`. Nothing here uses casim.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from tests.methods.derived_log import by_turn, outcome, to_go, tokens
from tests.methods.derived_turns import gae
from tests.methods.derived_words import outcomes, reference, together
from tests.methods.derived_world import (
    ACTIONS,
    AGENT,
    DECISION,
    END,
    STATES,
    STEPS,
    TURN,
    along,
    next_value,
)

AGENTS = 2


def ahead(log) -> np.ndarray:
    return to_go(np.where(log["live"], log["reward"], 0.0))


def cells(log, where) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Row and step of every entry, and its step, state and action."""
    every = np.argwhere(where)
    found = []
    for i, t in every:
        cell = (t, log["state"][i, t], log["action"][i, t])
        found.append((i, t, cell))
    return found


def cell_means(log, x, where) -> np.ndarray:
    """The mean of each (t, s, a); what was not met is worth what others are at its step."""
    met = defaultdict(list)
    for i, t, cell in cells(log, where):
        met[cell].append(x[i, t])
    out = np.zeros((STEPS, STATES, ACTIONS))
    for t in range(STEPS):
        if where[:, t].any():
            out[t] = x[where[:, t], t].mean()
    for cell, each in met.items():
        out[cell] = np.mean(each)
    return out


def state_means(log, x) -> np.ndarray:
    out = np.zeros((STEPS, STATES))
    for t, s in np.ndindex(out.shape):
        there = log["live"][:, t] & (log["state"][:, t] == s)
        others = log["live"][:, t]
        if others.any():
            out[t, s] = x[there if there.any() else others, t].mean()
    return out


def rudder(log, data, mdp, known):
    """g_t - g_{t-1}, g the mean return of what was seen and done there; the rest at the end."""
    predicted = along(log, cell_means(data, ahead(data), data["live"]))
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        live = np.nonzero(log["live"][i])[0]
        before = predicted[i, live[:-1]]
        out[i, live] = np.diff([0.0, *before, outcome(log, i)])
    return out


def counted_posterior(log, data, known) -> np.ndarray:
    """h(a | s, class of the return) at each step, the policy as one count more."""
    of_data, of_log = (ahead(x) > 0.5 for x in (data, log))
    out = np.zeros((*log["mask"].shape, ACTIONS))
    for i, t in np.argwhere(log["mask"]):
        s = log["state"][i, t]
        there = data["live"][:, t] & (data["state"][:, t] == s)
        alike = there & (of_data[:, t] == of_log[i, t])
        number = np.bincount(data["action"][alike, t], minlength=ACTIONS)
        total = number.sum() + 1
        out[i, t] = (number + known.policy[t, s]) / total
    return out


def hca_return(log, data, mdp, known):
    """(1 - pi / h) Z on the action taken."""
    known_later = counted_posterior(log, data, known)
    action = log["action"][..., None].astype(int)
    h = np.take_along_axis(known_later, action, -1)[..., 0]
    ratio = along(log, known.policy) / np.where(log["mask"], h, 1.0)
    return (1 - ratio) * ahead(log)


def cocoa_return(log, data, mdp, known):
    """(h / pi - 1) Z of every action."""
    time = np.broadcast_to(np.arange(STEPS), log["state"].shape)
    chance = known.policy[time, log["state"]]
    chance = np.where(log["mask"][..., None], chance, 1.0)
    return (counted_posterior(log, data, known) / chance - 1) * ahead(log)[..., None]


def descended(slope, start, updates: int, rate: float, cosine: bool = True) -> np.ndarray:
    """Adam, whose rate falls to 0 as a cosine."""
    theta = start.copy()
    mean, square = np.zeros((2, *start.shape))
    for n in range(updates):
        g = slope(theta)
        mean = 0.9 * mean + 0.1 * g
        square = 0.999 * square + 0.001 * g**2
        falls = 0.5 * (1 + math.cos(math.pi * n / updates)) if cosine else 1.0
        unbiased = mean / (1 - 0.9 ** (n + 1))
        size = np.sqrt(square / (1 - 0.999 ** (n + 1))) + 1e-8
        theta = theta - rate * falls * unbiased / size
    return theta


def designs(log) -> np.ndarray:
    """How often each row decides so in each (t, s, a): `[R, T, S, A]`."""
    out = np.zeros((len(log["mask"]), STEPS, STATES, ACTIONS))
    for i, _, cell in cells(log, log["mask"]):
        out[(i, *cell)] += 1
    return out


def spa_rl(log, data, mdp, known):
    """c_t of min E (sum_t c_t - R)^2, after 300 steps at .05."""
    design = designs(data).reshape(len(data["mask"]), -1)
    wanted = outcomes(data)

    def slope(c):
        return 2 * (design @ c - wanted) @ design / len(wanted)

    c = descended(slope, np.zeros(design.shape[1]), 300, 0.05)
    return along(log, c.reshape(STEPS, STATES, ACTIONS))


def lare(log, data, mdp, known, classes: int = 4):
    """f(phi, a) of min E ((sum_t f - R) / L)^2, phi the state mod 4, after 100 steps at .1."""
    by_state = designs(data).sum(1)
    design = np.stack([by_state[:, c::classes].sum(1) for c in range(classes)], axis=1)
    length = data["mask"].sum(axis=1)
    design = design.reshape(len(length), -1) / length[:, None]
    wanted = outcomes(data) / length

    def slope(f):
        return 2 * (design @ f - wanted) @ design / len(wanted)

    f = descended(slope, np.zeros(design.shape[1]), 100, 0.1).reshape(classes, ACTIONS)
    return f[log["state"] % classes, log["action"]]


def log_ratio_to(prior, theta) -> np.ndarray:
    mass = prior * np.exp(theta)
    return theta - np.log(mass.sum(-1, keepdims=True))


def sweet_rl(log, data, mdp, known, beta: float = 0.1, ridge: float = 1e-3):
    """The mean over the turn of log pi_theta / pi_ref, by preferences of all pairs of the group.

    What is hidden and what is seen are one here. 100 steps at .1, with ridge / 2 theta^2.
    """
    prior, design = reference(), designs(data)
    earned = outcomes(data)
    pairs = [
        (i, j)
        for i, j in itertools.product(range(len(earned)), repeat=2)
        if data["prompt"][i] == data["prompt"][j] and earned[i] > earned[j]
    ]

    def slope(theta):
        ratio = log_ratio_to(prior, theta)
        chance = prior * np.exp(ratio)
        total = (design * ratio).sum((1, 2, 3))
        out = np.zeros(theta.shape)
        for i, j in pairs:
            wrong = 1 / (1 + np.exp(beta * (total[i] - total[j])))
            # Of sum n_a log pi_theta(a): n - pi sum n.
            moved = design[i] - design[j]
            out -= beta * wrong * (moved - chance * moved.sum(-1, keepdims=True))
        return out / len(pairs) + ridge * theta

    theta = descended(slope, np.zeros(prior.shape), 100, 0.1)
    ratio = along(log, log_ratio_to(prior, theta))
    return by_turn(
        log, {i: [ratio[i, w].mean() for w in tokens(log, i)] for i in range(len(ratio))}
    )


def agent_prm(log, data, mdp, known, lam: float = 0.95, beta: float = 1.0):
    """Q_k - Q_{k-1} of a table of last decisions, fitted to A_k + V_k, and its steps to A_k.

    A_k by GAE over turns and V by means; Q begins at the means of its targets, 100 steps at .01.
    """
    value = state_means(data, ahead(data))
    ends, target, gain, before = [], [], [], []
    for i in range(len(data["mask"])):
        turns = tokens(data, i)
        v, paid = [], []
        for w in turns:
            v.append(value[w[0], data["state"][i, w[0]]])
            of_turn = data["turn"][i] == data["turn"][i, w[0]]
            paid.append(data["reward"][i][data["live"][i] & of_turn].sum())
        v.append(0.0)
        delta = [r + v[k + 1] - v[k] for k, r in enumerate(paid)]
        each = gae(delta, [lam] * len(delta))
        for k, w in enumerate(turns):
            t = w[-1]
            before.append(len(ends) - 1 if k else None)
            cell = (t, data["state"][i, t], data["action"][i, t])
            ends.append(cell)
            gain.append(each[k])
            target.append(each[k] + v[k])
    met, of_step = defaultdict(list), defaultdict(list)
    for cell, y in zip(ends, target, strict=True):
        met[cell].append(y)
        of_step[cell[0]].append(y)
    table = np.zeros((STEPS, STATES, ACTIONS))
    for t, each in of_step.items():
        table[t] = np.mean(each)
    for cell, each in met.items():
        table[cell] = np.mean(each)

    def slope(q):
        out = np.zeros(q.shape)
        for n, cell in enumerate(ends):
            out[cell] += 2 * (q[cell] - target[n])
            if before[n] is not None:
                last = ends[before[n]]
                wrong = 2 * beta * (q[cell] - q[last] - gain[n])
                out[cell] += wrong
                out[last] -= wrong
        return out / len(ends)

    table = descended(slope, table, 100, 0.01, cosine=False)
    numbers = {}
    for i in range(len(log["mask"])):
        turns = tokens(log, i)
        said = [along(log, table)[i, w[-1]] for w in turns]
        first = value[turns[0][0], log["state"][i, turns[0][0]]]
        numbers[i] = list(np.diff([first, *said]))
    return by_turn(log, numbers)


def by_agent(log, share) -> np.ndarray:
    """How each row weighs the entries (agent, state, action) of its return."""
    out = np.zeros((len(log["mask"]), AGENTS, STATES, ACTIONS))
    for i, t, (_, s, a) in cells(log, log["mask"]):
        out[i, AGENT[t], s, a] += share[i, t]
    return out


def mixed(log, data, known, of_log, of_data):
    """w_t (Q_i[s, a] - sum_b pi(b) Q_i[s, b]), Q the fit of the least norm to the returns."""
    design = by_agent(data, of_data).reshape(len(data["mask"]), -1)
    table = np.linalg.lstsq(design, outcomes(data), rcond=1e-6)[0]
    table = table.reshape(AGENTS, STATES, ACTIONS)
    q = table[AGENT][np.arange(STEPS), log["state"]]
    chance = known.policy[np.arange(STEPS), log["state"]]
    own = np.take_along_axis(q, log["action"][..., None].astype(int), -1)[..., 0]
    return of_log * (own - (chance * q).sum(-1))


def vdn(log, data, mdp, known):
    return mixed(log, data, known, np.ones(log["mask"].shape), np.ones(data["mask"].shape))


def qllm(log, data, mdp, known):
    """w = n softmax of the mean score of each agent's decisions, 0 of one that makes none."""

    def shares(some) -> np.ndarray:
        said = some["reward"] + next_value(some, known.value)
        out = np.zeros(some["mask"].shape)
        for i in range(len(out)):
            mine = [some["mask"][i] & (k == AGENT) for k in range(AGENTS)]
            score = np.array([said[i, m].mean() if m.any() else 0.0 for m in mine])
            out[i] = (AGENTS * np.exp(score) / np.exp(score).sum())[AGENT]
        return out

    return mixed(log, data, known, shares(log), shares(data))


class Mixer(NamedTuple):
    """The tables of the agents, and the units that mix them."""

    table: np.ndarray
    """`[I, S A]`."""
    inner: np.ndarray
    """W `[I, H]`."""
    offset: np.ndarray
    """b `[H]`."""
    outer: np.ndarray
    """v `[H]`."""
    constant: np.ndarray
    """c."""


def first_mixer(units: int = 3) -> Mixer:
    """Where a fit begins: of both signs, so that absolute values are seen."""
    rng = np.random.default_rng(5)
    return Mixer(
        table=rng.normal(0.0, 0.3, (AGENTS, STATES * ACTIONS)),
        inner=rng.uniform(-1.0, 1.0, (AGENTS, units)),
        offset=rng.normal(0.0, 0.5, units),
        outer=rng.uniform(-1.0, 1.0, units),
        constant=np.array(0.2),
    )


def q_tot(mixer: Mixer, utility) -> float:
    """sum_h |v_h| elu(sum_i U_i |W_ih| + b_h) + c."""
    unit = utility @ np.abs(mixer.inner) + mixer.offset
    elu = np.where(unit > 0, unit, np.exp(np.minimum(unit, 0.0)) - 1)
    return elu @ np.abs(mixer.outer) + mixer.constant


def slope(mixer: Mixer, design, earned) -> Mixer:
    """The gradient of the mean squared error, by the chain rule."""
    utility = np.einsum("rik,ik->ri", design, mixer.table)
    unit = utility @ np.abs(mixer.inner) + mixer.offset
    elu = np.where(unit > 0, unit, np.exp(np.minimum(unit, 0.0)) - 1)
    error = 2 * (q_tot(mixer, utility) - earned) / len(earned)
    of_elu = error[:, None] * np.abs(mixer.outer)
    of_unit = of_elu * np.where(unit > 0, 1.0, np.exp(np.minimum(unit, 0.0)))
    of_utility = of_unit @ np.abs(mixer.inner).T
    return Mixer(
        table=np.einsum("rik,ri->ik", design, of_utility),
        inner=np.sign(mixer.inner) * (utility.T @ of_unit),
        offset=of_unit.sum(axis=0),
        outer=np.sign(mixer.outer) * (error @ elu),
        constant=error.sum(),
    )


def adam(start: Mixer, design, earned, updates: int, rate: float) -> Mixer:
    """Kingma and Ba 2015, with .9, .999 and 1e-8."""
    mixer = start
    first = second = Mixer(*(np.zeros_like(x) for x in start))
    for step in range(1, updates + 1):
        gradient = slope(mixer, design, earned)
        first = Mixer(*(0.9 * m + 0.1 * g for m, g in zip(first, gradient, strict=True)))
        second = Mixer(*(0.999 * v + 0.001 * g**2 for v, g in zip(second, gradient, strict=True)))
        moved = []
        for x, m, v in zip(mixer, first, second, strict=True):
            mean = m / (1 - 0.9**step)
            square = v / (1 - 0.999**step)
            moved.append(x - rate * mean / (np.sqrt(square) + 1e-8))
        mixer = Mixer(*moved)
    return mixer


def qmix(log, data, mdp, known, updates: int, rate: float):
    """What Q_tot loses on average where one action is drawn from the policy again."""
    design = by_agent(data, np.ones(data["mask"].shape))
    rows = design.reshape(*design.shape[:2], -1)
    mixer = adam(first_mixer(), rows, outcomes(data), updates, rate)
    table = mixer.table.reshape(AGENTS, STATES, ACTIONS)
    own = by_agent(log, np.ones(log["mask"].shape))
    out = np.zeros(log["mask"].shape)
    for i, t, (_, state, action) in cells(log, log["mask"]):
        utility = (own[i] * table).sum(axis=(1, 2))
        agent = AGENT[t]
        for other in range(ACTIONS):
            changed = utility.copy()
            changed[agent] += table[agent, state, other] - table[agent, state, action]
            lost = q_tot(mixer, utility) - q_tot(mixer, changed)
            out[i, t] += known.policy[t, state, other] * lost
    return out


def llm_mca(log, data, mdp, known):
    """The Shapley value of each of two agents; who is absent plays the policy."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        live = np.nonzero(log["live"][i])[0]
        done = [(int(t), int(log["action"][i, t])) for t in live]

        def worth(*agents, i=i, done=done):
            imposed = {t: a for t, a in done if AGENT[t] in agents}
            return together(mdp, known, int(log["state"][i, 0]), imposed)

        for k in range(AGENTS):
            alone = worth(k) - worth()
            last = worth(0, 1) - worth(1 - k)
            out[i, k == AGENT] = (alone + last) / 2
    return out


def retraced(log, q, known):
    """Retrace's error of each step, and its target less E_pi Q."""
    taken = along(log, q)
    value = np.where(log["live"], along(log, (known.policy * q).sum(-1)), 0.0)
    ratio = np.where(log["mask"], along(log, known.policy) / np.exp(log["log_prob"]), 1.0)
    error = np.zeros(taken.shape)
    for i in range(len(error)):
        live = np.nonzero(log["live"][i])[0]
        for t in live:
            trace = 1.0
            for u in live[live >= t]:
                trace *= min(1.0, ratio[i, u]) if u > t else 1.0
                goes_on = u + 1 < STEPS and log["live"][i, u + 1]
                later = value[i, u + 1] if goes_on else 0.0
                delta = log["reward"][i, u] + later - taken[i, u]
                error[i, t] += trace * delta
    return error, taken + error - value, ratio


def retrace(log, data, mdp, known, sweeps: int = 10, rate: float = 0.5):
    """Q <- Q + rate (mean target - Q) in each cell; then the target less E_pi Q."""
    q = np.zeros((STEPS, STATES, ACTIONS))
    for _ in range(sweeps):
        target = along(data, q) + retraced(data, q, known)[0]
        q += rate * (cell_means(data, target, data["live"]) - q)
    return retraced(log, q, known)[1]


def archer(log, mdp, known, discount: float = 0.95):
    """Q(h_k, turn) - V(h_k), each turn discounted once, where the policy's turns are certain."""

    def played(begin: int, state: int, actions: dict[int, int]) -> float:
        """What the rest of the turn earns, and what the policy makes of the next."""
        earned, t = 0.0, begin
        while t < STEPS and TURN[t] == TURN[begin] and state != END:
            act = actions.get(t, int(known.policy[t, state].argmax())) if DECISION[t] else 0
            earned += mdp.reward[t, state, act, 0]
            state, t = int(mdp.successor[t, state, act, 0]), t + 1
        later = played(t, state, {}) if t < STEPS and state != END else 0.0
        return earned + discount * later

    numbers = {}
    for i in range(len(log["mask"])):
        numbers[i] = []
        for where in tokens(log, i):
            begin, state = int(where[0]), int(log["state"][i, where[0]])
            done = {int(t): int(log["action"][i, t]) for t in where}
            numbers[i].append(played(begin, state, done) - played(begin, state, {}))
    return by_turn(log, numbers)
