"""The grid of the explorer: exact numbers of all methods at every point, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from casim.oracle.moments import Moments, exact_scores, precise, precise_truth
from exploring.knobs import KNOBS, PAIRS, POLICY, TOKENS, Place, group_at, places, task_at
from exploring.methods import METHODS

SCORES = ("bias", "centred_bias", "variance", "snr_aligned")
COSTS = ("env_steps", "judge_calls", "critic_updates")
EPISODES = 150
"""Trajectories among which a won and a lost one are looked for."""
SEED = 3
DIGITS, STEP_DIGITS = 5, 3
"""Digits that are kept, of scores and of the credit of steps."""
CALL = 1
"""The place of a call in its turn."""


class Path(NamedTuple):
    """A trajectory."""

    state: np.ndarray
    """Of each step, [T], and after the last, so [T + 1]."""
    action: np.ndarray
    won: bool


def grid(
    tell: Callable[[str], None] = lambda _: None,
    every: Sequence[Place] = tuple(places()),
) -> dict[str, Any]:
    """Points, with what the knobs and the methods are.

    Args:
        tell: called with a line for each point.
        every: the points; the page needs all of them.
    """
    points = {}
    for number, place in enumerate(every, start=1):
        points[name_of(place)] = point(place)
        tell(f"{number} of {len(every)}: {name_of(place)}")
    return {
        "knobs": [knob._asdict() for knob in KNOBS],
        "pairs": [list(pair) for pair in PAIRS],
        "methods": [
            {"name": shown.name, "methodology": shown.methodology, "said": shown.said}
            for shown in METHODS
        ],
        "scores": list(SCORES),
        "costs": list(COSTS),
        "tokens": TOKENS,
        "points": points,
    }


def to_json(found: dict[str, Any]) -> str:
    """A grid as it is kept: a line for each point, so that what changes can be seen."""
    text = json.dumps(found, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace('},"', '},\n"') + "\n"


def name_of(place: Place) -> str:
    """A point as a key of JSON."""
    return ",".join(map(str, place))


def point(place: Place) -> dict[str, Any]:
    """What is exact at a point."""
    task, num = task_at(place), group_at(place)
    mdp = task.build()
    policy = POLICY.table(mdp)
    truth = precise_truth(mdp, policy)
    process, table = precise(mdp, policy)
    steps = len(process.schedule)
    size = np.abs(truth.advantage)
    decides = size.max(axis=(1, 2)) > 0
    success = float(truth.value[0] @ process.start)
    moments, scores, costs = [], [], []
    for shown in METHODS:
        found = shown.known.moments(mdp, policy, num)
        exact = exact_scores(mdp, policy, found)
        moments.append(found)
        scores.append([kept(exact[name], DIGITS) for name in SCORES])
        costs.append(list(shown.costs(steps, num)))
    hidden = np.array(task.states())
    drawn = chosen(paths(process, table, EPISODES), decides)
    return {
        "success": kept(success, DIGITS),
        "decides": _flags(decides[CALL::TOKENS]),
        "scores": scores,
        "costs": costs,
        "episodes": [_episode(path, moments, truth, hidden) for path in drawn],
    }


def _deviation(found: Moments) -> np.ndarray:
    """Of the credit in each cell; what is below 0 is rounding."""
    variance = np.maximum(found.variance, 0.0)
    return np.sqrt(variance)


def _flags(x: np.ndarray) -> list[int]:
    """Truths as 1 and 0, which are shorter."""
    return x.astype(int).tolist()


def paths(
    mdp: Any,
    policy: np.ndarray,
    number: int,
) -> list[Path]:
    """Trajectories, by the same uniforms at every point, so that they change little."""
    steps = len(mdp.schedule)
    longest = TOKENS * int(max(KNOBS[0].values))
    uniform = np.random.default_rng(SEED).random((number, longest + 1, 3))
    return [_path(mdp, policy, uniform[each], steps) for each in range(number)]


def _path(mdp: Any, policy: np.ndarray, uniform: np.ndarray, steps: int) -> Path:
    state = _drawn(mdp.start, uniform[-1, 0])
    states, actions = [state], []
    paid = 0.0
    for t, kernel in enumerate(mdp.schedule[:steps]):
        seen = _drawn(mdp.emission[kernel, state], uniform[t, 0])
        action = _drawn(policy[kernel, seen], uniform[t, 1])
        outcome = _drawn(mdp.prob[kernel, state, action], uniform[t, 2])
        paid += mdp.reward[kernel, state, action, outcome]
        state = int(mdp.successor[kernel, state, action, outcome])
        states.append(state)
        actions.append(action)
    return Path(np.array(states), np.array(actions), paid > 0)


def _drawn(chance: np.ndarray, uniform: float) -> int:
    """The entry that a uniform number falls into."""
    total = np.cumsum(chance)
    place = np.searchsorted(total, uniform * total[-1], side="right")
    return int(min(place, np.flatnonzero(chance)[-1]))


def chosen(
    found: list[Path],
    decides: np.ndarray,
) -> list[Path]:
    """A won trajectory and a lost one; if possible with right and wrong calls that count."""
    picked = []
    for won in (True, False):
        own = [path for path in found if path.won == won]
        told = [path for path in own if len(set(path.action[decides].tolist())) > 1]
        picked += (told or own)[:1]
    return picked


def _episode(
    path: Path,
    moments: list[Moments],
    truth: Any,
    hidden: np.ndarray,
) -> dict[str, Any]:
    """A trajectory, its exact advantages, and the credit that methods give it on average.

    Steps of the tool have none: the policy decides nothing there.
    """
    steps = np.arange(len(path.action))
    cell = (steps, path.state[:-1], path.action)
    mode, told, broken, *_ = hidden[path.state].T
    right = path.action == mode[:-1]
    known = (told == mode)[:-1]
    decided = moments[0].probability[cell] > 0

    def along(x: np.ndarray) -> list[float | None]:
        """A table `[T, S, A]` along the trajectory; nothing where nothing is decided."""
        numbers = np.where(decided, x[cell], np.nan)
        return [kept(float(each), STEP_DIGITS) for each in numbers]

    return {
        "won": bool(path.won),
        "right": _flags(right[CALL::TOKENS]),
        "told": _flags(known[CALL::TOKENS]),
        "broken": _flags(broken[1:]),
        "truth": along(truth.advantage),
        "mean": [along(each.expectation) for each in moments],
        "spread": [along(_deviation(each)) for each in moments],
    }


def kept(x: float, digits: int) -> float | None:
    """A number of so many digits; rounding is 0, and what is not finite is missing."""
    if not math.isfinite(x):
        return None
    if abs(x) < ROUNDING:
        return 0
    rounded = float(f"{x:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded


ROUNDING = 1e-7
"""Numbers below this are 0 but for rounding: policies are tables in single precision."""
