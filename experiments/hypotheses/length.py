"""How the signal of one action, and the noise of all, change with the number of steps.

In maths: T actions, each right or wrong with probability 1/2, and a return whose law depends on the
number W of wrong ones alone. With the expected return as baseline, c = R - J, A = E[c | a_t right]
and two logits a step, z = +-(1/2, -1/2),

    SNR of a step = A^2 / (Var(R) - A^2),
    variance of the gradient, summed over all logits = T (Var(R) - A^2) / 2,

and where all steps share the two logits the gradient is c S, with S = (T - 2 W) / 2 in one of them.
All of it is sums over W, which is binomial.

References:
    Derived for casim. The claims are of Zhang 2026, arXiv:2604.09459.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hypotheses.found import Claim, Found, Numbers, Panel, curve, level, slope, verdict

LENGTHS = (11, 21, 51, 101, 201)
"""Odd, so that a vote has no draw."""
DAMAGE = 0.9
NOISE = 1.0
"""Variance that each step of a sum adds to the return by itself."""


class Law(NamedTuple):
    """The return given the number of wrong actions, 0 to T."""

    chance: Float[np.ndarray, " W"]
    mean: Float[np.ndarray, " W"]
    square: Float[np.ndarray, " W"]

    @property
    def steps(self) -> int:
        return len(self.chance) - 1

    @property
    def wrong(self) -> Float[np.ndarray, " W"]:
        return np.arange(self.steps + 1.0)

    @property
    def expected(self) -> float:
        return float(self.chance @ self.mean)

    @property
    def variance(self) -> float:
        return float(self.chance @ self.square) - self.expected**2

    @property
    def advantage(self) -> float:
        """E[R | the action of a step is right] - J.

        Given W, a step is right with probability 1 - W / T, and 1/2 without.
        """
        right = 2 * (1 - self.wrong / self.steps)
        return float(self.chance @ (right * self.mean)) - self.expected


Mean = Callable[[np.ndarray], np.ndarray]


def _law(steps: int, mean: Mean, noise: float = 0.0) -> Law:
    """A return with this mean given W; 0 or 1, unless it has a variance of its own."""
    ways = [math.comb(steps, wrong) for wrong in range(steps + 1)]
    chance = np.array([number / 2**steps for number in ways])
    expected = mean(np.arange(steps + 1.0))
    square = expected**2 + noise if noise else expected
    return Law(chance, expected, square)


def total(steps: int) -> Law:
    """+1 for a right action and -1 for a wrong one, and noise at each."""
    return _law(steps, lambda wrong: steps - 2 * wrong, NOISE * steps)


def vote(steps: int) -> Law:
    """Success if most actions are right."""
    return _law(steps, lambda wrong: 1.0 * (2 * wrong < steps))


def hazards(steps: int) -> Law:
    """Each wrong action may break the task; T wrong ones do so with probability DAMAGE."""
    kept = (1 - DAMAGE) ** (1 / steps)
    return _law(steps, lambda wrong: kept**wrong)


WORLDS = {"sum": total, "vote": vote, "hazard": hazards}
CALLED = {
    "sum": "a sum of steps",
    "vote": "a majority of steps",
    "hazard": "each wrong step a hazard",
}


def step_snr(law: Law) -> float:
    """Of the gradient of the logits of one step."""
    signal = law.advantage**2
    return signal / (law.variance - signal)


def shared_snr(law: Law) -> float:
    """Of the gradient of logits that all steps share."""
    score = (law.steps - 2 * law.wrong) / 2
    centred = law.mean - law.expected
    mean = law.chance @ (centred * score)
    # E[c^2 | W], from E[R^2 | W] and E[R | W].
    expected = law.expected
    around = law.square - 2 * expected * law.mean + expected**2
    square = law.chance @ (around * score**2)
    return float(mean**2 / (square - mean**2))


def trace(law: Law) -> float:
    """Variance of the gradient, summed over the logits of all steps."""
    return law.steps * (law.variance - law.advantage**2) / 2


def trace_share(law: Law) -> float:
    """The same, over T Var(R) / 2."""
    return trace(law) / (law.steps * law.variance / 2)


def skill_share(law: Law) -> float:
    """T A^2 / Var(R): what single actions explain of the return's variance."""
    return law.steps * law.advantage**2 / law.variance


Measure = Callable[[Law], float]


ByLength = dict[str, list[float]]


