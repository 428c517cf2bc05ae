"""World and the engines behind it: trajectories from addressed noise."""

from casim.simulate.engine import Engine, choose_engine
from casim.simulate.world import JUDGE, SHARES, Scorer, World

__all__ = ["JUDGE", "SHARES", "Engine", "Scorer", "World", "choose_engine"]
