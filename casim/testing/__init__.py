"""The contracts of tasks and estimators, for casim's own and for anybody else's.

`check_task(task)` and `check_estimator(estimator)` raise `AssertionError` with what is wrong, and
return nothing. `enumerate_trajectories` lists every trajectory of a small world with its
probability, in float64: with it, any expectation can be computed exactly by a second way.
"""

from casim.oracle.moments import Enumeration, enumerate_trajectories
from casim.testing.estimator import check_estimator
from casim.testing.task import check_task

__all__ = ["Enumeration", "check_estimator", "check_task", "enumerate_trajectories"]
