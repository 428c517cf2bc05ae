"""Branches against groups at equal cost, and coarse credit of many against fine credit of few.

In maths, steps in [p, u) between two branch points are credited with V^(s_u) - V^(s_p), V^ the mean
of K rollouts from there, which cost K times the steps that are left. With v(s) = Var(G | s),

    E[c | s, a] = Q(s, a) - E[V(s_p) | s],
    E[c^2 | s, a] = E[(V(s_u) - V(s_p))^2 | s, a] + E[v(s_u) + v(s_p) | s, a] / K;

what comes before s_t and what comes after it are independent given s_t and a_t. What is compared is
how many environment steps make an SNR of 1: cost x variance / |g*|^2 of one trajectory. All forms
here are unbiased, so that this is the whole of the comparison.

References:
    Kazemnejad et al. 2024, arXiv:2410.01679 (VinePPO); Guo et al. 2025, arXiv:2505.23564 (SPO). The
    moments and the laws of cost are derived for casim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import casim
from hypotheses import exact
from hypotheses.exact import Cells, Keep, Pairs, States, World
from hypotheses.found import Claim, Found, Numbers, Panel, crossing, curve, slope, verdict
from hypotheses.worlds import Preferences

GROUP = 8
POLICY = Preferences()
ROLLOUTS = (1, 2, 4, 9)
"""K; the best of them counts."""
TURNS = (8, 16, 32, 64, 128, 200)
DECISIVE = 4
"""Calls that do something, whatever the number of turns."""
LONG = 64
"""Turns of the worlds that are cut into more or fewer segments."""


def tool(turns: int, decisive: int) -> casim.ToolChain:
    """One token of the agent and one of the tool in every turn."""
    return casim.ToolChain(turns, 1, 1, density=decisive / turns)


def calls(world: World) -> np.ndarray:
    """The steps at which the policy decides."""
    return np.flatnonzero(world.decides)


def deciding(world: World) -> np.ndarray:
    """The calls at which actions differ in value."""
    each = world.visits * world.advantage**2
    matters = each.sum(axis=(1, 2)) > 1e-20
    return np.flatnonzero(world.decides & matters)


class Ahead(NamedTuple):
    """Given state and action: E of V(s_u), of its square, and of v(s_u), where a segment ends."""

    value: Pairs
    square: Pairs
    spread: Pairs


class Behind(NamedTuple):
    """Given the state: E of V(s_p), of its square, and of v(s_p), where a segment began."""

    value: States
    square: States
    spread: States


class Branched(NamedTuple):
    """Credit by branches."""

    credit: Cells
    """With exact values."""
    error: Cells
    """What the error of a single rollout from each point adds."""


def segments(world: World, points: Sequence[int]) -> Branched:
    """Credit of the steps between branch points, the first of which is the first decision."""
    mean, square, noise = np.zeros((3, *world.q_value.shape))
    ends = [*points[1:], world.num_steps]
    for first, end in zip(points, ends, strict=True):
        ahead = _ahead(world, first, end)
        behind = _behind(world, first, end)
        for step in range(first, end):
            after, before = ahead[step], behind[step]
            began = before.value[:, None]
            mean[step] = after.value - began
            both = 2 * after.value * began
            squares = after.square + before.square[:, None]
            square[step] = squares - both
            noise[step] = after.spread + before.spread[:, None]
    nothing = np.zeros_like(mean)
    return Branched(Cells(mean, square), Cells(nothing, noise))


def _ahead(world: World, first: int, end: int) -> dict[int, Ahead]:
    """Of each step of a segment, from its end backwards."""
    found = {}
    last = world.num_steps - 1
    value = world.value[end]
    later = (value, value**2, world.spread[end])
    for step in reversed(range(first, end)):
        here = tuple(world.ahead(step, x) for x in later)
        if step == last:
            # At the end the return itself is known.
            q_value = world.q_value[step]
            square = q_value**2 + world.return_variance[step]
            here = (q_value, square, np.zeros_like(q_value))
        found[step] = Ahead(*here)
        later = tuple(world.back(step, x) for x in here)
    return found


def _behind(world: World, first: int, end: int) -> dict[int, Behind]:
    """Of each step of a segment, from its beginning on."""
    value = world.value[first]
    begun = (value, value**2, world.spread[first])
    here = [world.occupancy[first] * x for x in begun]
    found = {}
    for step in range(first, end):
        weight = world.occupancy[step]
        safe = np.where(weight > 0, weight, 1.0)
        found[step] = Behind(*(x / safe for x in here))
        here = [world.onward(step, x) for x in here]
    return found


def steps_by_groups(world: World, keep: Keep) -> float:
    """Environment steps for an SNR of 1, by RLOO with credit at some steps."""
    variance = exact.peers_variance(world, GROUP, keep)
    wanted = exact.masked(exact.advantage(world), keep)
    length = exact.gradient(world, wanted).length
    return world.num_steps * variance / length


def steps_by_branches(
    world: World,
    points: Sequence[int],
    keep: Keep,
) -> float:
    """Environment steps for an SNR of 1, by the best number of rollouts."""
    made = segments(world, points)
    found = exact.gradient(world, exact.masked(made.credit, keep))
    noise = exact.gradient(world, exact.masked(made.error, keep)).variance
    left = sum(world.num_steps - point for point in points)
    needed = []
    for rollouts in ROLLOUTS:
        cost = world.num_steps + rollouts * left
        needed.append(cost * (found.variance + noise / rollouts))
    return min(needed) / found.length


class Needed(NamedTuple):
    """Environment steps for an SNR of 1."""

    groups: float
    branches: float
    """At every turn."""
    chosen: float
    """Branches at the turns that decide, and no credit at the others."""
    masked: float
    """Groups, with no credit at the others either."""


CALLED = {
    "branches": "branches at every turn",
    "chosen": "branches where it counts",
    "masked": "groups, masked there",
}


def needed(turns: int) -> Needed:
    """By each way to spend them."""
    world = exact.solve(tool(turns, DECISIVE), POLICY)
    where = deciding(world)
    every = exact.everywhere(world)
    keep = np.isin(np.arange(world.num_steps), where)
    return Needed(
        groups=steps_by_groups(world, every),
        branches=steps_by_branches(world, calls(world), every),
        chosen=steps_by_branches(world, where, keep),
        # What branches know of where it counts, groups may know as well.
        masked=steps_by_groups(world, keep),
    )


def branches_or_groups(_: bool) -> Found:
    """H12, H14: which buys the better gradient with the same environment steps."""
    found = [needed(turns) for turns in TURNS]
    groups = np.array([one.groups for one in found])
    ratio = {name: groups / [getattr(one, name) for one in found] for name in CALLED}
    numbers: Numbers = {}
    for name, x in ratio.items():
        numbers[f"{name}_short"] = float(x[0])
        numbers[f"{name}_long"] = float(x[-1])
    gaps = np.log(ratio["chosen"])
    start = crossing(np.log(TURNS).tolist(), gaps.tolist())
    numbers["crossover"] = float(np.exp(start))
    numbers["exponent"] = slope(TURNS, ratio["branches"].tolist())
    equal = ratio["chosen"] / ratio["masked"]
    numbers["equal_low"] = float(equal.min())
    numbers["equal_high"] = float(equal.max())
    never = max(numbers["equal_high"], ratio["branches"].max()) < 1
    panel = Panel(
        title="branches against groups, equal steps",
        x="turns, 4 of them decisive",
        y="SNR over groups'",
        curves=[curve(CALLED[name], TURNS, x) for name, x in ratio.items()],
        log="xy",
    )
    answer = verdict(holds=ratio["branches"].min() > 1, fails=never)
    return Found(answer, numbers, panel)


CUT = {
    "every": tool(LONG, LONG),
    "some": tool(LONG, DECISIVE),
    "first": casim.Bifurcation(LONG, pivots=(0,), gap=1.0),
    "last": casim.Bifurcation(LONG, pivots=(LONG - 1,), gap=0.6),
}
CUT_CALLED = {
    "every": "every turn decides",
    "some": "4 turns decide",
    "first": "the first step decides all",
    "last": "the last step decides",
}
PIECES = (1, 2, 4, 8, 16, 32, 64)


def by_pieces(task: casim.Task) -> list[float]:
    """Squared SNR by segments over that of RLOO, at equal cost."""
    world = exact.solve(task, POLICY)
    where = calls(world)
    every = exact.everywhere(world)
    groups = steps_by_groups(world, every)
    cuts = [where[:: len(where) // pieces] for pieces in PIECES]
    return [groups / steps_by_branches(world, points, every) for points in cuts]


def coarse_or_fine(_: bool) -> Found:
    """H12: into how many segments a trajectory should be cut, at equal cost."""
    found = {name: by_pieces(task) for name, task in CUT.items()}
    numbers: Numbers = {}
    for name, x in found.items():
        best = int(np.argmax(x))
        numbers[f"best_{name}"] = float(PIECES[best])
        numbers[f"at_best_{name}"] = x[best]
        numbers[f"finest_{name}"] = x[-1]
    finest = [x[-1] for x in found.values()]
    panel = Panel(
        title="coarse and many or fine and few",
        x="segments of 64 turns",
        y="SNR over groups'",
        curves=[curve(CUT_CALLED[name], PIECES, x) for name, x in found.items()],
        log="xy",
    )
    answer = verdict(holds=min(finest) > 1, fails=max(finest) < 1)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="branches",
        hypothesis="H12, H14",
        says="rollouts from intermediate states beat groups, more so at long horizons",
        answer="On a tool with 4 decisive turns branches at every turn never win: at 8 turns they "
        "buy {branches_short:.2f} and at 200 {branches_long:.3f} of the squared SNR of groups of "
        "8. Branches at the decisive turns alone win from {crossover:.0f} turns on "
        "({chosen_long:.0f} times at 200), but groups masked to the same turns win by more "
        "({masked_long:.0f} times)",
        flips="knowing which turns decide, and not branching, is what pays: with that knowledge "
        "on both sides branches buy {equal_low:.2f} to {equal_high:.2f} of what groups do; unless "
        "the start settles all (`coarse_or_fine`)",
        exact=True,
        measure=branches_or_groups,
    ),
    Claim(
        name="coarse_or_fine",
        hypothesis="H12",
        says="few trajectories with fine credit beat many with coarse credit at long horizons",
        answer="At 64 turns 64 segments buy {finest_every:.3f} of the squared SNR of RLOO where "
        "every turn decides (the best cut is into {best_every:.0f}: {at_best_every:.2f}), "
        "{finest_last:.3f} where the last step does, and {finest_first:.2f} where the first step "
        "decides all (the best cut is into {best_first:.0f})",
        flips="how early the outcome is settled: rollouts from where little is open agree with "
        "each other; where much is open they cost more than they tell",
        exact=True,
        measure=coarse_or_fine,
    ),
)
