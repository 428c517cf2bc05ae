"""The survey arXiv:2604.09459 as data: its inventory, corrected, and the recipes that carry it.

```python
for record in casim.survey.methods(granularity="turn", methodology="monte_carlo"):
    print(record.name, record.methods)
```
"""

from typing import TYPE_CHECKING

from casim.lazy import lazily
from casim.survey import choice
from casim.survey.audit import Audit, audit, read_audit
from casim.survey.formats import (
    FORMATS,
    to_bibtex,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    to_records,
)
from casim.survey.inventory import inventory, methods, read_inventory, record_of
from casim.survey.page import to_html
from casim.survey.record import Correction, Grade, Placement, Record, read_record

if TYPE_CHECKING:
    from casim.survey import cards

__all__ = [
    "FORMATS",
    "Audit",
    "Correction",
    "Grade",
    "Placement",
    "Record",
    "audit",
    "cards",
    "choice",
    "inventory",
    "methods",
    "read_audit",
    "read_inventory",
    "read_record",
    "record_of",
    "to_bibtex",
    "to_csv",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_records",
]

__getattr__, __dir__ = lazily(__name__)
