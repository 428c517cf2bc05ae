"""The answers of lesson 2: variance and horizon."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import numpy as np

import casim
from casim.oracle import solve
from casim.oracle.moments import (
    Moments,
    exact_scores,
    peer_baseline,
    recursion_moments,
    value_baseline,
)
from casim.oracle.moments.forms import Form
from casim.oracle.units import variance_parts
from casim.teaching import Answer, Lesson

GOOD, RIGHT, PIVOT, GROUP = 0, 0, 4, 8
SHORT, MIDDLE, LONG = 16, 256, 4096
TASK = casim.Bifurcation(horizon=SHORT, pivots=(PIVOT,), gap=0.6, base=0.5, num_segments=1)


@functools.cache
def _world(horizon: int) -> tuple[casim.MDP, jax.Array]:
    """The chain at a horizon, and the coin flip's table in it."""
    mdp = TASK.with_horizon(horizon).build()
    return mdp, casim.Uniform().table(mdp)


@functools.cache
def _moments(
    horizon: int,
    form: Form,
    tied: bool = True,
) -> Moments:
    """The exact moments of a form on groups."""
    mdp, policy = _world(horizon)
    return recursion_moments(mdp, policy, form, num=GROUP, tied=tied)


RLOO = peer_baseline()


def _snr(horizon: int, form: Form) -> float:
    """The exact signal-to-noise ratio of a group's gradient."""
    mdp, policy = _world(horizon)
    return exact_scores(mdp, policy, _moments(horizon, form))["snr_aligned"]


def variance_of_credit() -> Answer:
    """2.1: the variance of RLOO's credit at the first step."""
    variance = _moments(SHORT, RLOO).variance[0, GOOD, RIGHT]
    own = _moments(SHORT, value_baseline).variance[0, GOOD, RIGHT]
    near = {
        "that is the variance of the outcome; the mean of the others varies, too": own,
        "that is a deviation; its square is asked for": variance**0.5,
        "the mean of 7 others has a seventh of the variance of one, not as much as one": 2 * own,
        "independent noises add up, also where one is subtracted": 2 * own - variance,
        "the others are 7, and not 8": own * (1 + 1 / GROUP),
    }
    return Answer(variance, near, "Add up two variances: of R, and of a mean of seven.")


def signal() -> dict[str, Answer]:
    """2.2: the exact gradient at the pivot."""
    mdp, policy = _world(SHORT)
    truth = solve(mdp, policy)
    gradient = np.asarray(truth.gradient)
    part = gradient.max()
    advantage = float(truth.advantage[PIVOT, GOOD, RIGHT])
    of_part = {
        "that is the advantage: how often is the action taken?": advantage,
        "that is the gap between the actions": 2 * advantage,
        "pi counts once: the gradient of a softmax in its own logit is pi (A - mean of A)": part
        / 2,
    }
    square = float(np.sum(gradient**2))
    of_square = {
        "that is one of the two logits": square / 2,
        "that is the length: its square is asked for": square**0.5,
        "a square is never 0: the two parts have opposite signs, their squares don't": 0.0,
    }
    return {
        "in the logit of action 0": Answer(part, of_part),
        "squared length": Answer(square, of_square),
    }


def noise() -> Answer:
    """2.3: the variance that the first step adds to the gradient, which has no signal."""
    per_step = _moments(SHORT, RLOO, tied=False).gradient_variance[0].sum()
    near = {
        "that is for one episode: a gradient is the mean over 8": per_step * GROUP,
        "that is one of the two logits": per_step / 2,
        "|z|^2 is one half, and not one": 2 * per_step,
        "that is a deviation: the variance is asked for": per_step**0.5,
    }
    return Answer(per_step, near, "E[c^2] times |z|^2 over N.", tolerance=2e-4)


def law() -> Answer:
    """2.4: the signal-to-noise ratio as a function of the length."""
    lengths = np.array([MIDDLE, LONG])
    exact = np.array([_snr(MIDDLE, RLOO), _snr(LONG, RLOO)])
    mdp, policy = _world(SHORT)
    length_of_signal = np.linalg.norm(solve(mdp, policy).gradient)
    near = {
        "that is noise over signal, the other way round": 1 / exact,
        "that does not depend on the length, and every step adds noise": exact * lengths,
        "noises of independent steps add up in the variance, not in the deviation": exact
        * lengths**0.5,
        "that has the length of the signal: the ratio has its square": exact / length_of_signal,
    }
    hint = "Signal over noise; every step adds the same noise. (At 256 and at 4,096 tokens.)"
    tolerance = 0.05 * float(exact[1])
    return Answer(exact, near, hint, tolerance, of=lambda snr: [snr(MIDDLE), snr(LONG)])


def groups_needed() -> Answer:
    """2.5: how many groups must be averaged for a ratio of 1."""
    groups = 1 / _snr(LONG, RLOO)
    near = {
        "those are episodes; a group has 8 of them": GROUP * groups,
        "a mean of K groups has a K-th of the variance, so K times the ratio, not its root": groups
        ** 2,
        "that is the ratio of one group: how many make it 1?": 1 / groups,
    }
    return Answer(groups, near, "K groups have K times the ratio of one.", tolerance=0.01 * groups)


def share_of_the_pivot() -> Answer:
    """2.6: the share of the outcome's variance that the pivot decides."""
    mdp, policy = _world(SHORT)
    parts = variance_parts(mdp, solve(mdp, policy))
    decided, luck = float(parts.skill.sum()), float(parts.luck.sum())
    total = decided + luck
    near = {
        "that is the other part: the luck of being verified": luck / total,
        "that is the variance itself: what share of all of it?": decided,
        "a share of the deviations; variances add up, deviations don't": (decided / total) ** 0.5,
        "luck has a part: even after the pivot the outcome is not known": 1.0,
    }
    return Answer(decided / total, near, "Var(V after the pivot) over Var(R).")


def perfect_baseline() -> Answer:
    """2.7: how the ratio falls with the length where V is known exactly."""
    factor = _snr(SHORT, value_baseline) / _snr(MIDDLE, value_baseline)
    power = np.log(factor) / np.log(MIDDLE / SHORT)
    laws = {"not at all": 0.0, "like 1/sqrt(T)": 0.5, "like 1/T": 1.0, "like 1/T^2": 2.0}
    exact = min(laws, key=lambda law: abs(laws[law] - power))
    words = {
        "not at all": "V takes the offset away, and R - V is still noise at every step",
        "like 1/sqrt(T)": "that is how a deviation would fall; the ratio has a variance",
        "like 1/T": "the noise is smaller at every step: is it there at fewer of them?",
        "like 1/T^2": "the noise of a step does not grow with the length",
    }
    return Answer(exact, {words[law]: law for law in laws if law != exact})


LESSON = Lesson(
    number=2,
    title="Variance and horizon: why long is hard",
    minutes=60,
    goals=(
        "derive the law by which the signal-to-noise ratio falls with the length of an answer",
        "say how many episodes a gradient needs at a length, before training anything",
        "tell the variance that the policy decides from luck",
        "say what a better baseline can repair, and what it cannot",
    ),
    needs="lesson 1; variances of sums, the gradient of a softmax",
    source=Path(__file__).parent / "sources" / "02_variance_and_horizon.py",
    questions={
        "2.1": variance_of_credit,
        "2.2": signal,
        "2.3": noise,
        "2.4": law,
        "2.5": groups_needed,
        "2.6": share_of_the_pivot,
        "2.7": perfect_baseline,
    },
)
