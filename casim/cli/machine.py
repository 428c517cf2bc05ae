"""What a command that measures runs on: devices, memory, and compiled programs that are kept.

JAX, which takes a second to import, is imported by what is called when something is measured.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import tyro

from casim.cli.output import console


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a study runs on.

    Attributes:
        devices: how many devices to use; all if left out.
        memory: gigabytes of each device to use; what is free if left out.
        cache: folder for compiled programs; the user's cache folder if left out, or what JAX was
            told.
        no_cache: keep no compiled programs.
        distributed: take part in a run of several processes; the first one writes and prints. JAX
            finds them by itself under Slurm, MPI and Kubernetes, else by JAX_COORDINATOR_ADDRESS
            (host:port of the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    """

    devices: int | None = None
    memory: float | None = None
    cache: Path | None = None
    no_cache: tyro.conf.FlagCreatePairsOff[bool] = False
    distributed: bool = False

    def start(self) -> None:
        """Joins the other processes, sets the cache, and lets the first process alone speak."""
        if self.distributed:
            join_processes()
        if not self.no_cache:
            keep_programs(self.cache)
        console.quiet = not self.speaks

    @property
    def speaks(self) -> bool:
        """Whether this is the process that prints and draws."""
        import jax

        return jax.process_index() == 0


def join_processes() -> None:
    """Connects the processes of one run, see `Machine.distributed`."""
    import jax

    number = os.environ.get("JAX_NUM_PROCESSES")
    index = os.environ.get("JAX_PROCESS_ID")
    jax.distributed.initialize(
        num_processes=None if number is None else int(number),
        process_id=None if index is None else int(index),
    )


def keep_programs(folder: Path | None = None) -> None:
    """Keeps compiled programs for later: in a folder, where JAX was told, or the user's cache."""
    import jax

    if folder is None and jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(folder or base / "casim"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
