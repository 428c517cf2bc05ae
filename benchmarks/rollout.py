"""Speed and memory of rollouts, beside the usual way of rolling out environments in JAX, in one run.

Part 1, steps per second on one random MDP: casim's scan engine against one `lax.scan` per environment under
`vmap`, with its key split at every step, which is how gymnax environments are rolled out. Both return state,
observation, action, log-probability, reward and liveness, and their mean rewards are compared first.
Part 2, a million steps: rollout and exact solution of long tasks, in seconds, and the peak memory.

    python benchmarks/rollout.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from casim.oracle import solve
from casim.simulate import World
from casim.tasks.bifurcation import Bifurcation
from casim.tasks.tool_chain import ToolChain
from casim.types import MDP, Trajectory

SHAPES = {
    "quick": ((256, 64), (16, 512)),
    "cpu": ((4_096, 128), (1_024, 1_024), (64, 8_192)),
    "gpu": ((4_096, 1_024), (65_536, 256), (64, 131_072)),
}
MAX_STANDARD_ERRORS = 5.0


def random_mdp(horizon: int, kernels: int = 8, states: int = 16, actions: int = 4, successors: int = 4) -> MDP:
    """Dirichlet rows everywhere, as many observations as states: three draws a step."""
    rng = np.random.default_rng(0)
    table = (kernels, states, actions, successors)
    return MDP(
        start=jnp.asarray(rng.dirichlet(np.ones(states)), float),
        schedule=jnp.asarray(rng.integers(kernels, size=horizon)),
        successor=jnp.asarray(rng.integers(states, size=table)),
        prob=jnp.asarray(rng.dirichlet(np.ones(successors), table[:-1]), float),
        reward=jnp.asarray(rng.normal(size=table), float),
        emission=jnp.asarray(rng.dirichlet(np.ones(states), (kernels, states)), float),
        terminal=jnp.zeros(states, bool),
        decision=jnp.ones(kernels, bool),
        kind=jnp.zeros(kernels, int),
        segment=jnp.zeros(horizon, int),
        turn=jnp.zeros(horizon, int),
        agent=jnp.zeros(horizon, int),
        discount=jnp.asarray(1.0),
    )


def random_policy(mdp: MDP, seed: int = 1) -> jax.Array:
    kernels, _, observations = mdp.emission.shape
    rows = np.random.default_rng(seed).dirichlet(np.ones(mdp.prob.shape[2]), (kernels, observations))
    return jnp.asarray(rows, float)


def rollout_per_environment(world: World, key: jax.Array, num: int) -> Trajectory:
    """The peer: everything written for one environment, then vmapped, with one key split per step."""
    mdp, policy, log_policy = world.mdp, world.policy, jnp.log(world.policy)

    def sample(key: jax.Array, prob: jax.Array) -> jax.Array:
        index = jnp.sum(jax.random.uniform(key) >= jnp.cumsum(prob))
        return jnp.minimum(index, prob.shape[0] - 1)

    def step(carry: tuple[jax.Array, jax.Array], kernel: jax.Array):
        key, state = carry
        key, key_observation, key_action, key_transition = jax.random.split(key, 4)
        observation = sample(key_observation, mdp.emission[kernel, state])
        action = sample(key_action, policy[kernel, observation])
        slot = sample(key_transition, mdp.prob[kernel, state, action])
        live = ~mdp.terminal[state]
        log_prob = jnp.where(live, log_policy[kernel, observation, action], 0.0)
        reward = jnp.where(live, mdp.reward[kernel, state, action, slot], 0.0)
        later = jnp.where(live, mdp.successor[kernel, state, action, slot], state)
        return (key, later), Trajectory(state, observation, jnp.where(live, action, 0), log_prob, reward, live)

    def episode(key: jax.Array) -> Trajectory:
        key, key_start = jax.random.split(key)
        return jax.lax.scan(step, (key, sample(key_start, mdp.start)), mdp.schedule)[1]

    return jax.vmap(episode)(jax.random.split(key, num))


ENGINES = {"casim": lambda world, key, num: world.rollout(key, num), "per environment": rollout_per_environment}


def compiled(function, *args) -> tuple[jax.stages.Compiled, float]:
    """The function compiled for these arguments, and how long that took in seconds."""
    begin = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    return program, time.perf_counter() - begin


def seconds(program: jax.stages.Compiled, *args) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - begin


def mean_reward(trajectory: Trajectory) -> tuple[float, float]:
    """Mean reward per step and its standard error over episodes."""
    reward = np.asarray(trajectory.reward, np.float64).mean(-1)
    return reward.mean(), reward.std(ddof=1) / np.sqrt(len(reward))


def compare(num: int, steps: int, repeats: int) -> dict:
    """One row of the table: both engines at one shape, timed in turns so that both meet the same load."""
    mdp = random_mdp(steps)
    world, key = World.make(mdp, random_policy(mdp)), jax.random.key(2)
    programs, compile_s, means, times = {}, {}, {}, {name: [] for name in ENGINES}
    for name, engine in ENGINES.items():
        programs[name], compile_s[name] = compiled(
            lambda world, key, engine=engine: engine(world, key, num), world, key
        )
        means[name] = mean_reward(programs[name](world, key))
    (first, error), (second, other_error) = means.values()
    distance = abs(first - second) / np.hypot(error, other_error)
    if distance > MAX_STANDARD_ERRORS:
        raise SystemExit(f"mean rewards {first:.5f} and {second:.5f} are {distance:.1f} standard errors apart")
    for _ in range(repeats):
        for name, program in programs.items():
            times[name].append(seconds(program, world, key))
    rate = {name: num * steps / statistics.median(values) for name, values in times.items()}
    return {
        "episodes": num,
        "steps": steps,
        "steps_per_s": rate,
        "ratio": rate["casim"] / rate["per environment"],
        "compile_s": compile_s,
        "standard_errors_apart": float(distance),
    }


def long_horizon(horizon: int, num: int) -> list[dict]:
    """Rolls out and solves long tasks; peak memory is that of the whole process up to then."""
    rows = []
    for task in (Bifurcation(horizon=horizon, pivots=10), ToolChain(num_turns=horizon // 4)):
        mdp = task.build()
        world = World.make(mdp, random_policy(mdp))
        rollout, rollout_compile = compiled(lambda world, key: world.rollout(key, num), world, jax.random.key(3))
        exact, solve_compile = compiled(solve, world.mdp, world.policy)
        rows.append(
            {
                "task": type(task).__name__,
                "episodes": num,
                "steps": mdp.schedule.shape[0],
                "rollout_s": seconds(rollout, world, jax.random.key(3)),
                "solve_s": seconds(exact, world.mdp, world.policy),
                "compile_s": rollout_compile + solve_compile,
                "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    return rows


def show(report: dict) -> None:
    print(f"{report['device']}, JAX {report['jax']}")
    print(f"{'episodes':>9} {'steps':>9} {'casim':>10} {'per env':>10} {'ratio':>6}  compile s (casim, per env)")
    for row in report["rollout"]:
        fast, slow = row["steps_per_s"].values()
        first, second = row["compile_s"].values()
        print(
            f"{row['episodes']:9,} {row['steps']:9,} {fast:10.2e} {slow:10.2e} {row['ratio']:6.1f}"
            f"  {first:.2f} {second:.2f}"
        )
    print(f"{'task':>19} {'steps':>10} {'rollout s':>10} {'solve s':>8} {'compile s':>10} {'peak GiB':>9}")
    for row in report["long"]:
        print(
            f"{row['task']:>19} {row['steps']:10,} {row['rollout_s']:10.2f} {row['solve_s']:8.2f}"
            f" {row['compile_s']:10.2f} {row['peak_gib']:9.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, to see that it runs")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="also write the numbers here")
    args = parser.parse_args()
    device = jax.devices()[0]
    shapes = SHAPES["quick" if args.quick else "cpu" if device.platform == "cpu" else "gpu"]
    report = {
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        "rollout": [compare(num, steps, repeats=3 if args.quick else 7) for num, steps in shapes],
        "long": long_horizon(horizon=10_000 if args.quick else 1_000_000, num=16),
    }
    show(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
