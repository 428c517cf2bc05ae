"""Every task family: sizes, exact values at its defaults, time to build and solve 30,000 steps.

`python benchmarks/worlds.py [--quick]` prints a Markdown table; --quick takes every fourth family,
and 1,000 steps: each world compiles programs of its own.
"""

from __future__ import annotations

import statistics
import sys
import time

import jax
import numpy as np

from casim.oracle import optimal, solve
from casim.policies import EpsilonOptimal, Uniform
from casim.tasks import PRESETS, TASKS, Task
from casim.types import MDP

truths = jax.jit(solve)
bests = jax.jit(lambda mdp: mdp.start @ optimal(mdp).value[0])


def sizes(mdp: MDP) -> str:
    kernels, states, actions, _ = mdp.prob.shape
    return f"{mdp.schedule.shape[0]:,} | {states} | {mdp.emission.shape[2]} | {actions} | {kernels}"


def at_length(task: Task, steps: int) -> Task | None:
    """The task at the smallest horizon that has so many steps.

    None if its states multiply with the horizon.
    """
    low, high = (task.with_horizon(task.horizon + i).build() for i in (0, 1))
    if high.prob.shape[1] > 2 * low.prob.shape[1]:
        return None
    here, more = low.schedule.shape[0], high.schedule.shape[0]
    return task.with_horizon(task.horizon + max(0, -(-(steps - here) // (more - here))))


def timed(task: Task) -> str:
    """Seconds to build, to compile the solver, and to solve (the median of three)."""
    begin = time.perf_counter()
    mdp = jax.block_until_ready(task.build())
    built = time.perf_counter() - begin
    policy = Uniform().table(mdp)
    begin = time.perf_counter()
    program = truths.lower(mdp, policy).compile()
    compiled = time.perf_counter() - begin
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(program(mdp, policy))
        took.append(time.perf_counter() - begin)
    return (
        f"{mdp.schedule.shape[0]:,} | {built:.2f} | {compiled:.2f} | {statistics.median(took):.3f}"
    )


def main() -> None:
    worlds = (*(kind() for kind in TASKS), *PRESETS.values())
    steps = 30_000
    if "--quick" in sys.argv[1:]:
        worlds = worlds[: len(TASKS) : 4]
        steps = 1_000
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}\n")
    columns = (
        "task | T | S | O | A | M | uniform | greedy as seen | optimum | "
        "T | build s | compile s | solve s"
    )
    print(f"| {columns} |\n{'|---' * 13}|")
    for task in worlds:
        name = next(
            (name for name, preset in PRESETS.items() if preset is task), type(task).__name__
        )
        mdp = task.build()
        uniform = float(truths(mdp, Uniform().table(mdp)).expected_return)
        greedy = float(truths(mdp, EpsilonOptimal(0.0).table(mdp)).expected_return)
        values = " | ".join(f"{x:.4g}" for x in np.array([uniform, greedy, float(bests(mdp))]))
        longer = task if name in PRESETS else at_length(task, steps)
        print(
            f"| {name} | {sizes(mdp)} | {values} | "
            f"{timed(longer) if longer else '- | - | - | -'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
