"""A judge of steps against its own shuffled labels, against the outcome alone, and log gains.

In maths, a judge of fidelity f says f (l - mu) + sqrt(1 - f^2) sigma eps of the label l_t = r_t +
V_{t+1}(s_{t+1}), and a step is credited with the change of what it says:

    judged:    c_t = f d_t + sqrt(1 - f^2) sigma (eps_t - eps_{t-1}),    d_t the TD error,
    shuffled:  c_t = that of a step drawn from the L of the episode.

Changes add up to f (R - V_0), whatever their order, so that shuffled credit has 1 / L of the right
gradient on average: its direction is exact, and its noise is that of the judged one.

References:
    Derived for casim. The questions are of Zhang 2026, arXiv:2604.09459; information gains as
    credit: Wang et al. 2025 (IGPO).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import casim
from hypotheses import exact
from hypotheses.exact import Cells, Pairs, States, Table, World
from hypotheses.found import Claim, Found, Numbers, Panel, cosine, curve, level, total, verdict
from hypotheses.worlds import Preferences

POLICY = Preferences()
GROUP = 8
FIDELITIES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
TURNS = (4, 8, 16, 32, 64, 128)
SHORT, LONG = 8, 64
FLOORS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Of a probability of which the logarithm is taken."""


def label_variance(world: World) -> float:
    """sigma^2: of the label, over the steps of episodes."""
    mean = world.after(world.value)
    square = world.after(world.value**2)
    # Of a return of 0 or 1 the mean is the mean square.
    mean[-1] = square[-1] = world.q_value[-1]
    share = world.visits / world.num_steps
    return total(share * square) - total(share * mean) ** 2


def error(world: World, fidelity: float) -> float:
    """The variance of what errors add to a change."""
    return 2 * (1 - fidelity**2) * label_variance(world)


def judged(world: World, fidelity: float) -> Cells:
    """Credit by the change of what a judge says."""
    change = exact.td_error(world)
    square = fidelity**2 * change.square
    return Cells(fidelity * change.mean, square + error(world, fidelity))


class Past(NamedTuple):
    """Of the TD errors before a step, given its state: E of their sum, and of that of squares."""

    summed: Float[np.ndarray, "T S"]
    squares: Float[np.ndarray, "T S"]


def shuffled(world: World, fidelity: float) -> Cells:
    """The same changes, in random order over the steps of the episode."""
    own = exact.td_error(world).square
    past = _past(world)
    summed = past.summed[..., None] + world.advantage
    squares = past.squares[..., None] + own + _future(world, own)
    mean = fidelity * summed / world.num_steps
    square = fidelity**2 * squares / world.num_steps
    return Cells(mean, square + error(world, fidelity))


def _past(world: World) -> Past:
    """The TD errors until t add up to V_t(s_t) - V_0(s_0), and E[V_0 | s_t] goes forward."""
    weight = world.occupancy[0]
    began = weight * world.value[0]
    met = np.zeros_like(weight)
    summed, squares = [], []
    for step, visits in enumerate(world.visits):
        here = world.occupancy[step]
        safe = np.where(here > 0, here, 1.0)
        gained = world.value[step] - began / safe
        summed.append(np.where(here > 0, gained, 0.0))
        squares.append(met / safe)
        began = world.onward(step, began)
        met = world.onward(step, met) + _changed(world, step, visits)
    return Past(np.array(summed), np.array(squares))


def _changed(world: World, step: int, visits: Pairs) -> States:
    """Squared TD errors of a step before the last, on the states that it leads to."""
    m = world.kernel[step]
    before = world.value[step][:, None, None]
    later = world.value[step + 1]
    change = later[world.successor[m]] - before
    moved = visits[..., None] * world.prob[m]
    return world.land(step, moved * change**2)


def _future(world: World, square: Table) -> Table:
    """E of the sum of d_u^2 over u > t, given s_t and a_t."""
    later = np.zeros(square.shape[1])
    rows = []
    for step in reversed(range(world.num_steps)):
        after = world.ahead(step, later)
        rows.append(after)
        later = world.back(step, square[step] + after)
    return np.array(rows[::-1])


