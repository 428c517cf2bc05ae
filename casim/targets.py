"""What credit is meant to be, as recipes; `casim.oracle.path_target` evaluates them exactly.

A recipe is a frozen dataclass that knows its settings. A setting of an estimator that changes what
is meant, and not how well it is met, belongs to its target: the floor of a logarithm does, an
estimator's own discount does not.

In maths A, Q and V are those of the policy at the discounts of the world, s_t is the latent state,
r_t the reward of the trajectory itself, discount_t the discount of step t, w(f, t) the product of
the discounts of the steps f to t - 1, and V = 0 after the end of an episode.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from typing import Literal, final

from casim.checks import check_choice, check_distinct, check_integer, check_range

UNITS = ("step", "segment", "turn", "agent", "episode")
"""Units of steps that a target may be of."""
Unit = Literal["step", "segment", "turn", "agent", "episode"]
"""One of `UNITS`."""
RUNS = ("step", "segment", "turn", "episode")
"""Units whose steps are consecutive."""
Run = Literal["step", "segment", "turn", "episode"]
"""One of `RUNS`."""


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
class HistoryAdvantage(Target):
    """How much better the action is to the agent, which knows what it observed and did.

    In maths: A(h_t, a_t) = Q(h_t, a_t) - sum_a pi(a | o_t) Q(h_t, a), Q(h, a) = E[Q_t(s_t, a) | h],
    h_t = (prompt, o_0, a_0, ..., o_t). The mean of `Advantage` given h_t and a_t is A(h_t, a_t)
    plus a number of h_t alone, which is 0 if a state always shows the same observation.

    References:
        Kaelbling, Littman and Cassandra 1998 [standard]; the relation is derived here.
    """


@final
@dataclasses.dataclass(frozen=True)
class TrajectoryAdvantage(Target):
    """What the return is expected to be after the action, less what it is from the prompt.

    In maths: sum_{u<t} w(0, u) r_u + w(0, t) Q_t(s_t, a_t) - V(prompt), the mean of V_0 over the
    start states of the prompt. It is the advantage plus a number of the prompt, the state and the
    past alone.

    References:
        Zhang 2026, arXiv:2604.09459 (the name); the formula follows from that of RLOO, Ahmadian et
        al. 2024, arXiv:2402.14740 [derived here].
    """


@final
@dataclasses.dataclass(frozen=True)
class TdError(Target):
    """How the step changed what the episode is worth, by the action and by luck.

    In maths: r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t). Its mean given the action is the
    advantage. Where the return is 0 or 1 at discount 1 it is the information gain of IGPO in its
    probability form: the change of the probability of success.

    References:
        Sutton 1988 [standard]; Wang et al. 2025, arXiv:2510.14967 (IGPO).
    """


@final
@dataclasses.dataclass(frozen=True)
class SegmentAdvantage(Target):
    """How the step's unit changed what the episode is worth, by actions and by luck.

    In maths: sum over the steps u of the unit, f the first of them, of w(f, u) times their
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

    In maths: log max(floor, r_t + discount_t V_{t+1}(s_{t+1})) - log max(floor, V_t(s_t)). Its mean
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
class HistoryGain(Target):
    """How the step changed what the episode is worth to the agent, by what it did and saw.

    In maths: r_t + discount_t V(h_{t+1}) - V(h_t), V(h_t) = sum_a pi(a | o_t) E[Q_t(s_t, a) | h_t].
    Its mean given h_t and a_t is `HistoryAdvantage`. Where the return is 0 or 1 at discount 1 it is
    the change of the probability of success given the history.

    References:
        Wang et al. 2025, arXiv:2510.14967 (IGPO, whose probability is the policy's own); values of
        histories: Kaelbling, Littman and Cassandra 1998 [standard].
    """


