"""The bridge to trainers: their conventions, and their own functions as estimators."""

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
from casim.bridge.errors import FunctionError
from casim.bridge.function import Called, Function
from casim.bridge.rows import Rows
from casim.bridge.trainer import Trainer, trainer

__all__ = [
    "CONVENTIONS",
    "Called",
    "Convention",
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
    "trainer",
]
