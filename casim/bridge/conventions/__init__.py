"""What each trainer hands to an advantage function, a file a trainer."""

from casim.bridge.conventions.base import Config, Convention
from casim.bridge.conventions.openrlhf import OpenRLHF
from casim.bridge.conventions.rllm import Rllm
from casim.bridge.conventions.skyrl import SkyRL
from casim.bridge.conventions.slime import Slime
from casim.bridge.conventions.trl import Trl
from casim.bridge.conventions.verl import Verl
from casim.bridge.conventions.verl_agent import VerlAgent

CONVENTIONS: tuple[type[Convention], ...] = (Verl, Trl, OpenRLHF, VerlAgent, SkyRL, Slime, Rllm)
"""All of them, in the order in which they are listed."""

__all__ = [
    "CONVENTIONS",
    "Config",
    "Convention",
    "OpenRLHF",
    "Rllm",
    "SkyRL",
    "Slime",
    "Trl",
    "Verl",
    "VerlAgent",
]
