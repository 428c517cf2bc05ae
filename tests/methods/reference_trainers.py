"""Advantage functions of public trainers, by plain loops in NumPy float64, from their formulas.

A log is a dictionary of arrays, a row for each rollout, in any order. Every function gives an array
`[R, T]`, of which only the policy's tokens mean anything. Nothing here uses casim.
"""

from __future__ import annotations

import numpy as np


def nasty(seed: int = 0) -> dict[str, np.ndarray]:
    """Thirteen rollouts of four prompts, in no order.

    Groups of 5, 4, 1 and 3; lengths from 2 to 9; rewards that are not binary, on the way too;
    tokens of the environment in the middle of most rollouts, and at the end of one, with a reward
    on it; the group of 4 earns the same everywhere. Tokens are few, so that prefixes are shared.
    """
    rng = np.random.default_rng(seed)
    prompt = np.array([7, 3, 7, 9, 3, 5, 7, 9, 3, 7, 9, 3, 7])
    length = np.array([9, 4, 6, 7, 5, 6, 8, 3, 4, 2, 5, 7, 6])
    rows, steps = len(prompt), 11
    live = np.arange(steps) < length[:, None]
    mask = live.copy()
    for i, (begin, end) in enumerate(
        [(3, 5), (1, 2), (2, 4), (4, 6), (2, 3), (2, 4), (5, 6), (1, 1), (3, 3), (1, 1), (2, 3)]
    ):
        mask[i, begin:end] = False
    mask[11, 6:] = False  # ends on a token of the environment
    reward = np.zeros((rows, steps))
    last = length - 1
    reward[np.arange(rows), last] = rng.choice([0.0, 0.25, 1.0, 1.75, -0.5], rows)
    reward[[0, 3, 10], [1, 2, 0]] = [0.5, -0.25, 0.125]  # on the way
    reward[2, 3] = 0.375  # on the environment's token
    reward[prompt == 3] = 0.0
    reward[prompt == 3, last[prompt == 3]] = 0.35
    reward[5, 5] = 0.8
    action = np.where(mask, rng.integers(0, 2, (rows, steps)), 2)
    chance = rng.uniform(0.1, 0.9, (rows, steps))
    component = np.stack([reward, np.zeros_like(reward)], axis=-1)
    component[np.arange(rows), last, 1] = rng.normal(size=rows)
    return {
        "reward": reward,
        "mask": mask,
        "live": live,
        "prompt": prompt,
        "action": action,
        "log_prob": np.where(mask, np.log(chance), 0.0),
        "reference_log_prob": np.where(mask, np.log(rng.uniform(0.1, 0.9, (rows, steps))), 0.0),
        "sum_pi_squared": np.where(mask, chance**2 + (1 - chance) ** 2 / 2, 0.0),
        "entropy": np.where(mask, rng.uniform(0.0, 1.0, (rows, steps)), 0.0),
        "value": np.where(live, rng.normal(size=(rows, steps)), 0.0),
        "component": component,
        "reward_baseline": rng.normal(size=rows)[prompt],
    }


def groups(log):
    """The rows of each prompt."""
    return [np.nonzero(log["prompt"] == label)[0] for label in np.unique(log["prompt"])]


def scores(log):
    return log["reward"].sum(axis=1)


def spread(each, log):
    return np.repeat(np.asarray(each, float)[:, None], log["mask"].shape[1], axis=1)


def deviation(x, ddof=1):
    mean = sum(x) / len(x)
    return (sum((y - mean) ** 2 for y in x) / (len(x) - ddof)) ** 0.5


def z_score(log, ddof=1, epsilon=1e-6, single="zero", floor=0.0, score=None):
    """(r - mean) / (std + epsilon) in each group; equal outcomes get exactly 0."""
    r = scores(log) if score is None else score
    out = np.zeros(len(r))
    for rows in groups(log):
        if len(rows) == 1:
            out[rows] = r[rows] / (1 + epsilon) if single == "raw" else 0.0
        elif np.ptp(r[rows]) > 0:
            scale = max(deviation(r[rows], ddof), floor)
            out[rows] = (r[rows] - r[rows].mean()) / (scale + epsilon)
    return out


def grpo_verl(log):
    return spread(z_score(log, single="raw"), log)


def grpo_verl_vectorized(log):
    return spread(z_score(log, single="raw", floor=1e-3), log)


def grpo_trl(log):
    return spread(z_score(log, epsilon=1e-4), log)


def grpo_trl_batch(log):
    r = scores(log)
    return spread(centred(log, "zero") / (deviation(r) + 1e-4), log)


def grpo_openrlhf(log):
    return spread(z_score(log, epsilon=1e-9), log)


def grpo_spo(log):
    return spread(z_score(log, ddof=0, epsilon=1e-8), log)


