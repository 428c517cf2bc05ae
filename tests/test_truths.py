"""Every kind of truth along one trajectory: against the oracles it is taken from, and drawn."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import casim
from casim.cli import main
from casim.figures import truth_figure
from casim.figures.truths import TRUTHS, curves
from casim.targets import Redistribution, Subgoal
from tests import reference
from tests.enumeration import solve
from tests.reference import rollout

pytestmark = pytest.mark.slow
KINDS = {kind.__name__: kind for kind in TRUTHS}


@pytest.fixture(scope="module")
def case():
    """A hidden tool whose episode ends in success, under a policy that is not uniform."""
    mdp = casim.ToolChain(
        num_turns=2, tokens_per_turn=1, observation_noise=0.2, unverified=0.3, damage=0.8
    ).build()
    policy = jnp.asarray(reference.random_policy(3, mdp))
    world = casim.World.make(mdp, policy)
    batch = next(
        one
        for one in (rollout(world, jax.random.key(seed), 1) for seed in range(50))
        if float(one.reward.sum()) == 1
    )
    return mdp, policy, solve(mdp, policy), batch


@pytest.fixture(scope="module")
def along(case):
    return {name: curves(kind, *case) for name, kind in KINDS.items()}


def cell(table, batch):
    return np.asarray(table)[
        np.arange(batch.state.shape[1]), np.asarray(batch.state)[0], np.asarray(batch.action)[0]
    ]


def test_advantage_and_luck_add_up_to_the_return_less_the_value_of_the_prompt(case, along):
    _, _, truth, batch = case
    value = along["value"]
    np.testing.assert_allclose(value["advantage"], cell(truth.advantage, batch), atol=1e-6)
    assert (value["advantage"] + value["luck"]).sum() == pytest.approx(
        1 - value["value"][0], abs=1e-6
    )


def test_a_single_agent_has_the_skill_of_the_episode_and_segments_add_up(case, along):
    mdp, units = case[0], along["units"]
    segment = np.asarray(mdp.segment)
    each = [units["segment"][segment == g][0] for g in range(segment[-1] + 1)]
    assert np.sum(each) == pytest.approx(units["agent"][0], abs=1e-6)


def test_hindsight_of_a_success_is_advantage_over_value(case, along):
    """h / pi = Q / V of a success, so that (1 - pi / h) Z = A / Q."""
    _, _, truth, batch = case
    q, a = cell(truth.q_value, batch), cell(truth.advantage, batch)
    np.testing.assert_allclose(along["hindsight"]["h / pi"], q / (q - a), rtol=1e-5)
    np.testing.assert_allclose(along["hindsight"]["hindsight credit"], a / q, atol=1e-6)
    np.testing.assert_allclose(
        along["information"]["of this outcome (nats)"], np.log(q / (q - a)), atol=1e-6
    )


def test_shapley_values_of_segments_add_up_to_what_the_actions_changed(case, along):
    mdp, policy, truth, batch = case
    paths = reference.enumerate_paths(
        mdp,
        policy,
        start=np.eye(len(mdp.start))[int(batch.state[0, 0])],
        imposed=np.asarray(batch.action)[0],
    )
    done = paths.probability @ paths.returns(1.0) / paths.probability.sum()
    segment = np.asarray(mdp.segment)
    phi = along["shapley"]["Shapley value of the segment"]
    total = sum(phi[segment == g][0] for g in range(segment[-1] + 1))
    assert total == pytest.approx(done - float(truth.value[0, batch.state[0, 0]]), abs=1e-6)


def test_what_the_history_says_is_the_belief_weighted_advantage(case, along):
    mdp, policy, truth, batch = case
    for step in (0, 2):
        weight = reference.belief(
            mdp, policy, np.asarray(batch.observation)[0], np.asarray(batch.action)[0], step
        )
        action = int(batch.action[0, step])
        # The policy reads the observation alone, so its average over actions is the same in
        # all states that show it.
        q = weight @ np.asarray(truth.q_value, np.float64)[step]
        shown = np.asarray(policy, np.float64)[
            int(mdp.schedule[step]), int(batch.observation[0, step])
        ]
        assert along["belief"]["history"][step] == pytest.approx(q[action] - shown @ q, abs=1e-6)


def test_the_contrast_with_action_0_is_the_difference_of_values(case, along):
    mdp, _, truth, batch = case
    q = np.asarray(truth.q_value)[np.arange(4), np.asarray(batch.state)[0]]
    taken = q[np.arange(4), np.asarray(batch.action)[0]]
    decides = np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
    got = along["contrast"]["against action 0, restored"]
    # Beside the state the observation is fixed, which matters to nobody here: the next one is
    # drawn anew.
    np.testing.assert_allclose(got[decides], (taken - q[:, 0])[decides], atol=1e-6)


def test_every_kind_has_curves_and_they_end_with_the_episode(along):
    assert set(along) == {
        "value",
        "units",
        "hindsight",
        "shapley",
        "information",
        "belief",
        "soft",
        "contrast",
    }
    mdp = casim.VariableTurns(num_turns=4).build()
    policy = casim.Uniform().table(mdp)
    batch = rollout(casim.World.make(mdp, policy), jax.random.key(0), 40)
    row = int(np.flatnonzero(np.asarray(batch.live).sum(1) == 2)[0])
    one = jax.tree.map(lambda x: x[row : row + 1], batch)
    for curve in curves(KINDS["value"], mdp, policy, solve(mdp, policy), one).values():
        np.testing.assert_array_equal(np.isfinite(curve), [True, True, False, False])


def test_a_target_is_a_curve_by_itself(case):
    """Credit that adds up to the return, of an episode that ends in success."""
    (name, curve), *more = curves(Redistribution(), *case).items()
    assert (name, more) == ("Redistribution()", [])
    assert np.nansum(curve) == pytest.approx(1.0, abs=1e-6)
    (nothing,) = curves(Subgoal(), *case).values()
    assert np.isnan(nothing).all()


def test_the_figure_has_a_panel_for_every_kind_and_a_legend_for_every_curve(along):
    decision = np.array([True, False, True, False])
    figure = truth_figure(along, decision, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == list(along)
    for axes, named in zip(figure.axes, along.values(), strict=True):
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(named)
    plt.close(figure)


def test_the_command_line_draws_one_kind_and_names_them_all_when_asked_for_another(
    tmp_path, capsys
):
    main(
        ["show", "InformationSeeking", "--truth", "value", "--horizon", "3", "--out", str(tmp_path)]
    )
    assert (tmp_path / "InformationSeeking-value.png").stat().st_size > 10_000
    with pytest.raises(SystemExit, match=r"truth must be one of .*all.*value.*, got .credit."):
        main(["show", "InformationSeeking", "--truth", "credit", "--out", str(tmp_path)])


def test_a_panel_holds_more_curves_than_there_are_colours():
    curves = {f"curve {i}": np.full(3, float(i)) for i in range(9)}
    figure = truth_figure({"kind": curves}, np.ones(3, bool), "title")
    looks = [
        (line.get_color(), line.get_marker())
        for line in figure.axes[0].get_lines()
        if line.get_marker() != "None"
    ]
    assert len(set(looks)) == 9
    plt.close(figure)


@pytest.mark.parametrize("name", KINDS)
def test_curves_of_nested_lists_are_those_of_arrays(name, case, along):
    mdp, policy, truth, batch = case
    given = jax.tree.map(lambda x: np.asarray(x).tolist(), (mdp, policy, truth))
    out = curves(KINDS[name], *given, batch)
    assert out.keys() == along[name].keys()
    for curve in out:
        np.testing.assert_allclose(out[curve], along[name][curve], atol=1e-6)
