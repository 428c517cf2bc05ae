"""What the benchmarks share: compile, time in turns, read the memory, print device and JSON."""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

BURST = 5
"""Calls in a row of one timing on an accelerator."""


def compiled(function: Callable, *args: Any) -> tuple[jax.stages.Compiled, float]:
    """The function compiled for these arguments, and how long that took in seconds."""
    begin = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    return program, time.perf_counter() - begin


def seconds(program: Callable, *args: Any) -> float:
    """One run, to the end."""
    begin = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - begin


def in_a_row(call: Callable[[], Any], number: int) -> Any:
    """The result of the last of several calls, none of which waits for the one before."""
    result = None
    for _ in range(number):
        result = call()
    return result


def medians(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, timed in turns so that all meet the same load.

    On an accelerator a time is that of several calls queued behind each other, as in a program that
    does not wait for each: waiting costs 0.3 ms on some machines.
    """
    burst = 1 if jax.default_backend() == "cpu" else BURST
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(in_a_row, call, burst) / burst)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_host_gib() -> float:
    """Peak memory of the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peak_device_gib() -> float | None:
    """Peak memory of the accelerator so far; None on a CPU."""
    stats = jax.devices()[0].memory_stats()
    return None if stats is None else stats["peak_bytes_in_use"] / 2**30


def arguments(description: str) -> argparse.Namespace:
    """--quick and --json, which every benchmark has."""
    parser = argparse.ArgumentParser(description=description.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="small shapes, to see that it runs")
    parser.add_argument(
        "--json", metavar="FILE", type=pathlib.Path, help="also write the numbers here"
    )
    return parser.parse_args()


def device() -> dict[str, str]:
    """Device and version, for the report."""
    first = jax.devices()[0]
    return {"device": f"{first.platform}: {first.device_kind}", "jax": jax.__version__}


def write(report: dict[str, Any], file: pathlib.Path | None) -> None:
    """The report as JSON, if a file was asked for."""
    if file:
        file.write_text(json.dumps(report, indent=2) + "\n")