def grpo_dr(log):
    return spread(z_score(log, epsilon=1e-8), log)


def centred(log, single, score=None):
    r = scores(log) if score is None else score
    out = np.zeros(len(r))
    for rows in groups(log):
        alone = len(rows) == 1
        out[rows] = r[rows] - (0.0 if alone and single == "raw" else r[rows].mean())
    return out


def dr_grpo(log):
    return spread(centred(log, "zero"), log)


def dr_grpo_verl(log):
    return spread(centred(log, "raw"), log)


def maxrl(log):
    r, out = scores(log), np.zeros(len(log["prompt"]))
    for rows in groups(log):
        mean = r[rows].mean()
        out[rows] = (r[rows] - mean) / mean if mean > 0 else 0.0
    return spread(out, log)


def maxrl_skyrl(log):
    r, out = scores(log), np.zeros(len(log["prompt"]))
    for rows in groups(log):
        mean = r[rows].mean()
        out[rows] = r[rows] if len(rows) == 1 else (r[rows] - mean) / (mean + 1e-6)
    return spread(out, log)


def gpg(log):
    r = scores(log)
    alpha = len(r) / max(np.count_nonzero(r), 1)
    return spread(alpha * centred(log, "raw"), log)


def pass_at_k(log):
    r, out = scores(log), np.zeros(len(log["prompt"]))
    for rows in groups(log):
        if len(rows) > 1:
            order = rows[np.argsort(-r[rows], kind="stable")]
            out[order[0]] = (r[order[0]] - r[order[1]]) / (deviation(r[rows]) + 1e-6)
    return spread(out, log)


def leave_one_out(log, single, score=None):
    r = scores(log) if score is None else score
    out = np.zeros(len(r))
    for rows in groups(log):
        for i in rows:
            others = [r[j] for j in rows if j != i]
            alone = r[i] if single == "raw" else 0.0
            out[i] = r[i] - sum(others) / len(others) if others else alone
    return out


def rloo(log):
    return spread(leave_one_out(log, "raw"), log)


def rloo_zero(log):
    return spread(leave_one_out(log, "zero"), log)


def rloo_trl_kl(log):
    ratio = (log["log_prob"] - log["reference_log_prob"]) * log["mask"]
    return spread(leave_one_out(log, "zero", scores(log) - 0.05 * ratio.sum(axis=1)), log)


def rloo_trl_normalized(log):
    each = leave_one_out(log, "zero")
    return spread((each - each.mean()) / (deviation(each) + 1e-4), log)


def whiten(x, mask):
    """Verl's masked_whiten."""
    mean = (x * mask).sum() / (mask.sum() + 1e-8)
    variance = ((x - mean) ** 2 * mask).sum() / (mask.sum() + 1e-8)
    variance = variance * mask.sum() / (mask.sum() - 1)
    return (x - mean) / np.sqrt(variance + 1e-8)


def whiten_openrlhf(x, mask):
    mean = (x * mask).sum() / mask.sum()
    variance = ((x - mean) ** 2 * mask).sum() / mask.sum()
    return (x - mean) / np.sqrt(max(variance, 1e-8))


def reinforce_pp_verl(log, gamma=1.0):
    """The running return is multiplied by the mask."""
    returns = np.zeros(log["reward"].shape)
    running = 0.0
    for t in reversed(range(returns.shape[1])):
        running = log["reward"][:, t] + gamma * running
        returns[:, t] = running
        running = running * log["mask"][:, t]
    return whiten(returns, log["mask"])


def reinforce_pp_verl_carried(log, gamma=1.0):
    returns = np.zeros(log["reward"].shape)
    running = np.zeros(len(returns))
    for t in reversed(range(returns.shape[1])):
        mask = log["mask"][:, t]
        new = log["reward"][:, t] + gamma * running
        returns[:, t] = new * mask
        running = np.where(mask, new, running)
    return whiten(returns, log["mask"])


def last_token(log):
    """The last token of the policy of each row."""
    return np.array([np.nonzero(row)[0][-1] for row in log["mask"]])


def onto_policy(log):
    """Rewards of the policy's tokens, and those of the environment's on its last one."""
    reward = log["reward"] * log["mask"]
    for i, t in enumerate(last_token(log)):
        reward[i, t] += (log["reward"][i] * ~log["mask"][i]).sum()
    return reward


def reinforce_pp_openrlhf(log, gamma=1.0):
    reward = onto_policy(log)
    returns = np.zeros(reward.shape)
    running = 0.0
    for t in reversed(range(returns.shape[1])):
        running = reward[:, t] + gamma * running
        returns[:, t] = running
    return whiten_openrlhf(returns, log["mask"])


def reinforce_pp_baseline(log):
    return whiten(spread(centred(log, "raw"), log), log["mask"])


