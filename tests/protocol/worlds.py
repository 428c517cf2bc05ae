"""Small worlds of one shape, so that the oracle is compiled once for all tests."""

import dataclasses

from casim.protocol.fitted import fit
from casim.tasks import Bifurcation, HackableProcess, Team

T = 6
ONE = Bifurcation(horizon=T, pivots=(1,), gap=0.6)
THREE = Bifurcation(horizon=T, pivots=(0, 2, 4), gap=0.6, recovery=0.25)
NOISY = Bifurcation(horizon=T, pivots=(1,), gap=0.6, noise=0.2)
HACK = HackableProcess(T, num_actions=2, lure=0.8, success=0.7, praise=0.95)
BOTH = Team(tokens_per_agent=3, num_agents=2, joint="all", coupling=1.0, order="simultaneous")
APART = dataclasses.replace(BOTH, coupling=0.0)
TASKS = (ONE, THREE, NOISY, HACK, BOTH, APART)
FITTED = dict(zip(TASKS, fit(TASKS), strict=True))
