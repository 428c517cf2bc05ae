"""What bounds each engine: steps per second, and how far that is from the device's limits.

Steps are those of paths and of whole trajectories. A path is what the fused routine writes
(observation, and one number for state, action and successor); `record` completes it to a
trajectory. Copies of the same size give the bandwidth that could be had; a routine that only
hashes, four words for every step, gives the arithmetic that the noise alone needs.

    python benchmarks/engines.py [--quick] [--json FILE]
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from measure import arguments, compiled, device, medians, peak_device_gib, write
from rollout import random_mdp, random_policy

from casim.simulate.engine import Engine, choose_engine, draw_paths
from casim.simulate.noise import key_words, threefry
from casim.simulate.scan import Request
from casim.simulate.tables import path_types, prepare, record

SHAPES = {
    "quick": ((64, 256), (2, 4_096)),
    "cpu": ((4_096, 128), (64, 8_192), (2, 131_072)),
    "gpu": ((4_096, 1_024), (65_536, 512), (1_048_576, 128), (1_024, 1_048_576)),
}
SCAN_STEPS = 40_000
"""On a GPU the scan needs a launch of several programs for every step.

Beyond so many steps only the chosen engine is timed.
"""


def engines(num: int, steps: int, sizes) -> dict[str, Engine]:
    """The chosen engine, and the others that can run here."""
    chosen = choose_engine(num, steps, sizes)
    found = {f"{chosen.name} {chosen.blocks}": chosen}
    if jax.default_backend() != "cpu" and steps > SCAN_STEPS:
        return found
    found.setdefault("scan 1", Engine.make("scan"))
    if num <= 4_096 and chosen.blocks > 1:
        found.setdefault(f"parallel {chosen.blocks}", Engine.make("parallel", chosen.blocks))
        if chosen.name == "fused":
            found.setdefault("fused 1", Engine.make("fused"))
    return found


def measure(num: int, steps: int, repeats: int) -> list[dict]:
    """Every engine at one shape."""
    mdp = random_mdp(steps)
    tables, episode = prepare(mdp, random_policy(mdp)), jnp.arange(num)
    request = Request(tables, mdp.schedule, key_words(jax.random.key(2)), episode, episode % 16)
    programs = {}
    for name, engine in engines(num, steps, tables.sizes).items():
        programs[name] = (
            compiled(lambda request, engine=engine: draw_paths(engine, request, True), request),
            compiled(
                lambda r, engine=engine: record(r.tables, r.schedule, draw_paths(engine, r, True)),
                request,
            ),
        )
    calls = {}
    for name, ((path, _), (whole, _)) in programs.items():
        calls[name] = lambda path=path: path(request)
        calls[f"{name}: whole"] = lambda whole=whole: whole(request)
    times = medians(calls, repeats)
    width = sum(kind.itemsize for kind in path_types(tables.sizes))
    return [
        {
            "episodes": num,
            "steps": steps,
            "engine": name,
            "chosen": index == 0,
            "path_steps_per_s": num * steps / times[name],
            "steps_per_s": num * steps / times[f"{name}: whole"],
            "path_bytes_per_s": width * num * steps / times[name],
            "compile_s": compile_s,
        }
        for index, (name, ((_, _), (_, compile_s))) in enumerate(programs.items())
    ]


def limits(size: int, repeats: int) -> dict[str, float]:
    """Bytes per second of a copy, read and written, and hashes per second of Threefry.

    The results of the hashes are added up.
    """
    data, words = jnp.zeros(size // 4, jnp.int32), key_words(jax.random.key(0))
    copy, _ = compiled(lambda x: x + 1, data)
    rows = max(size // 2**10, 1)

    def hashes(words: jax.Array) -> jax.Array:
        episode = jnp.broadcast_to(jnp.arange(rows, dtype=jnp.uint32)[:, None], (rows, 1024))
        step = jnp.broadcast_to(jnp.arange(1024, dtype=jnp.uint32)[None, :], (rows, 1024))
        first, second = threefry(words, episode, step)
        return jnp.sum(first ^ second, axis=1)

    hashing, _ = compiled(hashes, words)
    times = medians({"copy": lambda: copy(data), "hash": lambda: hashing(words)}, repeats)
    return {
        "copy_bytes_per_s": 2 * size / times["copy"],
        "hashes_per_s": rows * 1024 / times["hash"],
    }


def show(report: dict) -> None:
    bound = report["limits"]
    print(f"{report['device']}, JAX {report['jax']}")
    print(
        f"copy {bound['copy_bytes_per_s']:.2e} B/s; "
        f"{bound['hashes_per_s']:.2e} hashes/s, two hashes a step"
    )
    print(
        f"{'episodes':>9} {'steps':>9} {'engine':>14}"
        f" {'paths':>10} {'whole':>10} {'of copy':>8} {'of hash':>8}"
        "  compile s"
    )
    for row in report["engines"]:
        copied = row["path_bytes_per_s"] / bound["copy_bytes_per_s"]
        hashed = 2 * row["path_steps_per_s"] / bound["hashes_per_s"]
        print(
            f"{row['episodes']:9,} {row['steps']:9,} {row['engine'] + ' *' * row['chosen']:>14}"
            f" {row['path_steps_per_s']:10.2e} {row['steps_per_s']:10.2e}"
            f" {copied:8.1%} {hashed:8.1%}"
            f"  {row['compile_s']:.2f}"
        )
    if report["peak_device_gib"] is not None:
        print(f"peak device memory {report['peak_device_gib']:.1f} GiB")


def main() -> None:
    args = arguments(__doc__ or "")
    on_cpu = jax.default_backend() == "cpu"
    shapes = SHAPES["quick" if args.quick else "cpu" if on_cpu else "gpu"]
    repeats = 3 if args.quick else 7
    rows = [row for num, steps in shapes for row in measure(num, steps, repeats)]
    bound = limits(2**20 if args.quick else 2**26 if on_cpu else 2**31, repeats)
    report = {**device(), "limits": bound, "engines": rows, "peak_device_gib": peak_device_gib()}
    show(report)
    write(report, args.json)


if __name__ == "__main__":
    main()
