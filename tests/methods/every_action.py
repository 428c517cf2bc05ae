"""Expectations of credit that is given to every action, in float64."""

from __future__ import annotations

import jax
import numpy as np

from casim.simulate import World
from tests import reference
from tests.enumeration import Case, Weighted, solve
from tests.quick import QUICK


def judged(one: Case, **graders) -> World:
    """The world of a case, with these judges by name."""

    def made(mdp, truth):
        return {name: grader.model(mdp, truth) for name, grader in graders.items()}

    models = jax.jit(made, compiler_options=QUICK)(one.mdp, solve(one.mdp, one.policy))
    return World.make(one.mdp, one.policy, judges=models)


def mean_in_states(
    one: Case,
    value: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """E[C_t(a) | t, s_t = s] `[T, S, A]` of credit `[N, T, A]` of all trajectories; and the visits.

    Decisions of live episodes alone.
    """
    batch, weight = one.all.batch, one.all.weight
    decided = np.asarray(one.mdp.decision)[np.asarray(one.mdp.schedule)]
    total, mass = np.zeros(one.exact.q_value.shape), np.zeros(one.exact.q_value.shape[:2])
    time = np.broadcast_to(np.arange(len(decided)), batch.state.shape)
    here = weight[:, None] * np.asarray(batch.live) * decided
    np.add.at(mass, (time, np.asarray(batch.state)), here)
    np.add.at(total, (time, np.asarray(batch.state)), here[..., None] * value)
    return total / np.where(mass > 0, mass, 1.0)[..., None], mass


def gradients(
    one: Case,
    batch: Weighted,
    value: np.ndarray,
) -> np.ndarray:
    """sum_t w_t sum_a C_t(a) grad pi(a | o_t) of every trajectory, `[N, M, O, A]`."""
    schedule = np.asarray(one.mdp.schedule)
    policy = np.asarray(one.policy, np.float64)
    out = np.zeros((len(value), *policy.shape))
    for t, m in enumerate(schedule):
        if not np.asarray(one.mdp.decision)[m]:
            continue
        seen = np.asarray(batch.batch.observation)[:, t]
        chance = policy[m, seen]
        credit = np.asarray(value, np.float64)[:, t]
        centred = credit - (chance * credit).sum(-1, keepdims=True)
        scale = reference.discounting(one.mdp)[t] * np.asarray(batch.batch.live)[:, t]
        np.add.at(out, (np.arange(len(value)), m, seen), scale[:, None] * chance * centred)
    return out


def mean_gradient(
    one: Case,
    value: np.ndarray,
) -> np.ndarray:
    """E of `gradients` over all trajectories."""
    return np.tensordot(one.all.weight, gradients(one, one.all, value), axes=1)


def gradient_variance(
    one: Case,
    value: np.ndarray,
) -> float:
    """The trace of the variance of `gradients`."""
    each = gradients(one, one.all, value)
    mean = np.tensordot(one.all.weight, each, axes=1)
    return float(np.tensordot(one.all.weight, (each - mean) ** 2, axes=1).sum())
