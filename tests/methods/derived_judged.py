"""Credit of methods that ask an exact judge, by plain loops in NumPy from the formulas.

Every function takes a log of `tests.methods.derived_world` and its values, and gives an array
`[R, T]`, of which only the decisions mean anything. Nothing here uses casim.
"""

from __future__ import annotations

import numpy as np

from tests.methods import derived_implicit
from tests.methods.derived_groups import z
from tests.methods.derived_log import at_turn, by_turn, groups, outcome, to_go, tokens, without
from tests.methods.derived_world import (
    ACTIONS,
    STEPS,
    along,
    next_value,
    td_error,
    turn_sums,
    z_outcome,
)


def spread(each) -> np.ndarray:
    return np.repeat(np.asarray(each, float)[:, None], STEPS, axis=1)


def taken(log, x) -> np.ndarray:
    return np.where(log["mask"], x, 0.0)


def gains(log, known) -> dict[int, list[float]]:
    """What each turn changes in the value, its reward counted."""
    return turn_sums(log, td_error(log, known))


def with_rewards(log, numbers: dict[int, list[float]]):
    """The log with these as rewards, at the last token of each turn, and no others."""
    reward = np.zeros(log["reward"].shape)
    for i, each in numbers.items():
        for where, number in zip(tokens(log, i), each, strict=True):
            reward[i, where[-1]] = number
    return dict(log, reward=reward)


def gain_or_outcome(log, known):
    """Gains of turns; the last turn has the outcome in place of its own."""
    told = {}
    for i, x in gains(log, known).items():
        told[i] = [*x[:-1], outcome(log, i)]
    return told


def igpo(log, known, accumulate_first: bool = False):
    rewarded = with_rewards(log, gain_or_outcome(log, known))
    return derived_implicit.igpo(rewarded, accumulate_first=accumulate_first)


def igpo_kept(log, known):
    """Gain of every step and the outcome, summed from each on."""
    every = td_error(log, known) + np.where(log["live"], log["reward"], 0.0)
    return to_go(every)


def igpo_log(log, known, floor: float = 1e-2):
    """The change of log max(V, floor); a step that ends has its reward as what it leads to."""
    after = np.maximum(log["reward"] + next_value(log, known.value), floor)
    return np.log(after) - np.log(np.maximum(along(log, known.value[:-1]), floor))


def a2tgpo(log, known):
    """.3 sum_{j >= t} z_j / sqrt(n_t) + A^O; z by turn, over turns that are not a row's last."""
    gain, whole = gains(log, known), z_outcome(log)
    numbers = {}
    for rows in groups(log):
        for i in rows:
            score = []
            for t in range(len(gain[i]) - 1):
                peers = [gain[j][t] for j in rows if len(gain[j]) - 1 > t]
                score.append(z(gain[i][t], peers, True, single=None))
            left = [len(score) - t for t in range(len(score))]
            ahead = [0.3 * sum(score[t:]) / left[t] ** 0.5 for t in range(len(score))]
            numbers[i] = [whole[i] + x for x in ahead] + [whole[i]]
    return by_turn(log, numbers)


def trace(log, known, window: int = 3, g: float = 0.8, offset: float = 0.1, floor: float = 1e-6):
    """A^O + .2 r_k on all turns but the last, A^O there; r_k a weighed mean of the next gains.

    To r_k comes 2 g^(T - k) A^O if the window reaches the last turn, T.
    """
    value = {}
    for i in range(len(log["mask"])):
        starts = [where[0] for where in tokens(log, i)]
        chances = [known.value[t, log["state"][i, t]] for t in starts]
        value[i] = -np.log(offset - np.log(np.clip(chances, floor, 1.0)))
    whole = z_outcome(log, ddof=0, small=0.0)
    numbers = {}
    for i, v in value.items():
        last = len(v) - 1
        numbers[i] = []
        for k in range(last):
            within = range(k, min(k + window, last))
            weights = [g ** (j - k) for j in within]
            near = [v[j + 1] - v[j] for j in within]
            r = np.average(near, weights=weights)
            if k + window >= last:
                r += 2 * g ** (last - k) * whole[i]
            numbers[i].append(whole[i] + 0.2 * r)
        numbers[i].append(whole[i])
    return by_turn(log, numbers)


