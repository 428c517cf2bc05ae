"""The scores that a row converges to, where something exact is known of the method.

By recursion in time at any horizon where that holds, or by listing all groups where a world is so
small that there are few. Both are of groups that share a prompt, in worlds where all start states
are one prompt and the policy acts itself.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

from casim.oracle.moments import Moments, exact_scores, group_moments
from casim.oracle.moments.paths import count_trajectories, precise
from casim.plan import Groups
from casim.programs import Method
from casim.setting import Setting

MAX_GROUPS = 100_000
"""Groups that are listed for the sake of one row."""


def expected_scores(
    method: Method,
    setting: Setting,
    groups: Groups,
) -> dict[str, float]:
    """Exact scores by the names of `Row.scores`, those that are known and defined."""
    world = setting.world
    mdp, policy = world.mdp, world.policy
    starts = np.asarray(mdp.start) > 0
    prompts = np.unique(np.asarray(mdp.prompt)[starts])
    if setting.two_policies or groups.share != "prompt" or len(prompts) > 1:
        return {}
    # What is known of branches is known where the state is restored.
    goes_back = "reset" in getattr(method, "needs", ())
    if goes_back and world.replay_noise is not None:
        return {}
    moments = _moments(method, mdp, policy, groups)
    if moments is None:
        return {}
    scores = exact_scores(mdp, policy, moments)
    return {name: x for name, x in scores.items() if math.isfinite(x)}


def _moments(
    method: Any,
    mdp: Any,
    policy: Any,
    groups: Groups,
) -> Moments | None:
    """Of a batch; None where neither way leads."""
    known = getattr(method, "recursion", None)
    # What does not hold in this world is refused: then the row may have sampled scores only.
    if known is not None:
        with contextlib.suppress(ValueError):
            found = known.moments(mdp, policy, groups.num)
            # The groups of a batch are independent.
            variance = found.gradient_variance / groups.num_prompts
            return found._replace(gradient_variance=variance)
    if getattr(method, "enumerable", False) and _are_few(mdp, policy, groups):
        with contextlib.suppress(ValueError):
            return group_moments(
                mdp,
                policy,
                method,
                groups.num,
                num_prompts=groups.num_prompts,
            )
    return None


def _are_few(
    mdp: Any,
    policy: Any,
    groups: Groups,
) -> bool:
    """Whether all batches can be listed."""
    trajectories = count_trajectories(*precise(mdp, policy))
    if trajectories > MAX_GROUPS:
        return False
    each = math.comb(trajectories + groups.num - 1, groups.num)
    return math.comb(each + groups.num_prompts - 1, groups.num_prompts) <= MAX_GROUPS
