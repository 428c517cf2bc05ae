"""Credit of methods that ask judges of words, plans, experts and beliefs, by loops in NumPy.

Every recipe is a function of a log of `tests.methods.derived_world`, the process and its values,
and gives `[R, T]`, or `[R, T, A]`, of which only the decisions mean anything. Judges are exact.
Nothing here uses casim.
"""

from __future__ import annotations

import itertools

import numpy as np

from tests.methods.derived_groups import z
from tests.methods.derived_judged import advantage, spread, taken
from tests.methods.derived_log import by_turn, groups, outcome, to_go, tokens
from tests.methods.derived_world import (
    ACTIONS,
    DECISION,
    END,
    STATES,
    STEPS,
    along,
    next_value,
    td_error,
    z_outcome,
)

WORDS = (0, 1)
"""The actions that are well formed."""


def reference() -> np.ndarray:
    """Another policy, to compare with."""
    policy = np.random.default_rng(9).uniform(0.1, 1.0, (STEPS, STATES, ACTIONS))
    return policy / policy.sum(-1, keepdims=True)


def outcomes(log) -> np.ndarray:
    return np.array([outcome(log, i) for i in range(len(log["mask"]))])


def first_decisions(log) -> list[tuple[int, int]]:
    """Where each row decides first; every row begins with a decision."""
    return [(i, int(np.nonzero(mask)[0][0])) for i, mask in enumerate(log["mask"])]


def z_of(log, each) -> np.ndarray:
    """The z-score of a number of each row in its group, on all of its steps."""
    out = np.zeros(len(each))
    for rows in groups(log):
        peers = [each[j] for j in rows]
        for i in rows:
            out[i] = z(each[i], peers, True)
    return spread(out)


def others_by_step(log, x) -> np.ndarray:
    """x less its mean over the others of the group that decide at the same step; alone 0."""
    out = np.zeros(x.shape)
    for rows in groups(log):
        for i, t in itertools.product(rows, range(STEPS)):
            if not log["mask"][i, t]:
                continue
            peers = [x[j, t] for j in rows if j != i and log["mask"][j, t]]
            out[i, t] = x[i, t] - np.mean(peers) if peers else 0.0
    return out


def reached(log, known) -> np.ndarray:
    """What each step has earned and leads to."""
    return log["reward"] + next_value(log, known.value)


def delta_belief(log, mdp, known, floor: float = 1e-6):
    """z by turn of r_t = 2 1{win} - .05 turns + .1 relu(b_{t+1} - b_t); those that ended say 0.

    b is the logarithm of what is believed at the prompt and after each turn, here of the value; the
    turn that ends the row gains nothing.
    """
    prompt, after = known.value[0, log["state"][:, 0]], reached(log, known)
    reward = {}
    for i in range(len(prompt)):
        turns = tokens(log, i)
        last = [
            np.nonzero(log["live"][i] & (log["turn"][i] == log["turn"][i, w[0]]))[0][-1]
            for w in turns
        ]
        b = np.log(np.maximum([prompt[i], *after[i, last]], floor))
        gain = np.maximum(np.diff(b), 0.0)
        gain[-1] = 0.0
        reward[i] = 2 * outcome(log, i) - 0.05 * len(turns) + 0.1 * gain
    numbers = {}
    for rows in groups(log):
        for i in rows:
            numbers[i] = []
            for t, x in enumerate(reward[i]):
                peers = [reward[j][t] if len(reward[j]) > t else 0.0 for j in rows]
                numbers[i].append(z(x, peers, True))
    return by_turn(log, numbers)


def grail(log, mdp, known, width: float = 0.5):
    """A_i clip(1 + .5 z_t, .5, 5), z_t the standard score in the row of log |saliency|."""
    saliency, whole = advantage(log, known), z_outcome(log)
    out = np.zeros(saliency.shape)
    for i in range(len(out)):
        size = np.log(np.maximum(np.abs(saliency[i, log["mask"][i]]), 1e-6))
        deviation = size.std()
        score = (size - size.mean()) / deviation if deviation > 0 else 0.0 * size
        weight = np.clip(1 + width * score, 0.5, 5.0)
        out[i, log["mask"][i]] = whole[i] * weight
    return out


def sr_ppo(log, mdp, known, k: int = 4):
    """P_k(s') - P_k(s), P_k = 1 - (1 - V)^k."""
    before, after = along(log, known.value[:-1]), reached(log, known)
    return (1 - before) ** k - (1 - after) ** k


def scribe(log, mdp, known, weight: float = 0.2, margin: float = 1e-4):
    """Rewards, and w where a step gains, summed from each step on, less the others' mean there."""
    gained = log["live"] & (td_error(log, known) > margin)
    reward = np.where(log["live"], log["reward"], 0.0) + weight * gained
    return others_by_step(log, to_go(reward))


