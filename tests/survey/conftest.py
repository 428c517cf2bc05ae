"""The figures of the survey are modules of the experiments' folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
