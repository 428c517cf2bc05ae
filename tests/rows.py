"""A row to test with."""

from __future__ import annotations

import math

from casim.estimators import Vine
from casim.report import Row, describe, label
from casim.scores import Score
from casim.tasks import Bifurcation

NAN = math.nan


def row(**changes) -> Row:
    fields = {
        "study": "trial",
        "task": describe(Bifurcation(horizon=7, pivots=(1, 4))),
        "policy": {"recipe": "Uniform", "module": "casim.policies"},
        "judge": None,
        "estimator": describe(Vine(num_branches=2)),
        "label": label(Vine(num_branches=2)),
        "methodology": "monte_carlo",
        "horizon": 7,
        "num_steps": 7,
        "num_prompts": 1,
        "num_trajectories": 5,
        "share": "prompt",
        "replicates": 20,
        "seed": 3,
        "scores": {"bias": Score(0.25, 0.125, 0.375, 9.0), "snr": Score(NAN, NAN, NAN, 0.0)},
        "left_out": {"bias": [0.25, 0.375], "snr": [NAN, NAN]},
        "notes": {"snr": "no gradient"},
        "exact": {"expected_return": 0.5, "odd": NAN},
        "sources": {"casim": "0"},
        "versions": {"casim": "0"},
        "device": "cpu",
        "compile_time": 1.5,
        "wall_time": 0.25,
    }
    return Row(**(fields | changes))