def reinforce_pp_baseline_openrlhf(log):
    return whiten_openrlhf(spread(centred(log, "zero"), log), log["mask"])


def policy_to_go(log):
    """Undiscounted rewards of the policy's tokens from each on."""
    own = log["reward"] * log["mask"]
    return own[:, ::-1].cumsum(axis=1)[:, ::-1]


def remax(log):
    return policy_to_go(log) - log["reward_baseline"][:, None]


def opo(log):
    r, length = scores(log), log["mask"].sum(axis=1)
    out = r.copy()
    for rows in groups(log):
        if len(rows) > 1:
            out[rows] -= (length[rows] * r[rows]).sum() / length[rows].sum()
    return spread(out, log)


def otb(log):
    mask, to_go = log["mask"], policy_to_go(log)
    norm = 1 - 2 * np.exp(log["log_prob"]) + log["sum_pi_squared"]
    energy = (norm * mask).cumsum(axis=1)
    out = to_go.copy()
    for rows in groups(log):
        if len(rows) == 1:
            continue
        for t in range(mask.shape[1]):
            weight = energy[rows, t] * mask[rows, t]
            out[rows, t] -= (to_go[rows, t] * weight).sum() / (weight.sum() + 1e-8)
        length = mask[rows].sum(axis=1)
        first, second = np.sort(length)[::-1][:2]
        if first > second:
            i = rows[np.argmax(length)]
            out[i, second:] = to_go[i, second:]
    return out


def otb_tir(log):
    """`otb` of the log without the environment's tokens."""
    mask = log["mask"]
    names = ("reward", "log_prob", "sum_pi_squared")
    short = {name: np.zeros(mask.shape) for name in names}
    short["mask"] = np.zeros(mask.shape, bool)
    short["prompt"] = log["prompt"]
    for i, row in enumerate(mask):
        for name in names:
            short[name][i, : row.sum()] = log[name][i, row]
        short["mask"][i, : row.sum()] = True
    given, out = otb(short), np.zeros(mask.shape)
    for i, row in enumerate(mask):
        out[i, row] = given[i, : row.sum()]
    return out


def components(log):
    return log["component"].sum(axis=1)


def gdpo(log):
    each = components(log)
    total = sum(z_score(log, single="raw", score=each[:, k]) for k in range(each.shape[1]))
    return whiten(spread(total, log), log["mask"])


def gdpo_trl(log):
    each = components(log)
    total = sum(z_score(log, epsilon=1e-4, score=each[:, k]) for k in range(each.shape[1]))
    return spread((total - total.mean()) / (deviation(total) + 1e-4), log)


def gdpo_reversed(log):
    return spread(z_score(log, epsilon=1e-4, score=components(log).sum(axis=1)), log)


def gae_verl(log, gamma=1.0, lam=1.0, white=True):
    mask, value, reward = log["mask"], log["value"], log["reward"]
    out = np.zeros(mask.shape)
    for i in range(len(mask)):
        following, running = 0.0, 0.0
        for t in reversed(range(mask.shape[1])):
            if mask[i, t]:
                delta = reward[i, t] + gamma * following - value[i, t]
                running = delta + gamma * lam * running
                following = value[i, t]
            out[i, t] = running
    return whiten(out, mask) if white else out


def recursion(reward, value, gamma, lam):
    out = np.zeros(reward.shape)
    running = 0.0
    for t in reversed(range(reward.shape[1])):
        following = value[:, t + 1] if t + 1 < reward.shape[1] else 0.0
        running = reward[:, t] + gamma * following - value[:, t] + gamma * lam * running
        out[:, t] = running
    return out


def gae_openrlhf(log, gamma=1.0, lam=1.0, white=True):
    out = recursion(onto_policy(log), log["value"] * log["mask"], gamma, lam)
    return whiten_openrlhf(out, log["mask"]) if white else out


def gae_skyrl(log, gamma=1.0, lam=1.0, white=True):
    """Its mask of the response holds the environment's tokens."""
    out = recursion(log["reward"], log["value"], gamma, lam)
    return whiten(out, log["live"]) if white else out


def tempo(log, stop=True):
    r, mask, action, live = scores(log), log["mask"], log["action"], log["live"]
    out = np.zeros(mask.shape)
    for rows in groups(log):
        if np.ptp(r[rows]) == 0:
            continue
        for i in rows:
            scale = deviation(r[rows]) + 1e-6
            base = r[i] - r[rows].mean()
            before = list(rows)
            for t in range(mask.shape[1]):
                if not live[i, t]:
                    break
                after = [k for k in before if live[k, t] and action[k, t] == action[i, t]]
                gain = np.mean(r[after]) - np.mean(r[before])
                past_hole = stop and not mask[i, : t + 1].all()
                out[i, t] = (base + (0.0 if past_hole else gain)) / scale
                before = after
    return out


