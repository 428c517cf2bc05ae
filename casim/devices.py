"""The devices of a study: how many, how much memory they have, how arrays are placed on them.

A study runs on a mesh with one axis, "group": what is exact is on every device, groups are spread
over them. The same code runs on one device, on several of one process, and on those of several
processes (`jax.distributed.initialize`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from casim.checks import check_integer

GROUP = "group"
"""The axis of the mesh."""
EVERYWHERE, SPREAD = PartitionSpec(), PartitionSpec(GROUP)
"""A copy on every device, or the leading axis cut into one part for each."""
MEMORY = "CASIM_MEMORY"
"""Environment variable: gigabytes of each device that casim may use."""
GIGABYTE = 10**9

T = TypeVar("T")


def mesh_of(num_devices: int | None = None) -> Mesh:
    """A mesh of the first devices, all of them if no number is given.

    Raises:
        ValueError: more devices than there are, or not all of them where several processes must
            take part.
    """
    devices = jax.devices()
    num = len(devices) if num_devices is None else num_devices
    check_integer("devices", num, 1, len(devices))
    if jax.process_count() > 1 and num != len(devices):
        raise ValueError(
            f"devices must be all {len(devices)} of the {jax.process_count()} processes, got {num}"
        )
    return Mesh(np.array(devices[:num]), (GROUP,))


def replicate(tree: T, mesh: Mesh) -> T:
    """The same arrays on every device of the mesh. Every process must hold the same values."""
    sharding = NamedSharding(mesh, EVERYWHERE)
    if not mesh.is_multi_process:
        return jax.device_put(tree, sharding)

    def put(x: Array) -> Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def spread(x: np.ndarray, mesh: Mesh) -> Array:
    """An array whose leading axis is cut into one part for each device."""
    return jax.make_array_from_callback(
        x.shape, NamedSharding(mesh, SPREAD), lambda index: x[index]
    )


def on_each(function: Callable, mesh: Mesh, given: tuple[PartitionSpec, ...]) -> Callable:
    """Runs a function on every device by itself; what it returns is spread.

    Routines inside are never cut up by the compiler, so they see on many devices what they see on
    one.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=given, out_specs=SPREAD, check_vma=False)


def specify(tree: Any, mesh: Mesh) -> Any:
    """Shapes of arrays, marked as spread, to compile for."""
    sharding = NamedSharding(mesh, SPREAD)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def on_first(action: Callable[[], None]) -> None:
    """Does something on the first process while the others wait; if it fails there, all fail.

    Raises:
        ValueError, OSError: what the action raised; a `ValueError` on the other processes.
    """
    problem: ValueError | OSError | None = None
    if jax.process_index() == 0:
        try:
            action()
        except (ValueError, OSError) as error:
            problem = error
    if jax.process_count() > 1:
        failed = multihost_utils.broadcast_one_to_all(np.int32(problem is not None))
        if failed and problem is None:
            problem = ValueError("the first process could not go on; its message says why")
    if problem is not None:
        raise problem


def memory_at_hand(gigabytes: float | None = None) -> int:
    """Bytes that may be used on each device; with several processes, the smallest of theirs.

    In order: the argument, the environment variable `CASIM_MEMORY` (both in gigabytes), or what is
    free now. What is free is rounded down to a power of two, so that a study chooses the same sizes
    again; the memory of a host is shared evenly by its CPU devices.

    Raises:
        ValueError: a number of gigabytes that is not positive and finite.
    """
    given, name = (
        (gigabytes, "memory") if gigabytes is not None else (os.environ.get(MEMORY), MEMORY)
    )
    if given is not None:
        try:
            asked = float(given)
        except ValueError:
            asked = math.nan
        if not 0 < asked < math.inf:
            raise ValueError(f"{name} must be a positive number of gigabytes, got {given!r}")
        return _smallest(int(asked * GIGABYTE))
    least = min(map(_free, jax.local_devices()))
    power = int(math.log2(least))
    return _smallest(2**power)


def _smallest(number: int) -> int:
    """Over all processes."""
    if jax.process_count() == 1:
        return number
    # Halves, because JAX would round 64 bits to 32.
    parts = np.array(divmod(number, 2**30), np.int32)
    high, low = min(map(tuple, np.asarray(multihost_utils.process_allgather(parts)).tolist()))
    return high * 2**30 + low


def _free(device) -> int:
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats:
        return max(stats["bytes_limit"] - stats["bytes_in_use"], 1)
    return _host_memory() // jax.local_device_count()


def _host_memory() -> int:
    """Bytes that the host has free."""
    path = Path("/proc/meminfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