def oar(log, known, beta: float = 1.0, floor: float = 1e-3):
    """A_i times a weight of the influence KL(Bern V' || Bern V), min-max in the row, mean 1."""
    after = np.clip(log["reward"] + next_value(log, known.value), floor, 1 - floor)
    before = np.clip(along(log, known.value[:-1]), floor, 1 - floor)
    on_success = after * np.log(after / before)
    on_failure = (1 - after) * np.log((1 - after) / (1 - before))
    influence = on_success + on_failure
    out, whole = np.zeros(after.shape), z_outcome(log)
    for i in range(len(out)):
        x = influence[i, log["mask"][i]]
        width = np.ptp(x)
        n = (x - x.min()) / width if width > 0 else np.ones(len(x))
        low = np.maximum(n / 0.25, 0.1)
        high = 1 + beta * (n - 0.25) / 0.75
        weight = np.where(n < 0.25, low, high)
        out[i, log["mask"][i]] = whole[i] * weight / weight.mean()
    return out


def advantage(log, known):
    return taken(log, along(log, known.q_value) - along(log, known.value[:-1]))


def clairvoyant(log, known):
    return taken(log, along(log, known.best_q) - along(log, known.best_value[:-1]))


def capo(log, known, margin: float):
    """2 r_i - 1{A_t < -margin}, less the mean over all tokens of the group."""
    reward = 2 * spread([outcome(log, i) for i in range(len(log["mask"]))])
    reward = reward - (advantage(log, known) < -margin)
    for rows in groups(log):
        mine = reward[rows][log["mask"][rows]]
        reward[rows] -= mine.mean()
    return reward


def hicra(log, known, alpha: float = 0.2, margin: float = 1e-3):
    """A_i + alpha |A_i| in states where actions differ, A_i elsewhere."""
    gap = known.q_value.max(-1) - known.q_value.min(-1)
    planning = along(log, gap) > margin
    whole = spread(z_outcome(log))
    return whole + alpha * np.abs(whole) * planning


def less_likely(log, known, reference, small: float = 0.02) -> dict[int, list[float]]:
    """clip(-.3 log((P_k + e) / (Q_k + e)), +-.4), P and Q of all the turn's actions together."""
    chance, prior = along(log, known.policy), along(log, reference)
    out = {}
    for i in range(len(chance)):
        where = tokens(log, i)
        now = np.array([chance[i, w].prod() for w in where])
        before = np.array([prior[i, w].prod() for w in where])
        ratio = np.log((now + small) / (before + small))
        out[i] = list(np.clip(-0.3 * ratio, -0.4, 0.4))
    return out


def finepo(log, known, levels, shift=None, small: float = 1e-6):
    """A + k D_j / 2, held in [0, 2 A]; D_j the step's level less the row's mean by length.

    A turn is a step here, and its level is the mean of the judge's words on its tokens, to which
    `shift` is added.
    """
    alpha, beta = 0.5, 2.0
    out = np.zeros(log["mask"].shape)
    for rows in groups(log):
        mean = sum(outcome(log, i) for i in rows) / len(rows)
        for i in rows:
            whole = outcome(log, i) - mean
            level = [levels[i, where].mean() for where in tokens(log, i)]
            if shift is not None:
                level = [x + y for x, y in zip(level, shift[i], strict=True)]
            length = [len(where) for where in tokens(log, i)]
            middle = np.dot(level, length) / sum(length)
            above = [x - middle for x in level]
            k = abs(whole) / (max(0.0, *above, 0.0) + small)
            for where, d in zip(tokens(log, i), above, strict=True):
                bounds = sorted((0.0, beta * whole))
                out[i, where] = np.clip(whole + alpha * k * d, *bounds)
    return out


def verdicts(log, known, margin: float, of) -> dict[int, list[float]]:
    """sign(x) 1{|x| > margin}, x what the turn's steps add up to."""
    sums = turn_sums(log, of(log, known))
    return {i: [np.sign(x) * (abs(x) > margin) for x in each] for i, each in sums.items()}


def tarl(log, known, margin: float, weight: float = 0.2):
    """w y_t at the end of turn t, R at the end; to go, less the others' mean at the same turn."""
    said = verdicts(log, known, margin, advantage)
    later = {
        i: [weight * sum(y[t:]) + outcome(log, i) for t in range(len(y))] for i, y in said.items()
    }
    numbers = {}
    for rows in groups(log):
        for i in rows:
            numbers[i] = []
            for t, mine in enumerate(later[i]):
                others = at_turn(later, without(rows, i), t)
                numbers[i].append(mine - np.mean(others) if others else 0.0)
    return by_turn(log, numbers)


