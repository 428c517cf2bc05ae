"""What a task would cost, said before it is worked out."""

from __future__ import annotations

import time

from casim.tasks import Size, Task, TooLargeError

MAX_FOLLOWED = 200_000
"""(Kind of step, state, action) that are followed to learn how large a task is: about a second."""
MAX_BYTES = 10**9
"""Of a task's tables and exact values that are worked out without being asked twice."""


def check_size(task: Task, instead: str) -> None:
    """Raises `ValueError`, with what it would cost, if a task is too large to be worked out.

    Args:
        task: to be worked out.
        instead: what to choose instead, for the message.
    """
    choice = f"choose {instead}, or pass --force to try"
    started = time.perf_counter()
    try:
        size = task.size(MAX_FOLLOWED)
    except TooLargeError as error:
        seconds = time.perf_counter() - started
        raise ValueError(f"{error}, {_cost_of(error, seconds)}; {choice}") from error
    if size.num_bytes > MAX_BYTES:
        gigabytes = size.num_bytes / 10**9
        axes = f"T = {size.steps:,}, S = {size.states:,}, O = {size.observations:,}"
        raise ValueError(f"{task} takes at least {gigabytes:.3g} GB ({axes}); {choice}")


def _cost_of(error: TooLargeError, seconds: float) -> str:
    """Bytes and time, if the number of states grows on as it did."""
    growth = error.growth
    hours = seconds / 3600 * growth.expected / growth.states
    per_state = Size(growth.steps, 1, 1, 1, growth.actions, 1).num_bytes
    gigabytes = per_state * growth.expected / 10**9
    return f"more than {gigabytes:.2g} GB and {hours:.2g} hours"
