"""From rules for single states to arrays: which states there are, and what unvisited ones do."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.tasks import Layout, RuleTask
from casim.types import Kind
from casim.wellformed import check_mdp

WALK, SPEAK, JUMP = 3, 5, 9


@final
@dataclasses.dataclass(frozen=True)
class Climb(RuleTask):
    """Height 0, 2, 4, ...: WALK rises, SPEAK tells the height, JUMP ends the episode.

    WALK rises by 2 with action 1, and JUMP ends it from 2.
    """

    steps: int = 4
    num_actions: int = 2
    discount: float = 0.9
    knob: ClassVar[str] = "steps"
    kinds: ClassVar = {WALK: Kind.THINK, SPEAK: Kind.OUTPUT, JUMP: Kind.ANSWER}

    def layout(self) -> Layout:
        return Layout(
            np.array([JUMP, SPEAK, WALK, SPEAK, WALK, JUMP])[: self.steps],
            np.zeros(self.steps, int),
        )

    def start(self):
        return {(2,): 0.75, (0,): 0.25, (8,): 0.0}

    def ends(self, state):
        return state == (-5,)

    def shows(self, code, state):
        high = max(state[0], 0) / 8
        return {"high": high, "low": 1 - high} if code == SPEAK else "low"

    def moves(self, code, state, action):
        if code == WALK:
            return [((state[0] + 2 * action,), 1.0, 0.0), (state, 0.0, 7.0)]
        if code == JUMP and state == (2,) and action == 1:
            return [((-5,), 0.5, 1.0), ((-5,), 0.25, 2.0), ((4,), 0.25, 0.0)]
        return [(state, 1.0, float(code == SPEAK))]


def test_states_are_those_that_can_be_reached_in_order():
    mdp = check_mdp(Climb().build())
    # -5 (over), 0, 2, 4, and 6 by walking from 4; 8 has no probability.
    np.testing.assert_array_equal(mdp.start, [0, 0.25, 0.75, 0, 0])
    np.testing.assert_array_equal(mdp.terminal, [True, False, False, False, False])
    np.testing.assert_array_equal(mdp.schedule, [2, 1, 0, 1])
    np.testing.assert_array_equal(mdp.decision, [True, False, True])


def test_moves_become_rows_without_outcomes_of_probability_0():
    mdp = Climb().build()
    assert mdp.prob.shape == (3, 5, 2, 3)
    np.testing.assert_array_equal(mdp.prob[2, 2, 1], [0.5, 0.25, 0.25])
    np.testing.assert_array_equal(mdp.successor[2, 2, 1], [0, 0, 3])
    np.testing.assert_array_equal(mdp.reward[2, 2, 1], [1, 2, 0])
    np.testing.assert_array_equal(mdp.successor[0, 1, 1], [2, 2, 2])
    np.testing.assert_array_equal(mdp.prob[0, 1, 1], [1, 0, 0])
    assert not (np.asarray(mdp.reward) == 7).any()


def test_where_the_policy_decides_nothing_all_actions_do_the_same():
    mdp = Climb().build()
    for x in (mdp.successor, mdp.prob, mdp.reward):
        np.testing.assert_array_equal(x[1, :, 0], x[1, :, 1])
    np.testing.assert_array_equal(mdp.reward[1, 1:, 1, 0], 1)


def test_a_state_that_cannot_be_met_at_a_step_stays_put_and_pays_nothing():
    mdp = Climb().build()
    # Height 4 is never there at JUMP, the first step.
    np.testing.assert_array_equal(mdp.successor[2, 3], 3)
    np.testing.assert_array_equal(mdp.prob[2, 3], [[1, 0, 0]] * 2)
    assert not np.asarray(mdp.reward[2, 3]).any()


def test_observations_are_numbered_in_order_and_their_probabilities_kept():
    emission = np.asarray(Climb().build().emission)  # "high", "low"
    np.testing.assert_allclose(emission[1, :, 0], [0, 0, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(emission[0, 1:4], [[0, 1]] * 3)


def test_a_state_not_met_at_a_step_shows_there_what_it_shows_elsewhere():
    emission = np.asarray(Climb().build().emission)
    # Height 6 is reached at the second WALK's end only: met by SPEAK, so it shows the same at JUMP.
    np.testing.assert_allclose(emission[2, 4], [0.75, 0.25])