def critic_search(log, known, alpha: float = 0.25):
    said = verdicts(log, known, 0.0, td_error)
    return spread(z_outcome(log)) + alpha * by_turn(log, said)


def vpr(log, known):
    """1{a in argmax Q*}, z-scored at each turn over the decisions of the group there."""
    right = along(log, known.best_q) >= along(log, known.best_value[:-1]) - 1e-9
    out = np.zeros(log["mask"].shape)
    for rows in groups(log):
        for k in np.unique(log["turn"]):
            here = [(i, t) for i in rows for t in range(STEPS) if _at(log, i, t, k)]
            peers = [float(right[x]) for x in here]
            for x in here:
                out[x] = z(float(right[x]), peers, True, single=None)
    return out


def _at(log, i, t, k) -> bool:
    return bool(log["mask"][i, t]) and log["turn"][i, t] == k


def hindsight_chance(log, known) -> np.ndarray:
    """P(a_t | s_t, outcome) for an outcome of 0 or 1, by Bayes."""
    right = spread([outcome(log, i) for i in range(len(log["mask"]))]) > 0.5
    q, v = along(log, known.q_value), along(log, known.value[:-1])
    likely = np.where(right, q, 1 - q)
    before = np.where(right, v, 1 - v)
    ratio = np.where(log["mask"], likely, 1.0) / np.where(log["mask"], before, 1.0)
    return taken(log, along(log, known.policy) * ratio)


def hcapo(log, known, by_step: bool = False, smooth: bool = False, success: float = 10.0):
    """Macro z-score of R, and that of rho_t gamma^(T - t) R; no harm is done on successes."""
    chance = np.where(log["mask"], hindsight_chance(log, known), 1.0)
    refined = {}
    for i in range(len(chance)):
        logarithm = np.log(chance[i])
        own = [np.exp(logarithm[where].mean() / 5) for where in tokens(log, i)]
        rho = np.clip(np.array(own) / np.mean(own), 0.8, 1.2)
        far = np.arange(len(own))[::-1]
        q = rho * 0.95**far * success * outcome(log, i)
        if smooth:
            q[:-1] = 0.5 * q[:-1] + 0.5 * q[1:]
        refined[i] = q
    numbers = {}
    for rows in groups(log):
        for i in rows:
            macro = z(success * outcome(log, i), [success * outcome(log, j) for j in rows], True)
            numbers[i] = []
            for t, x in enumerate(refined[i]):
                peers = [y for j in rows for y in refined[j]]
                if by_step:
                    peers = at_turn(refined, rows, t)
                micro = z(x, peers, True, single=None)
                if outcome(log, i) > 0.5:
                    micro = max(micro, 0.0)
                numbers[i].append(macro + micro)
    return by_turn(log, numbers)


def hca_return_all(log, known):
    """h(a | s, Z) / pi(a | s) Z for every action, `[R, T, A]`."""
    out = np.zeros((*log["mask"].shape, ACTIONS))
    for a in range(ACTIONS):
        asked = dict(log, action=np.full_like(log["action"], a))
        ratio = hindsight_chance(asked, known) / np.where(
            log["mask"], along(asked, known.policy), 1
        )
        out[..., a] = ratio * spread([outcome(log, i) for i in range(len(log["mask"]))])
    return out


def rudder(log, known):
    """c_0 = Q_0, c_t = Q_t - Q_{t-1} over all steps; at the last one R is what is reached."""
    q, out = along(log, known.q_value), np.zeros(log["mask"].shape)
    for i in range(len(out)):
        live = np.nonzero(log["live"][i])[0]
        reached = [0.0, *q[i, live[:-1]], outcome(log, i)]
        out[i, live] = np.diff(reached)
    return out


def mappa(log, coach):
    """The coach's word on the turn's last decision, over the tokens of its agent in the batch."""
    said = {}
    for i in range(len(coach)):
        said[i] = [coach[i, w[-1]] for w in tokens(log, i)]
    out = by_turn(log, said)
    for agent in np.unique(log["agent"]):
        mine = log["mask"] & (log["agent"] == agent)
        out[mine] = (out[mine] - out[mine].mean()) / out[mine].std()
    return out


def red_rloo(log, known):
    total = td_error(log, known).sum(axis=1)
    out = np.zeros(len(total))
    for rows in groups(log):
        for i in rows:
            others = total[rows].sum() - total[i]
            out[i] = total[i] - others / (len(rows) - 1)
    return spread(out)
