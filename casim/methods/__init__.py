"""Published methods as named recipes: what they are made of, and what is known of them."""

from casim.methods.groups import (
    DR_GRPO,
    ENTROPY_80_20,
    GIGPO,
    GRPO,
    REINFORCE,
    REINFORCE_PP,
    REWARD_TO_GO,
    RLOO,
)
from casim.methods.mechanisms import (
    GAE,
    GAE_NETWORK,
    GAE_TD,
    HINDSIGHT_RETURN,
    HINDSIGHT_STATE,
    IGPO,
    IGPO_LOG,
    PROCESS_SUM,
    PURE_OPENRLHF,
    PURE_VERL,
    SCAR,
    VINEPPO,
    VINEPPO_STEP,
)
from casim.methods.method import STATUSES, Claim, Method, recipe_of

METHODS: tuple[Method, ...] = (
    REINFORCE,
    REWARD_TO_GO,
    GRPO,
    DR_GRPO,
    RLOO,
    REINFORCE_PP,
    GIGPO,
    ENTROPY_80_20,
    VINEPPO,
    VINEPPO_STEP,
    GAE,
    GAE_TD,
    GAE_NETWORK,
    HINDSIGHT_RETURN,
    HINDSIGHT_STATE,
    PURE_OPENRLHF,
    PURE_VERL,
    PROCESS_SUM,
    SCAR,
    IGPO,
    IGPO_LOG,
)
"""Every method: contract tests, `casim list` and the docs are made from this."""


def named_methods() -> dict[str, Method]:
    """Every method by the name that it has in this module, in the order of `METHODS`."""
    names = {id(value): name for name, value in globals().items() if isinstance(value, Method)}
    return {names[id(method)]: method for method in METHODS}


__all__ = [
    "DR_GRPO",
    "ENTROPY_80_20",
    "GAE",
    "GAE_NETWORK",
    "GAE_TD",
    "GIGPO",
    "GRPO",
    "HINDSIGHT_RETURN",
    "HINDSIGHT_STATE",
    "IGPO",
    "IGPO_LOG",
    "METHODS",
    "PROCESS_SUM",
    "PURE_OPENRLHF",
    "PURE_VERL",
    "REINFORCE",
    "REINFORCE_PP",
    "REWARD_TO_GO",
    "RLOO",
    "SCAR",
    "STATUSES",
    "VINEPPO",
    "VINEPPO_STEP",
    "Claim",
    "Method",
    "named_methods",
    "recipe_of",
]
