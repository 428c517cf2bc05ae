"""pytest plugin: `pytest --casim-score my_module:my_advantage` scores a function in its own CI.

A test for each line of the report of `casim score`; what failed says the smallest batch. Options
have the names of that command. casim is imported only where something is to be scored.
"""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: Any) -> None:
    """The options of `casim score`."""
    group = parser.getgroup("casim", "scores of advantage functions")
    group.addoption(
        "--casim-score",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="score a trainer's advantage function; may be given several times",
    )
    group.addoption("--casim-convention", default="verl", help="how the trainer calls it")
    group.addoption("--casim-as", default=None, metavar="METHOD", help="what it claims to be")
    group.addoption("--casim-full", action="store_true", help="also the sampled study at length")


def pytest_collection_modifyitems(
    session: pytest.Session,
    config: pytest.Config,
    items: list[pytest.Item],
) -> None:
    """Adds a test for each line of each report."""
    for place in _option(config, "--casim-score"):
        report = _report(place, config)
        for stage, lines in report.stages.items():
            for line in lines:
                name = f"casim[{place}: {stage}: {line.name}]"
                items.append(Scored.from_parent(session, name=name, line=line))


def _option(
    config: pytest.Config,
    name: str,
) -> Any:
    return config.getoption(name)


def _report(
    place: str,
    config: pytest.Config,
) -> Any:
    """What `casim score` finds of a function.

    Raises:
        pytest.UsageError: no such function, convention or method.
    """
    from casim.bridge import trainer
    from casim.bridge.score import Length, score
    from casim.cli.score import convention_of, method_of

    claimed = _option(config, "--casim-as")
    try:
        convention = convention_of(_option(config, "--casim-convention"))
        method = None if claimed is None else method_of(claimed)
        scored = trainer(place, convention)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    length = Length() if _option(config, "--casim-full") else None
    return score(scored, method, length)


class Scored(pytest.Item):
    """A line of a report as a test."""

    def __init__(
        self,
        *,
        line: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.line = line

    def runtest(self) -> None:
        """Fails, is skipped or passes, as the line did."""
        verdict = str(self.line.verdict)
        if verdict == "-":
            pytest.skip(self.line.said)
        if verdict == "FAIL":
            raise WrongError(self.line)

    def repr_failure(
        self,
        excinfo: Any,
        style: Any = None,
    ) -> Any:
        """The smallest batch, what came and what is right."""
        if not isinstance(excinfo.value, WrongError):
            return super().repr_failure(excinfo, style)
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it is: nowhere in a file."""
        return self.path, None, self.name


class WrongError(Exception):
    """A line that failed.

    Args:
        line: what was asked.
    """

    def __init__(self, line: Any) -> None:
        from casim.tables import aligned

        said = [line.said]
        if line.breach is not None and line.breach.rows is not None:
            said += [line.breach.why, aligned(line.breach.table, 0)]
        super().__init__("\n".join(said))
