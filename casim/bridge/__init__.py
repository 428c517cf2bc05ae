"""The bridge to trainers: their conventions, and their own functions as estimators."""

from casim.bridge.calibrate import Calibrated, calibrate, world
from casim.bridge.conventions import (
    CONVENTIONS,
    Convention,
    OpenRLHF,
    Rllm,
    SkyRL,
    Slime,
    Trl,
    Verl,
    VerlAgent,
)
from casim.bridge.describe import Description, describe
from casim.bridge.errors import FunctionError
from casim.bridge.function import Called, Function
from casim.bridge.log import load
from casim.bridge.rows import Rows
from casim.bridge.trainer import Trainer, trainer

__all__ = [
    "CONVENTIONS",
    "Calibrated",
    "Called",
    "Convention",
    "Description",
    "Function",
    "FunctionError",
    "OpenRLHF",
    "Rllm",
    "Rows",
    "SkyRL",
    "Slime",
    "Trainer",
    "Trl",
    "Verl",
    "VerlAgent",
    "calibrate",
    "describe",
    "load",
    "trainer",
    "world",
]
