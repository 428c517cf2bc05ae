"""`casim new`: a working, commented file to start from."""

from __future__ import annotations

import dataclasses
import importlib.util
import keyword
import re
from importlib import resources
from pathlib import Path
from typing import Literal

import tyro

from casim.cli.command import Command

Kind = Literal["experiment", "estimator", "task"]
RUN = {
    "experiment": "casim run {file} --quick",
    "estimator": "python {file}",
    "task": "python {file}",
}
"""How to try what was written."""


@dataclasses.dataclass(frozen=True)
class New(Command):
    """Write a working, commented file NAME.py into the current folder, to start from.

    An experiment runs with `casim run NAME.py --quick`; an estimator and a task check themselves
    against their contract with `python NAME.py`.

    Attributes:
        what: what the file defines.
        name: of the file, a Python identifier; a class gets it in CamelCase.
    """

    what: tyro.conf.Positional[Kind]
    name: tyro.conf.Positional[str]

    def run(self) -> None:
        """Writes the file and says how to try it."""
        source = resources.files("casim") / "templates" / f"new_{self.what}.py"
        template = source.read_text(encoding="utf-8")
        _check_name(self.name, template)
        path = Path(f"{self.name}.py")
        text = _named(template, self.what, self.name)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise ValueError(f"{path} must not exist yet: nothing is overwritten") from error
        print(f"{path}: try it with `{RUN[self.what].format(file=path)}`")


def camel_case(name: str) -> str:
    """`my_method` as `MyMethod`; what is in CamelCase already stays."""
    parts = name.split("_")
    return "".join(part[:1].upper() + part[1:] for part in parts)


def _named(template: str, what: Kind, name: str) -> str:
    placeholder = f"new_{what}"
    text = template.replace(placeholder, name)
    return text.replace(camel_case(placeholder), camel_case(name))


def _check_name(name: str, template: str) -> None:
    """Raises `ValueError` unless a file of this name can be imported and hides nothing."""
    identifier = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None
    keywords = keyword.iskeyword(name) or keyword.iskeyword(camel_case(name))
    if keywords or not identifier:
        raise ValueError(f"name must be a Python identifier from a letter on, got {name!r}")
    if _is_installed(name):
        raise ValueError(f"name must not be that of an installed module, got {name!r}")
    if camel_case(name) in re.findall(r"\w+", template):
        raise ValueError(f"name must not be one that the file uses itself, got {name!r}")


def _is_installed(name: str) -> bool:
    """Whether `import name` finds something that is not in the current folder."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that was made by hand
        return True
    if spec is None:
        return False
    return spec.origin is None or Path(spec.origin).resolve().parent != Path.cwd()
