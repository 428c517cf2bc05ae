"""Dynamic programming at length, by a scan and by blocks: seconds, errors to double precision.

`python benchmarks/values.py [--quick]` prints a Markdown table, at 10^3 to 10^6 steps (10^4 with
--quick). Errors are the largest, of V relative to the largest value, of A relative to the largest
advantage (of states that occur), of the policy gradient relative to its norm; seconds are the
median of three runs, after compilation.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time

import jax
import numpy as np

from casim.oracle import solve, solve_in_blocks
from casim.oracle.moments import precise_truth
from casim.policies import Softmax
from casim.tasks import KeyToDoor, ReasoningChain, Task, ToolChain
from casim.types import MDP, Truth


def tasks(steps: int) -> list[Task]:
    return [
        ToolChain(num_turns=steps // 4, repair=0.3, observation_noise=0.1),
        ReasoningChain(num_steps=steps // 50),
        KeyToDoor(length=steps, scale=1.0),
    ]


def errors(truth: Truth, exact: Truth) -> str:
    met = exact.occupancy[:, :, None] > 0
    value, advantage, gradient = (
        np.asarray(x, np.float64) for x in (truth.value, truth.advantage, truth.gradient)
    )
    off = np.abs(value - exact.value).max() / np.abs(exact.value).max()
    apart = np.abs((advantage - exact.advantage) * met).max() / np.abs(exact.advantage * met).max()
    slope = np.linalg.norm(gradient - exact.gradient) / np.linalg.norm(exact.gradient)
    return f"{off:.0e} | {apart:.0e} | {slope:.0e}"


def timed(method, mdp: MDP, policy) -> tuple[float, float, Truth]:
    begin = time.perf_counter()
    program = jax.jit(method).lower(mdp, policy).compile()
    compiled, took = time.perf_counter() - begin, []
    for _ in range(3):
        begin = time.perf_counter()
        truth = jax.block_until_ready(program(mdp, policy))
        took.append(time.perf_counter() - begin)
    return compiled, statistics.median(took), truth


def main() -> None:
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}\n")
    print(
        "| task | T | method | compile s | solve s | error of V | of A | of the gradient |\n"
        + "|---" * 8
        + "|"
    )
    for steps in (10**3, 10**4) if "--quick" in sys.argv[1:] else (10**3, 10**4, 10**5, 10**6):
        methods = {
            "scan": solve,
            "blocks": functools.partial(solve_in_blocks, block=min(1024, steps // 10)),
        }
        for task in tasks(steps):
            mdp = task.build()
            policy = Softmax(seed=2).table(mdp)
            exact = precise_truth(mdp, np.asarray(policy))
            for name, method in methods.items():
                compiled, seconds, truth = timed(method, mdp, policy)
                row = f"{type(task).__name__} | {steps:,} | {name} | {compiled:.1f} | {seconds:.4f}"
                print(f"| {row} | {errors(truth, exact)} |", flush=True)


if __name__ == "__main__":
    main()
