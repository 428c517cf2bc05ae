"""What groups hold: contrasts at decision points, baselines per turn, and noise that stays.

In maths, a group of N contrasts a decision after some text if another member has the same text so
far and does something else: 1 - (1 - x (1 - pi(a)))^(N - 1), x the probability of the text, or of
the state if states come back.

The agent stops at turn t with probability p, K_t of a group of N are alive there, and the mean over
them, oneself included, scales the advantage of the turn by 1 - E[1 / K_t]; credit of 0 where one is
alone scales it by P(K_t > 1).

An action that changes nothing has no gradient. Under a broadcast return its logits still move at
every update, by a random step of variance rate^2 Var(R) Var(z) / N: they walk until one action is
left. What drives it is the clock u rate^2 Var(R) / N, u the number of updates.

References:
    Feng et al. 2025, arXiv:2505.10978 (anchor states); docs/group-bias.md (the factors of turns);
    Wang et al. 2025, arXiv:2504.20073 (the echo trap of RAGEN). The share of contrasts and the
    clock are derived for casim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import casim
from hypotheses import exact
from hypotheses.exact import World
from hypotheses.found import (
    Claim,
    Found,
    Numbers,
    Panel,
    cosine,
    curve,
    interval,
    level,
    sampled,
    verdict,
)
from hypotheses.worlds import Preferences

DEPTHS = tuple(range(31))
LONG = 200
LEAST = 0.05
"""A share of contrasts that counts as none."""
STOPS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
SIZES = (2, 4, 8)
ACTIONS = 4
"""Harmless ones, at first all alike."""
SUCCESS = 0.5
CLOCKS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
RUNS = 400
QUICK = 100

Turns = Float[np.ndarray, " T"]


class Choices(NamedTuple):
    """Free choices between two, one after the other, and a group that makes them."""

    called: str
    likely: float
    num: int


CHOICES = {
    "even": Choices("even choices, N = 8", 0.5, 8),
    "many": Choices("even choices, N = 64", 0.5, 64),
    "sure": Choices("0.9 to 0.1, N = 8", 0.9, 8),
    "surest": Choices("0.99 to 0.01, N = 8", 0.99, 8),
}


def contrast_share(choices: Choices, depth: int) -> float:
    """Share of decisions after so many others at which a group has a contrast.

    In maths, a text with j unlikely choices has probability x_j = p^(depth - j) (1 - p)^j, and
    there are as many as j can be chosen.
    """
    likely, unlikely = choices.likely, 1 - choices.likely
    total = 0.0
    for j in range(depth + 1):
        ways = math.comb(depth, j)
        text = likely ** (depth - j) * unlikely**j
        for taken in (likely, unlikely):
            none = (1 - text * (1 - taken)) ** (choices.num - 1)
            total += ways * text * taken * (1 - none)
    return total


def state_share(world: World, num: int) -> list[float]:
    """The same where what counts is the state and not the text, at each decision."""
    found = []
    for step in np.flatnonzero(world.decides):
        here = world.occupancy[step][:, None]
        acting = world.acting[world.kernel[step]]
        none = (1 - here * (1 - acting)) ** (num - 1)
        share = here * acting * (1 - none)
        found.append(float(share.sum()))
    return found


def _deepest(share: Sequence[float]) -> float:
    """The first depth at which next to none have a contrast."""
    return float(next(depth for depth, x in enumerate(share) if x < LEAST))


def contrasts(_: bool) -> Found:
    """H21: the share of decisions at which a group holds two actions after the same text."""
    numbers: Numbers = {}
    curves = []
    for name, choices in CHOICES.items():
        share = [contrast_share(choices, depth) for depth in DEPTHS]
        numbers[name] = sum(share)
        if choices.likely == 0.5:
            numbers[f"{name}_deepest"] = _deepest(share)
        curves.append(curve(choices.called, DEPTHS, share))
    even = CHOICES["even"]
    numbers["long"] = sum(contrast_share(even, depth) for depth in range(LONG))
    world = exact.solve(casim.ToolChain(len(DEPTHS), 1, 1), Preferences())
    states = state_share(world, even.num)
    numbers["state"] = states[-1]
    panel = Panel(
        title="decisions with any contrast in the group",
        x="choices before",
        y="share of decisions",
        curves=[*curves, curve("states of a tool, N = 8", DEPTHS, states)],
    )
    answer = verdict(holds=numbers["long"] > LONG / 2, fails=numbers["state"] < 0.5)
    return Found(answer, numbers, panel)


def turn_gradient(stop: float) -> tuple[Turns, Turns]:
    """P(alive) of each turn, and the gradient of its logit of stopping.

    What stopping pays turn by turn is the task's; running out of turns pays nothing.
    """
    rewards = np.array(casim.VariableTurns().stop_rewards)
    alive = (1 - stop) ** np.arange(len(rewards))
    later = 0.0
    gaps = []
    for reward in rewards[::-1]:
        gaps.append(reward - later)
        later = stop * reward + (1 - stop) * later
    gap = np.array(gaps[::-1])
    return alive, alive * stop * (1 - stop) * gap


def turn_mean(alive: Turns, num: int) -> Turns:
    """1 - E[1 / K | oneself alive], the others alive independently."""
    any_of_all = 1 - (1 - alive) ** num
    return 1 - any_of_all / (num * alive)


def alone_is_nothing(alive: Turns, num: int) -> Turns:
    """P(K > 1 | oneself alive)."""
    return 1 - (1 - alive) ** (num - 1)


RULES: dict[str, Callable[[Turns, int], Turns]] = {
    "mean": turn_mean,
    "alone": alone_is_nothing,
}
RULES_CALLED = {"mean": "mean of the turn", "alone": "others', 0 if alone"}


def per_turn(_: bool) -> Found:
    """Whether baselines per turn are biased where trajectories differ in length."""
    numbers: Numbers = {}
    curves = []
    for name, rule in RULES.items():
        for num in SIZES:
            found = []
            for stop in STOPS:
                alive, wanted = turn_gradient(stop)
                found.append(cosine(rule(alive, num) * wanted, wanted))
            numbers[f"{name}_{num}"] = found[STOPS.index(0.3)]
            numbers[f"{name}_{num}_even"] = found[0]
            curves.append(curve(f"{RULES_CALLED[name]}, N = {num}", STOPS, found))
    biased = max(numbers[f"mean_{num}"] for num in SIZES) < 1 - 1e-6
    panel = Panel(
        title="baselines per turn",
        x="probability of stopping in a turn",
        y="cosine with the gradient",
        curves=curves,
    )
    # Of the mean of the others there is nothing to compute: it does not depend on the action.
    return Found(verdict(holds=False, fails=not biased), numbers, panel)


class Arm(NamedTuple):
    """Groups of a size, and a step size on the logits."""

    num: int
    rate: float


ARMS = {"small": Arm(8, 1.0), "slow": Arm(8, 0.5), "large": Arm(32, 2.0)}


def repetition(arm: Arm, runs: int) -> Float[np.ndarray, "R clocks"]:
    """sum_a pi(a)^2 of a harmless choice, at each clock: how often two draws are the same."""
    random = np.random.default_rng(arm.num)
    logit = np.zeros((runs, ACTIONS))
    tick = arm.rate**2 * SUCCESS * (1 - SUCCESS) / arm.num
    looks = [round(clock / tick) for clock in CLOCKS]
    shape = (runs, arm.num)
    found = []
    for update in range(looks[-1] + 1):
        policy = _softmax(logit)
        if update in looks:
            found.append(np.sum(policy**2, axis=1))
        edges = np.cumsum(policy, axis=1)[:, None, :-1]
        action = np.sum(random.random((*shape, 1)) > edges, axis=2)
        succeeds = random.random(shape) < SUCCESS
        centred = succeeds - succeeds.mean(axis=1, keepdims=True)
        credit = centred * arm.num / (arm.num - 1)
        score = np.eye(ACTIONS)[action] - policy[:, None]
        logit = logit + arm.rate * np.einsum("rn,rna->ra", credit, score) / arm.num
    return np.array(found).T


def _softmax(logit: np.ndarray) -> np.ndarray:
    weight = np.exp(logit - logit.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def echo(quick: bool) -> Found:
    """H06: whether broadcast credit makes harmless actions repeat."""
    runs = QUICK if quick else RUNS
    numbers: Numbers = {"first": 1 / ACTIONS}
    curves = []
    for name, arm in ARMS.items():
        line = sampled(f"N = {arm.num}, rate {arm.rate:g}", CLOCKS, repetition(arm, runs))
        numbers |= interval(f"{name}_middle", line, CLOCKS.index(16.0))
        numbers |= interval(f"{name}_last", line, -1)
        curves.append(line)
    last = [numbers[f"{name}_last"] for name in ARMS]
    numbers["gap"] = max(last) - min(last)
    # Groups of 8 at a rate of 0.1 and an even chance of success.
    numbers["updates"] = 16 * 8 / (0.1**2 * SUCCESS * (1 - SUCCESS))
    panel = Panel(
        title="a harmless action under broadcast",
        x="u rate^2 Var(R) / N",
        y="P(same action twice)",
        curves=[*curves, level("exact credit", CLOCKS, 1 / ACTIONS)],
    )
    rises = numbers["small_last_low"] > numbers["first"]
    return Found(verdict(holds=False, fails=not rises), numbers, panel)


CLAIMS = (
    Claim(
        name="contrasts",
        hypothesis="H21",
        says="groups hold contrasts at their decision points",
        answer="Where the text is the state, a trajectory of a group of 8 has {even:.2f} decisions "
        "with any contrast in 31, and {long:.2f} in 200: less than 5% of those from depth "
        "{even_deepest:.0f} on ({many_deepest:.0f} with groups of 64, {many:.2f} in all). Sharper "
        "policies share more text but choose alike: {sure:.2f} at 0.9 to 0.1, {surest:.2f} at "
        "0.99 to 0.01",
        flips="whether states come back: with a tool's few outputs {state:.2f} of the last of 31 "
        "decisions have one",
        exact=True,
        measure=contrasts,
    ),
    Claim(
        name="per_turn",
        hypothesis="baselines",
        says="baselines per turn are biased where lengths differ",
        answer="Where the agent stops with probability 0.3 a turn the mean of the turn, oneself "
        "included, has cosines {mean_2:.4f}, {mean_4:.4f} and {mean_8:.4f} in groups of 2, 4 and "
        "8; the mean of the others has 1, but {alone_2:.4f}, {alone_4:.4f} and {alone_8:.4f} if a "
        "step without peers gets 0",
        flips="whether oneself is in the mean, and how much lengths differ: with a stop "
        "probability of 0.02 the worst is {mean_2_even:.5f} (docs/group-bias.md has all rules)",
        exact=True,
        measure=per_turn,
    ),
    Claim(
        name="echo",
        hypothesis="H06",
        says="broadcast credit drives agents to repeat harmless actions",
        answer="Two draws of a harmless choice among 4 are the same with probability {first:.2f} "
        "at first, {small_middle:.2f} [{small_middle_low:.2f}, {small_middle_high:.2f}] at a clock "
        "of 16 and {small_last:.2f} [{small_last_low:.2f}, {small_last_high:.2f}] at 32, though "
        "the expected gradient is 0; three group sizes and rates end within {gap:.2f}",
        flips="noise, not bias: the clock u rate^2 Var(R) / N ({updates:,.0f} updates to 16 at a "
        "rate of 0.1, N = 8); it stands still under exact credit, and where Var(R) is 0",
        exact=False,
        measure=echo,
    ),
)
