"""World and the engine behind it: trajectories from addressed noise."""

from casim.simulate.world import Scorer, World

__all__ = ["Scorer", "World"]
