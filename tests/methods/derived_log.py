"""Nasty logs of turns, for formulas derived by plain loops in NumPy. Nothing here uses casim.

A log is a dictionary of arrays, a row for each rollout, in any order, as `Batch.from_arrays` reads
it. Turns have a few tokens of the policy and then, perhaps, some of the environment.
"""

from __future__ import annotations

import numpy as np

PROMPTS = (7, 3, 7, 9, 3, 5, 7, 9, 3, 7, 9, 7)
"""Groups of 5, 3, 1 and 3; that of prompt 3 earns the same everywhere."""
TURNS = (3, 1, 2, 4, 2, 2, 1, 3, 3, 4, 2, 2)
STEPS = 17


def of_turns(seed: int = 0) -> dict[str, np.ndarray]:
    """Twelve rollouts of four prompts: one to four turns of one to three tokens, with tools.

    What a tool writes has earned something in one row of three.
    """
    rng = np.random.default_rng(seed)
    return _filled(
        rng, [[(rng.integers(1, 4), rng.integers(0, 2)) for _ in range(n)] for n in TURNS]
    )


def of_steps(seed: int = 0) -> dict[str, np.ndarray]:
    """As many rollouts where every turn is one token of the policy, with the tools between them."""
    rng = np.random.default_rng(seed)
    return _filled(rng, [[(1, rng.integers(0, 2)) for _ in range(n)] for n in TURNS])


def of_texts(seed: int = 0) -> dict[str, np.ndarray]:
    """The same prompts, a turn of two to seven tokens each, all of which have a score."""
    rng = np.random.default_rng(seed)
    log = _filled(rng, [[(rng.integers(2, 8), 0)] for _ in TURNS])
    log["reward"] = np.where(log["mask"], rng.uniform(-0.3, 0.9, log["mask"].shape), 0.0)
    first = log["prompt"] == 3
    log["reward"][first] = log["mask"][first] * 0.25
    # What is seen is the text so far, which says no more than the tokens do.
    log["observation"] = np.zeros(log["mask"].shape, int)
    return log


def of_walks(walks: list[list[int]], outcomes: list[float]) -> dict[str, np.ndarray]:
    """One group of walks over observations, a step each, with what they earn at their ends."""
    where = (len(walks), max(len(walk) for walk in walks))
    seen, mask, reward = np.zeros(where, int), np.zeros(where, bool), np.zeros(where)
    for i, (walk, outcome) in enumerate(zip(walks, outcomes, strict=True)):
        seen[i, : len(walk)] = walk
        mask[i, : len(walk)] = True
        reward[i, len(walk) - 1] = outcome
    turn = np.broadcast_to(np.arange(where[1]), where)
    return {
        "reward": reward,
        "mask": mask,
        "live": mask,
        "prompt": np.zeros(len(walks), int),
        "turn": turn,
        "observation": seen,
        "action": seen % 2,
    }


def _filled(rng, shape: list[list[tuple[int, int]]]) -> dict[str, np.ndarray]:
    """`shape` says of every turn of every row how many tokens are whose."""
    rows = len(PROMPTS)
    where = (rows, STEPS)
    mask, live = np.zeros(where, bool), np.zeros(where, bool)
    turn, agent, seen = np.zeros(where, int), np.zeros(where, int), np.zeros(where, int)
    reward = np.zeros(where)
    prompt = np.array(PROMPTS)
    for i, turns in enumerate(shape):
        t = 0
        for k, (own, tool) in enumerate(turns):
            end = t + own + tool
            mask[i, t : t + own] = True
            live[i, t:end] = True
            turn[i, t:end] = k
            agent[i, t:end] = rng.integers(0, 3) if k else 0
            seen[i, t] = rng.integers(0, 2) if k else 0
            seen[i, t + 1 : end] = rng.integers(2, 9, end - t - 1)
            reward[i, t + own - 1] = rng.choice([0.0, 0.25, 0.5, -0.25])
            if tool and i % 3 == 0:
                reward[i, end - 1] = 0.125
            t = end
        turn[i, t:] = len(turns) - 1
        reward[i, t - 1 - turns[-1][1]] += rng.choice([0.0, 1.0, 1.75])
    same = prompt == 3
    reward[same] = 0.0
    for i in np.nonzero(same)[0]:
        reward[i, np.nonzero(mask[i])[0][-1]] = 0.35
    chance, policy, reference = (rng.uniform(0.1, 0.9, where) for _ in range(3))
    return {
        "reward": reward,
        "mask": mask,
        "live": live,
        "prompt": prompt,
        "turn": turn,
        "segment": np.cumsum(mask, axis=1) // 2,
        "agent": agent,
        "observation": seen,
        "action": np.where(mask, rng.integers(0, 2, where), 0),
        "log_prob": np.where(mask, np.log(chance), 0.0),
        "policy_log_prob": np.where(mask, np.log(policy), 0.0),
        "reference_log_prob": np.where(mask, np.log(reference), 0.0),
        "entropy": np.where(mask, rng.uniform(0.0, 1.0, where), 0.0),
        "value": np.where(live, rng.normal(size=where), 0.0),
    }


