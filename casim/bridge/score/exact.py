"""The second stage: exact moments of the function on small worlds, beside those of methods.

All batches of two groups of four rollouts are listed with their probabilities (of one group, where
there are too many), the function is called on each, and its expected gradient is compared with the
exact one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from casim.bridge.errors import FunctionError
from casim.bridge.function import Called
from casim.bridge.score.asked import OfFunction, is_parted
from casim.bridge.score.legend import COLUMNS
from casim.bridge.score.samples import halved
from casim.bridge.score.verdicts import Breach, Line, Verdict, number
from casim.bridge.score.worlds import Small, small_worlds
from casim.bridge.trainer import Trainer
from casim.methods import RLOO, Method
from casim.oracle import solve
from casim.oracle.moments import Moments, exact_scores, group_moments, precise, precise_truth
from casim.simulate import World
from casim.types import Batch, Credit

NUM = 4
"""Rollouts of a group."""
FEW = 6_000
"""Batches of two groups that are listed; where there are more, those of one group are."""
MANY = 60_000
"""Batches of one group."""
LEAST_COSINE = 0.8
"""Below it a function that claims nothing is wrong.

A choice: GRPO, the most biased of the trainers' methods here, has 0.94.
"""
SAME = 1e-5
"""Scores that differ by less are those of the method."""
BY_PLACE = "its credit depends on the order of rows: batches cannot be listed"
OF_POLICY = ("values", "old_log_probs", "sum_pi_squared", "reward_baselines", "anchor_obs")
"""Arguments that hold more of a trajectory than its rewards."""


@dataclasses.dataclass(frozen=True)
class _WithMore:
    """A rule on batches that hold what a trainer knows of the policy: exact values, and the like.

    Attributes:
        rule: an estimator or a published method.
        parted: the reward has two components, see `halved`.
    """

    rule: Any
    parted: bool = False

    def credit(
        self,
        key: Any,
        world: World,
        batch: Batch,
    ) -> Credit:
        """The credit of a batch, by a critic that is exact and by components of the reward."""
        time = jnp.broadcast_to(
            jnp.arange(batch.reward.shape[-1]),
            batch.reward.shape,
        )
        value = solve(world.mdp, world.policy).value[:-1]
        greedy = world.greedy()
        best = solve(world.mdp, greedy.policy).value[0]
        known = batch._replace(
            value=jnp.where(
                batch.live,
                value[time, batch.state],
                0.0,
            ),
            sum_pi_squared=jnp.sum(world.probability(batch) ** 2, axis=-1),
            policy_log_prob=world.policy_log_prob(batch),
            reward_baseline=best[batch.state[..., 0]],
            component=jnp.stack(halved(batch.reward), axis=-1) if self.parted else None,
        )
        return self.rule.credit(key, world, known)


class Found(NamedTuple):
    """What is exact of someone in a world."""

    moments: Moments
    scores: dict[str, float]


def exact(
    trainer: Trainer,
    method: Method | None,
    worlds: Sequence[Small] | None = None,
) -> list[Line]:
    """A line for each small world.

    Args:
        trainer: the function.
        method: what it claims to be, or None.
        worlds: in which; None is all.
    """
    chosen = small_worlds() if worlds is None else worlds
    return [_line(trainer, method, world) for world in chosen]


def _line(
    trainer: Trainer,
    method: Method | None,
    world: Small,
) -> Line:
    """The function in one world, beside RLOO and the method."""
    # Rounding in single precision depends on the order of rows, and moments must not.
    ordered = dataclasses.replace(trainer, in_order=True)
    asked = OfFunction(trainer.called, is_parted(trainer.called, method))
    others = {"RLOO": RLOO} | ({} if method is None else {method.name: method})
    try:
        mine, prompts = _moments(ordered, asked, world)
        beside = {name: _of_prompts(other, asked, world, prompts) for name, other in others.items()}
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        unlike = "treat members alike" in str(error)
        said = BY_PLACE if unlike else last_line(error)
        return Line(world.name, Verdict.SKIPPED, said)
    numbers = {who: _scores(world, found) for who, found in {"it": mine, **beside}.items()}
    groups = f"{prompts} {'prompt' if prompts == 1 else 'prompts'} x {NUM} rollouts"
    if method is None:
        wanted = None
        verdict, said = _alone(numbers["it"])
    else:
        wanted = beside[method.name]
        verdict, said = _compared(
            numbers["it"],
            numbers[method.name],
            method.name,
        )
    breach = None
    if verdict == Verdict.FAIL:
        breach = _worst_cell(world, mine, wanted, said)
    return Line(
        world.name,
        verdict,
        f"{said}; {groups}",
        breach,
        numbers,
    )


def _alone(scores: dict[str, float]) -> tuple[Verdict, str]:
    """What the cosine says of a function that claims nothing."""
    cosine = scores["gradient_cosine"]
    if cosine >= 1 - SAME:
        return Verdict.PASS, "the expected gradient points along the exact one"
    if cosine >= LEAST_COSINE:
        return Verdict.PASS, "the expected gradient is biased, as those of published methods are"
    return Verdict.FAIL, f"the expected gradient has cosine {number(cosine)} with the exact one"


def _compared(
    mine: dict[str, float],
    wanted: dict[str, float],
    name: str,
) -> tuple[Verdict, str]:
    """Whether all scores are those of the method."""
    for score in COLUMNS:
        one, other = mine[score], wanted[score]
        both_missing = not np.isfinite(one) and not np.isfinite(other)
        if not both_missing and not abs(one - other) <= SAME * max(1.0, abs(other)):
            said = f"{COLUMNS[score].head} is {number(one)}, and that of {name} {number(other)}"
            return Verdict.FAIL, said
    return Verdict.PASS, f"exactly as {name}"


def _moments(
    rule: Any,
    asked: OfFunction,
    world: Small,
) -> tuple[Moments, int]:
    """Exact moments, and of how many groups a batch is."""
    try:
        return _of_prompts(rule, asked, world, 2), 2
    except ValueError as error:
        if "number of groups" not in str(error):
            raise
    return _of_prompts(rule, asked, world, 1), 1


def _of_prompts(
    rule: Any,
    asked: OfFunction,
    world: Small,
    prompts: int,
) -> Moments:
    view = _view(asked.called, world)
    if asked.parted or any(map(asked.called.is_handed, OF_POLICY)):
        rule = _WithMore(rule, asked.parted)
    limit = FEW if prompts > 1 else MANY
    mdp, policy = world.mdp, world.policy
    return group_moments(mdp, policy, rule, NUM, view, limit, num_prompts=prompts)


def _view(
    called: Called,
    world: Small,
) -> Any:
    """What of a trajectory the function is handed: its rewards and length, and what it names."""
    takes = [name for name in OF_POLICY if called.is_handed(name)]
    value = precise_truth(world.mdp, world.policy).value[:-1]
    _, policy = precise(world.mdp, world.policy)

    def view(batch: Any) -> np.ndarray:
        time = np.broadcast_to(
            np.arange(batch.reward.shape[1]),
            batch.reward.shape,
        )
        columns = [batch.reward, batch.live]
        if "values" in takes:
            columns.append(
                np.where(
                    batch.live,
                    value[time, batch.state],
                    0.0,
                )
            )
        if "anchor_obs" in takes or "reward_baselines" in takes:
            columns.append(np.where(batch.live, batch.observation, -1))
        if "old_log_probs" in takes or "sum_pi_squared" in takes:
            columns.append(batch.log_prob)
            energy = (policy[time, batch.observation] ** 2).sum(axis=-1)
            columns.append(np.where(batch.live, energy, 0.0))
        return np.concatenate(
            [np.asarray(x, float) for x in columns],
            axis=1,
        )

    return view


def _scores(
    world: Small,
    moments: Moments,
) -> dict[str, float]:
    found = exact_scores(world.mdp, world.policy, moments)
    return {name: found[name] for name in COLUMNS}


def _worst_cell(
    world: Small,
    mine: Moments,
    claimed: Moments | None,
    said: str,
) -> Breach:
    """The step, state and action whose expected credit is furthest off, in words.

    It is off from what the claimed method gives there, or without one from the advantage.
    """
    if claimed is None:
        right = precise_truth(world.mdp, world.policy).advantage
        whose = "the advantage is"
    else:
        right = claimed.expectation
        whose = "right are"
    met = mine.probability > 0
    error = np.where(
        met,
        np.abs(mine.expectation - right),
        0.0,
    )
    cell = np.unravel_index(np.argmax(error), error.shape)
    step, state, action = (int(index) for index in cell)
    came = number(mine.expectation[cell])
    where = f"step {step}, state {state}, action {action}"
    told = f"at {where} it gives {came} on average, {whose} {number(right[cell])}"
    return Breach.in_words(f"{said}; {told}")


def last_line(error: Exception) -> str:
    """What an error says, without where in the code."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    found = lines[-1] if lines else type(error).__name__
    kind = FunctionError.__module__
    return found.rpartition("Error: ")[2] if kind in found else found
