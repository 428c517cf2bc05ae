"""A figure of many methods shows each number in its own row and column."""

import numpy as np
import pytest
from matplotlib.text import Text

from casim.figures import Column, ladder

METHODS = {"RLOO": "monte_carlo", "GAE": "temporal_difference", "GRPO": "monte_carlo"}
VALUES = {
    "RLOO": {"short": (1.0, 0.5, 2.0), "long": (3.0, 2.0, 4.0)},
    "GAE": {"short": (-2.0, -3.0, -1.0)},
    "GRPO": {"short": (np.nan, np.nan, np.nan), "long": (0.25, 0.0, 0.5)},
}


def dots(axes):
    """Where dots are: x, row, and whether they are filled."""
    lines = [line for line in axes.get_lines() if line.get_marker() == "o"]
    return {
        (float(line.get_xdata()[0]), round(float(line.get_ydata()[0]))): (
            line.get_markerfacecolor() != "white"
        )
        for line in lines
    }


def test_every_number_is_in_the_row_of_its_method_and_methodologies_are_together():
    column = Column("bias", VALUES, hollow={("RLOO", "long")})
    figure = ladder([column, Column("cost", {}, "log")], METHODS, ["short", "long"])
    first, second = figure.axes
    names = [text.get_text() for text in first.get_yticklabels()]
    assert names == ["RLOO", "GRPO", "GAE"]
    assert dots(first) == {(1.0, 0): True, (3.0, 0): False, (0.25, 1): True, (-2.0, 2): True}
    assert not dots(second)


def test_intervals_are_drawn_from_end_to_end():
    figure = ladder([Column("bias", VALUES)], METHODS, ["short", "long"])
    bars = {tuple(map(float, line.get_xdata())) for line in figure.axes[0].get_lines()}
    for places in VALUES.values():
        for value, low, high in places.values():
            assert np.isnan(value) or (low, high) in bars


def test_places_have_a_key_and_short_names_stand_for_labels():
    figure = ladder([Column("bias", VALUES)], METHODS, ["short", "long"], {"GAE": "critic"})
    written = {text.get_text() for text in figure.findobj(Text)}
    assert {"short", "long", "critic", "bias"} <= written
    assert "GAE" not in written


def test_an_axis_of_both_signs_names_0_and_few_powers_of_ten():
    wide = {"RLOO": {"short": (1e5, 1e4, 1e6)}, "GAE": {"short": (-20.0, -30.0, -10.0)}}
    column = Column("bias", wide, "symlog", threshold=0.1, limits=(-100.0, 1e6))
    axes = ladder([column], METHODS, ["short"]).axes[0]
    ticks = axes.get_xticks()
    assert 0 in ticks
    assert 3 <= len(ticks) <= 5
    assert axes.get_xlim() == (-100.0, 1e6)


@pytest.mark.parametrize(
    ("columns", "methods", "places", "width", "message"),
    [
        ([], METHODS, ["short"], 7.0, "number of columns must be .* got 0"),
        ([Column("bias", VALUES)], {}, ["short"], 7.0, "number of methods must be .* got 0"),
        ([Column("bias", VALUES)], METHODS, [], 7.0, "number of places must be .* got 0"),
        ([Column("bias", VALUES)], METHODS, ["short"], 1.0, "width must be .* got 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(columns, methods, places, width, message):
    with pytest.raises(ValueError, match=message):
        ladder(columns, methods, places, width=width)
