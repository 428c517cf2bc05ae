"""`casim card`: what a method, a run or a paper states of its credit, and what it leaves out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro

from casim.checks import check_choice
from casim.cli.command import Command
from casim.cli.names import check_names, named
from casim.methods import named_methods
from casim.report import Row
from casim.storage import load
from casim.survey import cards


@dataclasses.dataclass(frozen=True)
class Card(Command):
    """Print the card of a method or of saved rows, or say what the card of a paper leaves out.

    A card has the six fields of the survey, its tier of evidence and its checklist. Of a method
    alone, what only a run can say is not reported. With --check the exit status is 1 if a required
    item is open or a statement is contradicted, so that a repository can hold its cards to it.

    Attributes:
        of: a method that `casim list methods` names, or a file of rows.
        label: of rows, those with this label; every method if left out.
        horizon: of rows, those at this value of the horizon knob.
        check: a card in Markdown or JSON: say what it leaves unreported, why that matters, and what
            command of casim would give it.
        blank: print a card to be filled in.
        format: markdown or json.
    """

    of: tyro.conf.Positional[str | None] = None
    label: str | None = None
    horizon: int | None = None
    check: Path | None = None
    blank: tyro.conf.FlagCreatePairsOff[bool] = False
    format: Literal["markdown", "json"] = "markdown"

    def run(self) -> None:
        """Prints the card, the cards, or the gaps."""
        if (self.of is not None) + (self.check is not None) + self.blank != 1:
            raise ValueError("card must be of one thing: a method, rows, --check FILE or --blank")
        if self.check is not None:
            _check(self.check)
            return
        print("\n\n".join(map(self._written, self._cards())))

    @property
    def _written(self) -> Callable[[cards.Card], str]:
        return cards.to_markdown if self.format == "markdown" else cards.to_json

    def _cards(self) -> list[cards.Card]:
        if self.of is None:
            return [cards.blank()]
        path = Path(self.of)
        if not path.is_file():
            self._check_rows_only()
            method = named("of", self.of, named_methods())
            return [cards.card_of_method(self.of, method)]
        rows = load(path)
        return [cards.card_of_row(row, rows) for row in self._chosen(rows)]

    def _check_rows_only(self) -> None:
        """Raises `ValueError` on a setting that chooses among rows."""
        for name in ("label", "horizon"):
            value = getattr(self, name)
            if value is not None:
                raise ValueError(f"{name} must be left out where no rows are read, got {value!r}")

    def _chosen(self, rows: list[Row]) -> list[Row]:
        """The rows of methods that are asked for.

        Raises:
            ValueError: there are none.
        """
        methods = [row for row in rows if row.methodology != "control"]
        if self.label is not None:
            check_names("label", [self.label], [row.label for row in methods])
            methods = [row for row in methods if row.label == self.label]
        if self.horizon is not None:
            check_choice("horizon", self.horizon, sorted({row.horizon for row in methods}))
            methods = [row for row in methods if row.horizon == self.horizon]
        if not methods:
            raise ValueError(f"{self.of} must hold rows of methods, got none")
        return methods


def _check(path: Path) -> None:
    """Prints what a card leaves out; ends with status 1 where that may not be left out."""
    card = _read(path)
    gaps = cards.check(card)
    print(cards.to_report(card, gaps))
    if any(gap.fails for gap in gaps):
        sys.exit(1)


def _read(path: Path) -> cards.Card:
    """The card in a file.

    Raises:
        ValueError: no card; the message begins with the name of the file.
    """
    try:
        return cards.read_card(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: a card must be text in UTF-8, got {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
