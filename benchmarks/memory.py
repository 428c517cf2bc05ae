"""Peak memory of a study against the number of replicates: it must not grow.

Run with `python benchmarks/memory.py [--quick]`. Each size runs in a process of its own, whose peak
resident memory is read when it ends. The program fails if the largest peak is more than 20% above
the smallest.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

LIMIT = 1.2


def run_study(replicates: int) -> None:
    import casim

    task = casim.Bifurcation(horizon=64, noise=0.05)
    estimators = (casim.methods.RLOO, casim.Gae(), casim.Vine())
    casim.Study("memory", (task,), estimators, replicates=replicates, controls=()).run()
    unit = 1024 if sys.platform == "darwin" else 1
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="10 and 1,000 replicates instead of 10, 1,000 and 10,000",
    )
    parser.add_argument("--replicates", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.replicates is not None:
        return run_study(args.replicates)
    peaks = []
    print(f"{'replicates':>10}  {'peak MiB':>8}  {'seconds':>7}")
    for replicates in (10, 1000) if args.quick else (10, 1000, 10_000):
        started = time.perf_counter()
        command = [sys.executable, __file__, "--replicates", str(replicates)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks.append(float(out))
        print(
            f"{replicates:>10,}  {peaks[-1]:>8.0f}  {time.perf_counter() - started:>7.1f}",
            flush=True,
        )
    growth = max(peaks) / min(peaks)
    print(f"largest over smallest: {growth:.2f} (limit {LIMIT})")
    return sys.exit(growth > LIMIT)


if __name__ == "__main__":
    main()
