"""A trainer's function as an estimator: everything that casim has works with it.

The function runs on the host, in NumPy or PyTorch, called back from compiled programs: one callback
for a chunk of replicates, and in it one call for each, because a function that whitens over its
batch would couple replicates that were stacked.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from casim.bridge.arrays import Arrays
from casim.bridge.conventions import Convention
from casim.bridge.function import Called, Function
from casim.bridge.rows import Rows, present, to_places
from casim.checks import check_choice
from casim.estimators import Source
from casim.estimators.base import cost

WORD = np.uint32
"""The type of half a double."""
BATCH_AXES = 3
"""P, N and T: what is before them in a callback are replicates."""


@final
@dataclasses.dataclass(frozen=True)
class Trainer(Source):
    """What a trainer's own advantage function gives to each token; weight 1 on decisions.

    The loss is another half of a method: put a part after it, as in
    `Chain(Trainer(...), OverLength("mean"))`. Values of a critic are handed over where the batch
    has some, for instance inside `JudgedValues`.

    Equal batches of a chunk are asked about once: the function is taken to draw nothing.

    Attributes:
        function: the function, `Function.of(function)`.
        convention: of its trainer.
        settings: pairs of a name and a value, handed over by name and in the trainer's config.
        arrays: what the function computes with, "numpy" or "torch"; None is found out.
        in_order: rows are handed over in an order of their contents, so that what rounding does
            depends on nothing else. It is for functions that treat rows alike and compute in single
            precision, and their exact moments.

    Raises:
        ValueError: a setting that is none.
    """

    function: Function
    convention: Convention
    settings: tuple[tuple[str, Any], ...] = ()
    arrays: Arrays | None = None
    in_order: bool = False
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "trainer"
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_choice("arrays", self.arrays, ("numpy", "torch", None))
        if not isinstance(self.function, Function):
            raise ValueError(f"function must be a Function, got {self.function!r}")
        if not isinstance(self.convention, Convention):
            raise ValueError(f"convention must be a Convention, got {self.convention!r}")

    def give(self, key, world, batch):
        fields = {name: _to_words(x) for name, x in present(batch).items()}
        words = fields["reward"]
        shape = jax.ShapeDtypeStruct(words.shape, words.dtype)
        host = functools.partial(_credit, self)
        given = jax.pure_callback(host, shape, fields, vmap_method="broadcast_all")
        value = given if given.dtype == batch.reward.dtype else _from_words(given)
        return value, cost()

    @property
    def called(self) -> Called:
        """The function under its convention."""
        return Called(
            self.function,
            self.convention,
            dict(self.settings),
            self.arrays,
        )


def trainer(function: Callable | str, convention: Convention, **settings: Any) -> Trainer:
    """The estimator of a function, or of the text `module:name` that says where one is.

    Args:
        function: the function.
        convention: of its trainer, an instance: `casim.bridge.Verl()`.
        settings: handed over by name, and in the trainer's config.
    """
    return Trainer(
        Function.of(function),
        convention,
        tuple(sorted(settings.items())),
    )


def _credit(
    estimator: Trainer,
    fields: dict[str, Any],
) -> np.ndarray:
    """What the function gives to many batches `[*replicates, P, N, T]`, each asked by itself."""
    arrays = {name: _from_host_words(np.asarray(x)) for name, x in fields.items()}
    shape = arrays["reward"].shape
    core = shape[-BATCH_AXES:]
    lead = len(shape) - BATCH_AXES
    each = {
        name: x.reshape(
            -1,
            *x.shape[lead:],
        )
        for name, x in arrays.items()
    }
    ask, known = estimator.called, {}
    out = np.zeros(shape, arrays["reward"].dtype).reshape(
        -1,
        *core,
    )
    for replicate in range(len(out)):
        one = {name: x[replicate] for name, x in each.items()}
        content = b"".join(x.tobytes() for x in one.values())
        if content not in known:
            rows = Rows.of(one)
            if estimator.in_order:
                rows = rows.taken(by_content(rows))
            known[content] = to_places(ask(rows), rows, core)
        out[replicate] = known[content]
    words = np.asarray(fields["reward"])
    return out.view(words.dtype).reshape(words.shape)


def _to_words(x: Array) -> Array:
    """Doubles as pairs of words, since JAX hands a callback singles unless its thread has doubles.

    Anything else stays as it is.
    """
    return jax.lax.bitcast_convert_type(x, WORD) if x.dtype == jnp.float64 else x


def _from_words(x: Array) -> Array:
    return jax.lax.bitcast_convert_type(x, jnp.float64)


def _from_host_words(x: np.ndarray) -> np.ndarray:
    """The opposite of `_to_words`, on the host."""
    if x.dtype != WORD:
        return x
    return np.ascontiguousarray(x).view(np.float64)[..., 0]


def by_content(rows: Rows) -> np.ndarray:
    """An order of rows by what is in them: groups stay together."""
    columns = [rows.place]
    for x in (rows.value, rows.observation, rows.mask, rows.reward, rows.live):
        if x is not None:
            columns += list(x.T)
    within = np.lexsort(columns)
    groups = [within[rows.group[within] == label] for label in np.unique(rows.group)]
    contents = [tuple(np.concatenate([rows.live[own], rows.reward[own]]).ravel()) for own in groups]
    order = sorted(
        range(len(groups)),
        key=lambda index: contents[index],
    )
    return np.concatenate([groups[index] for index in order])
