"""The run-time type checker of the tests: beartype, with NumPy's numbers and ints for floats."""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

_NUMBERS = FrozenDict({int: int | np.integer, float: float | int | np.floating | np.integer})

typed = beartype(conf=BeartypeConf(hint_overrides=_NUMBERS))
