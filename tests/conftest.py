"""Every test runs with shapes and types checked at run time and with rank promotion forbidden."""

from jaxtyping import install_import_hook

import tests.typed  # noqa: F401  (the hook looks it up by name)

with install_import_hook("casim", "tests.typed.typed"):
    import casim.simulate
    import casim.tasks  # noqa: F401

import os

import jax
import jaxtyping
import pytest

from casim import platforms
from tests.quick import FLAGS, QUICK

# Compilation is the budget of the suite.
os.environ.setdefault("XLA_FLAGS", FLAGS)
platforms.TABLE["cpu"] = platforms.TABLE["cpu"]._replace(
    compiler=QUICK
)  # studies choose for themselves
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Keeps compiled programs between runs, in the cache of pytest."""
    if hasattr(config, "cache"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def unhooked():
    """Calls casim without the run-time types.

    So a wrong argument reaches casim's own checks.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def float64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield
