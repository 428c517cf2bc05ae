"""Metadata of worlds against closed forms, and against all trajectories one by one."""

import dataclasses
import math
from collections import defaultdict

import jax.numpy as jnp
import numpy as np
import pytest

from casim.policies import Policy, Softmax, Uniform
from casim.protocol.metadata import TELLING, metadata
from casim.tasks import ToolChain
from tests.protocol.worlds import APART, BOTH, FITTED, HACK, NOISY, ONE, THREE, T


def of(task, policy=None):
    return metadata(FITTED[task], Uniform() if policy is None else policy)


def test_one_pivot_has_its_closed_form():
    found = of(ONE)
    assert found.steps == found.decisions == pytest.approx(T)
    assert found.bifurcations == pytest.approx(1)
    assert found.frequency == pytest.approx(1 / T)
    # The pivot moves P(success) by 0.3 up or down, and a success at 1/2 has a variance of 1/4.
    assert found.variance_share == pytest.approx(0.3**2 / 0.25)
    assert found.transition_noise == pytest.approx(1 - 0.3**2 / 0.25)
    assert found.recoverability == found.recoverable == 0
    assert found.delay == pytest.approx(T - 1 - 1)
    assert found.aliasing == pytest.approx(1)
    assert found.verifiability == pytest.approx(1)
    assert (found.reset, found.replay_noise, found.agents) == ("exact", 0.0, 1)
    assert (found.judge_bias, found.coupling) == (0.0, 0.0)
    assert found.actions == {"think": pytest.approx(1.0)}
    assert found.reward == "at the end"


def test_noise_after_the_pivot_is_luck():
    # The right action now leads to good with 0.8, the wrong one with 0.2.
    assert of(NOISY).variance_share == pytest.approx((0.6 * 0.3) ** 2 / 0.25)


def test_a_wrong_branch_is_undone_as_often_as_recovery_says():
    found = of(THREE)
    mass = kept = alone = 0.0
    good, deviation = 1.0, _deviation(0.25)
    for later in (2, 1, 0):
        # Good: the wrong action turns it bad, later ones may mend that. Bad: it stays so.
        undone, with_this = (1 - 0.75**number for number in (later, later + 1))
        # By itself the policy, right half of the time, ends well from good and from bad with:
        well, badly = _ends_well(1.0, later), _ends_well(0.0, later)
        either = 0.25 * well + 0.75 * badly
        left = 0.6 * 0.375**later  # of what this pivot moves, by what the later ones forget
        cells = [
            (good, left, undone, badly / well),
            (1 - good, 0.25 * left, undone / with_this, badly / either),
        ]
        for visits, spread, share, by_itself in cells:
            telling = visits if spread >= TELLING * deviation else 0.0
            mass += telling
            kept += telling * share
            alone += telling * by_itself
        good = 0.5 * good + 0.125 * (1 - good)
    assert found.bifurcations == pytest.approx(mass, rel=1e-5)
    assert found.recoverable == pytest.approx(kept / mass, rel=1e-5)
    assert found.recoverability == pytest.approx(alone / mass, rel=1e-5)


def _ends_well(good, pivots):
    """P(good at the end) from P(good now), with some pivots to come."""
    for _ in range(pivots):
        good = 0.5 * good + 0.125 * (1 - good)
    return good


def _deviation(recovery):
    """Of the return after three pivots at which the right action is taken half of the time."""
    good = 1.0
    for _ in range(3):
        good = 0.5 * good + 0.5 * recovery * (1 - good)
    mean = 0.2 + 0.6 * good
    return math.sqrt(mean * (1 - mean))


@dataclasses.dataclass(frozen=True)
class Sure(Policy):
    """Takes the first action with 0.9 where the second step's kernel rules, else with 0.6."""

    def table(self, mdp):
        first = np.where(np.arange(len(mdp.decision)) == np.asarray(mdp.schedule)[1], 0.9, 0.6)
        rows = np.stack([first, 1 - first], axis=-1)
        shape = (len(first), mdp.emission.shape[2], 2)
        return jnp.asarray(np.broadcast_to(rows[:, None], shape), jnp.float32)


def test_entropies_are_those_of_the_policy_where_it_matters_and_where_not():
    found = of(ONE, Sure())
    assert found.entropy_bifurcation == pytest.approx(_entropy(0.9), rel=1e-5)
    assert found.entropy_decoy == pytest.approx(_entropy(0.6), rel=1e-5)


def _entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_a_judge_that_is_pleased_is_biased_by_what_it_praises():
    hazard = 1 - 0.2 ** (1 / T)
    hacked = 1 - (1 - hazard / 2) ** T  # half of the steps hack
    assert of(HACK).judge_bias == pytest.approx(0.95 * hacked, rel=1e-4)


def test_two_agents_who_both_have_to_be_right_are_coupled_by_a_third():
    found = of(BOTH)
    # E[A^2] is 1/16 of the first agent and 1/8 of the second, half of which its action alone says.
    assert found.agents == 2
    assert found.coupling == pytest.approx(1 / 3, rel=1e-5)
    assert found.actions == {"think": pytest.approx(2 / 3), "message": pytest.approx(1 / 3)}