def formatted(log) -> np.ndarray:
    return np.array([float(log["action"][x] in WORDS) for x in first_decisions(log)])


def prs(log):
    """1{format} (.2 + .8 R), z-scored in the group."""
    return z_of(log, formatted(log) * (0.2 + 0.8 * outcomes(log)))


def vspo(log, mdp, known):
    """PRS times the weight of its prompt: 1, and its share of the places of prompts without credit.

    A place is filled by p (1 - p), at least .05, of those that teach.
    """
    value = prs(log)
    worth = {}
    for rows in groups(log):
        p = outcomes(log)[rows].mean()
        worth[rows[0]] = max(p * (1 - p), 0.05) if value[rows].any() else 0.0
    empty = sum(x == 0 for x in worth.values())
    assert 0 < empty < len(worth)
    for rows in groups(log):
        value[rows] *= 1 + empty * worth[rows[0]] / sum(worth.values())
    return value


def cut_sums(log, x, cuts) -> np.ndarray:
    """Sums of x over the live steps from each cut to the next, on all of them."""
    out = np.zeros(x.shape)
    for i in range(len(out)):
        live = np.nonzero(log["live"][i])[0]
        begins = [t for t in live if t == 0 or cuts[i, t]]
        for begin, end in zip(begins, [*begins[1:], live[-1] + 1], strict=True):
            out[i, begin:end] = x[i, begin:end].sum()
    return out


def adaptive_segments(log, mdp, known, threshold: float = 0.05):
    """Sums of changes of the value between jumps of them; kept where the sign is the outcome's."""
    change = td_error(log, known)
    cuts = np.zeros(change.shape, bool)
    for i in range(len(cuts)):
        mine = np.nonzero(log["mask"][i])[0]
        jump = np.abs(np.diff(change[i, mine])) > threshold
        cuts[i, mine[1:][jump]] = True
    total = cut_sums(log, change, cuts)
    right = np.sign(outcomes(log) - 0.5)[:, None]
    return total * (np.sign(total) == right)


def entropy(chance, axis=-1) -> np.ndarray:
    return -np.sum(
        np.where(chance > 0, chance * np.log(np.where(chance > 0, chance, 1.0)), 0), axis
    )


def acpo(log, mdp, known, share: float = 0.2):
    """sign(R - 1/2) (H(R | start) - H(R | end)), between the fifth of decisions least sure."""

    def unsure(v):
        return entropy(np.stack([v, 1 - v], axis=-1))

    less = unsure(along(log, known.value[:-1])) - unsure(reached(log, known))
    gain = np.where(log["live"], less, 0.0)
    choice = entropy(known.policy)
    where = np.argwhere(log["mask"])
    ranked = sorted((choice[t, log["state"][i, t]] for i, t in where), reverse=True)
    least = ranked[int(np.ceil(share * len(where))) - 1]
    cuts = log["mask"] & (along(log, choice) >= least)
    return np.sign(outcomes(log) - 0.5)[:, None] * cut_sums(log, gain, cuts)


def adherence(log, known) -> np.ndarray:
    """The share of a row's decisions that are the best there are."""
    best = along(log, known.best_q) >= along(log, known.best_value[:-1]) - 1e-9
    return np.array([best[i, mask].mean() for i, mask in enumerate(log["mask"])])


def plan(log, known) -> np.ndarray:
    """What the row is worth after its first decision."""
    after = reached(log, known)
    return np.array([after[x] for x in first_decisions(log)])


def pilot(log, mdp, known, longest: float = STEPS, buffer: float = 0.2 * STEPS):
    """GRPO of adherence + V(g) + R less the penalty for rows that end in the buffer."""
    excess = np.maximum(log["live"].sum(axis=1) - (longest - buffer), 0.0)
    return z_of(log, adherence(log, known) + plan(log, known) + outcomes(log) - excess / buffer)


def soft_solved(mdp, temperature: float):
    """A_soft of the policy that pays `temperature` log pi / ref, and that policy."""
    value = np.zeros((STEPS + 1, STATES))
    gain, best = np.zeros((2, STEPS, STATES, ACTIONS))
    prior = reference()
    prior[~DECISION] = np.eye(ACTIONS)[0]
    for t in reversed(range(STEPS)):
        ahead = mdp.reward[t] + value[t + 1][mdp.successor[t]]
        q = (mdp.prob[t] * ahead).sum(-1)
        q[END] = 0.0
        mass = (prior[t] * np.exp(q / temperature)).sum(-1)
        value[t] = temperature * np.log(mass)
        gain[t] = q - value[t][:, None]
        best[t] = prior[t] * np.exp(gain[t] / temperature)
    return gain, best


def step_agent(log, mdp, known, temperature: float = 0.1):
    """tau log pi_E / pi_ref."""
    gain, _ = soft_solved(mdp, temperature)
    return taken(log, along(log, gain))


