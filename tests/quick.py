"""How the tests compile: as fast as XLA can, since none of them runs long enough to repay more."""

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    # The emitters take half of the time of a program of single operations,
    "xla_cpu_use_fusion_emitters": False,
    # and threads for the parts of a program more than they save: the other core runs other tests.
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""Options of one program; those of all are in `FLAGS`."""

FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
"""The value of XLA_FLAGS. Where XLA knows one of them no longer, it says so and ends."""
