"""`casim run protocol`: the benchmark protocol, measured into a directory that explains itself."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from casim.cli.machine import Machine
from casim.cli.measured import Measured
from casim.cli.output import save
from casim.estimators import Estimator
from casim.failures import StudyError
from casim.methods import Method, recipe_of
from casim.protocol.metadata import Metadata, metadata
from casim.protocol.page import to_leaderboard, to_report
from casim.protocol.pictures import figures
from casim.protocol.results import Results, gather
from casim.protocol.suite import Suite, full, quick
from casim.report import Row
from casim.survey import cards

PROTOCOL = "protocol"
"""What is typed in place of a file."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One run of the protocol.

    Attributes:
        suite: what is measured.
        own: methods beside those of the suite.
        folder: for everything that is written.
        machine: what it runs on.
        fresh: whether what is in the file of rows is put aside.
    """

    suite: Suite
    own: tuple[Estimator | Method, ...]
    folder: Path
    machine: Machine
    fresh: bool

    @classmethod
    def of(
        cls,
        small: bool,
        methods: Sequence[str],
        folder: Path,
        machine: Machine,
        fresh: bool,
    ) -> Benchmark:
        """What the command line asks for.

        Raises:
            ValueError: a method that is none.
        """
        suite = quick() if small else full()
        own = tuple(map(read_method, methods))
        return cls(suite, own, folder, machine, fresh)

    def run(self) -> None:
        """Measures what is missing, and writes rows, cards, figures, report and leaderboard.

        Raises:
            StudyError: some rows could not be measured; the others are written.
        """
        studies = self.suite.studies(self.own)
        path = self.folder / "rows.jsonl"
        measured = Measured(path, self.machine, self.fresh)
        rows = [row for study in studies for row in measured.run(study)]
        if self.machine.speaks and rows:
            self._write(gather(self.suite, rows))
            print(f"rows:   {path}, {len(measured.new)} of them new")
        if measured.failures:
            raise StudyError(self.suite.name, rows, measured.failures)

    def _write(self, results: Results) -> None:
        facts = self._facts(results)
        pages = {"report.md": to_report(results, facts), "leaderboard.md": to_leaderboard(results)}
        for name, text in pages.items():
            path = self.folder / name
            path.write_text(text, encoding="utf-8")
            print(f"page:   {path}")
        self._write_cards(results)
        for name, figure in figures(results).items():
            save(figure, self.folder / f"{name}.png")

    def _facts(self, results: Results) -> dict[str, Metadata]:
        measured = [world for world in self.suite.worlds if world.name in results.worlds]
        return {world.name: metadata(world.task, world.policy) for world in measured}

    def _write_cards(self, results: Results) -> None:
        """A card for each method in each world."""
        folder = self.folder / "cards"
        number = 0
        for (world, label), result in results.cells.items():
            if results.is_control(label):
                continue
            beside = [row for cell in _of_world(results, world) for row in cell]
            card = cards.card_of_row(result.row, beside)
            path = folder / file_name(world) / f"{file_name(label)}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(cards.to_markdown(card) + "\n", encoding="utf-8")
            number += 1
        print(f"cards:  {folder}, {number}")


def _of_world(results: Results, world: str) -> list[tuple[Row, ...]]:
    return [found.rows for (name, _), found in results.cells.items() if name == world]


def file_name(text: str) -> str:
    """A name for a file: what is no letter, digit or sign of one becomes an underscore."""
    told = text.replace("+", "plus").replace(" -", " minus")
    return re.sub(r"[^\w.-]+", "_", told).strip("_")


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """The folder is the first place to import from, as if a file there were run by Python."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def read_method(text: str) -> Estimator | Method:
    """A method from `module:RECIPE`.

    Raises:
        ValueError: another form, a module that cannot be imported, a name that it lacks, or
            something that is neither a `casim.methods.Method` nor an estimator.
    """
    module, colon, name = text.partition(":")
    if not (colon and module and name):
        raise ValueError(f"method must be module:RECIPE, got {text!r}")
    try:
        with _importing_from(Path.cwd()):
            found = importlib.import_module(module)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"method must be in a module that can be imported: {said}") from error
    if not hasattr(found, name):
        raise ValueError(f"method must be a name in {module}, got {name!r}")
    recipe = getattr(found, name)
    if isinstance(recipe, type) or not isinstance(recipe_of(recipe), Estimator):
        wanted = "a casim.methods.Method or an estimator, an instance"
        raise ValueError(f"method {text} must be {wanted}, got {recipe!r}")
    return recipe