def occupied(mdp, policy) -> np.ndarray:
    """P(s_t = s, a_t = a)."""
    act = policy.copy()
    act[~DECISION] = np.eye(ACTIONS)[0]
    law = mdp.start.astype(np.float64)
    out = np.zeros((STEPS, STATES, ACTIONS))
    for t in range(STEPS):
        out[t] = law[:, None] * act[t]
        law = np.zeros(STATES)
        for s, a, k in np.ndindex(END, ACTIONS, 2):
            then = mdp.successor[t, s, a, k]
            law[then] += out[t, s, a] * mdp.prob[t, s, a, k]
    return out


def step_agent_inverse(log, mdp, known):
    """-log(1 - D) = log(1 + d_E / d_pi), summed from each step on, less the others' mean there."""
    _, expert = soft_solved(mdp, 0.1)
    shown, own = occupied(mdp, expert), occupied(mdp, known.policy)
    ratio = shown / np.where(own > 0, own, 1.0)
    reward = np.where(log["live"], np.log1p(along(log, ratio)), 0.0)
    return others_by_step(log, to_go(reward))


def together(mdp, known, start: int, actions: dict[int, int]) -> float:
    """E[R | s_0, these actions]; where there is none the policy acts."""
    value = np.zeros(STATES)
    for t in reversed(range(STEPS)):
        outcomes = mdp.reward[t] + value[mdp.successor[t]]
        q = (mdp.prob[t] * outcomes).sum(-1)
        on_average = (known.policy[t] * q).sum(-1)
        value = q[:, actions[t]] if t in actions else on_average
        value[END] = 0.0
    return float(value[start])


def coma(log, mdp, known):
    """Q(u) - sum_b pi(b) Q(u_-i, b), the actions of all other steps as they were."""
    out = np.zeros(log["mask"].shape)
    for i, t in np.argwhere(log["mask"]):
        live = np.nonzero(log["live"][i])[0]
        done = {int(u): int(log["action"][i, u]) for u in live}
        start = int(log["state"][i, 0])
        each = [together(mdp, known, start, {**done, int(t): b}) for b in range(ACTIONS)]
        on_average = known.policy[t, log["state"][i, t]] @ each
        out[i, t] = each[done[int(t)]] - on_average
    return out


def log_ratio(log, known) -> np.ndarray:
    chance, prior = along(log, known.policy), along(log, reference())
    return np.where(log["mask"], np.log(chance / prior), 0.0)


def dpo(log, mdp, known, beta: float = 0.1):
    """+-beta sigma(d_l - d_w) on the best and the worst of the group, the first of equals."""
    d = beta * log_ratio(log, known).sum(axis=1)
    out = np.zeros(len(d))
    for rows in groups(log):
        each = outcomes(log)[rows]
        if np.ptp(each):
            best, worst = rows[each.argmax()], rows[each.argmin()]
            wrong = 1 / (1 + np.exp(d[best] - d[worst]))
            out[best], out[worst] = beta * wrong, -beta * wrong
    return spread(out)


def t_reg_tokens(log, known):
    """sigma(log pi_+ / pi_-) - 1/2, pi_+- proportional to ref exp(+-Q)."""

    def tilted(sign):
        mass = reference() * np.exp(sign * known.q_value)
        return mass / mass.sum(-1, keepdims=True)

    lead = np.log(along(log, tilted(1)) / along(log, tilted(-1)))
    return taken(log, 1 / (1 + np.exp(-lead)) - 0.5)


def t_reg(log, mdp, known, alpha: float = 0.25):
    """beta w (+-1 + alpha r^_t): DPO's own, and alpha times the token rewards of both."""
    pair = dpo(log, mdp, known)
    return pair + np.abs(pair) * alpha * t_reg_tokens(log, known)


def mistakes(log, known, margin: float = 1e-4) -> dict[int, tuple[int, int]]:
    """Of each failure that has one: its first mistake, and the best action there."""
    lost = along(log, known.best_value[:-1]) - along(log, known.best_q)
    wrong = log["mask"] & (lost > margin)
    found = {}
    for i, row in enumerate(wrong):
        failed = outcome(log, i) <= 0.5
        if failed and row.any():
            first = int(row.argmax())
            state = log["state"][i, first]
            best = known.best_q[first, state].argmax()
            found[i] = first, int(best)
    return found


def intervened(log, mdp, known, kept=None):
    """1 / pi on what was done before the first mistake of a failure, and on the best action there.

    `[R, T, A]`. Of `kept` rows, or of all.
    """
    out = np.zeros((*log["mask"].shape, ACTIONS))
    for i, (first, best) in mistakes(log, known).items():
        if kept is not None and not kept[i]:
            continue
        for t in np.nonzero(log["mask"][i, : first + 1])[0]:
            action = best if t == first else log["action"][i, t]
            state = log["state"][i, t]
            out[i, t, action] = 1 / known.policy[t, state, action]
    return out
