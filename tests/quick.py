"""How the tests compile: as fast as XLA can, since none of them runs long enough to repay more."""

import jax

QUICK: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
"""Options of one program; those of all are in `FLAGS`."""
if jax.__version_info__ < (0, 11):  # later ones may not know these
    # The emitters take half of the time of a program of single operations,
    QUICK["xla_cpu_use_fusion_emitters"] = False
    # and threads for the parts of a program more than they save: the other core runs other tests.
    QUICK["xla_cpu_parallel_codegen_split_count"] = 1

FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
"""The value of XLA_FLAGS. Where XLA knows one of them no longer, it says so and ends."""

OPTIMISED = {"xla_backend_optimization_level": 2, "xla_llvm_disable_expensive_passes": False}
"""Options of the few programs that run for longer than they compile: see `optimised`."""
