"""The scores that a row converges to, where something exact is known of the method.

By recursion in time at any horizon, or by listing all groups where a world is so small that there
are few. Both are of groups that share a prompt, in worlds where all start states are one prompt and
the policy acts itself.
"""

from __future__ import annotations

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
    mdp, policy = setting.world.mdp, setting.world.policy
    prompts = np.unique(np.asarray(mdp.prompt)[np.asarray(mdp.start) > 0])
    if setting.two_policies or groups.share != "prompt" or len(prompts) > 1:
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
    try:
        if known is not None:
            found = known.moments(mdp, policy, groups.num)
            # The groups of a batch are independent.
            return found._replace(gradient_variance=found.gradient_variance / groups.num_prompts)
        if getattr(method, "enumerable", False) and _are_few(mdp, policy, groups):
            return group_moments(mdp, policy, method, groups.num, num_prompts=groups.num_prompts)
    except ValueError:
        # A form that does not hold in this world: the row has sampled scores only.
        return None
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
