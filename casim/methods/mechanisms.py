"""Methods that are one mechanism: hindsight, judges.

References:
    See each method and the part that it is made of.
"""

from __future__ import annotations

from casim.estimators import (
    Hindsight,
    ProcessReward,
)
from casim.methods.method import Method

__all__ = [
    "HINDSIGHT_RETURN",
    "HINDSIGHT_STATE",
    "PROCESS_SUM",
    "PURE_OPENRLHF",
    "PURE_OPENRLHF_STEP",
    "PURE_VERL",
]

HINDSIGHT_RETURN = Method(
    name="return-conditional hindsight",
    recipe=Hindsight("return"),
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
)
"""Taken-action form, counted on fresh rollouts."""

HINDSIGHT_STATE = Method(
    name="state-conditional hindsight",
    recipe=Hindsight("state"),
    reference="Harutyunyan et al. 2019",
    arxiv="1912.02503",
    status="analogue",
)
"""The taken-action form with the last observation is casim's: the paper credits all actions."""

PURE_OPENRLHF = Method(
    name="PURE, OpenRLHF branch",
    recipe=ProcessReward("min", baseline="per_token"),
    reference="Cheng et al. 2025",
    arxiv="2504.15275",
    number=8,
    stands_for="a judge of set fidelity scores the steps",
)
"""Soft minimum of step scores, less (the others' score per token) x (tokens of the step).

w_i r_i with w = softmax(-r / .1) over the scored tokens, less the baseline, then added up from each
token on; in a log rewards are scores. So the published scripts run it (`reward_baseline=token`).
"""

PURE_OPENRLHF_STEP = Method(
    name="PURE, OpenRLHF branch per step",
    recipe=ProcessReward("min", baseline="per_step"),
    reference="Cheng et al. 2025",
    arxiv="2504.15275",
    stands_for="a judge of set fidelity scores the steps",
)
"""The same less the mean over the others of their mean w r, `reward_baseline=step`."""

PURE_VERL = Method(
    name="PURE, verl branch",
    recipe=ProcessReward("min", baseline="constant"),
    reference="Cheng et al. 2025",
    arxiv="2504.15275",
    stands_for="a judge of set fidelity scores the steps",
)
"""Soft minimum of step scores, less the others' mean return."""

PROCESS_SUM = Method(
    name="sum of process rewards",
    recipe=ProcessReward("sum"),
    reference="Cheng et al. 2025",
    arxiv="2504.15275",
    stands_for="a judge of set fidelity scores the steps",
)
"""The form that PURE is compared with."""
