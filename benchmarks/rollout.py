"""Speed of rollouts, beside the usual ways of rolling out environments in JAX, in one run.

Part 1, one random MDP with three draws a step: casim against one `lax.scan` per environment under
`vmap`, with its key split at every step, which is how gymnax environments are rolled out. Both
return state, observation, action, log-probability, reward and liveness, and their mean rewards are
compared first. Part 2, gymnax's own chains against the same chains here, where gymnax is installed.
Part 3, a million steps: rollout and exact solution of long tasks, and the peak memory.

    python benchmarks/rollout.py [--quick] [--json FILE]
"""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
from measure import arguments, compiled, device, medians, peak_host_gib, seconds, write

from casim.oracle import solve, solve_in_blocks
from casim.policies import Uniform
from casim.simulate import World, choose_engine
from casim.tasks import Task
from casim.tasks.bifurcation import Bifurcation
from casim.tasks.classics import ContextChain, DiscountingChain, UmbrellaChain
from casim.tasks.tool_chain import ToolChain
from casim.types import MDP, Trajectory

SHAPES = {
    "quick": ((256, 64), (16, 512), (1, 4_096)),
    "cpu": ((4_096, 128), (1_024, 1_024), (64, 8_192), (1, 65_536)),
    "gpu": (
        *((4_096, 1_024), (4_096, 4_096), (4_096, 32_768)),
        *((65_536, 512), (1_048_576, 16), (64, 65_536), (1_024, 32_768), (8, 512)),
    ),
}
MAX_STANDARD_ERRORS = 5.0
CHAINS: dict[str, tuple[Task, int]] = {
    "DiscountingChain-bsuite": (DiscountingChain(horizon=100), 100),
    "UmbrellaChain-bsuite": (UmbrellaChain(horizon=10), 10),
    "MemoryChain-bsuite": (ContextChain(memory_length=5), 6),
}
"""gymnax's chains at their own lengths, the task here, and the length of its episodes."""


def random_mdp(
    horizon: int, kernels: int = 8, states: int = 16, actions: int = 4, successors: int = 4
) -> MDP:
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
        discount=jnp.ones(kernels),
        prompt=jnp.zeros(states, int),
    )


def random_policy(mdp: MDP, seed: int = 1) -> jax.Array:
    kernels, _, observations = mdp.emission.shape
    rows = np.random.default_rng(seed).dirichlet(
        np.ones(mdp.prob.shape[2]), (kernels, observations)
    )
    return jnp.asarray(rows, float)


def rollout_per_environment(world: World, key: jax.Array, num: int) -> Trajectory:
    """The peer: everything written for one environment, vmapped, with one key split per step."""
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
        return (key, later), Trajectory(
            state, observation, jnp.where(live, action, 0), log_prob, reward, live
        )

    def episode(key: jax.Array) -> Trajectory:
        key, key_start = jax.random.split(key)
        return jax.lax.scan(step, (key, sample(key_start, mdp.start)), mdp.schedule)[1]

    return jax.vmap(episode)(jax.random.split(key, num))


def rollout_gymnax(name: str, key: jax.Array, num: int, steps: int) -> tuple:
    """An environment of gymnax under uniform random actions, reset where it ends.

    Returns observation, action, reward and done.
    """
    gymnax = importlib.import_module("gymnax")  # no dependency of casim
    env, params = gymnax.make(name)

    def episode(key: jax.Array) -> tuple:
        key, key_reset = jax.random.split(key)
        _, state = env.reset(key_reset, params)

        def step(carry: tuple, _: None) -> tuple:
            key, state = carry
            key, key_action, key_step = jax.random.split(key, 3)
            action = jax.random.randint(key_action, (), 0, env.num_actions)
            observation, state, reward, terminated, truncated, _ = env.step(
                key_step, state, action, params
            )
            return (key, state), (observation, action, reward, terminated | truncated)

        return jax.lax.scan(step, (key, state), None, length=steps)[1]

    return jax.vmap(episode)(jax.random.split(key, num))


def mean_reward(trajectory: Trajectory) -> tuple[float, float]:
    """Mean reward per step and its standard error over episodes, or steps where there is one."""
    reward = np.asarray(trajectory.reward, np.float64)
    sample = reward.mean(-1) if len(reward) > 1 else reward[0]
    return sample.mean(), sample.std(ddof=1) / np.sqrt(len(sample))


