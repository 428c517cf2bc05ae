"""Where to branch: at steps whose credit is uncertain, at those of high entropy, or anywhere.

In maths, branches are shared out over the T steps by chances w, n on average and as many as come
(a Poisson number for each step), and the gradient of the logit of step t is the sum over those of
z_t (R - J) / (n w_t). With m_t = E[z_t^2 (R - J)^2], the uncertainty of one branch,

    E|g - g*|^2 = (1 / n) sum_t m_t / w_t,

which is least with w_t in proportion to sqrt(m_t), so that uncertainty is the best that one can
branch by; where single steps decide little, m_t = p_t (1 - p_t) Var(R), and it is entropy by
another name.

References:
    Neyman 1934 (shares). Zhang 2026, arXiv:2604.09459 (the claim). Derived for casim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hypotheses import entropy
from hypotheses.entropy import DECISIVE, HAZARD, Logits, Seed
from hypotheses.found import Claim, Found, Numbers, Panel, interval, sampled, verdict

BRANCHES = 64
"""n, of an update."""
RATE = 0.5
UPDATES, EVERY = 400, 25
LOOKS = tuple(range(0, UPDATES + 1, EVERY))
TARGET = 0.8
"""Success that is trained for."""
FLOOR = 0.1
"""Share of the branches that goes anywhere."""
CLEAR = 0.05
"""Share of the updates that is a clear gain."""
BONUS = 0.003
"""Of entropy."""
RUNS, QUICK = 120, 40

SURER = 2.0
"""How much surer of routine steps than the policy of `hypotheses.entropy` one is."""

Runs = Float[np.ndarray, " R"]


class Branch(NamedTuple):
    """Success after a right and after a wrong action at each step, and the chance of right."""

    right: Logits
    after_right: Logits
    after_wrong: Logits
    success: Float[np.ndarray, "R 1"]


def branch(logit: Logits) -> Branch:
    """What a branch at each step comes to."""
    right = entropy.right(logit)
    success = entropy.success(logit)[:, None]
    kept = np.ones_like(logit)
    kept[:, :DECISIVE] -= HAZARD
    # Of the other steps.
    others = success / (right + (1 - right) * kept)
    return Branch(right, others, others * kept, success)


def uncertainty(logit: Logits) -> Logits:
    """m_t = E[z_t^2 (R - J)^2]."""
    found = branch(logit)
    among_right = _around(found.after_right, found.success)
    among_wrong = _around(found.after_wrong, found.success)
    right = found.right
    wrong = 1 - right
    around = wrong * among_right + right * among_wrong
    return right * wrong * around


def _around(chance: Logits, mean: np.ndarray) -> Logits:
    """E[(R - J)^2] of an outcome with this chance."""
    return chance * (1 - 2 * mean) + mean**2


def anywhere(logit: Logits) -> Logits:
    steps = logit.shape[1]
    return np.full(logit.shape, 1 / steps)


def by_uncertainty(logit: Logits) -> Logits:
    square = uncertainty(logit)
    return _shared(np.sqrt(square))


def by_entropy(logit: Logits) -> Logits:
    return _shared(entropy.entropy(logit))


def by_spread(logit: Logits) -> Logits:
    """By the exact gradient, which only one who knows the truth has."""
    unused = np.random.default_rng(0)
    slope = entropy.exact_gradient(unused, logit)
    return _shared(slope)


def _shared(wanted: Logits) -> Logits:
    """Chances in this proportion, some of them for every step."""
    share = wanted / wanted.sum(axis=1, keepdims=True)
    return (1 - FLOOR) * share + FLOOR * anywhere(wanted)


def square(logit: Logits, weight: Logits) -> Runs:
    """E|g - g*|^2 times n, where branches go to steps with these chances."""
    return np.sum(uncertainty(logit) / weight, axis=1)


def estimate(
    random: Seed,
    logit: Logits,
    weight: Logits,
) -> Logits:
    """The gradient by the branches of an update."""
    found = branch(logit)
    number = BRANCHES * weight
    right = number * found.right
    wrong = number - right
    after_right = _returned(random, right, found.after_right, found.success)
    after_wrong = _returned(random, wrong, found.after_wrong, found.success)
    pushed = (1 - found.right) * after_right
    pulled = found.right * after_wrong
    return (pushed - pulled) / number


def _returned(
    random: Seed,
    number: Logits,
    chance: Logits,
    mean: np.ndarray,
) -> Logits:
    """The sum of R - J over so many branches on average, which succeed with this chance."""
    # How many succeed and how many fail is independent.
    succeeded = random.poisson(number * chance)
    failed = random.poisson(number * (1 - chance))
    return succeeded * (1 - mean) - failed * mean


def from_sure(random: Seed, runs: int) -> Logits:
    """A policy that is very sure of routine steps, and open where it counts."""
    logit = entropy.from_pretrained(random, runs)
    logit[:, DECISIVE:] *= SURER
    return logit


STARTS = {"random": entropy.from_random, "sure": from_sure}


class Arm(NamedTuple):
    """Where branches go, and how much entropy is paid for."""

    called: str
    weight: Callable[[Logits], Logits]
    bonus: float = 0.0


ARMS = {
    "anywhere": Arm("anywhere", anywhere),
    "bonus": Arm("anywhere, entropy bonus", anywhere, BONUS),
    "entropy": Arm("by entropy", by_entropy),
    "uncertainty": Arm("by uncertainty", by_uncertainty),
    "spread": Arm("by spread of Q", by_spread),
}


class Trained(NamedTuple):
    """Training runs side by side."""

    success: Float[np.ndarray, "R looks"]
    updates: Runs
    """Until the target is reached; all of them where it is not."""


def train(
    start: entropy.Start,
    arm: Arm,
    runs: int,
) -> Trained:
    """Ascent by the branches of each update."""
    random = np.random.default_rng(0)
    logit = start(random, runs)
    updates = np.full(runs, float(UPDATES))
    reached = []
    for update in range(UPDATES + 1):
        success = entropy.success(logit)
        if update in LOOKS:
            reached.append(success)
        there = success >= TARGET
        updates = np.where(there, np.minimum(updates, update), updates)
        weight = arm.weight(logit)
        step = estimate(random, logit, weight)
        right = entropy.right(logit)
        # The derivative of entropy by the logit.
        opening = -logit * right * (1 - right)
        step = step + arm.bonus * opening
        logit = logit + RATE * step
    return Trained(np.array(reached).T, updates)


def noise(
    start: entropy.Start,
    arm: Arm,
    runs: int,
) -> float:
    """E|g - g*|^2 at first, over that of branches that go anywhere."""
    first = start(np.random.default_rng(0), runs)
    own = square(first, arm.weight(first))
    usual = square(first, anywhere(first))
    return float(np.mean(own / usual))


def explore(quick: bool) -> Found:
    """H26: updates until a target, by where branches go."""
    runs = QUICK if quick else RUNS
    numbers: Numbers = {}
    curves = []
    for start, begin in STARTS.items():
        found = {name: train(begin, arm, runs) for name, arm in ARMS.items()}
        fewest = found["uncertainty"].updates
        for name, arm in ARMS.items():
            key = f"{start}_{name}"
            own = found[name]
            numbers[f"{key}_noise"] = noise(begin, arm, runs)
            numbers |= _mean(key, own.updates)
            # All of them begin with the same policies.
            numbers |= _mean(f"{key}_saved", own.updates - fewest)
            if start == "sure":
                line = sampled(arm.called, LOOKS, own.success)
                curves.append(line)
    panel = Panel("where to branch, sure start", "updates", "success", curves)
    over_bonus = [_saves(numbers, f"{start}_bonus") for start in STARTS]
    over_entropy = [_saves(numbers, f"{start}_entropy") for start in STARTS]
    wins = all(over_bonus) and all(over_entropy)
    answer = verdict(holds=wins, fails=not any(over_bonus))
    return Found(answer, numbers, panel)


def _saves(numbers: Numbers, arm: str) -> bool:
    """Whether uncertainty needs clearly fewer updates than an arm."""
    return numbers[f"{arm}_saved"] > CLEAR * numbers[arm]


def _mean(name: str, x: Runs) -> Numbers:
    """A mean over runs, with its interval."""
    line = sampled(name, [0.0], x[:, None])
    return interval(name, line, 0)


CLAIMS = (
    Claim(
        name="exploration",
        hypothesis="H26",
        says="sampling where credit is uncertain makes training faster",
        answer="From random logits branches by uncertainty have {random_uncertainty_noise:.4f} "
        "times the squared error of branches anywhere and take {random_uncertainty:.0f} "
        "[{random_uncertainty_low:.0f}, {random_uncertainty_high:.0f}] updates to 80% success "
        "instead of {random_anywhere:.0f}; from a policy that is sure of routine steps "
        "{sure_uncertainty_noise:.2f} times, and {sure_uncertainty:.0f} "
        "[{sure_uncertainty_low:.0f}, {sure_uncertainty_high:.0f}] instead of "
        "{sure_anywhere:.0f}, or {sure_bonus:.0f} with an entropy bonus; by entropy "
        "{random_entropy:.0f} and {sure_entropy:.0f}",
        flips="how sure the policy is of what is routine: a step's uncertainty is nearly p (1 - p) "
        "Var(R), entropy by another name, and says nothing of what decides. Branches by the "
        "exact spread of Q take {random_spread:.0f} and {sure_spread:.0f}, at "
        "{random_spread_noise:.1f} and {sure_spread_noise:.2f} times the squared error",
        exact=False,
        measure=explore,
    ),
)
