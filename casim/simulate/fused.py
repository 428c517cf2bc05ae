"""The fused engine: a GPU routine whose threads carry a lane each from first step to last.

State and noise live in registers; the tables are read through the caches; what is written, once,
are the two numbers of a path in their narrowest types, in stores of 16 bytes. With few long
episodes the steps are cut in blocks as in `casim.simulate.parallel`: a first routine finds the map
of every block, and writes what does not depend on its start.

Thresholds are compared as integers: n 2^-24 >= c exactly if n >= ceil(2^24 c).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jaxtyping import Array

from casim.blocks import Blocks, ceil, cut
from casim.checks import check_integer
from casim.simulate.parallel import block_starts
from casim.simulate.routines import LANES, LINE, Inputs, Shape, map_routine, path_routine
from casim.simulate.scan import Request
from casim.simulate.tables import Path, flatten, path_types

MAX_STATES = 32
"""The most states whose maps are worth a routine."""
MAX_ENTRIES = 2**31 - 1
"""Entries [episode, step] that 32-bit indices can address."""
NEVER_REACHED = 2**31 - 1


def fused_paths(
    request: Request, noisy_emission: bool, blocks: int = 1, interpret: bool = False
) -> Path:
    """Rolls out in one routine, or in two where there are several blocks.

    Args:
        request: see `Request`. What a script leaves out before its first step is undefined.
        noisy_emission: False promises that every emission row is one-hot, which saves draws.
        blocks: parts of equal length in which the steps are cut.
        interpret: runs the routines without a GPU, to test them.

    Raises:
        ValueError: several blocks of a world with too many states, or more entries than 32-bit
            indices can address.
    """
    if blocks > 1:
        check_integer("states", request.tables.terminal.shape[0], 1, MAX_STATES)
    check_integer("padded entries", padded(*request_size(request), blocks), 0, MAX_ENTRIES)
    num_steps = request.schedule.shape[0]
    lines = ceil(num_steps, blocks * LINE)
    shape = Shape(request.tables.sizes, noisy_emission, request.start.shape[0], blocks, lines)
    tables = flatten(request.tables)
    cuts = {
        name: levels_of(getattr(request.tables, name))
        for name in ("action", "transition", "observation")
    }
    whole = Blocks(num_steps, blocks, shape.length)
    script = request.script
    if script is not None and script.action is not None:
        imposed = cut(script.action, whole, axis=1, fill=-1)
        script = script._replace(action=imposed.ravel())
    inputs = Inputs(
        tables=tables._replace(**cuts),
        schedule=cut(request.schedule, whole).ravel(),
        words=request.words,
        episode=request.episode,
        state=request.start,
        script=script,
    )
    kinds = path_types(shape.sizes)
    words = [
        jax.ShapeDtypeStruct((shape.lanes * lines * LINE * kind.itemsize // 4,), jnp.uint32)
        for kind in kinds
    ]
    written = []
    if blocks > 1:
        size = jax.ShapeDtypeStruct((shape.sizes.states, shape.lanes), jnp.int32)
        found = [size, jax.ShapeDtypeStruct((shape.programs,), jnp.int32), *words]
        maps, still_open, *written = _call(
            functools.partial(map_routine, shape), found, shape, inputs, interpret
        )
        starts = block_starts(maps.reshape(-1, blocks, shape.num), request.start)
        inputs = inputs._replace(state=starts.ravel(), open=still_open)
    written = _call(
        functools.partial(path_routine, shape), words, shape, inputs, interpret, written
    )
    return Path(
        *(
            _unpack(x, kind, shape.num)[:, :num_steps]
            for x, kind in zip(written, kinds, strict=True)
        )
    )


def request_size(request: Request) -> tuple[int, int]:
    """N and T."""
    return request.start.shape[0], request.schedule.shape[0]


def padded(num: int, steps: int, blocks: int) -> int:
    """Entries [episode, step] that the routine addresses: blocks are filled up to whole lines."""
    return num * blocks * ceil(steps, blocks * LINE) * LINE


def levels_of(threshold: Array) -> tuple[Array, ...]:
    """Rows of 2^n - 1 ascending thresholds as a search tree: integers, one array per level.

    The arrays are `[nodes, columns]`.
    Nodes have 4 branches: three thresholds and one that is never reached, so that a thread reads a
    node at once. Those of the first level have 2, and one column, where n is odd. Fewer levels are
    fewer reads that wait for each other, and the first levels of all rows lie close together, which
    is what a cache likes.
    """
    rows = math.prod(threshold.shape[:-1])
    columns = threshold.shape[-1]
    on_grid = jnp.ceil(threshold * 2.0**24).astype(jnp.int32)
    cut = on_grid.reshape(rows, columns)
    size = columns + 1
    levels = []
    while size > 1:
        branches = 2 if size.bit_length() % 2 == 0 else 4
        inner = size // branches
        # The thresholds before branches 1, 2, 3 of every node; each node covers `size` outcomes
        # of its row.
        apart = jnp.pad(cut, ((0, 0), (0, 1)), constant_values=NEVER_REACHED).reshape(
            -1, branches, inner
        )
        levels.append(apart[:, : 1 if branches == 2 else 4, inner - 1])
        cut = apart.reshape(-1, inner)[:, : inner - 1]
        size = inner
    return tuple(levels)


def _unpack(words: Array, kind: np.dtype, num: int) -> Array:
    # The first in time is the lowest in the word.
    narrow = jax.lax.bitcast_convert_type(words, kind)
    return narrow.reshape(num, -1)


def _call(
    routine: functools.partial,
    out_shape: Any,
    shape: Shape,
    inputs: Inputs,
    interpret: bool,
    written: Sequence[Array] = (),
) -> Any:
    """Runs a routine `(shape, inputs, *outputs)` on as many programs as there are lanes.

    Outputs that are written in part already are given in `written`; their memory is used again.
    """
    leaves, structure = jax.tree.flatten(inputs)

    def body(*refs):
        given, outputs = refs[: len(leaves)], refs[len(leaves) :]
        own_inputs = jax.tree.unflatten(structure, given)
        routine(own_inputs, *outputs)

    call = pl.pallas_call(
        body,
        out_shape=out_shape,
        grid=(shape.programs,),
        interpret=interpret,
        input_output_aliases={len(leaves) + i: i for i in range(len(written))},
        compiler_params=None if interpret else _compiler_params(),
        name=routine.func.__name__,
    )
    return call(*leaves, *written)


def _compiler_params() -> Any:
    from jax.experimental.pallas import triton  # only where there is a GPU

    return triton.CompilerParams(num_warps=LANES // 32, num_stages=1)
