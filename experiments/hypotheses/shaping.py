"""Reward that is given on the way: what adds up to the return, and what can be farmed.

In maths, work of K parts that come one by one within T steps; an action goes on, which succeeds
with probability p, or takes a part back. The return is 1 if all is there at the end. A reward on
the way F(s, s') leaves the best policy alone where its sum along a trajectory is a constant, or is
the return already: for any values W with W = R after the end,

    sum_t (W_{t+1}(s_{t+1}) - W_t(s_t)) = R - W_0(s_0).

Rewards that are paid for gains alone have no such sum. The best policy of each reward is found by
recursion over time, and its chance of success with it: the least of all best policies.

References:
    Ng, Harada & Russell 1999 (shaping by potentials); Arjona-Medina et al. 2019, arXiv:1806.07857
    (RUDDER). The task and its thresholds are casim's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hypotheses.found import Claim, Found, Numbers, Panel, curve, verdict

PARTS, STEPS = 4, 12
GOES = 0.6
"""p."""
ON, BACK = range(2)
BONUSES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of a part, in returns."""
ERROR = 1.0
"""Deviation of values that are wrong."""
TIE = 1e-12
"""Values that differ by less are the same."""

States = Float[np.ndarray, " S"]
Values = Float[np.ndarray, "T+1 S"]
Moves = Float[np.ndarray, "A S S"]
Rewards = Float[np.ndarray, "T S S"]


class Work(NamedTuple):
    """A task."""

    parts: int = PARTS
    steps: int = STEPS

    @property
    def moves(self) -> Moves:
        """P(s' | s, a)."""
        states = self.parts + 1
        found = np.zeros((2, states, states))
        for state in range(states):
            more = min(state + 1, self.parts)
            less = max(state - 1, 0)
            found[ON, state, more] += GOES
            found[ON, state, state] += 1 - GOES
            found[BACK, state, less] += 1
        return found

    @property
    def done(self) -> States:
        """R after the end."""
        found = np.zeros(self.parts + 1)
        found[-1] = 1.0
        return found


class Best(NamedTuple):
    """What a reward leads to."""

    value: float
    success: float
    """The least over all best policies."""


def best(work: Work, reward: Rewards) -> Best:
    """The best policy of what is paid on the way, and how often it succeeds."""
    value = np.zeros(work.parts + 1)
    success = work.done
    for step in reversed(range(work.steps)):
        later = work.moves * (reward[step] + value)
        q_value = later.sum(axis=2)
        ends = work.moves @ success
        value = q_value.max(axis=0)
        is_best = q_value >= value - TIE
        among = np.where(is_best, ends, np.inf)
        success = among.min(axis=0)
    return Best(
        value=float(value[0]),
        success=float(success[0]),
    )


def outcome(work: Work) -> Rewards:
    """The return at the last step, and nothing before."""
    states = work.parts + 1
    reward = np.zeros((work.steps, states, states))
    reward[-1] = work.done
    return reward


def differences(work: Work, value: Values) -> Rewards:
    """W_{t+1}(s') - W_t(s), R after the end: a return, given out on the way."""
    whole = np.concatenate([value[:-1], work.done[None]])
    later = whole[1:, None, :]
    earlier = whole[:-1, :, None]
    return later - earlier


def gains(reward: Rewards) -> Rewards:
    """What is gained, and never what is lost."""
    return np.maximum(reward, 0.0)


def first_values(work: Work) -> Values:
    """V of the policy that takes either action with probability 1/2."""
    moves = work.moves.mean(axis=0)
    rows = [work.done]
    for _ in range(work.steps):
        rows.append(moves @ rows[-1])
    rows.reverse()
    return np.array(rows)


def wrong_values(work: Work) -> Values:
    """Values that have nothing to do with the task."""
    shape = work.steps + 1, work.parts + 1
    random = np.random.default_rng(0)
    return ERROR * random.normal(size=shape)


def progress(work: Work, bonus: float) -> Rewards:
    """A bonus for each part, and its loss for one that is taken back."""
    part = np.arange(work.parts + 1.0)
    gained = part - part[:, None]
    shape = (work.steps, *gained.shape)
    return np.broadcast_to(bonus * gained, shape)


def charged(work: Work, bonus: float) -> Rewards:
    """Progress that is taken back at the end, whatever is there then."""
    reward = progress(work, bonus).copy()
    part = np.arange(work.parts + 1.0)
    reward[-1] -= bonus * part
    return outcome(work) + reward


def free(work: Work, bonus: float) -> Rewards:
    gained = gains(progress(work, bonus))
    return outcome(work) + gained


def shares(work: Work, bonus: float) -> Rewards:
    """The outcome, and as many times the gains of a redistributed return."""
    given = differences(work, first_values(work))
    return outcome(work) + bonus * gains(given)


Paid = Callable[[Work, float], Rewards]
"""Rewards of a task, with a bonus."""

ARMS: dict[str, tuple[str, Paid]] = {
    "free": ("bonus for each part", free),
    "shares": ("gains of the value alone", shares),
    "charged": ("bonus, taken back with the part", charged),
}


def least_bonus(work: Work, paid: Paid) -> float:
    """From which on success is lost, by halving intervals; below 1 return."""
    kept = best(work, outcome(work)).success
    low, high = 0.0, 1.0
    while high - low > TIE:
        middle = (low + high) / 2
        reached = best(work, paid(work, middle)).success
        if reached < kept - TIE:
            high = middle
        else:
            low = middle
    return high


def shaping(_: bool) -> Found:
    """H30: success of the best policy under each reward."""
    work = Work()
    kept = best(work, outcome(work)).success
    numbers: Numbers = {"outcome": kept}
    lost = []
    values = {"right": first_values(work), "wrong": wrong_values(work)}
    for name, value in values.items():
        whole = differences(work, value)
        numbers[name] = best(work, whole).success
        without_losses = gains(whole)
        numbers[f"{name}_gains"] = best(work, without_losses).success
        lost.append(kept - numbers[name])
    curves = []
    for name, (called, paid) in ARMS.items():
        rewards = [paid(work, bonus) for bonus in BONUSES]
        reached = [best(work, reward).success for reward in rewards]
        numbers[f"{name}_most"] = reached[-1]
        curves.append(curve(called, BONUSES, reached))
    numbers["least_free"] = least_bonus(work, free)
    numbers["least_shares"] = least_bonus(work, shares)
    panel = Panel(
        title="success of what is best under a reward",
        x="bonus, in returns",
        y="success",
        curves=curves,
    )
    moved = kept - numbers["free_most"] > TIE
    safe = max(lost) <= TIE
    answer = verdict(holds=safe and moved, fails=not safe)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="redistribution",
        hypothesis="H30",
        says="a return that is redistributed leaves the best policy alone; free dense rewards do "
        "not",
        answer="On work of 4 parts in 12 steps the best policy succeeds with {outcome:.4f}, and "
        "so it does where the return is given out by differences of values, be they right "
        "({right:.4f}) or random numbers ({wrong:.4f}); with a bonus of 1 for each part it takes "
        "parts back to earn them again and succeeds with {free_most:.4f}, with a bonus from "
        "{least_free:.4f} on less than before",
        flips="the sum, and not the values: the same differences without their losses lead to "
        "{right_gains:.4f} and {wrong_gains:.4f}, and a bonus that is taken back with its part "
        "to {charged_most:.4f}",
        exact=True,
        measure=shaping,
    ),
)
