"""The pages of README and docs, and the blocks of code in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
MADE = ("_build", "lessons")
"""Folders of docs that the build makes."""
FENCE = re.compile(
    r"^(?P<remark><!-- not run: [^\n]*-->\n)?(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
"""A block of code; a remark above says why it is not run."""
SHELL = ("sh", "shell", "console")


class Block(NamedTuple):
    """A block of code, and where it is."""

    page: Path
    kind: str
    text: str


def pages() -> list[Path]:
    """Every page that is written by hand."""
    docs = ROOT / "docs"
    found = sorted(docs.rglob("*.md"))
    written = [path for path in found if path.relative_to(docs).parts[0] not in MADE]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *written]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are run."""
    found = []
    for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
        if not fence["remark"]:
            text = re.sub(f"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE)
            found.append(Block(page, fence["kind"], text))
    return found


def programs(page: Path) -> list[str]:
    """Blocks of Python that are no dialogues, in order."""
    return [x.text for x in blocks(page) if x.kind == "python" and ">>>" not in x.text]


def is_dialogue(page: Path) -> bool:
    """Whether it shows what Python answers."""
    return any(x.kind == "python" and ">>>" in x.text for x in blocks(page))


def commands(page: Path) -> list[str]:
    """The lines of its shell blocks, without remarks."""
    lines: list[str] = []
    for block in blocks(page):
        if block.kind in SHELL:
            lines += block.text.replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return [line for line in stripped if line]
