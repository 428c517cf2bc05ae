"""docs/claims.png, drawn from docs/claims.json, whose digest it carries.

`python docs/figures/claimed.py` after `python experiments/claims.py --page docs/claims.md`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from kept import keep

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import claims

SOURCE = Path(__file__).parent.parent / "claims.json"
OUT = SOURCE.with_suffix(".png")


def main() -> None:
    """Draws what was found."""
    found = claims.from_json(SOURCE.read_text(encoding="utf-8"))
    keep(claims.draw(found), OUT, digest())


def digest() -> str:
    """Of what is drawn."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
