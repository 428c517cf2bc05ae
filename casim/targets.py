"""What credit is meant to be, as recipes; `casim.oracle.path_target` evaluates them exactly.

A recipe is a frozen dataclass that knows its settings. A setting of an estimator that changes what
is meant, and not how well it is met, belongs to its target: the floor of a logarithm does, an
estimator's own discount does not.

In maths A, Q and V are those of the policy at the discount of the world, s_t is the latent state,
r_t the reward of the trajectory itself, and V = 0 after the end of an episode.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Literal, final

from casim.checks import check_choice, check_range

UNITS = ("step", "segment", "turn", "agent", "episode")
"""Units of steps that a target may be of."""
Unit = Literal["step", "segment", "turn", "agent", "episode"]
"""One of `UNITS`."""


@dataclasses.dataclass(frozen=True)
class Target(abc.ABC):  # noqa: B024 (what a recipe is worth is the oracle's to say)
    """One meaning of credit.

    Subclasses are final frozen dataclasses; fields are settings, checked when set.
    """


@final
@dataclasses.dataclass(frozen=True)
class Advantage(Target):
    """How much better the action is than the policy's average, where everybody plays on as before.

    In maths: A_t(s_t, a_t) = Q_t(s_t, a_t) - V_t(s_t), of the latent state.

    References:
        Sutton and Barto 2018, chapter 13 [standard].
    """


@final
@dataclasses.dataclass(frozen=True)
class TrajectoryAdvantage(Target):
    """What the return is expected to be after the action, less the policy's expected return.

    In maths: sum_{u<t} discount^u r_u + discount^t Q_t(s_t, a_t) - J. It is the advantage plus a
    number of the state and the past alone.

    References:
        Zhang 2026, arXiv:2604.09459 (the name); the formula follows from that of RLOO, Ahmadian et
        al. 2024, arXiv:2402.14740 [derived here].
    """


@final
@dataclasses.dataclass(frozen=True)
class TdError(Target):
    """How the step changed what the episode is worth, by the action and by luck.

    In maths: r_t + discount V_{t+1}(s_{t+1}) - V_t(s_t). Its mean given the action is the
    advantage. Where the return is 0 or 1 at discount 1 it is the information gain of IGPO in its
    probability form: the change of the probability of success.

    References:
        Sutton 1988 [standard]; Wang et al. 2025, arXiv:2510.14967 (IGPO).
    """


@final
@dataclasses.dataclass(frozen=True)
class SegmentAdvantage(Target):
    """How the step's unit changed what the episode is worth, by actions and by luck.

    In maths: sum over the steps u of the unit, f the first of them, of discount^(u-f) times their
    TD errors: for a run of steps the value at its end, with the rewards on the way, less the value
    at its start.

    Attributes:
        unit: one of `UNITS`; the steps of an agent need not be consecutive.

    Raises:
        ValueError: an unknown unit.

    References:
        Guo et al. 2025, arXiv:2505.23564 (SPO, segments); discounting to the first step is derived
        here.
    """

    unit: Unit = "segment"

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)


@final
@dataclasses.dataclass(frozen=True)
class LogGain(Target):
    """How the step changed the logarithm of the probability of success.

    In maths: log max(floor, r_t + discount V_{t+1}(s_{t+1})) - log max(floor, V_t(s_t)). Its mean
    under the policy is at most 0 (Jensen).

    Attributes:
        floor: the smallest probability inside the logarithm, in (0, 1).

    Raises:
        ValueError: a floor out of its range.

    References:
        Zhang 2026, arXiv:2604.09459: the survey's reading of IGPO [second-hand].
    """

    floor: float = 1e-2

    def __post_init__(self) -> None:
        check_range("floor", self.floor, 1e-12, 1 - 1e-12)


@final
@dataclasses.dataclass(frozen=True)
class Shapley(Target):
    """The Shapley value of the step's segment.

    A segment that is present plays its actions as taken, an absent one draws the policy's.

    In maths: phi_i = sum_{S without i} |S|! (G - |S| - 1)! / G! [v(S + i) - v(S)], with v(S) the
    expected return from the start state if the segments in S are present. It has an exact value up
    to 12 segments.

    References:
        Shapley 1953 [standard]; the game is that of `casim.oracle.taken_game`.
    """


@final
@dataclasses.dataclass(frozen=True)
class Subgoal(Target):
    """Progress to goals that only a judge knows. It has no exact value.

    References:
        Zhang 2026, arXiv:2604.09459 (the name).
    """


TARGETS: tuple[type[Target], ...] = (
    Advantage,
    TrajectoryAdvantage,
    TdError,
    SegmentAdvantage,
    LogGain,
    Shapley,
    Subgoal,
)
"""Every target."""
