"""The shapes and types of `casim.env` are checked at run time too."""

from jaxtyping import install_import_hook

with install_import_hook("casim.env", "tests.typed.typed"):
    import casim.env.gym_wrapper  # noqa: F401
