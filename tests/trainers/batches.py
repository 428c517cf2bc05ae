"""Batches as trainers meet them: unequal groups, unequal lengths, tokens of tools, odd rewards."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from casim.types import Batch

STEPS = 7
REWARDS = (-0.5, 0.0, 0.35, 0.35, 1.0)
"""What a rollout can earn; two of equal reward are common."""
TOOLS = 0.25
"""The share of tokens that are a tool's."""

EARLY = 0.2
"""The share of tokens that earn something of their own."""


def drawn(
    seed: int,
    sizes: Sequence[int] = (4, 2, 3, 4),
    *,
    tools: bool = True,
    equal_lengths: bool = False,
    in_between: bool = True,
    unscored: float = 0.0,
) -> Batch:
    """Rollouts in groups of these sizes, in double precision if JAX has it on.

    Args:
        seed: of all that is drawn.
        sizes: of the groups.
        tools: some tokens are a tool's, also a rollout's last.
        equal_lengths: no padding.
        in_between: some tokens before the last earn something too, a tool's among them.
        unscored: the share of rollouts of which one component of the reward is not known; of half
            as many neither is.
    """
    rng = np.random.default_rng(seed)
    num = sum(sizes)
    shape = (num, STEPS)
    length = np.full(num, STEPS) if equal_lengths else rng.integers(1, STEPS + 1, size=num)
    live = np.arange(STEPS) < length[:, None]
    mask = live & (rng.random(shape) > TOOLS * tools)
    # A rollout without any token of the policy is none.
    mask[:, 0] = True
    component = np.zeros((*shape, 2))
    last = (np.arange(num), length - 1)
    component[last] = rng.choice(REWARDS, size=(num, 2))
    early = live & (rng.random(shape) < EARLY * in_between)
    component[early, 0] += 0.125
    known = rng.random((num, 1, 2)) >= [unscored, 0.0]
    known[rng.random(num) < unscored / 2] = False
    component = np.where(known, component, np.nan)
    chance = rng.uniform(0.2, 0.9, size=shape)
    other = 1 - chance
    behaviour = np.log(chance)
    drift = rng.normal(scale=0.1, size=shape)
    prompt = np.repeat(
        np.arange(len(sizes)),
        sizes,
    )
    turn = np.cumsum(~mask, axis=1)
    return Batch.from_arrays(
        np.nansum(component, axis=-1),
        mask,
        prompt,
        live=live,
        turn=turn,
        observation=rng.integers(3, size=shape),
        action=rng.integers(2, 4, size=shape),
        component=component,
        log_prob=behaviour,
        policy_log_prob=behaviour + drift,
        reference_log_prob=behaviour + 2 * drift,
        entropy=rng.uniform(0.0, 2.0, size=shape),
        value=rng.normal(size=shape),
        reward_baseline=rng.choice(REWARDS, size=num),
        sum_pi_squared=chance**2 + other**2,
    )


def doubles(seed: int, **options) -> Batch:
    """The same in double precision."""
    with jax.enable_x64(True):
        return drawn(seed, **options)
