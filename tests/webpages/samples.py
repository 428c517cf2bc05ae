"""Rows of several methods at several horizons, made without measuring."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from casim.estimators import Vine
from casim.report import Row, describe, label
from casim.scores import NAMES, Score
from casim.tasks import Bifurcation
from tests.rows import row

BLOCKS = 10


def samples(branches=(1, 2, 3), horizons=(7, 9), seeds=(3,), names=NAMES) -> list[Row]:
    """A row for each number of branches, horizon and seed, and a control that gets no card."""
    rows = []
    for horizon, seed in itertools.product(horizons, seeds):
        for number in branches:
            recipe = Vine(num_branches=number)
            changes = {"estimator": describe(recipe), "label": label(recipe)}
            rows.append(_row(horizon, seed, number, names, changes))
        control = {"estimator": {"recipe": "Control", "module": "casim.controls", "name": "zero"}}
        changes = {**control, "label": "zero", "methodology": "control"}
        rows.append(_row(horizon, seed, 0, names, changes))
    return rows


def _row(horizon: int, seed: int, number: int, names, changes) -> Row:
    """Scores that grow with the number and the horizon, so that each order is known."""
    noise = np.random.default_rng([horizon, seed, number])
    scores, left_out = {}, {}
    for place, name in enumerate(names):
        value = (1 + number) * horizon / (10 + place)
        half = 0.05 * value + 0.01
        scores[name] = Score(value, value - half, value + half, 20.0)
        left_out[name] = (value + 0.01 * half * noise.standard_normal(BLOCKS)).tolist()
    return row(
        task=describe(Bifurcation(horizon=horizon, pivots=(1, 4))),
        horizon=horizon,
        num_steps=horizon,
        seed=seed,
        scores=scores,
        left_out=left_out,
        notes={},
        expected={"variance": scores["variance"].value + 0.001} if "variance" in scores else None,
        **changes,
    )


def renamed(rows: list[Row], name: str) -> list[Row]:
    """The same with another label for the first method."""
    first = rows[0].label
    return [dataclasses.replace(x, label=name) if x.label == first else x for x in rows]
