"""Fast tests run with shapes and types checked at run time, all with rank promotion forbidden.

`make test-slow` checks no types (JAXTYPING_DISABLE): that takes a tenth of its time.
"""

import functools
import gc
import os

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

import tests.typed  # noqa: F401  (the hook looks it up by name)
from tests.quick import FLAGS, OPTIMISED, QUICK

# Compilation is the budget of the suite.
os.environ.setdefault("XLA_FLAGS", FLAGS)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Where each operation was written is in no program, which makes lowering faster.
jax.config.update("jax_include_full_tracebacks_in_locations", False)
jax.config.update("jax_traceback_in_locations_limit", 0)
# Tracing makes many objects that live on; looking through them again and again takes long.
gc.set_threshold(200_000, 50, 1000)

hook = install_import_hook("casim", "tests.typed.typed")


def pytest_configure(config):
    """Imports casim with its types checked, and keeps compiled programs in the cache of pytest."""
    if hands_out_tests(config):
        return
    import casim.compare
    import casim.scores
    import casim.survey.measured
    from casim import platforms

    for package in (casim, casim.compare, casim.scores, casim.survey):
        for name in package.__all__:
            getattr(package, name)
    hook.uninstall()
    # Studies choose for themselves.
    platforms.TABLE["cpu"] = platforms.TABLE["cpu"]._replace(compiler=QUICK)
    if hasattr(config, "cache"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def hands_out_tests(config) -> bool:
    """Whether this process only hands tests to others, and so needs nothing of casim."""
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


@pytest.fixture
def unhooked():
    """Calls casim without the run-time types.

    So a wrong argument reaches casim's own checks.
    """
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def float64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised(monkeypatch):
    """Optimises the programs that a test makes: it runs them for longer than it compiles them."""
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=OPTIMISED))
