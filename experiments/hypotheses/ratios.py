"""Log-ratios to a reference as credit: what they add as the policy moves, and what they sum to.

In maths, with l_t = log pi(a_t) / ref(a_t) and z_t the score, a credit b sum_{u <= t} l_u, less its
mean, has for steps that are chosen independently the expected gradient

    b E[z_t l_t] = b d KL(pi || ref) / d theta_t = b p_t (1 - p_t) (theta_t - theta_ref_t)

for a logit theta_t between two actions: away from the reference, whatever is paid. And with b the
temperature of the best policy pi* that pays for leaving the reference, soft values Q and V,

    b sum_t l_t = sum_t (Q_t(s_t, a_t) - V_t(s_t)) = R - V_0(s_0) - sum_t luck_t,

luck_t = V_{t+1}(s_{t+1}) - E[V_{t+1} | s_t, a_t], and at the last step that of the reward.

References:
    Rafailov et al. 2024, arXiv:2404.12358 (soft values); Fei et al. 2025, arXiv:2507.01551 (SPRO,
    second-hand). The gradient of the sum and the moments are derived for casim.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import casim
from casim.oracle.moments import precise
from hypotheses import entropy
from hypotheses.entropy import DECISIVE, HAZARD, Gradient, Logits, Seed
from hypotheses.exact import mix
from hypotheses.found import (
    Claim,
    Found,
    Numbers,
    Panel,
    curve,
    interval,
    sampled,
    total,
    verdict,
)

RUNS, QUICK = 200, 50
UPDATES = 400
LOOKS = (0, 1, 25, 50, 100, 200, 300, 400)
WEIGHTS = (0.1, 1.0)
"""b: of log-ratios, beside an outcome of unit variance."""
TURNS = 8
TEMPERATURE = 0.2
RELIABILITIES = (1.0, 0.999, 0.99, 0.95, 0.9, 0.8, 0.7, 0.6)

Runs = Float[np.ndarray, " R"]
States = Float[np.ndarray, " S"]
Values = Float[np.ndarray, "T+1 S"]
Table = Float[np.ndarray, "T S A"]


class Choice(NamedTuple):
    """Moments of a step between right and wrong, in runs side by side."""

    score: Logits
    """E[z^2]."""
    kept: Logits
    """E[f], f the factor by which the step leaves success alive."""
    kept_score: Logits
    """E[z^2 f]."""
    ratio: Logits
    """E[z l]."""
    ratio_square: Logits
    """E[l'^2], l' the log-ratio less its mean."""
    ratio_kept: Logits
    """E[l' f]."""
    both: Logits
    """E[z^2 l']."""
    both_kept: Logits
    """E[z^2 l' f]."""
    both_square: Logits
    """E[z^2 l'^2]."""


def choices(
    logit: Logits,
    first: Logits,
) -> Choice:
    """Moments of every step under a policy, with log-ratios to the first one."""
    chance = _pair(logit)
    right, wrong = chance
    score = np.stack([wrong, -right])
    square = score**2
    log_ratio = np.log(chance / _pair(first))
    ratio = log_ratio - np.sum(chance * log_ratio, axis=0)
    ratio_square = ratio**2
    factor = np.ones_like(chance)
    factor[1, :, :DECISIVE] -= HAZARD
    both = square * ratio

    def mean(x: np.ndarray) -> Logits:
        return np.sum(chance * x, axis=0)

    return Choice(
        score=mean(square),
        kept=mean(factor),
        kept_score=mean(square * factor),
        ratio=mean(score * ratio),
        ratio_square=mean(ratio_square),
        ratio_kept=mean(ratio * factor),
        both=mean(both),
        both_kept=mean(both * factor),
        both_square=mean(square * ratio_square),
    )


def _pair(logit: Logits) -> Float[np.ndarray, "2 R T"]:
    """Probabilities of right and wrong."""
    right = entropy.right(logit)
    return np.stack([right, 1 - right])


def step_term(
    logit: Logits,
    first: Logits,
) -> Logits:
    """E[z_t sum_{u <= t} l_u]: the gradient of KL(pi || ref)."""
    right = entropy.right(logit)
    moved_by = logit - first
    return right * (1 - right) * moved_by


def aligned_snr(
    logit: Logits,
    first: Logits,
    weight: float,
) -> Runs:
    """Of the gradient of one trajectory by (R - J) / sd(R) + b (sum_{u <= t} l_u - its mean).

    As the score `snr_aligned`, it is negative where the mean points away from the exact gradient.
    """
    m = choices(logit, first)
    success = np.prod(m.kept, axis=1, keepdims=True)
    spread = np.sqrt(success * (1 - success))
    truth = entropy.exact_gradient(np.random.default_rng(0), logit)
    mean = truth / spread + weight * m.ratio
    squares = _square(m, success, spread, weight)
    square = np.sum(squares, axis=1)
    dot = np.sum(mean * truth, axis=1)
    size = np.sum(truth**2, axis=1)
    along = dot**2 / size
    snr = along / (square - along)
    return np.sign(dot) * snr


def _square(
    m: Choice,
    success: np.ndarray,
    spread: np.ndarray,
    weight: float,
) -> Logits:
    """E[g_t^2] of the gradient of one trajectory, step by step."""
    # E[z^2 R] where R is 0 or 1: the other factors, times the step's own.
    others = success / m.kept
    paid = others * m.kept_score
    unpaid = success**2 * m.score
    outcome = (1 - 2 * success) * paid + unpaid
    # E[z_t^2 R l'_u] of an earlier step u, and of the step itself.
    earlier = paid * _before(m.ratio_kept / m.kept)
    own = others * m.both_kept
    crossed = earlier + own - success * m.both
    sums = m.score * _before(m.ratio_square) + m.both_square
    of_outcome = outcome / spread**2
    of_both = 2 * weight * crossed / spread
    return of_outcome + of_both + weight**2 * sums


def _before(x: Logits) -> Logits:
    """The sum over earlier steps."""
    return np.cumsum(x, axis=1) - x


def cosines(x: Logits, y: Logits) -> Runs:
    """Of two gradients, run by run; 0 where one of them is 0."""
    own = np.sum(x**2, axis=1)
    other = np.sum(y**2, axis=1)
    sizes = np.sqrt(own * other)
    dot = np.sum(x * y, axis=1)
    return dot / np.where(sizes > 0, sizes, 1.0)


class Followed(NamedTuple):
    """Runs of training, looked at every so often."""

    alone: Float[np.ndarray, "R looks"]
    """Cosine of the step term with the exact gradient."""
    cosine: Float[np.ndarray, "W R looks"]
    """Of outcome and step term together, for each of `WEIGHTS`."""
    gain: Float[np.ndarray, "W R looks"]
    """Aligned SNR over that without the step term."""


def followed(gradient: Gradient, runs: int) -> Followed:
    """What log-ratios to the first policy add along training on outcomes alone."""
    random: Seed = np.random.default_rng(0)
    first = entropy.from_random(random, runs)
    logit = first.copy()
    looks = []
    for update in range(UPDATES + 1):
        if update in LOOKS:
            looks.append(_look(logit, first))
        step = gradient(random, logit)
        logit = logit + entropy.RATE * step
    kinds = zip(*looks, strict=True)
    return Followed(*(np.stack(rows, -1) for rows in kinds))


def _look(
    logit: Logits,
    first: Logits,
) -> tuple[Runs, np.ndarray, np.ndarray]:
    """What there is to see of a policy: a row of `Followed` each."""
    truth = entropy.exact_gradient(np.random.default_rng(0), logit)
    step = step_term(logit, first)
    success = entropy.success(logit)[:, None]
    spread = np.sqrt(success * (1 - success))
    outcome = truth / spread
    without = aligned_snr(logit, first, 0.0)
    both, gain = [], []
    for weight in WEIGHTS:
        together = outcome + weight * step
        both.append(cosines(together, truth))
        gain.append(aligned_snr(logit, first, weight) / without)
    return cosines(step, truth), np.array(both), np.array(gain)


def moved(quick: bool) -> Found:
    """H22: the SNR that log-ratios to the first policy add along training."""
    runs = QUICK if quick else RUNS
    numbers: Numbers = {}
    curves, starts = [], []
    for name, gradient in entropy.GRADIENTS.items():
        found = followed(gradient, runs)
        alone = sampled(name, LOOKS, found.alone)
        numbers |= interval(f"{name}_alone", alone, -1)
        for place, weight in enumerate(WEIGHTS):
            key = f"{name}_{10 * weight:.0f}"
            line = sampled(f"{name}, b = {weight:g}", LOOKS, found.gain[place])
            cosine = sampled("", LOOKS, found.cosine[place])
            best = int(np.argmax(line.y))
            numbers[f"{key}_start"] = line.y[0]
            starts.append(line.y[0])
            numbers |= interval(f"{key}_best", line, best)
            numbers |= interval(f"{key}_end", line, -1)
            numbers |= interval(f"{key}_cosine", cosine, -1)
            curves.append(line)
    panel = Panel(
        title="SNR with log-ratios over SNR without",
        x="updates",
        y="SNR, ratio",
        curves=curves,
        log="y",
    )
    same = np.allclose(starts, 1.0, rtol=0, atol=1e-9)
    least = [numbers[f"{name}_1_best_low"] for name in entropy.GRADIENTS]
    gains = min(least) > 1
    answer = verdict(holds=same and gains, fails=not gains)
    return Found(answer, numbers, panel)


class Soft(NamedTuple):
    """Soft values of a process, its best policy, and the luck of each move."""

    value: Values
    policy: Table
    reference: float
    """Probability of each action."""
    luck: Float[np.ndarray, "T S A K"]
    """Of each outcome of a step."""
    process: Any

    def outcome(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each outcome of a step leads, and how likely it is."""
        m = self.process.schedule[step]
        return self.process.successor[m], self.process.prob[m]


def soft(
    task: casim.Task,
    temperature: float = TEMPERATURE,
) -> Soft:
    """Solves a task whose reference chooses all actions alike."""
    mdp = task.build()
    kernels, _, observations = mdp.emission.shape
    actions = mdp.prob.shape[2]
    table = np.full((kernels, observations, actions), 1 / actions)
    process, _ = precise(mdp, table)
    steps = len(process.schedule)
    outcomes = (steps, *process.prob.shape[1:])
    value = np.zeros((steps + 1, len(process.start)))
    policy = np.zeros(outcomes[:-1])
    luck = np.zeros(outcomes)
    for step in reversed(range(steps)):
        m = process.schedule[step]
        arrived = value[step + 1][process.successor[m]]
        later = process.reward[m] + arrived
        q_value = mix(process.prob[m], later)
        luck[step] = later - q_value[..., None]
        # What the tool writes is no choice: the reference is all that there is.
        heat = temperature if process.decision[m] else math.inf
        value[step], policy[step] = _soft_step(q_value, heat)
    return Soft(value, policy, 1 / actions, luck, process)


def _soft_step(
    q_value: np.ndarray,
    temperature: float,
) -> tuple[States, np.ndarray]:
    """V and pi* of a step."""
    actions = q_value.shape[1]
    if math.isinf(temperature):
        alike = np.full_like(q_value, 1 / actions)
        return q_value[:, 0], alike
    most = q_value.max(axis=1, keepdims=True)
    weight = np.exp((q_value - most) / temperature)
    summed = weight.sum(axis=1, keepdims=True)
    mean = summed / actions
    value = most + temperature * np.log(mean)
    return value[:, 0], weight / summed


class Missed(NamedTuple):
    """By how much the sum of log-ratios misses R - V_0 under the best policy."""

    largest: float
    """Over all trajectories that can occur."""
    typical: float
    """Root mean square."""
    spread: float
    """Deviation of the return."""
    success: float


def missed(found: Soft) -> Missed:
    """By recursion over time: extremes backwards, squares forwards."""
    process = found.process
    here = process.start
    square, success = 0.0, 0.0
    for step, luck in enumerate(found.luck):
        successor, prob = found.outcome(step)
        chosen = here[:, None] * found.policy[step]
        each = chosen[..., None] * prob
        square += total(each * luck**2)
        paid = process.reward[process.schedule[step]]
        success += total(each * paid)
        arrived = each.ravel()
        here = np.bincount(successor.ravel(), arrived, len(here))
    return Missed(
        largest=_largest(found),
        typical=math.sqrt(square),
        spread=math.sqrt(success * (1 - success)),
        success=success,
    )


def _largest(found: Soft) -> float:
    """The largest sum of luck, of either sign, over all trajectories that can occur."""
    start = found.process.start
    low, high = np.zeros((2, len(start)))
    for step in reversed(range(len(found.luck))):
        successor, prob = found.outcome(step)
        luck = found.luck[step]
        can = prob > 0
        lower = luck + low[successor]
        higher = luck + high[successor]
        least = np.where(can, lower, math.inf)
        most = np.where(can, higher, -math.inf)
        # Over actions and outcomes.
        low = least.min(axis=(1, 2))
        high = most.max(axis=(1, 2))
    begins = start > 0
    down = abs(low[begins].min())
    up = abs(high[begins].max())
    return float(max(down, up))


def tool(reliability: float) -> casim.Task:
    """A tool of which a wrong call breaks the task, and a right one with what is left."""
    return casim.ToolChain(TURNS, 1, 1, reliability=reliability, damage=1.0)


def identity(_: bool) -> Found:
    """H28: how far the sum of log-ratios is from the soft value, by how random a tool is."""
    found = [missed(soft(tool(reliability))) for reliability in RELIABILITIES]
    noise = 1 - np.array(RELIABILITIES)
    numbers: Numbers = {}
    for reliability, one in zip(RELIABILITIES, found, strict=True):
        name = f"{1000 * reliability:.0f}"
        share = one.typical / one.spread if one.spread else 0.0
        numbers[f"largest_{name}"] = one.largest
        numbers[f"typical_{name}"] = one.typical
        numbers[f"share_{name}"] = share
    panel = Panel(
        title="log-ratios summed against the soft value",
        x="chance that a right call fails",
        y="error, in returns",
        curves=[
            curve("largest", noise, [one.largest for one in found]),
            curve("root mean square", noise, [one.typical for one in found]),
            curve("deviation of the return", noise, [one.spread for one in found]),
        ],
    )
    exact = numbers["largest_1000"] < 1e-12
    only_there = numbers["largest_900"] > 0.1
    answer = verdict(holds=exact and only_there, fails=not exact)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="log_ratios",
        hypothesis="H22",
        says="log-ratios to the reference make training more efficient, once the policy has moved",
        answer="At the reference the term is nothing ({groups_1_start:.4f} times the SNR of the "
        "outcome alone); as groups of 8 train the policy, a weight of 0.1 buys up to "
        "{groups_1_best:.2f} [{groups_1_best_low:.2f}, {groups_1_best_high:.2f}] times the SNR of "
        "one trajectory, and {groups_1_end:.2f} after 400 updates",
        flips="how many rollouts there are: what is added is the gradient of the divergence "
        "from the reference, whatever is paid. After exact updates it has a cosine of "
        "{exact_alone:.3f} with the truth, after those of groups {groups_alone:.2f}, "
        "as noise moved the policy too; outcome "
        "and term together {groups_1_cosine:.2f}, which no number of rollouts mends",
        exact=False,
        measure=moved,
    ),
    Claim(
        name="soft_values",
        hypothesis="H28",
        says="a model's summed log-ratios are its soft value where transitions are deterministic, "
        "and only there",
        answer="Under the best policy of temperature 0.2 on a tool of 8 turns the sum misses "
        "return less first value by {largest_1000:.0f} where a right call always works; "
        "where one in "
        "1,000 fails by {largest_999:.1f} on the worst trajectory and by a root mean square of "
        "{share_999:.2f} deviations of the return, where one in 10 fails by {share_900:.2f}",
        flips="the luck of transitions, which is all that the sum leaves out; each single "
        "log-ratio is still the soft advantage of its step, so as credit of steps it is not wrong",
        exact=True,
        measure=identity,
    ),
)
