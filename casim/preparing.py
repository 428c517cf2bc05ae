"""One case before it is measured, from shapes: outlined, planned, its methods checked, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from casim.jobs import Case, Job, Sizes
from casim.plan import Plan, gigabytes
from casim.programs import Method, Program, check_method, program
from casim.scores import prepare
from casim.setting import Outline


class Prepared:
    """A case that has rows to be measured.

    Attributes:
        case: the task and the policy.
        missing: the jobs to be done.
        outline: their shapes.
        plan: how the replicates are cut up.
        failed: the methods that failed.

    Raises:
        ValueError: the sums do not fit the memory.
        Exception: whatever the task or the policy raises.
    """

    def __init__(self, case: Case, missing: list[Job], sizes: Sizes, mesh: Mesh, memory: int):
        self.case, self.missing = case, missing
        self.failed: set[Method] = set()
        self.outline = Outline.make(
            case.task,
            case.policy,
            case.judges,
            mesh,
            case.behaviour,
            case.reference,
        )
        self.plan = Plan.make(
            sizes.replicates,
            sizes.groups.trajectories,
            self.outline.num_steps,
            self.outline.num_cells,
            memory,
        )
        self._groups = sizes.groups
        self._scoring: Future[None] | None = None
        self._programs: dict[Method, Future[Program]] = {}

    @property
    def methods(self) -> list[Method]:
        """Those of the missing jobs that have not failed."""
        methods = dict.fromkeys(job.method for job in self.missing)
        return [method for method in methods if method not in self.failed]

    def jobs_of(self, methods: list[Method]) -> list[Job]:
        """The missing jobs of some methods."""
        return [job for job in self.missing if job.method in methods]

    def check(self, method: Method) -> None:
        """Traces a method and checks what it gives.

        Raises:
            Exception: see `check_method`.
        """
        check_method(method, self._groups, self.outline, self.plan.chunk)

    def compile(self, method: Method, pool: Executor) -> None:
        """Begins to compile a method, and what makes scores of its sums, if that is not begun."""
        if self._scoring is None:
            blocks = self.plan.num_blocks
            self._scoring = pool.submit(_compile_scores, self.outline, blocks)
        if method not in self._programs:
            self._programs[method] = pool.submit(
                program,
                method,
                self._groups,
                self.outline,
                self.plan.chunk,
                self.plan.memory,
            )

    def compiled(self, method: Method) -> Program:
        """Waits for the program of a method that is being compiled.

        Raises:
            ValueError: a single group of the method needs more than the memory.
        """
        if self._scoring is not None:
            self._scoring.result()
        return self._programs[method].result()

    def describe(self, programs: list[Program]) -> str:
        """How the case is measured, for people."""
        task, plan = self.outline.task, self.plan
        devices = self.outline.mesh.devices.flatten()
        kind = devices[0].device_kind
        chunks = [program.chunk for program in programs]
        smallest, largest = min(chunks), max(chunks)
        groups = f"{largest:,}" if smallest == largest else f"{smallest:,} to {largest:,}"
        needed = max(program.bytes for program in programs)
        engine = self.outline.engine(largest * self._groups.trajectories)
        parts = (
            f"{type(task).__name__} at {task.horizon:,}: ",
            f"T = {self.outline.num_steps:,}, ",
            f"{plan.num_blocks} blocks of {plan.per_block:,} groups, ",
            f"in chunks of {groups} on {len(devices)} x {kind}; ",
            f"a chunk takes up to {gigabytes(needed)} of {gigabytes(plan.memory)}; ",
            f"engine {engine.name}, {engine.blocks} blocks of steps",
        )
        return "".join(parts)


def trace_all(prepared: Prepared) -> Iterator[tuple[Method, Exception | None]]:
    """Checks the methods one by one; yields each with what is wrong with it."""
    for method in prepared.methods:
        try:
            prepared.check(method)
        except Exception as error:
            yield method, error
        else:
            yield method, None


def _compile_scores(outline: Outline, num_blocks: int) -> None:
    """Compiles what makes scores of sums, with zeros in place of what is not solved yet."""

    def zeros(shape: jax.ShapeDtypeStruct) -> Array:
        # Not by JAX, which would compile a program for each of the shapes.
        return jax.device_put(np.zeros(shape.shape, shape.dtype), shape.sharding)

    mdp = jax.tree.map(zeros, outline.world.mdp)
    truth = jax.tree.map(zeros, outline.truth)
    prepare(mdp, truth, num_blocks)
