"""Time and memory of whole studies: compiled anew, with the programs kept, at a million steps.

Run with `python benchmarks/study.py [--quick] [--json FILE]`. Every line is a process of its own:
(a) the quick horizon study with an empty persistent cache of compiled programs, and again with that
cache; (b) the million study (the quick one with --quick), likewise. `--horizon`, `--groups` and
`--estimators` cut it down. Run seconds are the rows'; compile seconds are the rest, the solution of
the task included. Peak memory is that of the process on the host and, where the device counts it,
of the device.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
COLUMNS = (
    "study",
    "cache",
    "device",
    "rows",
    "compile s",
    "run s",
    "total s",
    "slowest row",
    "host GB",
    "device GB",
)


def measure(args: argparse.Namespace) -> None:
    """Runs one study and prints one line of JSON."""
    started = time.perf_counter()
    import jax

    from casim.jobs import label_of

    jax.config.update("jax_compilation_cache_dir", args.cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    study = load(args.study, args.quick)
    if args.horizon or args.groups or args.estimators:
        tasks = tuple(task.with_horizon(args.horizon or task.horizon) for task in study.tasks)
        labels = {label_of(method): method for method in study.estimators}
        chosen = args.estimators or labels
        estimators = tuple(method for name, method in labels.items() if name in chosen)
        controls = () if args.estimators else study.controls
        study = dataclasses.replace(
            study,
            tasks=tasks,
            estimators=estimators,
            controls=controls,
            replicates=args.groups or study.replicates,
        )
    rows = study.run(
        devices=args.devices, notify=lambda line: print(line, file=sys.stderr, flush=True)
    )
    total, ran = time.perf_counter() - started, sum(row.wall_time for row in rows)
    slowest = max(rows, key=lambda row: row.wall_time)
    for row in rows:
        print(
            f"  {row.label:<40} compile {row.compile_time:7.2f} s, run {row.wall_time:7.2f} s",
            file=sys.stderr,
        )
    stats = jax.local_devices()[0].memory_stats() or {}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = stats.get("peak_bytes_in_use")
    print(
        json.dumps(
            {
                "study": study.name,
                "cache": args.state,
                "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
                "rows": len(rows),
                "compile s": round(total - ran, 1),
                "run s": round(ran, 1),
                "total s": round(total, 1),
                "slowest row": f"{slowest.label} {slowest.wall_time:.1f} s",
                "host GB": round(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2
                ),
                "device GB": "-" if peak is None else round(peak / 1e9, 2),
            }
        )
    )


def load(name: str, quick: bool):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.QUICK if quick else module.STUDY


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="only the quick million study: under two minutes"
    )
    parser.add_argument("--only", choices=("horizon", "million"), help="one of the studies")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument(
        "--horizon", type=int, help="steps of the million study instead of 1,000,000"
    )
    parser.add_argument(
        "--groups", type=int, help="groups of 8 of the million study instead of 128"
    )
    parser.add_argument(
        "--estimators", nargs="+", help="labels of some of its estimators, without the controls"
    )
    parser.add_argument("--devices", type=int)
    for hidden in ("--study", "--cache", "--state"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.study is not None:
        return measure(args)
    lines = []
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
    studies = ("million",) if args.quick else ("horizon", "million")
    for study in studies if args.only is None else (args.only,):
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                command = [
                    sys.executable,
                    __file__,
                    "--study",
                    study,
                    "--cache",
                    cache,
                    "--state",
                    state,
                ]
                command += ["--quick"] * (args.quick or study == "horizon")
                command += [] if args.devices is None else ["--devices", str(args.devices)]
                if study == "million":
                    for name in ("horizon", "groups"):
                        command += (
                            []
                            if getattr(args, name) is None
                            else [f"--{name}", str(getattr(args, name))]
                        )
                    command += [] if args.estimators is None else ["--estimators", *args.estimators]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                lines.append(json.loads(out.splitlines()[-1]))
                print(
                    "| " + " | ".join(str(lines[-1][column]) for column in COLUMNS) + " |",
                    flush=True,
                )
    if args.json is not None:
        args.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
