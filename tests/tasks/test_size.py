"""The size of a task is told without laying it out, and a task too large to lay out says so."""

import math

import jax
import pytest

import casim
from casim.tasks import Forced, HackableProcess, Size, TMaze, TooLargeError, Tree, UmbrellaChain

TASKS = (
    HackableProcess(horizon=5, num_segments=2),
    UmbrellaChain(horizon=4, num_distractors=2),
    TMaze(corridor=3),
    Tree(depth=3, branching=3, overlap=1),
    TMaze(corridor=3).observed(),
    Forced(HackableProcess(horizon=5, num_segments=2), every=2, unit="segment"),
    casim.Bifurcation(horizon=5, num_actions=3, filler_entropy=0.5),
)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_the_size_is_that_of_what_is_built(task):
    assert task.size(limit=1000) == Size.of(task.build())


def test_bytes_are_those_of_the_tables_and_the_exact_values():
    task = HackableProcess(horizon=5, num_segments=2)
    mdp = task.build()
    truth = jax.eval_shape(casim.solve, mdp, casim.Uniform().table(mdp))
    tables = (mdp.prob, mdp.reward, mdp.successor, mdp.emission, truth.state_policy)
    values = (truth.advantage, truth.occupancy, truth.past_reward, truth.occupancy)  # V as P(s_t)
    assert task.size().num_bytes == sum(4 * math.prod(x.shape) for x in (*tables, *values))


@pytest.mark.parametrize(
    "wrap",
    [lambda task: task, lambda task: task.observed(), Forced],
    ids=["itself", "twin", "forced"],
)
def test_a_task_that_grows_without_end_is_followed_up_to_a_limit(wrap):
    with pytest.raises(
        TooLargeError, match="216 states after 3 of 12 steps, 6 times as many with each"
    ) as caught:
        wrap(Tree(depth=12)).size(limit=1000)
    growth = caught.value.growth
    assert (growth.followed, growth.states, growth.factor) == (3, 216, 6.0)
    assert growth.expected == 6**12  # before the last step, which leaves one state


def test_a_limit_that_is_not_met_changes_nothing():
    task = Tree(depth=4, branching=3)
    pairs = 3 + 9 + 27 + 81  # one kernel to each depth
    assert task.size(limit=pairs) == task.size()
    with pytest.raises(TooLargeError):
        task.size(limit=pairs - 1)


def test_expectations_beyond_all_numbers_are_numbers():
    with pytest.raises(TooLargeError, match=r"if that goes on, 1\.8e"):
        Tree(depth=1000).size(limit=1000)
