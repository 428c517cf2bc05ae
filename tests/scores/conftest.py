"""One solved case, its sums and its scores."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim.scores import TOLERANCE, Blocks, finalise
from tests.enumeration import case, solve
from tests.scores.samples import (
    GROUPS,
    measure,
    random_credit,
)


@pytest.fixture(scope="session")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="session")
def truth(given):
    return solve(given.mdp, given.policy)


@pytest.fixture(scope="session")
def sums(given, truth):
    return measure(given.mdp, given.policy, truth, *random_credit())


@pytest.fixture(scope="session")
def rows(given, truth):
    """The same as plain arrays: flat rows, with advantage, decision steps and steps that matter."""
    batch, credit, target = random_credit()
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, 4), batch)
    time = np.broadcast_to(np.arange(4), flat.state.shape)
    advantage = given.advantage[time, flat.state, flat.action]
    decided = flat.live & np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    size = np.where((given.exact.occupancy > 0)[:, :, None], np.abs(given.advantage), 0.0)
    size[1] = 0.0  # the environment's step
    matter = size.max(-1) > TOLERANCE * size.max()
    largest = np.abs(np.asarray(truth.value)).max()
    return {
        "unit": 2.0 ** np.floor(np.log2(largest)),
        "state": flat.state,
        "action": flat.action,
        "live": flat.live,
        "value": np.asarray(credit.value, np.float64).reshape(-1, 4),
        "target": np.asarray(target, np.float64).reshape(-1, 4),
        "advantage": advantage,
        "decided": decided,
        "matters": matter[time, flat.state],
        "pivotal": matter.any(axis=1),
        "tolerance": TOLERANCE * size.max(),
    }


@pytest.fixture(scope="session")
def per_block(given, truth):
    """The groups above, one block each."""
    batch, credit, target = random_credit()
    blocks = Blocks(GROUPS)
    for c in range(GROUPS):
        one = jax.tree.map(lambda x, c=c: x[c : c + 1], (batch, credit, target))
        blocks.add(c, measure(given.mdp, given.policy, truth, *one))
    return jax.tree.map(np.asarray, blocks.sums)


@pytest.fixture(scope="session")
def scores(given, truth, per_block):
    return finalise(given.mdp, truth, per_block).scores
