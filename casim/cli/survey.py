"""`casim survey`: the inventory of the survey, filtered, in the format that is wanted."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

from casim import survey
from casim.cli.command import Command


@dataclasses.dataclass(frozen=True)
class Survey(Command):
    """Print the inventory of the survey: its 47 methods, and what came later.

    Attributes:
        words: words that all occur in a record, whatever their case.
        granularity: the unit that receives credit: token, segment, step, turn, trajectory or
            multi_agent.
        methodology: the family: monte_carlo, temporal_difference, model_based, game_theoretic or
            information_theoretic.
        kind: core, enabler or later.
        regime: reasoning, agentic or multi_agent.
        evidence: S (strong), L (limited) or A (analysis).
        compute: low, medium or high.
        simulated: only those with a recipe in `casim list methods`, or only those without.
        corrected: only those of which a public source is wrong, or only the others.
        format: markdown, csv, json, bibtex or latex; csv and json have every field.
    """

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    granularity: str | None = None
    methodology: str | None = None
    kind: str | None = None
    regime: str | None = None
    evidence: str | None = None
    compute: str | None = None
    simulated: bool | None = None
    corrected: bool | None = None
    format: Literal["markdown", "csv", "json", "bibtex", "latex"] = "markdown"

    def run(self) -> None:
        """Filters and prints."""
        records = survey.methods(
            granularity=self.granularity,
            methodology=self.methodology,
            kind=self.kind,
            regime=self.regime,
            evidence=self.evidence,
            compute=self.compute,
            simulated=self.simulated,
            corrected=self.corrected,
            text=" ".join(self.words),
        )
        if not records:
            raise ValueError("filters must keep at least one record, got none")
        print(survey.FORMATS[self.format](records).rstrip("\n"))
