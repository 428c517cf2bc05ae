"""The environment view: a casim task with the interface that existing JAX agents are written for.

`casim.env.gym_wrapper` has the same for Gymnasium; it is not imported here, because it needs that
package.
"""

from casim.env.environment import Environment, State
from casim.env.spaces import Box, Discrete

__all__ = ["Box", "Discrete", "Environment", "State"]
