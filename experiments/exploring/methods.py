"""The twelve methods of the explorer: what gives their exact moments, and what they cost."""

from __future__ import annotations

from typing import NamedTuple

from casim.oracle.moments import (
    Known,
    Normalised,
    OutcomeGroup,
    Recursion,
    StepBranches,
    gae,
    hindsight,
    judged_gain,
    peer_baseline,
    share_of_others,
    td_error,
    whole_return,
)
from exploring.known import all_advantages, blind_gae

BRANCHES = 9
"""Rollouts at each step, as VinePPO takes."""
FIDELITY = 0.9
"""Of the judge."""
LAMBDA = 0.95


class Shown(NamedTuple):
    """A method of the explorer."""

    name: str
    methodology: str
    known: Known
    said: str
    branches: int = 0
    """Rollouts that it plays at each step of each trajectory."""
    judged: bool = False
    """Whether a judge scores the prompt and every step."""

    def costs(self, steps: int, num: int) -> tuple[int, int, int]:
        """Environment steps, calls of a judge, updates of a critic: of one group of `num`.

        A rollout from step t plays steps - t steps.
        """
        played = steps * (steps + 1) // 2
        return num * self.branches * played, num * (steps + 1) * self.judged, 0


METHODS = (
    Shown(
        "REINFORCE",
        "monte_carlo",
        Recursion(whole_return()),
        "the return, on every step",
    ),
    Shown(
        "RLOO",
        "monte_carlo",
        Recursion(peer_baseline()),
        "the return, less the mean of the other rollouts of the group",
    ),
    Shown(
        "Dr. GRPO",
        "monte_carlo",
        Recursion(peer_baseline(), share_of_others),
        "the return, less the mean of the group",
    ),
    Shown(
        "GRPO",
        "monte_carlo",
        OutcomeGroup(Normalised()),
        "the return, less the mean of the group, over its deviation",
    ),
    Shown(
        f"VinePPO, K = {BRANCHES}",
        "monte_carlo",
        StepBranches(BRANCHES),
        f"the change of a value that {BRANCHES} fresh rollouts estimate at every step",
        branches=BRANCHES,
    ),
    Shown(
        "value baseline",
        "temporal_difference",
        Recursion(gae(1.0)),
        "the return, less the exact value: GAE at λ = 1 with a critic that sees what is hidden",
    ),
    Shown(
        "GAE, λ = 0.95",
        "temporal_difference",
        Recursion(gae(LAMBDA)),
        "a decaying sum of TD errors, with an exact critic that sees what is hidden",
    ),
    Shown(
        "TD error",
        "temporal_difference",
        Recursion(td_error),
        "the change of the exact value: GAE at λ = 0, with a critic that sees what is hidden",
    ),
    Shown(
        "GAE, critic that sees text",
        "temporal_difference",
        Recursion(blind_gae(LAMBDA)),
        "GAE at λ = 0.95 with the best critic of the time and the tool's output alone",
    ),
    Shown(
        "all actions",
        "model_based",
        Recursion(all_advantages),
        "the exact advantage of every action, taken or not: no luck of sampling is left",
    ),
    Shown(
        "hindsight",
        "model_based",
        Recursion(hindsight),
        "the return, times how much likelier the action is once the outcome is known (exact)",
    ),
    Shown(
        f"judge, fidelity {FIDELITY}",
        "information_theoretic",
        Recursion(judged_gain(FIDELITY)),
        "the change of what a judge of values says, who is right up to noise",
        judged=True,
    ),
)