def prl(log, length=64, eta=100.0, grpo=True):
    """Only ends of steps keep their value, and what is before them gets it."""
    mask = log["mask"]
    ratio = (log["log_prob"] - log["reference_log_prob"]) * mask
    each = z_score(log, single="raw") if grpo else scores(log)
    out = np.zeros(mask.shape)
    for i in range(len(mask)):
        kept = 0.0
        for t in reversed(range(mask.shape[1])):
            if not mask[i, t]:
                continue
            value = each[i] - ratio[i, t:].sum() / eta
            is_end = t == last_token(log)[i] or (t + 1) % length == 0
            if is_end and value != 0:
                kept = value
            out[i, t] = kept
    return out


def prl_token(log):
    return prl(log, length=1, grpo=False)


def spro(log):
    mask = log["mask"]
    ratio = (log["log_prob"] - log["reference_log_prob"]) * mask
    total = ratio.cumsum(axis=1)
    out = spread(z_score(log, single="raw"), log)
    for rows in groups(log):
        for t in range(mask.shape[1]):
            there = [k for k in rows if mask[k, t]]
            for i in there:
                out[i, t] += total[i, t] - np.mean(total[there, t])
    return out


def soft_minimum(log):
    """Softmax(-r / .1) x r over the policy's tokens with a reward."""
    scored = log["mask"] & (log["reward"] != 0)
    out = np.zeros(scored.shape)
    for i, row in enumerate(scored):
        if row.any():
            r = log["reward"][i, row]
            weight = np.exp(-(r - r.min()) / 0.1)
            out[i, row] = weight / weight.sum() * r
    return out, scored


def suffix_sum(x):
    return x[:, ::-1].cumsum(axis=1)[:, ::-1]


def pure_verl(log):
    value, _ = soft_minimum(log)
    returns = suffix_sum(value)
    out = returns.copy()
    for rows in groups(log):
        for i in rows:
            others = [j for j in rows if j != i]
            total = sum((returns[j] * log["mask"][j]).sum() for j in others)
            out[i] -= total / max(len(others), 1) / value.shape[1]
    return out


def pure_openrlhf(log, per="step"):
    value, scored = soft_minimum(log)
    out = value.copy()
    for rows in groups(log):
        for i in rows:
            others = [j for j in rows if j != i]
            if not others:
                continue
            each = [value[j].sum() / max(scored[j].sum(), 1) for j in others]
            by_token = value[others].sum() / log["mask"][others].sum()
            tokens = 0
            for t in np.nonzero(log["mask"][i])[0]:
                if scored[i, t]:
                    out[i, t] -= np.mean(each) if per == "step" else by_token * tokens
                tokens = 0 if scored[i, t] else tokens + 1
    return suffix_sum(out)


def own_share(log):
    return log["mask"] / log["mask"].sum(axis=1, keepdims=True)


def token_share(log):
    """A vote for each token of the batch, as a mean over rollouts."""
    return log["mask"] / log["mask"].sum() * len(log["mask"])


def padded_share(log):
    return log["mask"] / log["mask"].shape[1]


def dapo_share(log):
    r, kept = scores(log), log["mask"].copy()
    for rows in groups(log):
        if len(rows) > 1 and np.ptp(r[rows]) == 0:
            kept[rows] = False
    return kept / kept.sum() * len(kept)


def top_entropy(log, share=0.2):
    """The k tokens of highest entropy."""
    flat = np.where(log["mask"], log["entropy"], -np.inf).ravel()
    wanted = max(1, int(log["mask"].sum() * share + 0.9999))
    kept = np.zeros(flat.shape, bool)
    kept[np.argsort(-flat, kind="stable")[:wanted]] = True
    return kept.reshape(log["mask"].shape)


def entropy_verl(log):
    kept = top_entropy(log)
    return kept / kept.sum() * len(kept)


def entropy_trl(log):
    inside = log["entropy"][log["mask"]]
    kept = log["mask"] & (log["entropy"] >= np.quantile(inside, 0.8))
    return kept / log["mask"].sum() * len(kept)


def traces(log, form, decay=0.99):
    """W_j, by the sum over t of w(t, j), over the policy's tokens; a mean over own tokens."""
    out = np.zeros(log["mask"].shape)
    for i, row in enumerate(log["mask"]):
        where = np.nonzero(row)[0]
        size = len(where)
        for j, t in enumerate(where):
            recent = [decay ** (u - j) for u in range(j, size)]
            both = [max(decay ** (u - j), decay**j) for u in range(j, size)]
            late = [decay ** (size - 1 - j)]
            out[i, t] = sum({"recent": recent, "both": both, "late": late}[form]) / size
    return out
