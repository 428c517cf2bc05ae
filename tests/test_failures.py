"""What fails, fails alone: a method, a task, for lack of memory.

What ends a run says what is kept.
"""

from __future__ import annotations

import dataclasses
import io
from typing import ClassVar, Literal

import jax.numpy as jnp
import pytest
from rich.console import Console

from casim import plan, progress, setting
from casim.devices import GIGABYTE
from casim.estimators import Estimator
from casim.estimators.base import cost
from casim.failures import Failure, Interrupted, StudyError, reason_of
from casim.methods import REINFORCE
from casim.policies import EntropyControlled, Uniform
from casim.storage import load
from casim.study import Study
from casim.targets import Advantage, Target
from casim.tasks import Bifurcation, Task, ToolChain
from casim.types import Cost, Credit

TASK = Bifurcation(horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_segments=2)


@pytest.fixture(autouse=True)
def _compiled_ahead(unhooked):
    """Ahead-of-time compilation rebuilds worlds out of shapes, which the run-time types refuse."""


@dataclasses.dataclass(frozen=True)
class Faulty(Estimator):
    """Wrong in one way."""

    fault: str
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, key, world, batch, credit, state):
        good = batch.reward
        first = jnp.zeros_like(good).at[0, 0, 0].set(1.0)
        spent, weight = cost(), credit.weight
        faults = {
            "raises": lambda: 1 / 0,
            "reward": lambda: good,
            "nothing": lambda: None,
            "no cost": lambda: Credit(good, weight, None),
            "parts": lambda: Credit({"value": good}, weight, spent),
            "weight": lambda: Credit(good, weight[..., 1:], spent),
            "nan weight": lambda: Credit(good, jnp.where(first > 0, jnp.nan, weight), spent),
            "shape": lambda: Credit(good[..., 1:], weight, spent),
            "whole": lambda: Credit(jnp.int32(good), weight, spent),
            "half": lambda: Credit(good.astype(jnp.bfloat16), weight, spent),
            "cost of steps": lambda: Credit(good, weight, spent._replace(judge_calls=good[0, 0])),
            "cost of truth": lambda: Credit(
                good, weight, spent._replace(judge_calls=good[0, 0, 0] > 0)
            ),
            "nan": lambda: Credit(jnp.where(first > 0, jnp.nan, good), weight, spent),
            "infinite": lambda: Credit(good / (1 - first), weight, spent),
            "negative": lambda: Credit(
                good, weight, spent._replace(env_steps=-1.0 * batch.live[0, 0, 0])
            ),
            "nan cost": lambda: Credit(good, weight, Cost(jnp.float32(jnp.nan), *spent[1:])),
        }
        return faults[self.fault](), state


CREDIT = "a method must return a casim.Credit(value, weight, cost)"
REASONS = {
    "raises": "ZeroDivisionError: division by zero",
    "reward": f"{CREDIT}, got an array of shape [1, 3, 5]",
    "nothing": f"{CREDIT}, got NoneType",
    "no cost": f"{CREDIT}, got a Credit without a Cost",
    "parts": "credit must be an array, got dict",
    "weight": "weight must have shape [P, N, T] = [1, 3, 5], got [1, 3, 4]",
    "nan weight": "credit must be finite, got NaN or infinity",
    "shape": "credit must have shape [P, N, T] = [1, 3, 5], got [1, 3, 4]",
    "whole": "credit must be of type float32 or float64, got int32",
    "half": "credit must be of type float32 or float64, got bfloat16",
    "cost of steps": "cost judge_calls must be a scalar, got shape [5]",
    "cost of truth": "cost judge_calls must be a real number, got type bool",
    "nan": "credit must be finite, got NaN or infinity",
    "infinite": "credit must be finite, got NaN or infinity",
    "negative": "costs must be finite and at least 0, got others",
    "nan cost": "costs must be finite and at least 0, got others",
}
WHEN_RUN = ("nan", "nan weight", "infinite", "negative", "nan cost")
"""The others are seen in shapes."""


