"""SkyRL's estimators, real, without the services that its packages import.

Packages are opened without their `__init__`, which wants Python 3.12; its settings, which an
estimator does not read, are stood in for.
"""

from __future__ import annotations

import importlib
from typing import Any

from tests.trainers.installed import needed, opened

needed("skyrl", "torch")
UTILS = "skyrl.backends.skyrl_train.utils"
PACKAGES = ("skyrl", "skyrl.backends", "skyrl.backends.skyrl_train", UTILS, "skyrl.train")
STOOD_IN = ("skyrl.train.config",)


def _opened() -> Any:
    """The module of its estimators."""
    opened(PACKAGES, STOOD_IN)
    return importlib.import_module(f"{UTILS}.ppo_utils")


estimators = _opened()