def test_agents_that_add_up_are_not_coupled():
    assert of(APART).coupling == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_everything_agrees_with_all_trajectories_of_a_world_that_hides_and_discounts():
    task = ToolChain(
        num_turns=2,
        tokens_per_turn=1,
        output_tokens=1,
        repair=0.4,
        observation_noise=0.2,
        unverified=0.5,
        coupling=0.3,
        replay_noise=0.25,
        discount=0.9,
    )
    found = metadata(task, Softmax(scale=1.5))
    listed = _by_enumeration(task.build(), np.asarray(Softmax(scale=1.5).table(task.build())))
    for name, value in listed.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-4), name
    assert (found.reset, found.replay_noise) == ("noisy", 0.25)
    assert found.agents == 2


def _paths(mdp, table, time, state):
    """All that can follow: probability, and (state, observation, action, reward) of each step."""
    if time == len(mdp.schedule):
        yield 1.0, ()
        return
    kernel = mdp.schedule[time]
    actions = range(table.shape[2]) if mdp.decision[kernel] else (0,)
    for seen in np.flatnonzero(mdp.emission[kernel, state]):
        for action in actions:
            choice = table[kernel, seen, action] if mdp.decision[kernel] else 1.0
            for slot in np.flatnonzero(mdp.prob[kernel, state, action]):
                p = mdp.emission[kernel, state, seen] * choice
                p *= mdp.prob[kernel, state, action, slot]
                here = (state, seen, action, mdp.reward[kernel, state, action, slot])
                after = mdp.successor[kernel, state, action, slot]
                for rest, later in _paths(mdp, table, time + 1, after):
                    yield p * rest, (here, *later)


def _by_enumeration(mdp, table):
    """Numbers of `Metadata`, from means over trajectories alone."""
    mdp = type(mdp)(*(np.asarray(x, float) if x.dtype.kind == "f" else np.asarray(x) for x in mdp))
    all_of = [
        (mdp.start[state] * p, steps)
        for state in np.flatnonzero(mdp.start)
        for p, steps in _paths(mdp, table, 0, state)
    ]
    chance = np.array([p for p, _ in all_of])
    columns = np.array([steps for _, steps in all_of])
    states, seen, action = (columns[..., i].astype(int) for i in range(3))
    reward = columns[..., 3]
    steps = len(mdp.schedule)
    weight = 0.9 ** np.arange(steps)
    to_go = np.flip(np.cumsum(np.flip(reward * weight, 1), 1), 1) / weight
    whole = to_go[:, 0]
    mean = chance @ whole
    variance = chance @ (whole - mean) ** 2

    def by(keys, x):
        """Means of x within classes, for each trajectory."""
        _, label = np.unique(keys, axis=0, return_inverse=True)
        sums = np.bincount(label.ravel(), chance * x)
        return (sums / np.bincount(label.ravel(), chance))[label.ravel()]

    decides = mdp.decision[mdp.schedule]
    told = {"decisions": decides.sum(), "steps": steps}
    skill = forks = telling_skill = entropy = waited = earned = surprise = 0.0
    alone = 0.0
    for t in range(steps):
        q = by(np.c_[states[:, t], action[:, t]], to_go[:, t])
        value = by(states[:, t : t + 1], to_go[:, t])
        if not decides[t]:
            continue
        advantage = q - value
        skill += chance @ (weight[t] * advantage) ** 2
        mean_by_action = by(action[:, t : t + 1], advantage)
        alone += chance @ (weight[t] * mean_by_action) ** 2
        high, low = defaultdict(lambda: -np.inf), defaultdict(lambda: np.inf)
        for state, x in zip(states[:, t], q, strict=True):
            high[state], low[state] = max(high[state], x), min(low[state], x)
        spread = np.array([weight[t] * (high[state] - low[state]) for state in states[:, t]])
        telling = spread >= TELLING * math.sqrt(variance)
        forks += chance @ telling
        telling_skill += chance @ (telling * (weight[t] * advantage) ** 2)
        rows = table[mdp.schedule[t]][seen[:, t]]
        entropy += chance @ (telling * -np.sum(rows * np.log(rows), axis=1))
        later = np.abs(reward[:, t:])
        earned += chance @ (telling * later.sum(1))
        waited += chance @ (telling * (later @ np.arange(steps - t)))
        mass, joint = defaultdict(float), defaultdict(float)
        for p, s, o in zip(chance, states[:, t], seen[:, t], strict=True):
            mass[o] += p
            joint[s, o] += p
        surprise += sum(-p * math.log(p / mass[o]) for (_, o), p in joint.items())
    begin = 2  # of the second turn
    value = by(states[:, begin : begin + 1], to_go[:, begin])
    shown = by(seen[:, begin : begin + 1], value)
    centre = chance @ value
    return told | {
        "bifurcations": forks,
        "frequency": forks / decides.sum(),
        "variance_share": telling_skill / variance,
        "entropy_bifurcation": entropy / forks,
        "delay": waited / earned,
        "aliasing": math.exp(surprise / decides.sum()),
        "coupling": 1 - alone / skill,
        "verifiability": (chance @ (shown - centre) ** 2) / (chance @ (value - centre) ** 2),
        "transition_noise": _luck(mdp, states, chance, to_go, skill, variance),
    }


def _luck(mdp, states, chance, to_go, skill, variance):
    """What is neither the start's nor the actions'."""
    first = {
        s: np.average(to_go[:, 0], weights=chance * (states[:, 0] == s))
        for s in np.unique(states[:, 0])
    }
    starts = np.array([first[s] for s in states[:, 0]])
    prompt = chance @ (starts - chance @ starts) ** 2
    return (variance - skill - prompt) / variance
