"""Speed and accuracy of recurrences along the time axis, in one run beside two other ways.

GAE and lambda-returns are each computed by casim in blocks of steps, by one `lax.scan` over the
steps with time moved to the front and back, and, where it is installed, by rlax
(`truncated_generalized_advantage_estimation` and `lambda_returns`, vmapped over trajectories). GAE
is also computed by products with a matrix of powers of the factor, which casim once did on a CPU.
All steps are live, since rlax has no masks; casim and the scan are given the mask all the same.
Before timing, all are compared with each other and with NumPy in float64 on some of the rows.
Medians, in alternating order.

    python benchmarks/time_axis.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from casim import ops

SHAPES = {
    "quick": ((16, 256), (4, 4_096)),
    "cpu": ((4_096, 4_096), (64, 65_536), (8, 1_000_000)),
    "gpu": ((4_096, 4_096), (1_024, 65_536), (64, 1_000_000)),
}
DISCOUNT, LAMBDA = 0.99, 0.95
WIDTH, PIECE = 32, 2**20
"""Steps to a block of `products`, and entries to a piece."""
ROWS_CHECKED = 4
TOLERANCE = 1e-4
"""Of differences, relative to the largest number."""


def scan(reward: jax.Array, value: jax.Array, live: jax.Array, returns: bool) -> jax.Array:
    """Step by step over all trajectories together."""

    def step(carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array, jax.Array]):
        following, later = carry
        reward_t, value_t, live_t = now
        advantage = reward_t + DISCOUNT * following - value_t + DISCOUNT * LAMBDA * later
        carry = (jnp.where(live_t, value_t, following), jnp.where(live_t, advantage, later))
        return carry, jnp.where(live_t, advantage + value_t if returns else advantage, 0.0)

    zero = jnp.zeros_like(reward[:, 0])
    xs = tuple(jnp.moveaxis(x, 1, 0) for x in (reward, value, live))
    return jnp.moveaxis(jax.lax.scan(step, (zero, zero), xs, reverse=True)[1], 0, 1)


def casim(reward: jax.Array, value: jax.Array, live: jax.Array, returns: bool) -> jax.Array:
    return (ops.lambda_returns if returns else ops.gae)(reward, value, live, DISCOUNT, LAMBDA)


def rlax(reward: jax.Array, value: jax.Array, live: jax.Array, returns: bool) -> jax.Array:
    import rlax as peer

    discount = DISCOUNT * live.astype(reward.dtype)
    value = jnp.concatenate([value, jnp.zeros_like(value[:, :1])], axis=1)
    if returns:
        return jax.vmap(peer.lambda_returns, (0, 0, 0, None))(
            reward, discount, value[:, 1:], LAMBDA
        )
    return jax.vmap(peer.truncated_generalized_advantage_estimation, (0, 0, None, 0))(
        reward, discount, LAMBDA, value
    )


def products(reward: jax.Array, value: jax.Array, live: jax.Array, returns: bool) -> jax.Array:
    """Blocks of steps times a matrix of powers of the factor, in pieces that fit in cache."""
    del live, returns
    rows, steps = reward.shape
    size = max(1, min(rows, PIECE // steps))

    def piece(out: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        at = jnp.minimum(index * size, rows - size)
        here, now = (jax.lax.dynamic_slice_in_dim(x, at, size) for x in (reward, value))
        later = jnp.pad(now[:, 1:], ((0, 0), (0, 1)))
        total = by_powers(DISCOUNT * LAMBDA, here + (DISCOUNT * later - now))
        return jax.lax.dynamic_update_slice_in_dim(out, total, at, 0), None

    return jax.lax.scan(piece, jnp.zeros_like(reward), jnp.arange(-(-rows // size)))[0]


def by_powers(factor: float, term: jax.Array) -> jax.Array:
    """x_t = factor x_{t+1} + term_t: within blocks by a product, the blocks by the same rule."""
    rows, steps = term.shape
    blocks = -(-steps // WIDTH)
    lanes = jnp.pad(term, ((0, 0), (0, blocks * WIDTH - steps))).reshape(rows * blocks, WIDTH)
    power = jnp.asarray(factor ** np.arange(WIDTH + 1), term.dtype)
    lag = jnp.arange(WIDTH)[:, None] - jnp.arange(WIDTH)[None, :]
    matrix = jnp.where(lag >= 0, power[jnp.maximum(lag, 0)], 0)
    within = jnp.matmul(lanes, matrix, precision="highest").reshape(rows, blocks, WIDTH)
    first = within[:, :, 0]
    if blocks > 1:
        first = by_powers(factor**WIDTH, first)
    following = jnp.pad(first[:, 1:], ((0, 0), (0, 1)))
    joined = within + following[:, :, None] * power[None, None, :0:-1]
    return joined.reshape(rows, blocks * WIDTH)[:, :steps]


WAYS: dict[str, Callable] = {"casim": casim, "scan": scan, "products": products}
if importlib.util.find_spec("rlax"):
    WAYS["rlax"] = rlax


def exact(reward: np.ndarray, value: np.ndarray, returns: bool) -> np.ndarray:
    """The definition, in float64."""
    out, later = np.zeros(reward.shape), np.zeros(len(reward))
    value = np.append(value.astype(float), np.zeros((len(value), 1)), axis=1)
    for t in reversed(range(reward.shape[1])):
        later = reward[:, t] + DISCOUNT * value[:, t + 1] - value[:, t] + DISCOUNT * LAMBDA * later
        out[:, t] = later
    return out + value[:, :-1] if returns else out


def seconds(program: jax.stages.Compiled, *args) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - begin


def compare(rows: int, steps: int, returns: bool, repeats: int) -> dict:
    """One row of the table."""
    keys = jax.random.split(jax.random.key(0))
    reward, value = (jax.random.normal(key, (rows, steps)) for key in keys)
    args = reward, value, jnp.ones((rows, steps), bool)
    wanted = exact(*(np.asarray(x[:ROWS_CHECKED]) for x in args[:2]), returns)
    largest = np.abs(wanted).max()
    programs, compile_s, error, first = {}, {}, {}, None
    for name, way in WAYS.items():
        if returns and name == "products":
            continue
        begin = time.perf_counter()
        programs[name] = jax.jit(functools.partial(way, returns=returns)).lower(*args).compile()
        compile_s[name] = time.perf_counter() - begin
        out = programs[name](*args)
        first = out if first is None else first
        apart = float(jnp.max(jnp.abs(out - first))) / largest
        if apart > TOLERANCE:
            raise SystemExit(f"casim and {name} differ by {apart:.1e} of the largest number")
        error[name] = float(np.abs(np.asarray(out[:ROWS_CHECKED]) - wanted).max() / largest)
        del out
    del first
    times = {name: [] for name in programs}
    for repeat in range(repeats):
        for name in list(programs)[:: 1 if repeat % 2 else -1]:
            times[name].append(seconds(programs[name], *args))
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = {name: median[name] / median["casim"] for name in programs}
    operation = "lambda-returns" if returns else "GAE"
    return {
        "operation": operation,
        "rows": rows,
        "steps": steps,
        "seconds": median,
        "ratio": ratio,
        "compile_s": compile_s,
        "error": error,
    }


def show(report: dict) -> None:
    names = ("casim", "scan", "products", "rlax")
    print(
        f"{report['device']}, JAX {report['jax']}; "
        f"ms, times casim's, compile s and error for {', '.join(names)}"
    )
    for row in report["rows"]:
        cells = [f"{row['operation']:>14} {row['rows']:6,} x {row['steps']:9,}"]
        for field, scale, form in (
            ("seconds", 1e3, "9.2f"),
            ("ratio", 1, "5.1f"),
            ("compile_s", 1, "5.2f"),
        ):
            cells.append(" ".join(_cell(row[field].get(name), scale, form) for name in names))
        cells.append(" ".join(_cell(row["error"].get(name), 1, "7.0e") for name in names))
        print(" | ".join(cells))


def _cell(value: float | None, scale: float, form: str) -> str:
    width = form.split(".")[0]
    return f"{'-':>{width}}" if value is None else f"{value * scale:{form}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, to see that it runs")
    parser.add_argument(
        "--json", metavar="FILE", type=pathlib.Path, help="also write the numbers here"
    )
    args = parser.parse_args()
    device = jax.devices()[0]
    shapes = SHAPES["quick" if args.quick else "cpu" if device.platform == "cpu" else "gpu"]
    repeats = 3 if args.quick else 9
    rows = [compare(*shape, returns, repeats) for shape in shapes for returns in (False, True)]
    report = {
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        "rows": rows,
    }
    show(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
