"""What can be wrong with a function of a trainer when it is called: a class and a line for each."""

from __future__ import annotations


class FunctionError(ValueError):
    """A function of a trainer that did not do what its trainer needs."""

    line = "runs"
    """The name of the line of the contract that this breaks."""


class RaisedError(FunctionError):
    """It raised."""

    def __init__(self, error: BaseException) -> None:
        first = str(error).strip().splitlines() or [""]
        super().__init__(f"it raised {type(error).__name__}: {first[0]}".rstrip(": "))


class SignatureError(FunctionError):
    """It wants what the trainer does not hand over."""

    def __init__(
        self,
        names: list[str],
        trainer: str,
        offered: list[str],
    ) -> None:
        wanted = ", ".join(names)
        super().__init__(f"it wants {wanted}; {trainer} hands over {', '.join(offered)}")


class ShapeError(FunctionError):
    """What it gave has another shape."""

    line = "shape"

    def __init__(
        self,
        wanted: str,
        found: object,
    ) -> None:
        super().__init__(f"advantages must be {wanted}, got {found}")


class NotArrayError(FunctionError):
    """What it gave is no array of numbers."""

    line = "shape"

    def __init__(self, name: str) -> None:
        super().__init__(f"advantages must be an array of numbers, got {name}")


class ElsewhereError(FunctionError):
    """What it gave is on another device than what it was given."""

    line = "device"

    def __init__(self, device: str) -> None:
        super().__init__(f"advantages must be where the rewards are, on cpu, got {device}")


class MutatedError(FunctionError):
    """It wrote into what it was handed."""

    line = "arguments"

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"it must not write into its arguments, and changed {', '.join(names)}")