@final
@dataclasses.dataclass(frozen=True)
class EntropyGain(Target):
    """How much of the uncertainty about the rewards to come the step removed, in nats.

    In maths: H(Z_t | s_t) - H(Z_{t+1} | s_{t+1}), Z_t = sum_{u>=t} r_u undiscounted, whatever the
    discount of the world. Added up over an episode: H(Z_0 | s_0).

    Attributes:
        support: what Z_t can be, ascending. Where it can be something else, the target is NaN.

    Raises:
        ValueError: a support that is not ascending.

    References:
        Zhang 2026, arXiv:2604.09459 (information gain) [second-hand]; the entropy form for returns
        is that of `casim.oracle.outcome_information` [derived here].
    """

    support: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        _check_support(self.support)


@final
@dataclasses.dataclass(frozen=True)
class LatentGain(Target):
    """What the step told the agent of a hidden variable z, a class of latent states.

    In maths, with b_t(z) = P(z_t = z | h_t): probability b_{t+1}(z_{t+1}) - b_t(z_t) of the truth;
    its log form; or entropy H(b_t) - H(b_{t+1}), in nats. 0 where the episode does not go on. If z
    never changes, the log form and the entropy form have the same mean given h_t and a_t: the
    mutual information of z and the next observation.

    Attributes:
        classes: z of each state, 0, 1, ...
        form: "probability", "log" or "entropy".

    Raises:
        ValueError: no classes, a class below 0, or an unknown form.

    References:
        Wang et al. 2025, arXiv:2510.14967 (IGPO, probability form); the rest is that of
        `casim.oracle.latent_information` [derived here].
    """

    classes: tuple[int, ...]
    form: Literal["probability", "log", "entropy"] = "probability"

    def __post_init__(self) -> None:
        check_integer("number of classes", len(self.classes), 1)
        for label in self.classes:
            check_integer("classes", label, 0)
        check_choice("form", self.form, ("probability", "log", "entropy"))