class Score(NamedTuple):
    """Of the gradient of one trajectory."""

    snr: float
    """After the best scalar; negative where the mean points away from the exact one."""
    cosine: float
    """Of its mean and the exact one."""


def score(world: World, cells: Cells) -> Score:
    """How well credit trains."""
    wanted = exact.exact_gradient(world)
    found = exact.gradient(world, cells)
    along = total(wanted * found.mean)
    signal = along**2 / total(wanted**2)
    noise = total(found.square) - signal
    snr = math.copysign(signal / noise, along)
    return Score(snr, cosine(wanted, found.mean))


def outcome_snr(world: World) -> float:
    """Of RLOO, per trajectory of a group."""
    noise = exact.peers_variance(world, GROUP, exact.everywhere(world))
    wanted = exact.exact_gradient(world)
    return total(wanted**2) / noise


def break_even(world: World) -> float:
    """The fidelity at which judged credit has the SNR of RLOO.

    In maths, with the changes of a perfect judge, E|g|^2 = S, and the errors of a useless one,
    E|g|^2 = U, the SNR is f^2 |g*|^2 / (f^2 S + (1 - f^2) U - f^2 |g*|^2).
    """
    found = exact.gradient(world, exact.td_error(world))
    perfect = total(found.square)
    useless = error(world, 0.0) * exact.score_square(world)
    allowed = found.length / outcome_snr(world) + found.length
    return math.sqrt(useless / (allowed - perfect + useless))


def shuffled_labels(_: bool) -> Found:
    """H20: judged credit against the same labels in random order."""
    world = exact.solve(casim.ToolChain(LONG, 1, 1), POLICY)
    base = outcome_snr(world)
    own = [score(world, judged(world, f)) for f in FIDELITIES]
    mixed = [score(world, shuffled(world, f)) for f in FIDELITIES]
    pairs = zip(own, mixed, strict=True)
    gaps = [x.snr / y.snr for x, y in pairs]
    numbers = {
        "steps": float(world.num_steps),
        "square": float(world.num_steps**2),
        "gap_perfect": gaps[-1],
        "gap_weak": gaps[FIDELITIES.index(0.1)],
        "cosine": min(one.cosine for one in mixed),
        "mixed_over_outcome": mixed[-1].snr / base,
    }
    panel = Panel(
        title="a judge and its shuffled labels",
        x="fidelity",
        y="SNR over RLOO's",
        curves=[
            curve("judged", FIDELITIES, [one.snr / base for one in own]),
            curve("shuffled", FIDELITIES, [one.snr / base for one in mixed]),
            level("RLOO", FIDELITIES, 1.0),
        ],
        log="xy",
    )
    beaten = min(gaps) > 1
    alike = numbers["cosine"] > 1 - 1e-9
    answer = verdict(holds=beaten and not alike, fails=not beaten)
    return Found(answer, numbers, panel)


TOOLS: dict[str, Callable[[int], casim.Task]] = {
    "tool": lambda turns: casim.ToolChain(turns, 1, 1),
    "4 calls decide": lambda turns: casim.ToolChain(turns, 1, 1, density=4 / turns),
    "tool that mends": lambda turns: casim.ToolChain(turns, 1, 1, repair=0.9),
}


def fidelity(_: bool) -> Found:
    """H20: the fidelity below which judged credit is worse than the outcome."""
    found = {
        name: [break_even(exact.solve(make(turns), POLICY)) for turns in TURNS]
        for name, make in TOOLS.items()
    }
    every = [x for values in found.values() for x in values]
    changes = [values[-1] - values[0] for values in found.values()]
    numbers = {
        "short": found["tool"][0],
        "long": found["tool"][-1],
        "low": min(every),
        "high": max(every),
        "falls_least": -max(changes),
        "falls_most": -min(changes),
    }
    panel = Panel(
        title="fidelity at which a judge is worth RLOO",
        x="turns",
        y="fidelity",
        curves=[curve(name, TURNS, x) for name, x in found.items()],
        log="x",
    )
    needed = min(every) > 0.05
    return Found(verdict(holds=needed, fails=not needed), numbers, panel)