def by_length(measure: Measure) -> ByLength:
    """A number at each of the lengths, in each world."""
    return {name: [measure(world(steps)) for steps in LENGTHS] for name, world in WORLDS.items()}


def exponents(found: ByLength) -> Numbers:
    """Of the length, in each world."""
    return {name: slope(LENGTHS, y) for name, y in found.items()}


def fall(measure: Measure) -> float:
    """How many times less at 100 steps of a sum than at one."""
    return measure(total(1)) / measure(total(100))


def _panel(title: str, y: str, found: ByLength) -> Panel:
    curves = [curve(CALLED[name], LENGTHS, values) for name, values in found.items()]
    return Panel(title, "steps", y, curves, "xy")


def snr_of_a_step(_: bool) -> Found:
    """H01, H05: the power of one action's gradient."""
    found = by_length(step_snr)
    numbers = exponents(found)
    law = all(abs(x + 1) < 0.1 for x in numbers.values())
    for name, shares in by_length(skill_share).items():
        numbers[f"share_{name}"] = shares[-1]
    numbers["fall"] = fall(step_snr)
    panel = _panel("one action's SNR by length", "SNR of one step", found)
    # However many routine steps there are, the one that decides is a sum of one.
    alone = level("one decides", LENGTHS, step_snr(total(1)))
    panel = panel._replace(curves=[*panel.curves, alone])
    return Found(verdict(holds=law, fails=False), numbers, panel)


def shared_logits(_: bool) -> Found:
    """H02: the same where all steps share their logits."""
    found = by_length(shared_snr)
    numbers = exponents(found)
    kept = all(abs(numbers[name]) < 0.1 for name in ("sum", "vote"))
    numbers["fall"] = fall(shared_snr)
    panel = _panel("... where steps share logits", "SNR, shared logits", found)
    return Found(verdict(holds=kept, fails=not kept), numbers, panel)


def broadcast_variance(_: bool) -> Found:
    """H03, H04: the variance of the whole gradient under broadcast."""
    found = by_length(trace)
    shares = by_length(trace_share)
    numbers = exponents(found)
    numbers["off"] = max(abs(share[0] - 1) for share in shares.values())
    law = all(abs(x) < 0.1 for x in exponents(shares).values())
    for name, world in WORLDS.items():
        numbers[f"ten_{name}"] = trace(world(1010)) / trace(world(101))
    panel = _panel("noise under broadcast by length", "variance, all logits", found)
    return Found(verdict(holds=law, fails=not law), numbers, panel)


CLAIMS = (
    Claim(
        name="step_snr",
        hypothesis="H01, H05",
        says="the SNR of one action falls as 1 / T, a hundredfold at 100 turns",
        answer="Squared SNR falls as T^{sum:.2f} for a sum and T^{vote:.2f} for a majority "
        "({fall:.0f} times less at 100 steps than at 1), but as T^{hazard:.2f} where each wrong "
        "step is a hazard; it is s / (T - s), s = T A^2 / Var(R)",
        flips="the share s of Var(R) that single actions explain: {share_sum:.2f}, "
        "{share_vote:.2f} and {share_hazard:.4f} at T = 201; a step that decides alone does not "
        "notice how many routine steps there are",
        exact=True,
        measure=snr_of_a_step,
    ),
    Claim(
        name="shared_logits",
        hypothesis="H02",
        says="... only where every step has parameters of its own",
        answer="With shared logits a sum loses a factor of {fall:.2f} from 1 to 100 steps and no "
        "more (T^{sum:.3f}), a majority nothing (T^{vote:.3f}); hazards still fall, as "
        "T^{hazard:.2f} instead of T^-2",
        flips="whether steps share parameters, so that their signals add up: one power of T "
        "either way",
        exact=True,
        measure=shared_logits,
    ),
    Claim(
        name="broadcast_variance",
        hypothesis="H03, H04",
        says="the variance of a broadcast return is O(T Var(R))",
        answer="The trace is T Var(R) / 2 to within {off:.0%} at 11 steps and closer beyond; ten "
        "times the length is {ten_vote:.1f} times the variance for a majority and "
        "{ten_hazard:.1f} for hazards, but {ten_sum:.0f} for a sum, whose Var(R) grows with T",
        flips="whether the return's own variance grows with length: T^{vote:.2f} for a majority, "
        "T^{sum:.2f} for a sum",
        exact=True,
        measure=broadcast_variance,
    ),
)
