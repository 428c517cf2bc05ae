"""What a task would cost, said before it is worked out."""

from __future__ import annotations

import time

from casim.tasks import Size, Task, TooLargeError

MAX_FOLLOWED = 200_000
"""(Kind of step, state, action) that are followed to learn how large a task is: about a second."""
GIGABYTE = 10**9
MAX_BYTES = GIGABYTE
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
        cost = _cost_of(error, seconds)
        told = f"{error}, {cost}"
        raise ValueError(f"{told}; {choice}") from error
    if size.num_bytes > MAX_BYTES:
        gigabytes = size.num_bytes / GIGABYTE
        steps = f"T = {size.steps:,}"
        states = f"S = {size.states:,}"
        observations = f"O = {size.observations:,}"
        axes = f"{steps}, {states}, {observations}"
        takes = f"takes at least {gigabytes:.3g} GB"
        what = f"{task} {takes}"
        raise ValueError(f"{what} ({axes}); {choice}")


def _cost_of(error: TooLargeError, seconds: float) -> str:
    """Bytes and time, if the number of states grows on as it did."""
    growth = error.growth
    more = growth.expected / growth.states
    so_far = seconds / 3600
    hours = so_far * more
    one_state = Size(growth.steps, 1, 1, 1, growth.actions, 1)
    num_bytes = one_state.num_bytes * growth.expected
    gigabytes = num_bytes / GIGABYTE
    bytes_ = f"{gigabytes:.2g} GB"
    return f"more than {bytes_} and {hours:.2g} hours"