Shape = Callable[[np.ndarray], np.ndarray]


def gain_credit(world: World, shape: Shape) -> Cells:
    """E[shape(V_{t+1}) - shape(V_t) | s, a] of the steps before the last; no squares."""
    value = shape(world.value)
    mean = world.after(value) - value[:-1, :, None]
    mean[-1] = 0.0
    return Cells(mean, mean**2)


def logarithm(floor: float) -> Shape:
    """Of a probability, from a floor on."""
    return lambda value: np.log(np.maximum(value, floor))


class Gain(NamedTuple):
    """Of credit by gains."""

    total: float
    """The mean of an episode's sum."""
    cosine: float


def gain(world: World, shape: Shape) -> Gain:
    """By gains in a function of the chance of success."""
    credit = gain_credit(world, shape)
    summed = total(world.visits * credit.mean)
    found = exact.gradient(world, credit).mean
    return Gain(summed, cosine(found, exact.exact_gradient(world)))


def log_gain(_: bool) -> Found:
    """H19: gains in log-probability of success against gains in probability."""
    task = casim.ToolChain(SHORT, 1, 1, damage=0.5, repair=0.5)
    world = exact.solve(task, POLICY)
    logs = [gain(world, logarithm(floor)) for floor in FLOORS]
    plain = gain(world, np.array)
    usual, least = logs[FLOORS.index(1e-2)], logs[0]
    numbers: Numbers = {
        "plain": abs(plain.total),
        "plain_cosine": plain.cosine,
        "total": usual.total,
        "cosine": usual.cosine,
        "least_total": least.total,
        "least_cosine": least.cosine,
    }
    panel = Panel(
        title="gains in log-probability",
        x="floor of the probability",
        y="cosine with the gradient",
        curves=[
            curve("gains in logarithm", FLOORS, [one.cosine for one in logs]),
            level("gains in probability", FLOORS, plain.cosine),
        ],
        log="x",
    )
    negative = max(one.total for one in logs) < 0
    apart = negative and numbers["plain"] < 1e-9
    return Found(verdict(holds=apart, fails=not apart), numbers, panel)


CLAIMS = (
    Claim(
        name="shuffled_labels",
        hypothesis="H20",
        says="a judge's labels beat the same labels shuffled",
        answer="On {steps:.0f} steps the judge's own labels have {gap_perfect:,.0f} times the SNR "
        "of the same labels shuffled within the episode at fidelity 1 and {gap_weak:,.0f} times "
        "at 0.1, where errors rule ({steps:.0f}^2 = {square:,.0f}); but the mean gradient of "
        "shuffled labels has exactly the right direction (cosine {cosine:.6f})",
        flips="the score: no gap by the direction of the mean gradient, up to L^2 by SNR; "
        "shuffling within an episode keeps the sum, which is the outcome",
        exact=True,
        measure=shuffled_labels,
    ),
    Claim(
        name="fidelity",
        hypothesis="H20",
        says="below some fidelity a dense judge is worse than the outcome alone",
        answer="A judge of values must have a fidelity of {short:.2f} at 4 turns and {long:.2f} at "
        "128 to be worth RLOO, {low:.2f} to {high:.2f} over three tools; from 4 turns to 128 the "
        "break-even falls by {falls_least:.2f} to {falls_most:.2f}",
        flips="fidelity, and hardly length: the errors of a dense judge add up over the steps as "
        "the noise of a broadcast return does",
        exact=True,
        measure=fidelity,
    ),
    Claim(
        name="log_gain",
        hypothesis="H19",
        says="gains in log-probability are biased, gains in probability are not",
        answer="Over 8 turns of a tool log gains add up to {total:.2f} nats on average with a "
        "floor of 0.01, gains in probability to {plain:.0f}; the gradient by log gains has a "
        "cosine of {cosine:.3f}, and of {least_cosine:.3f} with a floor of 1e-06",
        flips="the floor of the logarithm ({least_total:.1f} nats at 1e-06): the last turns of "
        "failures take over",
        exact=True,
        measure=log_gain,
    ),
)
