"""Oracles in double precision: what the tests that ask for agreement to 1e-10 share."""

from __future__ import annotations

import jax
import numpy as np

from tests import reference
from tests.enumeration import QUICK


def compiled(function, *static):
    """The function compiled quickly, from NumPy to NumPy."""
    fast = jax.jit(function, static_argnames=static, compiler_options=QUICK)
    return lambda *args, **settings: jax.tree.map(np.asarray, fast(*args, **settings))


def wide(mdp, policy):
    """The same process in float64; the rows of the policy sum to 1 in float64, too."""
    policy = np.asarray(policy, np.float64)
    return reference.as_float64(mdp), policy / policy.sum(-1, keepdims=True)