@final
@dataclasses.dataclass(frozen=True)
class Soft(Target):
    """The advantage to the best policy that pays for leaving the reference policy of the world.

    In maths, with b the temperature: Q_t(s, a) = E[r_t + discount_t V_{t+1}(s')], V_t(s) = b log
    sum_a ref(a | s) exp(Q_t(s, a) / b), and Q_t - V_t = b log(pi*_t / ref) of the best policy pi*.
    As b grows it becomes the advantage of the reference. Without a reference it has no value.

    Attributes:
        temperature: b, positive, in units of reward.

    Raises:
        ValueError: a temperature out of its range.

    References:
        Rafailov et al. 2024, arXiv:2404.12358; Ziebart 2010 [standard].
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 1e-30, math.inf)


@final
@dataclasses.dataclass(frozen=True)
class Regularised(Target):
    """The advantage of the policy itself where it pays for leaving the reference policy.

    In maths, with b the temperature and l_t = log(pi(a_t | o_t) / ref(a_t | o_t)): the advantage in
    the process whose rewards are r_t - b l_t, Q_t(s_t, a_t) - b l_t - V_t(s_t), where Q_t(s, a) =
    E[r_t + discount_t V_{t+1}(s')] and V_t(s) = E[Q_t(s, a) - b l_t | s]. Summed with w(0, t) grad
    log pi it is the gradient of E[return] less b times the discounted KL(pi || ref). Without a
    reference it has no value; it is not finite where the policy does what the reference never does.

    Attributes:
        temperature: b, in units of reward, at least 0; at 0 it is `Advantage`.

    Raises:
        ValueError: a temperature out of its range.

    References:
        Yao et al. 2026, arXiv:2601.10201 (PRL: the objective); the formula is derived here.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 0.0, math.inf)


@final
@dataclasses.dataclass(frozen=True)
class Redistribution(Target):
    """The return, handed out as its expectation changes: the canonical redistribution of RUDDER.

    In maths, with g_t = sum_{u<t} w(0, u) r_u + w(0, t) Q_t(s_t, a_t) what the return is
    expected to be after the action: g_0 at the first step, then g_t - g_{t-1}, and at the last step
    also the return less g_t. Added up over an episode it is the return, exactly.

    References:
        Arjona-Medina et al. 2019, arXiv:1806.07857 (RUDDER; Q_t - Q_{t-1} for a reward at the end)
        [second-hand]; rewards on the way and discounts are derived here.
    """


@final
@dataclasses.dataclass(frozen=True)
class HindsightRatio(Target):
    """How much likelier the action looks once it is known what came of it.

    In maths: h(a | s, z) / pi(a | s) = P(Z_t = z | s, a) / P(Z_t = z | s) at (s_t, a_t), Z_t =
    sum_{u>=t} r_u undiscounted, whatever the discount of the world. For rewards that add up to 0 or
    1 it is Q / V for success and (1 - Q) / (1 - V) for failure, and 1 on forced steps.

    Attributes:
        outcome: z, one of the support; None takes what Z_t was in the trajectory itself.
        support: what Z_t can be, ascending. Where it can be something else, or z is impossible, the
            target is NaN.

    Raises:
        ValueError: a support that is not ascending, or an outcome that is not in it.

    References:
        Harutyunyan et al. 2019, arXiv:1912.02503 (HCA, return form).
    """

    outcome: float | None = None
    support: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        _check_support(self.support)
        check_choice("outcome", self.outcome, (None, *self.support))


@final
@dataclasses.dataclass(frozen=True)
class Counterfactual(Target):
    """What the actions of the step's unit earned more than a default action would have.

    In maths, f the first step of the unit: E[G_f | s_f, actions of the unit as taken] - E[G_f |
    s_f, the default action in all of it], with the policy afterwards; for single steps Q_t(s_t,
    a_t) - Q_t(s_t, null). The state before the unit is restored exactly. 0 on forced steps.

    Attributes:
        null: the default action; where there is no such action it has no value.
        unit: one of `RUNS`.

    Raises:
        ValueError: a setting out of its range.

    References:
        Wolpert and Tumer 2002 (difference rewards) [standard]; Zhang 2026, arXiv:2604.09459
        [second-hand].
    """

    null: int = 0
    unit: Run = "step"

    def __post_init__(self) -> None:
        check_integer("null", self.null, 0)
        check_choice("unit", self.unit, RUNS)


@final
@dataclasses.dataclass(frozen=True)
class FirstError(Target):
    """1 at the first step that loses something to the best play from there on, 0 elsewhere.

    In maths: t* = min{t: V*_t(s_t) - Q*_t(s_t, a_t) > margin}, with the values of the best policy
    that sees the latent state.

    Attributes:
        margin: in units of reward, at least 0; above the rounding of single precision.

    Raises:
        ValueError: a margin out of its range.

    References:
        Zhang 2026, arXiv:2604.09459 [second-hand]; Yang et al. 2026, arXiv:2601.14209 (InT: the
        first wrong step) [second-hand].
    """

    margin: float = 1e-4

    def __post_init__(self) -> None:
        check_range("margin", self.margin, 0.0, math.inf)


@final
@dataclasses.dataclass(frozen=True)
class StepError(Target):
    """1 at every step whose action is worse than the policy's average, 0 elsewhere.

    In maths: 1{A_t(s_t, a_t) < -margin}.

    Attributes:
        margin: in units of reward, at least 0; above the rounding of single precision.

    Raises:
        ValueError: a margin out of its range.

    References:
        Xie et al. 2025, arXiv:2508.02298 (CAPO: wrong steps, in the judge's words) [second-hand].
    """

    margin: float = 1e-4

    def __post_init__(self) -> None:
        check_range("margin", self.margin, 0.0, math.inf)


@final
@dataclasses.dataclass(frozen=True)
class FirstLoss(Target):
    """1 at the first step after which nothing more can be expected of the episode, 0 elsewhere.

    In maths: min{t: sum_{u<=t} r_u + V_{t+1}(s_{t+1}) <= floor}; for rewards that add up to 0 or 1
    the first step after which success has at most this probability.

    Attributes:
        floor: at least 0.

    Raises:
        ValueError: a floor out of its range.

    References:
        Luo et al. 2024, arXiv:2406.06592 (OmegaPRM: the first step with no successful completion)
        [second-hand].
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        check_range("floor", self.floor, 0.0, math.inf)


@final
@dataclasses.dataclass(frozen=True)
class Shapley(Target):
    """The Shapley value of the step's unit: what it adds to others, over all orders of joining.

    A unit that is present plays its actions as taken; one that is absent draws the policy's, or
    plays a default action. The environment's noise is averaged out.

    In maths: phi_i = sum_{S without i} |S|! (G - |S| - 1)! / G! [v(S + i) - v(S)], v(S) = E[return
    | s_0, the units in S present]. It has an exact value up to 12 units.

    Attributes:
        unit: one of `UNITS`.
        null: the default action; None draws the policy's. Where there is no such action it has no
            value.

    Raises:
        ValueError: a setting out of its range.

    References:
        Shapley 1953 [standard]; Cao et al. 2025, arXiv:2505.20417 (SCAR, whose game is of features)
        [second-hand]; the game is `casim.oracle.taken_game`.
    """

    unit: Unit = "segment"
    null: int | None = None

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        if self.null is not None:
            check_integer("null", self.null, 0)


@final
@dataclasses.dataclass(frozen=True)
class Difference(Target):
    """What is lost without the step's unit, all others being present: a leave-one-out reward.

    In maths: v(all) - v(all but i) in the game of `Shapley`. For agents it is what a team loses
    without one of them.

    Attributes:
        unit: one of `UNITS`.
        null: what an absent unit plays; None draws the policy's. Where there is no such action it
            has no value.

    Raises:
        ValueError: a setting out of its range.

    References:
        Wolpert and Tumer 2002 (difference rewards) [standard].
    """

    unit: Unit = "segment"
    null: int | None = None

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        if self.null is not None:
            check_integer("null", self.null, 0)


@final
@dataclasses.dataclass(frozen=True)
class Subgoal(Target):
    """The advantage where reaching certain states is rewarded as well.

    In maths: Q_t - V_t in the process with rewards r + weight 1{s' is a goal}. Without goals it
    stands for those that only a judge knows, and has no value.

    Attributes:
        goals: the states, distinct; where there is no such state it has no value.
        weight: of the reward for each arrival at a goal.
        alone: leaves the rewards of the task out.

    Raises:
        ValueError: a setting out of its range.

    References:
        Ng, Harada and Russell 1999 (shaping by anything but a potential changes what is best)
        [standard]; Zhang 2026, arXiv:2604.09459 (the name).
    """

    goals: tuple[int, ...] = ()
    weight: float = 1.0
    alone: bool = False

    def __post_init__(self) -> None:
        check_distinct("goals", self.goals)
        for state in self.goals:
            check_integer("goals", state, 0)
        check_range("weight", self.weight, -math.inf, math.inf)


def _check_support(support: tuple[float, ...]) -> None:
    ascending = all(low < high for low, high in itertools.pairwise(support))
    if not support or not ascending:
        raise ValueError(f"support must be ascending numbers, at least one, got {support!r}")


TARGETS: tuple[type[Target], ...] = (
    Advantage,
    HistoryAdvantage,
    TrajectoryAdvantage,
    TdError,
    SegmentAdvantage,
    LogGain,
    HistoryGain,
    EntropyGain,
    LatentGain,
    Soft,
    Regularised,
    Redistribution,
    HindsightRatio,
    Counterfactual,
    FirstError,
    StepError,
    FirstLoss,
    Shapley,
    Difference,
    Subgoal,
)
"""Every target."""
