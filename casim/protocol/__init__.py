"""The benchmark protocol: worlds with controlled bifurcations, what they are like, and a report.

```python
import casim.protocol

suite = casim.protocol.quick()
for world in suite.worlds:
    print(world.name, casim.protocol.metadata(world.task, world.policy).frequency)
```
"""

from casim.protocol.fitted import Fitted, fit
from casim.protocol.metadata import Metadata, metadata
from casim.protocol.page import Standing, standings, to_leaderboard, to_report
from casim.protocol.results import Result, Results, gather, suite_of
from casim.protocol.suite import VERSION, Suite, full, quick
from casim.protocol.trained import Trained
from casim.protocol.worlds import Controlled

__all__ = [
    "VERSION",
    "Controlled",
    "Fitted",
    "Metadata",
    "Result",
    "Results",
    "Standing",
    "Suite",
    "Trained",
    "fit",
    "full",
    "gather",
    "metadata",
    "quick",
    "standings",
    "suite_of",
    "to_leaderboard",
    "to_report",
]