def with_dirty_padding(log) -> dict[str, np.ndarray]:
    """The log with numbers after the end of each row that mean nothing."""
    beyond = ~log["live"]
    dirty = {}
    for name, x in log.items():
        floats = x.ndim > 1 and np.issubdtype(x.dtype, np.floating)
        there = beyond if x.ndim == 2 else beyond[..., None]
        dirty[name] = np.where(there, 7.5, x) if floats else x
    return dirty


def groups(log) -> list[np.ndarray]:
    """The rows of each prompt."""
    return [np.nonzero(log["prompt"] == label)[0] for label in np.unique(log["prompt"])]


def to_go(x: np.ndarray) -> np.ndarray:
    """Sums from each step on."""
    return np.cumsum(x[:, ::-1], axis=1)[:, ::-1]


def without(rows, i: int) -> list[int]:
    """The rows without one."""
    return [j for j in rows if j != i]


def at_turn(numbers, rows, t: int) -> list[float]:
    """The number of the t-th turn of each of the rows that have so many."""
    return [numbers[j][t] for j in rows if len(numbers[j]) > t]


def tokens(log, i: int) -> list[np.ndarray]:
    """The policy's tokens of each turn of row i."""
    where = np.nonzero(log["mask"][i])[0]
    turn = log["turn"][i, where]
    return [where[turn == k] for k in np.unique(turn)]


def paid(log, i: int) -> list[float]:
    """What each turn of row i earned, on its tokens or on what the environment wrote after them."""
    there = log["live"][i]
    kinds = np.unique(log["turn"][i, log["mask"][i]])
    reward, turn = log["reward"][i], log["turn"][i]
    return [reward[there & (turn == k)].sum() for k in kinds]


def anchors(log, i: int) -> list[int]:
    """What was seen at the first token of each turn."""
    return [int(log["observation"][i, where[0]]) for where in tokens(log, i)]


def outcome(log, i: int) -> float:
    return float(log["reward"][i][log["live"][i]].sum())


def by_turn(log, numbers: dict[int, list[float]]) -> np.ndarray:
    """Every token of the policy gets the number of its turn."""
    out = np.zeros(log["mask"].shape)
    for i, each in numbers.items():
        for where, number in zip(tokens(log, i), each, strict=True):
            out[i, where] = number
    return out


def whitened(x: np.ndarray, mask: np.ndarray, ddof: int = 1) -> np.ndarray:
    """All the policy's tokens of the batch to mean 0 and variance 1; 1e-8 is under the root."""
    each = x[mask]
    mean = each.sum() / (len(each) + 1e-8)
    variance = ((each - mean) ** 2).sum() / (len(each) + 1e-8)
    if ddof:
        variance *= len(each) / (len(each) - 1)
    return np.where(mask, (x - mean) / np.sqrt(variance + 1e-8), 0.0)


def deviation(x, ddof: int = 1) -> float:
    mean = sum(x) / len(x)
    return (sum((y - mean) ** 2 for y in x) / (len(x) - ddof)) ** 0.5
