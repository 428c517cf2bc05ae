"""The scores of one method for one seed: groups scored chunk by chunk, their sums added up."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from casim.plan import ROUNDS_AHEAD, Plan
from casim.programs import pick
from casim.scores import Blocks, Finished, NotFiniteError, Sums, finalise
from casim.setting import Setting


def add_up(
    score: Callable[[np.ndarray], Sums],
    chunk: int,
    plan: Plan,
    setting: Setting,
    seed: int,
) -> Sums:
    """The sums of all groups, per block: a round of chunks on all devices, then the next.

    Args:
        score: from the words of the keys of one chunk per device to the sums of each.
        chunk: groups in a chunk.
        plan: the blocks.
        setting: the devices.
        seed: what the groups are drawn from.
    """
    replicates = plan.num_blocks * plan.per_block
    keys = jax.random.split(jax.random.key(seed), replicates)
    words = np.asarray(jax.random.key_data(keys))
    blocks, waiting = Blocks(plan.num_blocks), []
    chunks, devices = replicates // chunk, setting.mesh.size
    for first in range(0, chunks, devices):
        # The last round may repeat its last chunk, so that every device has one.
        numbers = [min(first + device, chunks - 1) for device in range(devices)]
        parts = [words[number * chunk : (number + 1) * chunk] for number in numbers]
        sums = score(np.concatenate(parts))
        last = min(first + devices, chunks)
        for device, number in enumerate(range(first, last)):
            block = number * chunk // plan.per_block
            mine = pick(sums, device, setting.mesh)
            blocks.add(block, mine)
        # The host runs ahead of the devices, but not so far that memory fills.
        waiting.append(sums.groups)
        if len(waiting) > ROUNDS_AHEAD:
            jax.block_until_ready(waiting.pop(0))
    return blocks.sums


def finish(
    setting: Setting, sums: Sums, ratio_weighted: bool = False, profiles: tuple[str, ...] = ()
) -> Finished:
    """The scores.

    Args:
        setting: the task and its policies.
        sums: of all groups.
        ratio_weighted: whether the method's weights are ratios, see `Estimator`.
        profiles: which are wanted, of `casim.scores.PROFILES`.

    Raises:
        ValueError: credit that is not finite, or a cost that is not or is negative.
    """
    product_only = ratio_weighted and setting.two_policies
    try:
        finished = finalise(setting.world.mdp, setting.visited, sums, product_only, profiles)
    except NotFiniteError as error:
        raise ValueError("credit must be finite, got NaN or infinity") from error
    if not np.isfinite(np.asarray(sums.cost)).all():
        raise ValueError("costs must be finite and at least 0, got others")
    return finished
