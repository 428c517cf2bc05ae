"""Advantages of turns, by plain loops in NumPy float64, from their formulas.

Logs are those of `reference_trainers`, with the turn of each token. Nothing here uses casim.
"""

from __future__ import annotations

import numpy as np

from tests.methods import reference_trainers as ref


def turn_log(seed=0):
    """The nasty log in turns of three tokens."""
    log = ref.nasty(seed)
    steps = log["mask"].shape[1]
    turn = np.arange(steps) // 3 + np.zeros(log["mask"].shape, int)
    return {**log, "turn": turn}


def units(log, i, unit):
    """The policy's tokens of each unit of a row, in order."""
    own = [int(t) for t in np.nonzero(log["mask"][i])[0]]
    if unit == "step":
        return [[t] for t in own]
    out = []
    for t in own:
        if out and log["turn"][i, out[-1][0]] == log["turn"][i, t]:
            out[-1].append(t)
        else:
            out.append([t])
    return out


def unit_gae(log, lam, discount, unit="turn"):
    """Sums from the first token of a unit up to that of the next; `discount` of each step."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        those = units(log, i, unit)
        starts = [tokens[0] for tokens in those] + [int(log["live"][i].sum())]
        after = 0.0
        for k in reversed(range(len(those))):
            earned, passed = 0.0, 1.0
            for u in range(starts[k], starts[k + 1]):
                earned += passed * log["reward"][i, u]
                passed *= discount[i, u]
            last = k + 1 == len(those)
            later = 0.0 if last else log["value"][i, starts[k + 1]]
            after = earned + passed * later - log["value"][i, starts[k]] + passed * lam * after
            out[i, those[k]] = after
    return out


def adrl(log, gamma, lam, kind):
    """POAD and NTPO as their code has them; what a turn earns stands on its last token."""
    value, out = log["value"], np.zeros(log["mask"].shape)
    for i in range(len(out)):
        those, gae = units(log, i, "turn"), 0.0
        for k in reversed(range(len(those))):
            tokens = those[k]
            for j in reversed(range(len(tokens))):
                v = value[i, tokens[j]]
                if j + 1 == len(tokens):
                    mask = float(k + 1 < len(those))
                    place = -1 if kind == "ARCHER_TPPO" else 0
                    v_next = value[i, those[k + 1][place]] if mask else 0.0
                    delta = log["reward"][i, tokens[j]] + gamma * v_next * mask - v
                    gae = delta + gamma * lam * mask * gae
                else:
                    step = gamma if kind == "NTPO" else 1.0
                    delta = step * value[i, tokens[j + 1]] - v
                    gae = delta + step * lam * gae
                out[i, tokens[j]] = gae
    return out


def at_ends(log):
    """The log with what each turn earns on its last token, and nothing elsewhere."""
    reward = np.zeros(log["reward"].shape)
    for i in range(len(reward)):
        those = units(log, i, "turn")
        starts = [tokens[0] for tokens in those] + [int(log["live"][i].sum())]
        for k, tokens in enumerate(those):
            reward[i, tokens[-1]] = log["reward"][i, starts[k] : starts[k + 1]].sum()
    return {**log, "reward": reward}


def bilevel(log, gamma, lam, high, every=False):
    """RAGEN's two loops; the last token of the policy ends the lower level, paid or not.

    Ends are where rewards are not 0, or the last tokens of `every` turn.
    """
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        value, reward = log["value"][i], log["reward"][i].copy()
        ends = [int(t) for t in np.nonzero(reward)[0]]
        if every:
            ends = [tokens[-1] for tokens in units(log, i, "turn")]
        above = 0.0
        for k in reversed(range(len(ends))):
            v_next = value[ends[k + 1]] if k + 1 < len(ends) else 0.0
            above = reward[ends[k]] + high * v_next - value[ends[k]] + high * lam * above
            reward[ends[k]] = above + value[ends[k]]
        own = [int(t) for t in np.nonzero(log["mask"][i])[0]]
        gae = 0.0
        for j in reversed(range(len(own))):
            t = own[j]
            if t in ends or j + 1 == len(own):
                v_next, gae = 0.0, 0.0
            else:
                v_next = value[own[j + 1]]
            gae = reward[t] + gamma * v_next - value[t] + gamma * lam * gae
            out[i, t] = gae
    return out


def mt_grpo(log, alpha=1.0):
    """The turn's and the outcome's advantage, by the first answer of the environment."""
    turn, outcome = ref.components(log).T
    stream = {
        name: ref.z_score(log, epsilon=1e-4, score=score)
        for name, score in (("turn", turn), ("outcome", outcome), ("both", turn + outcome))
    }
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        answer = first_answer(log, i)
        for t in range(out.shape[1]):
            if answer is None:
                out[i, t] = stream["both"][i]
            else:
                out[i, t] = stream["outcome"][i] + alpha * stream["turn"][i] * (t < answer)
    return out


def mt_grpo_cumulative(log):
    turn, outcome = ref.components(log).T
    both = ref.z_score(log, epsilon=1e-4, score=turn + outcome)
    alone = ref.z_score(log, epsilon=1e-4, score=outcome)
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        answer = first_answer(log, i)
        for t in range(out.shape[1]):
            out[i, t] = both[i] if answer is None or t < answer else alone[i]
    return out


def first_answer(log, i):
    """The first token of the environment after one of the policy, or None."""
    tokens = np.nonzero(log["live"][i] & ~log["mask"][i])[0]
    return int(tokens[0]) if len(tokens) else None


def less_own_mean(log, x):
    out = np.zeros(x.shape)
    for i in range(len(x)):
        for tokens in units(log, i, "turn"):
            out[i, tokens] = x[i, tokens] - x[i, tokens].mean()
    return out
