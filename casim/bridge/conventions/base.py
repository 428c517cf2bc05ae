"""Convention: what one trainer hands to an advantage function, and what it takes back."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float

from casim.bridge.arrays import taken_back
from casim.bridge.errors import ShapeError
from casim.bridge.rows import Rows


class Config(dict):
    """Settings of a trainer: `config.get(name)`, `config[name]` and `config.name` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


@dataclasses.dataclass(frozen=True)
class Convention(abc.ABC):
    """How one trainer calls an advantage function.

    Class attributes:
        name: what the command line calls it.
        trainer: name and version that it was read in.
        positional: arguments that are passed by place, in this order; all others by name.
        always: arguments that a function with `**kwargs` is handed.
        equal_groups: whether all groups have one size there.
        side: where padding is, "right" or "left"; None where rows have none.
        zero_on: which tokens its loss expects to be 0: those outside the "mask" of the policy, or
            those that are not "live"; None where it spreads or cuts them itself.
        reads: fields of `Rows`, beyond rewards, masks and groups, that the arrays may hold.
        writes: names in the handed arguments that the function is meant to write.
    """

    name: ClassVar[str]
    trainer: ClassVar[str]
    positional: ClassVar[tuple[str, ...]] = ()
    always: ClassVar[tuple[str, ...]] = ()
    equal_groups: ClassVar[bool] = False
    side: ClassVar[str | None] = "right"
    zero_on: ClassVar[Literal["mask", "live"] | None] = None
    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        """All that the trainer can hand over, by name; NumPy arrays.

        Args:
            rows: the batch.
            settings: what the user set, which is handed over by name as well.

        Raises:
            ValueError: a batch that this trainer cannot hold.
        """

    @abc.abstractmethod
    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ) -> Float[np.ndarray, "R T"]:
        """What the function gave to each token.

        Args:
            answer: what it returned.
            offered: what it was handed, with what it wrote into it.
            rows: the batch.

        Raises:
            FunctionError: no advantages of the right shape.
        """


def first_of(answer: Any) -> Any:
    """The advantages of `(advantages, returns)`, or what was returned alone."""
    return answer[0] if isinstance(answer, tuple) and answer else answer


def of_shape(
    value: Any,
    shapes: Sequence[tuple[int, ...]],
    axes: str,
) -> np.ndarray:
    """An array of one of the shapes.

    Raises:
        ShapeError: it has another.
    """
    found = taken_back(value)
    if found.shape not in shapes:
        raise ShapeError(
            f"{axes} = {' or '.join(map(str, shapes))}",
            found.shape,
        )
    return found


def to_left(
    x: Any,
    live: Bool[np.ndarray, "R T"],
) -> Any:
    """Tokens `[R, T, ...]` moved so that the padding of each row is before them; None stays."""
    return None if x is None else x[_rolled(live, 1)]


def from_left(
    x: np.ndarray,
    live: Bool[np.ndarray, "R T"],
) -> np.ndarray:
    """The opposite of `to_left`."""
    return x[_rolled(live, -1)]


def _rolled(
    live: Bool[np.ndarray, "R T"],
    sign: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Where each token of the moved rows comes from."""
    num, steps = live.shape
    empty = steps - live.sum(axis=1, keepdims=True)
    column = (np.arange(steps)[None, :] - sign * empty) % steps
    return np.arange(num)[:, None], column


def known(offered: dict[str, Any]) -> dict[str, Any]:
    """What is there: entries that are None are not handed over."""
    return {name: x for name, x in offered.items() if x is not None}