def compare(num: int, steps: int, repeats: int) -> dict:
    """Both ways at one shape."""
    mdp = random_mdp(steps)
    world, key = World.make(mdp, random_policy(mdp)), jax.random.key(2)
    ways = {
        "casim": lambda world: world.rollout(key, num),
        "peer": lambda w: rollout_per_environment(w, key, num),
    }
    programs = {name: compiled(way, world) for name, way in ways.items()}
    means = {name: mean_reward(program(world)) for name, (program, _) in programs.items()}
    (first, error), (second, other_error) = means.values()
    distance = abs(first - second) / np.hypot(error, other_error)
    if distance > MAX_STANDARD_ERRORS:
        raise SystemExit(
            f"mean rewards {first:.5f} and {second:.5f} are {distance:.1f} standard errors apart"
        )
    calls = {
        name: lambda program=program: program(world) for name, (program, _) in programs.items()
    }
    times = medians(calls, repeats)
    engine = choose_engine(num, steps, world.tables.sizes)
    return {
        "episodes": num,
        "steps": steps,
        "engine": f"{engine.name} {engine.blocks}",
        "steps_per_s": {name: num * steps / time for name, time in times.items()},
        "ratio": times["peer"] / times["casim"],
        "compile_s": {name: time for name, (_, time) in programs.items()},
        "standard_errors_apart": float(distance),
    }


def compare_chain(name: str, total: int, repeats: int) -> dict:
    """As many steps of one chain, in gymnax and here."""
    task, length = CHAINS[name]
    mdp = task.build()
    if mdp.schedule.shape[0] != length:
        raise SystemExit(
            f"episodes of {task} must last {length} steps, got {mdp.schedule.shape[0]}"
        )
    world, key, num = World.make(mdp, Uniform().table(mdp)), jax.random.key(2), total // 128
    ours, ours_compile = compiled(lambda world: world.rollout(key, total // length), world)
    peer, peer_compile = compiled(lambda key: rollout_gymnax(name, key, num, 128), key)
    times = medians({"casim": lambda: ours(world), "peer": lambda: peer(key)}, repeats)
    steps = {"casim": total // length * length, "peer": num * 128}
    rates = {way: steps[way] / times[way] for way in times}
    compile_s = {"casim": ours_compile, "peer": peer_compile}
    return {
        "chain": name,
        "steps_per_s": rates,
        "ratio": rates["casim"] / rates["peer"],
        "compile_s": compile_s,
    }


def long_horizon(horizon: int, num: int) -> list[dict]:
    """Rolls out and solves long tasks; peak memory is that of the whole process up to then."""
    exactly = solve if jax.default_backend() == "cpu" else solve_in_blocks
    rows = []
    for task in (Bifurcation(horizon=horizon, pivots=10), ToolChain(num_turns=horizon // 4)):
        mdp = task.build()
        world = World.make(mdp, random_policy(mdp))
        rollout, rollout_compile = compiled(
            lambda world: world.rollout(jax.random.key(3), num), world
        )
        exact, solve_compile = compiled(exactly, world.mdp, world.policy)
        jax.block_until_ready((rollout(world), exact(world.mdp, world.policy)))
        rows.append(
            {
                "task": type(task).__name__,
                "episodes": num,
                "steps": mdp.schedule.shape[0],
                "rollout_s": seconds(rollout, world),
                "solve_s": seconds(exact, world.mdp, world.policy),
                "compile_s": rollout_compile + solve_compile,
                "peak_gib": peak_host_gib(),
            }
        )
    return rows


def show(report: dict) -> None:
    print(f"{report['device']}, JAX {report['jax']}")
    print(
        f"{'episodes':>9} {'steps':>9} {'engine':>12}"
        f" {'casim':>10} {'per env':>10} {'ratio':>6}  compile s"
    )
    for row in report["rollout"]:
        fast, slow = row["steps_per_s"].values()
        first, second = row["compile_s"].values()
        print(
            f"{row['episodes']:9,} {row['steps']:9,} {row['engine']:>12}"
            f" {fast:10.2e} {slow:10.2e} {row['ratio']:6.1f}"
            f"  {first:.2f} {second:.2f}"
        )
    for row in report["gymnax"]:
        fast, slow = row["steps_per_s"].values()
        print(f"{row['chain']:>32} {fast:10.2e} {slow:10.2e} {row['ratio']:6.1f}")
    print(
        f"{'task':>19} {'steps':>10} {'rollout s':>10}"
        f" {'solve s':>8} {'compile s':>10} {'peak GiB':>9}"
    )
    for row in report["long"]:
        print(
            f"{row['task']:>19} {row['steps']:10,} {row['rollout_s']:10.3f} {row['solve_s']:8.3f}"
            f" {row['compile_s']:10.2f} {row['peak_gib']:9.2f}"
        )


def has_gymnax() -> bool:
    """Whether gymnax is installed."""
    return importlib.util.find_spec("gymnax") is not None


def main() -> None:
    args = arguments(__doc__ or "")
    on_cpu = jax.default_backend() == "cpu"
    shapes = SHAPES["quick" if args.quick else "cpu" if on_cpu else "gpu"]
    total = 2**14 if args.quick else 2**19 if on_cpu else 2**25
    repeats = 3 if args.quick else 7
    report = {
        **device(),
        "rollout": [compare(num, steps, repeats) for num, steps in shapes],
        "gymnax": [compare_chain(name, total, repeats) for name in CHAINS] if has_gymnax() else [],
        "long": long_horizon(horizon=10_000 if args.quick else 1_000_000, num=16),
    }
    show(report)
    write(report, args.json)


if __name__ == "__main__":
    main()
