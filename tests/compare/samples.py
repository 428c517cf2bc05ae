"""Rows of methods whose scores are means over blocks of numbers."""

from __future__ import annotations

import dataclasses

import numpy as np

from casim.scores import Score
from tests.rows import row

BASE = row()


def scored(label, blocks, **changes):
    """A row whose scores are means of `blocks`: numbers of each block by name of the score."""
    scores, left_out = {}, {}
    for name, numbers in blocks.items():
        numbers = np.asarray(numbers, float)
        value, spread = float(numbers.mean()), float(numbers.std())
        scores[name] = Score(value, value - spread, value + spread, 1.0)
        left_out[name] = ((numbers.sum() - numbers) / (len(numbers) - 1)).tolist()
    recipe = {"recipe": label, "module": "tests"}
    fields = {
        "label": label,
        "estimator": recipe,
        "scores": scores,
        "left_out": left_out,
        "notes": {},
    }
    return dataclasses.replace(BASE, **(fields | changes))
