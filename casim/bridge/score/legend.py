"""How to read the page: what each column and each verdict means, for who sees it first."""

from __future__ import annotations

from typing import NamedTuple

from casim.bridge.score.verdicts import AT_LENGTH, Report, Verdict


class Column(NamedTuple):
    """A score on the page."""

    head: str
    words: str
    right: str
    """Which number is right, and what others mean."""

    @property
    def full(self) -> str:
        """All that is said of it."""
        return f"{self.words}. {self.right}"


COLUMNS = {
    "gradient_slope": Column(
        "slope",
        "how far the mean gradient goes along the exact one",
        "1 is right; 2 is as a learning rate twice as large; below 0 it trains the opposite",
    ),
    "gradient_cosine": Column(
        "cosine",
        "of the angle between the mean gradient and the exact one",
        "1 is the right direction, however long it is; 0 is none",
    ),
    "centred_bias": Column(
        "centred bias",
        "squared error of the mean credit, over the mean square of the exact advantage; what is "
        "the same for all actions of a state is left out, since no gradient sees it",
        "0 is right, 1 is an error as large as what is to be learned",
    ),
    "variance": Column(
        "variance",
        "of the credit that one action gets in one state, over the same mean square",
        "The smaller, the fewer rollouts are needed; none is right",
    ),
}
"""By the name of the score, in the order of the page."""
ROWS = {
    "it": "the function",
    "RLOO": "beside it for scale: unbiased, so its exact slope, cosine and bias are 1, 1 and 0",
}
"""Whose scores they are; a third row is the method that it claims to be."""
SAMPLED = (
    "means over batches, with their noise: hold a row against the others, which have the same "
    "rollouts, and not against 1 or 0. Noise is taken off the bias, so it may be below 0"
)
"""Of the numbers of the study at length."""
WORDS = {
    Verdict.PASS: "as it should be, or as the method has it that the function claims to be",
    Verdict.FAIL: "wrong: it binds any function, or the claimed method keeps it. Exit status 1",
    Verdict.REMARK: "worth knowing, and nothing that was claimed. It fails nothing",
    Verdict.SKIPPED: "it could not be asked, or this trainer does not ask it",
}
"""By the verdict of a line."""


def legend(report: Report) -> dict[str, str]:
    """What a word or a head on the page means, of those that it has."""
    words = {str(verdict): said for verdict, said in WORDS.items()}
    if not any(line.numbers is not None for line in report.lines):
        return words
    words |= {column.head: column.full for column in COLUMNS.values()} | ROWS
    if report.claimed is not None and report.claimed not in words:
        words[report.claimed] = "the method that the function claims to be"
    if AT_LENGTH in report.stages:
        words[AT_LENGTH] = SAMPLED
    return words