def trial(**changes) -> Study:
    settings = {
        "name": "trial",
        "tasks": (TASK,),
        "estimators": (REINFORCE,),
        "num_trajectories": 3,
        "replicates": 10,
        "controls": ("zero",),
    }
    return Study(**(settings | changes))


def failing(study, *args, **kwargs) -> StudyError:
    with pytest.raises(StudyError) as caught:
        study.run(*args, **kwargs)
    return caught.value


@pytest.mark.slow
def test_a_faulty_method_fails_alone_and_is_named_with_the_task_and_the_reason(tmp_path):
    path = tmp_path / "rows.jsonl"
    faulty = tuple(Faulty(fault) for fault in REASONS)
    lines = []
    error = failing(trial(estimators=(REINFORCE, *faulty)), path, notify=lines.append)
    assert [row.label for row in error.rows] == ["REINFORCE", "zero"]
    assert [row.label for row in load(path)] == ["REINFORCE", "zero"]
    task = "Bifurcation(horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_segments=2)"
    wanted = [
        f"Faulty(fault={name}) on {task}, Uniform, seed 0: {why}" for name, why in REASONS.items()
    ]
    assert sorted(map(str, error.failures)) == sorted(wanted)
    head, *summary = str(error).splitlines()
    assert head == "16 of 18 rows of trial failed, the others are finished:"
    assert sorted(line.strip() for line in summary) == sorted(wanted)
    # What shapes show is said before anything is measured.
    measured = next(
        number for number, line in enumerate(lines) if line.startswith("Bifurcation at 5")
    )
    early = [name for name in REASONS if any(f"fault={name})" in line for line in lines[:measured])]
    assert set(early) == set(REASONS) - set(WHEN_RUN)
    assert "return faults[self.fault](), state" in error.tracebacks
    assert "1 / 0" in error.tracebacks


@pytest.mark.slow
def test_credit_that_is_nan_on_the_environments_own_step_fails_too():
    @dataclasses.dataclass(frozen=True)
    class Last(Faulty):
        def __call__(self, key, world, batch, credit, state):
            last = jnp.arange(batch.reward.shape[-1])[None, None, :] == 2
            return credit._replace(value=jnp.where(last, jnp.nan, batch.reward)), state

    chain = ToolChain(num_turns=1, tokens_per_turn=2, output_tokens=1)
    study = trial(tasks=(chain,), estimators=(Last("last"),), controls=(), replicates=2)
    assert [failure.reason for failure in failing(study).failures] == [REASONS["nan"]]


@dataclasses.dataclass(frozen=True)
class FaultyTask(Task):
    horizon: int = 3
    knob: ClassVar[str] = "horizon"

    def build(self):
        raise RuntimeError("no such world\nand more of it")


def test_a_faulty_task_or_policy_fails_alone_for_all_its_rows(tmp_path):
    policies = (Uniform(), EntropyControlled(pivot=5.0))
    study = trial(tasks=(FaultyTask(), TASK), policies=policies, seeds=(0, 7), controls=())
    error = failing(study, tmp_path / "rows.jsonl")
    assert [(row.task["recipe"], row.policy["recipe"]) for row in error.rows] == [
        ("Bifurcation", "Uniform")
    ] * 2
    assert [(x.method, x.task[:10], x.policy[:7], x.seeds, x.rows) for x in error.failures] == [
        ("every method", "FaultyTask", "Uniform", (0, 7), 2),
        ("every method", "FaultyTask", "Entropy", (0, 7), 2),
        ("every method", "Bifurcatio", "Entropy", (0, 7), 2),
    ]
    assert error.failures[0].reason == "RuntimeError: no such world"
    assert error.failures[2].reason.startswith("pivot must be in [0.0, 0.69")
    assert str(error.failures[0]).endswith("Uniform, seeds 0, 7: RuntimeError: no such world")


