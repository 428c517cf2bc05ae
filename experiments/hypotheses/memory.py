"""Credit at the write of a memory that is used many turns later.

In maths, a critic that sees what the agent sees knows nothing of what was stored until it is read:
its TD errors between write and use are 0, so that GAE credits the write with

    (gamma lambda)^(decays on the way)

of its advantage, one decay a step, or one a turn where the trace fades at the ends of turns only. A
critic of the state knows at once and credits all of it, whatever lambda.

References:
    Zhang 2026, arXiv:2604.09459 (stored at turn 5, needed at turn 25). The comparison of clocks and
    of critics is derived for casim.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import casim
from casim.oracle.moments import precise
from hypotheses import exact
from hypotheses.exact import Pairs, World
from hypotheses.found import Claim, Found, Numbers, Panel, curve, verdict

DELAYS = (1, 2, 5, 10, 20, 50, 100)
FADE = 0.95
"""gamma lambda."""
CARE = 0.9
"""Probability that the agent reads, and that it answers what it read."""


Steps = Float[np.ndarray, "T S"]
Fade = Float[np.ndarray, " T"]


def reader(task: casim.MemoryChain) -> World:
    """A solved chain whose agent reads and repeats."""
    mdp = task.build()
    kernels, _, observations = mdp.emission.shape
    actions = task.num_facts
    table = np.full((kernels, observations, actions), 1 / actions)
    # Kernels are in the order of their codes: reading and answering come last.
    table[-2] = _with(0, actions)
    for told in range(actions):
        # Observation 0 is that nothing was told.
        table[-1, told + 1] = _with(told, actions)
    process, policy = precise(mdp, table)
    return exact.solved(process, policy)


def _with(action: int, actions: int) -> np.ndarray:
    """A policy that nearly always takes one action."""
    rest = (1 - CARE) / (actions - 1)
    return np.where(np.arange(actions) == action, CARE, rest)


def seen_value(world: World) -> Steps:
    """What a critic of observations takes each state to be worth: E[G_t | o_t]."""
    rows = []
    for step, m in enumerate(world.kernel):
        emission = world.emission[m]
        weight = world.occupancy[step]
        seen = weight @ emission
        worth = (weight * world.value[step]) @ emission
        safe = np.where(seen > 0, seen, 1.0)
        rows.append(emission @ (worth / safe))
    return np.array(rows)


def gae(world: World, value: Steps, fade: Fade, first: int) -> Pairs:
    """GAE's expected credit of the actions of a step, over a critic of states.

    Args:
        world: pays at the end only.
        value: what the critic takes each state to be worth, `[T, S]`.
        fade: gamma lambda between each step and the next.
        first: the step.
    """
    last = world.num_steps - 1
    credit = world.q_value[last] - value[last][:, None]
    for step in reversed(range(first, last)):
        trace = world.back(step + 1, credit)
        later = value[step + 1] + fade[step] * trace
        now = value[step][:, None]
        credit = world.ahead(step, later) - now
    return credit


def fades(task: casim.MemoryChain) -> dict[str, Fade]:
    """The trace by step, by turn, and none."""
    tokens = task.tokens_per_turn
    turns = task.write_turn + task.delay + 1
    steps = np.arange(turns * tokens)
    ends = steps % tokens == tokens - 1
    return {
        "step": np.full(len(steps), FADE),
        "turn": np.where(ends, FADE, 1.0),
        "none": np.ones(len(steps)),
    }


class Arm(NamedTuple):
    """How the trace fades, and what the critic sees."""

    called: str
    fade: str
    sees_state: bool


ARMS = {
    "step": Arm("sees text, fades by step", "step", False),
    "turn": Arm("sees text, fades by turn", "turn", False),
    "state": Arm("sees the state", "step", True),
    "none": Arm("sees text, no fading", "none", False),
}


def credit_at_write(task: casim.MemoryChain, arm: Arm) -> float:
    """Credit of storing the fact over storing another, over the advantage's."""
    world = reader(task)
    fade = fades(task)[arm.fade]
    value = world.value[:-1] if arm.sees_state else seen_value(world)
    write = (task.write_turn + 1) * task.tokens_per_turn - 1
    credit = gae(world, value, fade, write)
    states = task.states()
    gained, due = 0.0, 0.0
    for state in np.flatnonzero(world.occupancy[write] > 0):
        fact = states[state][0]
        other = (fact + 1) % task.num_facts
        due_here = world.q_value[write, state]
        gained += credit[state, fact] - credit[state, other]
        due += due_here[fact] - due_here[other]
    return float(gained / due)


def memory(_: bool) -> Found:
    """H13: what is left of credit at the write, by the delay until its use."""
    tasks = [casim.MemoryChain(delay=delay) for delay in DELAYS]
    numbers: Numbers = {}
    curves = []
    for name, arm in ARMS.items():
        left = [credit_at_write(task, arm) for task in tasks]
        numbers[f"{name}_20"] = left[DELAYS.index(20)]
        numbers[f"{name}_100"] = left[DELAYS.index(100)]
        numbers[f"{name}_least"] = min(left)
        curves.append(curve(arm.called, DELAYS, left))
    panel = Panel(
        title="credit of a write, by the delay to its use",
        x="turns",
        y="share of the advantage",
        curves=curves,
        log="x",
    )
    fading = max(numbers["step_20"], numbers["turn_20"]) < 0.5
    kept = min(numbers["state_least"], numbers["none_least"]) > 1 - 1e-9
    answer = verdict(holds=fading and not kept, fails=not fading)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="memory",
        hypothesis="H13",
        says="credit at a memory write fades over 20 turns",
        answer="Over 20 turns of three tokens a trace of 0.95 leaves {turn_20:.3f} of the credit "
        "of a write where it fades once a turn, and {step_20:.3f} where it fades at every token; "
        "{turn_100:.3f} and {step_100:.0e} over 100",
        flips="the clock of the trace, and what the critic sees: one that knows what is stored "
        "leaves {state_least:.3f} at any delay with the same trace, as no fading does "
        "({none_least:.3f})",
        exact=True,
        measure=memory,
    ),
)
