"""Groups of runs that may stop at every turn, listed in order, in NumPy and without casim."""

import itertools

import numpy as np
from settled import lengths, worlds


def over_own(advantage, length):
    """What a token counts for where a run's loss is over its own length."""
    return advantage / length


def over_tokens(advantage, length):
    """... over the tokens of the group."""
    return advantage / length.sum()


def whitened(advantage, length):
    """... less the mean over the group's tokens, over their deviation."""
    tokens = np.repeat(advantage, length)
    variance = tokens.var(ddof=1)
    deviation = np.sqrt(variance + 1e-8)
    return (advantage - tokens.mean()) / deviation


DENOMINATORS = {
    "the own length (GRPO)": over_own,
    "the tokens of the group (DAPO, one prompt)": over_tokens,
}


def runs(turns):
    """A class for each turn that one stops at, and one that never stops: lengths, chances, scores.

    Scores are by the logit of stopping at each turn; that of going on is their negative.
    """
    every = np.arange(turns)
    length = 1 + np.append(every, turns - 1)
    alive = every < length[:, None]
    stops = np.eye(turns + 1, turns)
    chance = np.where(
        stops > 0,
        worlds.STOP,
        1 - worlds.STOP,
    )
    chance[~alive] = 1.0
    score = np.where(
        alive,
        stops - worlds.STOP,
        0.0,
    )
    return length, chance.prod(axis=1), score


def cosine(pays, never, rule):
    """The cosine of the expected gradient with the exact one, of RLOO under a rule.

    Args:
        pays: for stopping at each turn.
        never: what it pays never to stop.
        rule: from advantages and lengths of a group to what a token of each counts for.
    """
    outcome = np.append(pays, never)
    length, chance, score = runs(len(pays))
    found = np.zeros(len(pays))
    for group in itertools.product(range(len(outcome)), repeat=lengths.NUM):
        own = list(group)
        won = outcome[own]
        others = (won.sum() - won) / (lengths.NUM - 1)
        counted = rule(won - others, length[own])
        found += chance[own].prod() * (counted @ score[own])
    right = (chance * outcome) @ score
    size = np.linalg.norm(found) * np.linalg.norm(right)
    return found @ right / size