SUMS_OF_20_CELLS = 20 * (11 * plan.BYTES_PER_CELL + 3 * plan.BYTES_PER_CELL // 2)
"""Ten blocks and what is made of them, and three chunks on their way in half the precision."""


@pytest.fixture
def unsolved(monkeypatch):
    """Fails a test that solves anything."""

    def solve(*args):
        pytest.fail("solved something")

    monkeypatch.setattr(setting, "_solve", solve)


def test_sums_that_do_not_fit_the_memory_say_what_they_need_before_anything_is_solved(unsolved):
    error = failing(trial(), memory=1e-6)
    assert error.rows == []
    (failure,) = error.failures
    assert failure.rows == 2
    needed = f"{SUMS_OF_20_CELLS / GIGABYTE:.3g} GB for the sums of 20 cells (t, s, a) in 10 blocks"
    assert failure.reason == f"memory must exceed {needed}, got 1e-06 GB"


def test_a_group_that_does_not_fit_the_memory_is_not_run(unsolved):
    """The sums of 20 cells fit, with a kilobyte to spare; no group does."""
    error = failing(trial(), memory=(SUMS_OF_20_CELLS + 1000) / GIGABYTE)
    assert [failure.method for failure in error.failures] == ["REINFORCE", "zero"]
    for failure in error.failures:
        assert failure.reason.startswith("memory must exceed ")
        assert "for a single batch of 3 trajectories of 5 steps, got 1e-06 GB" in failure.reason


def test_an_interruption_is_not_contained_and_says_how_to_go_on(tmp_path):
    path = tmp_path / "rows.jsonl"

    def stop(row, new):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        trial().run(path, progress=stop)
    kept = (
        f"trial was interrupted after 1 of 2 rows; they are kept in {path}: "
        "run it again to measure the others"
    )
    assert str(caught.value) == kept
    for rows in (load(path), caught.value.rows):
        assert [row.label for row in rows] == ["REINFORCE"]
    with pytest.raises(KeyboardInterrupt, match="in `rows` of this exception, and in no file"):
        trial().run(progress=stop)


def test_an_interruption_while_a_method_is_traced_ends_the_run():
    @dataclasses.dataclass(frozen=True)
    class Slow(Faulty):
        def __call__(self, key, world, batch, credit, state):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="after 0 of 1 rows"):
        trial(estimators=(Slow("slow"),), controls=()).run()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("\n gap must be \n more"), "gap must be"),
        (ValueError(), "ValueError"),
        (RuntimeError(), "RuntimeError"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("x" * 400), "x" * 297 + "..."),
    ],
)
def test_a_reason_is_one_line(error, reason):
    assert reason_of(error) == reason


def failure() -> Failure:
    return Failure.make(ValueError("why"), "Vine", "Team", "Uniform", (0, 1), 2)


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_is_printed_where_there_is_no_terminal(capfd, shown):
    with progress.watched(shown, None, "trial", 3) as watcher:
        watcher.note("a line")
        watcher.failed(failure())
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def terminal(monkeypatch):
    """What is shown on a terminal."""
    out = io.StringIO()

    def made(stderr: Literal[True]) -> Console:
        return Console(file=out, force_terminal=True, width=200)

    monkeypatch.setattr(progress, "Console", made)
    return out


def test_a_terminal_shows_a_bar_with_notes_above_it(terminal):
    with progress.watched(True, None, "trial", 2) as watcher:
        watcher.note("[a] line")
        watcher.failed(failure())
    text = terminal.getvalue()
    assert "[a] line" in text
    assert "failed: Vine on Team, Uniform, seeds 0, 1: why" in text
    assert "100%" in text
    assert "trial" in text


def test_notes_go_to_the_callers_function_if_there_is_one(terminal):
    lines = []
    with progress.watched(True, lines.append, "trial", 2) as watcher:
        watcher.note("a line")
        watcher.failed(failure())
    assert lines == ["a line", "failed: Vine on Team, Uniform, seeds 0, 1: why"]
    assert "a line" not in terminal.getvalue()


def test_no_bar_is_shown_if_it_is_turned_off(terminal):
    with progress.watched(False, None, "trial", 2) as watcher:
        watcher.note("a line")
    assert terminal.getvalue() == ""
