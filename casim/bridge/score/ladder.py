"""The ladder: contract, exact moments, a study at length; what fails on one rung stops no other."""

from __future__ import annotations

from casim.bridge.score.contract import NO_CREDIT, contract
from casim.bridge.score.exact import exact
from casim.bridge.score.sampled import Length, sampled
from casim.bridge.score.verdicts import AT_LENGTH, CONTRACT, EXACT, Line, Report, Verdict
from casim.bridge.trainer import Trainer
from casim.methods import Method


def score(
    trainer: Trainer,
    method: Method | None = None,
    length: Length | None = None,
) -> Report:
    """Asks everything of a trainer's function.

    Args:
        trainer: the function under its convention.
        method: the published method that it claims to be; None claims nothing.
        length: of the sampled study; None leaves it out.
    """
    lines = contract(trainer.called, method)
    stages = {CONTRACT: lines}
    # What gives no credit at all has no moments, and says why once.
    if any(line.said == NO_CREDIT for line in lines):
        stages[EXACT] = [Line("all worlds", Verdict.SKIPPED, NO_CREDIT)]
    else:
        stages[EXACT] = exact(trainer, method)
        if length is not None:
            stages[AT_LENGTH] = sampled(trainer, method, length)
    return Report(
        function=trainer.function.place,
        convention=trainer.convention.trainer,
        claimed=None if method is None else method.name,
        stages=stages,
    )
