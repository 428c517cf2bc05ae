"""`casim choose`: which method, by the survey's tree and by measurement."""

from __future__ import annotations

import dataclasses
import math
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tyro

from casim.cli.command import Command
from casim.cli.machine import Machine
from casim.cli.output import plain
from casim.cli.regime import of_world
from casim.cli.values import parse
from casim.report import Row
from casim.survey.choice import Answer, Interval, Ranked, choose
from casim.survey.regime import Regime, distance, read_regime
from casim.survey.shipped import PROTOCOL, SETTINGS
from casim.survey.tree import Situation
from casim.tables import aligned

QUESTIONS = {
    "setting": "reasoning, agentic or multi_agent",
    "tokens": "tokens of a chain",
    "turns": "turns of an episode",
    "agents": "agents of a team",
    "budget": "groups of 8 rollouts that can be paid for",
    "auxiliary": "may another model be trained or asked (yes or no)",
    "reset": "can the environment go back to a step (yes or no)",
    "privileged": "is the answer or the hidden state known in training (yes or no)",
}
"""What is asked of each predicate, where it is no flag."""
KNOBS = {chosen.knob: setting for setting, chosen in SETTINGS.items()}
"""What only one setting has."""
HINTS = typing.get_type_hints(Situation)
USUAL = {
    field.name: field.default
    for field in dataclasses.fields(Situation)
    if field.default is not dataclasses.MISSING
}
"""What is taken where nothing is said."""


@dataclasses.dataclass(frozen=True)
class Choose(Command):
    """Say which method to choose: what the survey's tree proposes, and what casim measures.

    Methods that are allowed are ranked by the aligned signal-to-noise ratio of the gradient that
    the budget of environment steps buys; calls of judges and updates of critics are not priced.
    Answers are from rows that come with casim, at the nearest length, or measured with --measure.

    Attributes:
        world: of `casim calibrate`: says the setting and the length, and is what --measure
            measures, in groups of as many rollouts as the log has.
        setting: what is trained; asked for, as all that follows, if left out on a terminal.
        tokens: of a chain of reasoning.
        turns: of an agent.
        agents: of a team.
        budget: groups of 8 rollouts that can be paid for, without anything extra.
        auxiliary: whether another model may be trained or asked: a critic, a judge.
        reset: whether the environment can go back to a step.
        privileged: whether the answer or the hidden state is known in training.
        measure: measure at this length instead of reading what was measured.
        out: file that keeps the rows that are measured.
        machine: what it runs on.
    """

    world: Path | None = None
    setting: Literal["reasoning", "agentic", "multi_agent"] | None = None
    tokens: int | None = None
    turns: int | None = None
    agents: int | None = None
    budget: int | None = None
    auxiliary: bool | None = None
    reset: bool | None = None
    privileged: bool | None = None
    measure: tyro.conf.FlagCreatePairsOff[bool] = False
    out: Path | None = None
    machine: tyro.conf.OmitArgPrefixes[Machine] = Machine()

    def run(self) -> None:
        """Asks what is not said, and answers."""
        if self.out is not None and not self.measure:
            raise ValueError(f"out must be left out without --measure, got {str(self.out)!r}")
        regime = None if self.world is None else read_regime(self.world)
        situation = self._situation({} if regime is None else regime.known)
        rows = self._measured(situation, regime) if self.measure else None
        if regime is not None:
            near = None if self.measure else distance(regime, situation)
            plain(of_world(regime, situation, near))
        plain(_said(choose(situation, rows), measured=self.measure))

    def _measured(
        self,
        situation: Situation,
        regime: Regime | None,
    ) -> list[Row]:
        """Rows at the situation's own length, in the user's own world if there is one."""
        # What measures takes seconds to import.
        from casim.survey.measured import measure, measure_in

        self.machine.start()
        options = {"devices": self.machine.devices, "memory": self.machine.memory}
        if regime is not None:
            return measure_in(regime, self.out, notify=plain, **options)
        return measure(situation, self.out, notify=plain, **options)

    def _situation(self, known: dict[str, Any]) -> Situation:
        """The predicates: what a world says, flags, answers on a terminal, then what is usual."""
        given = {name: getattr(self, name) for name in QUESTIONS}
        found = {name: value for name, value in given.items() if value is not None}
        for name in known:
            if name in found:
                wanted = f"{name} must be left out where --world says it"
                raise ValueError(f"{wanted}, got {found[name]}")
        found |= known
        if "setting" not in found:
            if not sys.stdin.isatty():
                raise ValueError("setting must be given where nobody can be asked, got none")
            found = _asked(found)
        for knob, setting in KNOBS.items():
            if knob in found and setting != found["setting"]:
                wanted = f"left out where the setting is not {setting}"
                raise ValueError(f"{knob} must be {wanted}, got {found[knob]}")
        return Situation(**found)


