"""Every test runs with shapes and types checked at run time and with rank promotion forbidden."""

from jaxtyping import install_import_hook

with install_import_hook("casim", "beartype.beartype"):
    import casim.simulate
    import casim.tasks  # noqa: F401

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
