"""Entropy as a sign of what decides, and what of an episode is worth an update.

In maths, D of T steps decide: with q_i the probability of the wrong action there,

    J = prod_{i in D} (1 - h q_i),    dJ / d theta_i = J / (1 - h q_i) h q_i (1 - q_i),

theta the logit of the right action; the other steps change nothing. Entropy is a proxy as long as
the steps that decide are among those of highest entropy; ascent lowers the entropy of those.

References:
    Wang et al. 2025, arXiv:2506.01939 (high-entropy tokens). The claim on updates is of CARL, as
    Zhang 2026, arXiv:2604.09459 quotes it. What entropy does under training is derived for casim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from hypotheses.found import Claim, Found, Numbers, Panel, interval, level, sampled, verdict

STEPS, DECISIVE = 50, 10
HAZARD = 1 - 0.1 ** (1 / DECISIVE)
"""Of a wrong action at a step that decides; with all of them wrong, one in ten still succeeds."""
GROUP = 8
RATE = 2.0
"""Step size on the logits."""
UPDATES, EVERY = 400, 25
"""Updates, and how many lie between two looks."""
LOOKS = tuple(range(0, UPDATES + 1, EVERY))
KEPT = 14
"""28% of the steps: the share of updates that is left."""
SURE = 3.0
"""Size of the logits of routine steps of a pretrained policy, in one direction or the other."""
RUNS = 1000
QUICK = 100

Logits = Float[np.ndarray, "R T"]
"""Of the right action, in runs side by side."""
Chosen = Bool[np.ndarray, "R T"]
Seed = np.random.Generator


class Run(NamedTuple):
    """Training runs side by side, looked at every so many updates."""

    recall: Float[np.ndarray, "R looks"]
    """Share of the steps that decide among as many of highest entropy."""
    success: Float[np.ndarray, "R looks"]


def right(logit: np.ndarray) -> np.ndarray:
    """Probability of the right action."""
    return 1 / (1 + np.exp(-logit))


def _wrong(logit: np.ndarray) -> np.ndarray:
    """Probability of the wrong action."""
    return right(-logit)


def entropy(logit: np.ndarray) -> np.ndarray:
    """Of a choice between two, in nats."""
    less = _wrong(np.abs(logit))
    more = 1 - less
    of_less = -less * np.log(less)
    of_more = -more * np.log(more)
    return of_less + of_more


def success(logit: Logits) -> Float[np.ndarray, " R"]:
    """J; the first steps are those that decide."""
    wrong = _wrong(logit[:, :DECISIVE])
    return np.prod(1 - HAZARD * wrong, axis=1)


def exact_gradient(_: Seed, logit: Logits) -> Logits:
    """Of J."""
    wrong = _wrong(logit[:, :DECISIVE])
    kept = 1 - HAZARD * wrong
    others = success(logit)[:, None] / kept
    slope = others * HAZARD * wrong * (1 - wrong)
    found = np.zeros_like(logit)
    found[:, :DECISIVE] = slope
    return found


def group_gradient(random: Seed, logit: Logits) -> Logits:
    """Of one group by RLOO."""
    shape = (len(logit), GROUP)
    wrong = _wrong(logit)[:, None]
    acts = random.random((*shape, STEPS)) < wrong
    mistakes = acts[..., :DECISIVE].sum(axis=2)
    chance = (1 - HAZARD) ** mistakes
    succeeds = random.random(shape) < chance
    returns = succeeds.astype(float)
    centred = returns - returns.mean(axis=1, keepdims=True)
    # Less the mean of the others.
    credit = centred * GROUP / (GROUP - 1)
    score = wrong - acts
    return np.einsum("rn,rnt->rt", credit, score) / GROUP


def _top(rank: Logits, number: int) -> Chosen:
    """Where the highest are."""
    order = np.argsort(-rank, axis=1)
    chosen = np.zeros(rank.shape, bool)
    np.put_along_axis(chosen, order[:, :number], True, axis=1)
    return chosen


def everywhere(_: Seed, logit: Logits) -> Chosen:
    return np.ones(logit.shape, bool)


def by_entropy(_: Seed, logit: Logits) -> Chosen:
    return _top(entropy(logit), KEPT)


def by_spread(random: Seed, logit: Logits) -> Chosen:
    """By how far actions differ in value, as the policy goes: by the exact gradient."""
    return _top(exact_gradient(random, logit), KEPT)


def at_random(random: Seed, logit: Logits) -> Chosen:
    return _top(random.random(logit.shape), KEPT)


def from_random(random: Seed, runs: int) -> Logits:
    """A policy whose entropy tells nothing."""
    return 0.5 * random.normal(size=(runs, STEPS))


def from_pretrained(random: Seed, runs: int) -> Logits:
    """A policy that is sure of routine steps, and open where it counts."""
    logit = random.normal(size=(runs, STEPS))
    logit[:, :DECISIVE] *= 0.2
    routine = logit[:, DECISIVE:]
    routine[:] = SURE * np.sign(routine)
    return logit


STARTS = {"random": from_random, "pretrained": from_pretrained}
GRADIENTS = {"exact": exact_gradient, "groups": group_gradient}
CHOICES = {
    "all": everywhere,
    "entropy": by_entropy,
    "spread": by_spread,
    "chance": at_random,
}
CALLED = {
    "all": "all steps",
    "entropy": "28% by entropy",
    "spread": "28% by spread of Q",
    "chance": "28% at random",
}

Start = Callable[[Seed, int], Logits]
Gradient = Callable[[Seed, Logits], Logits]
Choice = Callable[[Seed, Logits], Chosen]


def train(start: Start, gradient: Gradient, choice: Choice, runs: int) -> Run:
    """Ascent from so many starts."""
    random = np.random.default_rng(0)
    logit = start(random, runs)
    recall, reached = [], []
    for update in range(UPDATES + 1):
        if update in LOOKS:
            found = _top(entropy(logit), DECISIVE)
            recall.append(found[:, :DECISIVE].mean(axis=1))
            reached.append(success(logit))
        chosen = choice(random, logit)
        step = gradient(random, logit)
        kept = np.where(chosen, step, 0.0)
        logit = logit + RATE * kept
    return Run(
        recall=np.array(recall).T,
        success=np.array(reached).T,
    )


def proxy(quick: bool) -> Found:
    """H08: whether entropy finds the steps that decide, along training."""
    runs = QUICK if quick else RUNS
    chance = DECISIVE / STEPS
    curves, numbers = [], {}
    for start, begin in STARTS.items():
        for name, gradient in GRADIENTS.items():
            found = train(begin, gradient, everywhere, runs)
            line = sampled(f"{start}, {name}", LOOKS, found.recall)
            numbers |= interval(f"{start}_{name}_first", line, 0)
            numbers |= interval(f"{start}_{name}_last", line, -1)
            below = np.flatnonzero(np.array(line.y) < chance)
            expiry = LOOKS[below[0]] if len(below) else UPDATES
            numbers[f"{start}_{name}_expiry"] = float(expiry)
            curves.append(line)
    first = numbers["pretrained_exact_first"]
    last = max(numbers[f"{start}_exact_last"] for start in STARTS)
    panel = Panel(
        title="entropy as a sign of what decides",
        x="updates",
        y="decisive steps found",
        curves=[*curves, level("chance", LOOKS, chance)],
    )
    answer = verdict(holds=last > chance, fails=first < 2 * chance)
    return Found(answer, numbers, panel)


def _loses(numbers: Numbers, start: str, choice: str) -> float:
    """How much less is reached than with all updates."""
    return numbers[f"{start}_all"] - numbers[f"{start}_{choice}"]


def updates(quick: bool) -> Found:
    """H07: 72% fewer updates, chosen by entropy."""
    runs = QUICK if quick else RUNS
    numbers: Numbers = {}
    lines = {}
    for start, begin in STARTS.items():
        for name, choice in CHOICES.items():
            found = train(begin, exact_gradient, choice, runs)
            line = sampled(CALLED[name], LOOKS, found.success)
            numbers |= interval(f"{start}_{name}", line, -1)
            lines[start, name] = line
    losses = [_loses(numbers, start, "entropy") for start in STARTS]
    spread_loses = [_loses(numbers, start, "spread") for start in STARTS]
    numbers["spread_loses"] = max(spread_loses)
    panel = Panel(
        title="28% of the updates, random start",
        x="updates",
        y="success",
        curves=[lines["random", name] for name in CHOICES],
    )
    least, most = min(losses), max(losses)
    answer = verdict(holds=most < 0.01, fails=least > 0.01)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="entropy",
        hypothesis="H08",
        says="entropy finds the decisions that matter",
        answer="From random logits the 10 of 50 steps of highest entropy hold "
        "{random_exact_first:.2f} [{random_exact_first_low:.2f}, {random_exact_first_high:.2f}] of "
        "the 10 that decide, which is chance, and {random_exact_last:.2f} after 400 exact "
        "updates; from a policy that is sure of routine steps {pretrained_exact_first:.2f}, less "
        "than chance from {pretrained_exact_expiry:.0f} updates on, and at last "
        "{pretrained_exact_last:.2f}",
        flips="training itself: what decides is what loses its entropy, under exact gradients as "
        "under groups of 8 ({pretrained_groups_expiry:.0f} updates); the proxy holds until the "
        "entropy of the forks falls below that of the rest",
        exact=False,
        measure=proxy,
    ),
    Claim(
        name="fewer_updates",
        hypothesis="H07",
        says="28% of the updates, by entropy, reach the same return",
        answer="After 400 exact updates of all steps success is {random_all:.3f}; with 28% chosen "
        "by entropy {random_entropy:.3f} [{random_entropy_low:.3f}, {random_entropy_high:.3f}] "
        "from random logits and {pretrained_entropy:.3f} from a policy that is sure of routine "
        "steps, with 28% at random {random_chance:.3f} and {pretrained_chance:.3f}",
        flips="how long one trains: entropy leads only until the entropy of the forks is that of "
        "the rest; chosen by the spread of Q 28% lose {spread_loses:.4f}",
        exact=False,
        measure=updates,
    ),
)