def _asked(
    found: dict[str, Any],
    ask: Callable[[str], str] = input,
) -> dict[str, Any]:
    """Answers of a person to what is not known yet; an empty one is what is usual."""
    known = dict(found)
    for name in QUESTIONS:
        elsewhere = name in KNOBS and KNOBS[name] != known.get("setting")
        if name not in known and not elsewhere:
            known[name] = _answer(name, known, ask)
    return known


def _answer(
    name: str,
    known: dict[str, Any],
    ask: Callable[[str], str],
) -> Any:
    """The answer to one question, which is asked again until there is one that can be."""
    hint, usual = HINTS[name], USUAL.get(name)
    shown = "" if usual is None else f" [{'no' if usual is False else usual}]"
    while True:
        try:
            text = ask(f"{QUESTIONS[name]}{shown}: ").strip().lower()
        except EOFError:
            raise ValueError(f"{name} must be answered, got no more answers") from None
        if not text and usual is not None:
            return usual
        try:
            value = parse(name, text, hint)
            Situation(**(known | {name: value}))
        except ValueError as error:
            plain(str(error))
        else:
            return value


def _said(answer: Answer, measured: bool) -> str:
    """The answer for people."""
    situation, leaf = answer.situation, answer.leaf
    chosen = SETTINGS[situation.setting]
    wanted = getattr(situation, chosen.knob)
    how = "measured now" if measured else f"protocol {PROTOCOL}"
    near = "" if wanted == answer.length else f", the nearest to {wanted:,}"
    length = f"{answer.length:,} {chosen.knob}{near}"
    lines = [
        f"The survey's tree: {leaf.name} ({leaf.condition})",
        f"casim, {how}: {answer.world} ({length})",
        f"Gradient SNR that the steps of {situation.budget:,} groups buy; error less the first's",
        "",
        _table(answer.ranked),
        "",
        NOTE,
        "",
        *(f"{_mark(each.proposed)}{each.label}: {each.reason}" for each in answer.refused),
        "",
        _verdict(answer),
    ]
    return "\n".join(lines)


NOTE = """\
* the leaf proposes it; ~ asks a judge, whose error is casim's choice
cost is that of a batch, in groups; verdicts are corrected for their number, intervals are not"""
UNPAID = "costs too much"
VERDICTS = {
    "agree": "Agree: {first}, the best by measurement, is one that {leaf} proposes.",
    "not told apart": "Agree within noise: {first} is not told apart from one that {leaf} has.",
    "disagree": "Disagree: {first} is better than all that {leaf} proposes and that is allowed.",
    "nothing proposed": "Nothing that {leaf} has is allowed here; {first} is the best that is.",
}


def _verdict(answer: Answer) -> str:
    """Whether both agree; and whether what is best rests on a judge."""
    first = answer.ranked[0]
    said = VERDICTS[answer.outcome].format(first=first.label, leaf=answer.leaf.name)
    plain = next((each.label for each in answer.ranked if not each.judged), None)
    if not first.judged or plain is None:
        return said
    return f"{said}\n{first.label} rests on a judge; the best that does not is {plain}."


def _table(ranked: list[Ranked]) -> str:
    interval = "95% interval"
    cells = [["", "method", "recipe", "cost", "SNR", interval, "gap", interval, "verdict"]]
    for each in ranked:
        marks = _mark(each.proposed) + ("~" if each.judged else "")
        numbers = [_number(each.cost), *_with_interval(each.snr), *_with_interval(each.gap)]
        verdict = UNPAID if math.isnan(each.snr[0]) else each.verdict
        cells.append([marks, each.label, each.name, *numbers, verdict])
    return aligned(cells, 3)


def _mark(proposed: bool) -> str:
    """A star on what the leaf proposes."""
    return "* " if proposed else "  "


def _with_interval(found: Interval) -> tuple[str, str]:
    """A number, and its interval; dashes where there is none."""
    value, low, high = found
    interval = "-" if math.isnan(low) else f"{low:.3g} to {high:.3g}"
    return _number(value), interval


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:,.3g}"
