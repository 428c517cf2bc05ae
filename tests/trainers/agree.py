"""Whether a trainer's own function gives what the recipe of casim gives, and else where."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from casim.bridge import Convention, Trainer, trainer
from casim.bridge.score.contract import CLAIM, contract
from casim.bridge.score.exact import exact
from casim.bridge.score.verdicts import Line, Verdict
from casim.bridge.score.worlds import small_worlds
from casim.estimators import Estimator
from casim.methods import Method
from casim.types import Batch
from tests.quick import QUICK

CLOSE = 1e-5
KEY = jax.random.key(0)
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


class Case(NamedTuple):
    """A published function, and what casim says that it is."""

    function: Callable | str
    convention: Convention
    method: Method
    settings: Mapping[str, Any] = NOTHING
    uneven: bool = True
    """Whether groups may be of unequal size, and a rollout alone in its group."""

    @property
    def trainer(self) -> Trainer:
        """The function as an estimator."""
        return trainer(
            self.function,
            self.convention,
            **self.settings,
        )


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def credit_of(recipe: Estimator, batch: Batch) -> Any:
    """Value and weight of each token."""
    return recipe.credit(KEY, None, batch)


def check_agrees(
    case: Case,
    batches: Iterable[Batch],
    release: str,
) -> None:
    """Fails unless the policy's tokens get the same credit on all batches, to 1e-5.

    What fails names the trainer and its version, and shows the smallest batch that casim knows.
    """
    name = case.trainer.function.name
    for number, batch in enumerate(batches):
        found, wanted = credits_of(case, batch)
        largest = np.abs(wanted).max()
        assert largest > 0.01, "a batch on which there is nothing to see"
        gap = np.abs(found - wanted).max() / max(1.0, largest)
        if not gap <= CLOSE:
            said = f"{release}: {name} is not {case.method.name}, by {gap:.2g} in batch {number}"
            pytest.fail(
                f"{said}\n{smallest(case)}",
                pytrace=False,
            )


def credits_of(case: Case, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """What the function and the recipe give to the policy's tokens, in double precision."""
    with jax.enable_x64(True):
        decided = np.asarray(batch.decided)
        found = case.trainer.credit(KEY, None, batch)
        wanted = credit_of(case.method.recipe, batch)
        if batch.absent is not None:
            decided = decided & ~np.asarray(batch.absent)[..., None]
        return (
            np.asarray(found.value)[decided],
            np.asarray(wanted.value)[decided],
        )


def check_weighs(
    found: np.ndarray,
    recipe: Estimator,
    batch: Batch,
    said: str,
) -> None:
    """Fails unless a loss does to the policy's tokens what value x weight of a recipe says.

    Args:
        found: of each token, `[R, T]`; groups have no empty places.
        recipe: of the method.
        batch: the rollouts.
        said: the trainer, its version, and which loss.
    """
    with jax.enable_x64(True):
        decided = np.asarray(batch.decided).reshape(found.shape)
        credit = credit_of(recipe, batch)
        wanted = np.asarray(credit.value * credit.weight).reshape(found.shape)
    size = np.abs(wanted[decided]).max()
    assert size > 1e-4, "a batch on which there is nothing to see"
    error = np.where(
        decided,
        np.abs(found - wanted),
        0.0,
    )
    gap = error / size
    if not gap.max() <= CLOSE:
        worst = np.unravel_index(np.argmax(gap), gap.shape)
        row, token = worst
        where = f"row {row}, token {token}: {found[worst]:.6g} came, {wanted[worst]:.6g} is right"
        pytest.fail(
            f"{said}: {where}, by {gap.max():.2g} of the largest",
            pytrace=False,
        )


def smallest(case: Case) -> str:
    """What `casim score` has to say: the reason, and the smallest batch with its numbers."""
    lines = contract(case.trainer.called, case.method)
    (claim,) = (line for line in lines if line.name == CLAIM)
    return told(claim)


def told(line: Line) -> str:
    """A line of the contract with its batch."""
    said = f"{line.name}: {line.verdict}, {line.said}"
    table = [] if line.breach is None else line.breach.table
    rows = []
    for row in table:
        cells = [cell.rjust(8) for cell in row]
        rows.append("  ".join(cells))
    return "\n".join([said, *rows])


def check_contract(
    case: Case,
    release: str,
    expected: Mapping[str, str] = NOTHING,
) -> None:
    """Fails unless the lines that the contract fails are those that are expected.

    Args:
        case: the function.
        release: the trainer and its version.
        expected: a part of what is said, by the name of a line that is known to fail.
    """
    name = case.trainer.function.name
    lines = contract(case.trainer.called, case.method)
    failed = [line for line in lines if line.verdict == Verdict.FAIL]
    for line in failed:
        known = expected.get(line.name)
        if known is None or known not in line.said:
            pytest.fail(
                f"{release}: {name}, as {case.method.name}\n{told(line)}",
                pytrace=False,
            )
    missing = set(expected) - {line.name for line in failed}
    assert not missing, f"{release}: {name} keeps what it is known to break: {missing}"


def check_exact(case: Case, release: str) -> None:
    """Fails unless the exact moments with a tool's token between two decisions are the method's."""
    name = case.trainer.function.name
    (errand,) = (world for world in small_worlds() if "tool" in world.name)
    (line,) = exact(case.trainer, case.method, [errand])
    assert line.verdict == Verdict.PASS, f"{release}: {name}, {line.said}"
