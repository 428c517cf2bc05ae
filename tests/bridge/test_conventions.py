"""Functions written as each trainer calls them give what casim's recipes of them give."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from casim import methods
from casim.bridge import (
    CONVENTIONS,
    OpenRLHF,
    Rllm,
    Rows,
    SkyRL,
    Slime,
    Trl,
    Verl,
    VerlAgent,
    trainer,
)
from casim.bridge.rows import present
from casim.estimators import Baseline, Chain, Whole
from tests.bridge import functions
from tests.bridge.batches import nasty
from tests.quick import QUICK

KEY = jax.random.key(0)
SLIME = Chain(Whole(discount=1.0), Baseline("group", scale=True))
CASES = {
    "grpo_verl": (Verl(), methods.GRPO_VERL, True),
    "rloo_verl": (Verl(), methods.RLOO, True),
    "rf_pp_verl": (Verl(), methods.REINFORCE_PP_VERL_CARRIED, True),
    "gae_verl": (Verl(), methods.GAE_VERL, True),
    "grpo_trl": (Trl(), methods.GRPO_TRL, False),
    "gae_openrlhf": (OpenRLHF(), methods.GAE_OPENRLHF, False),
    "rloo_openrlhf": (OpenRLHF(), methods.RLOO_OPENRLHF, False),
    "gae_skyrl": (SkyRL(), methods.GAE_SKYRL, True),
    "grpo_skyrl": (SkyRL(), methods.GRPO_VERL, True),
    "grpo_slime": (Slime(), SLIME, True),
    "rloo_rllm": (Rllm(), methods.RLOO, True),
    "gigpo_verl_agent": (VerlAgent(), methods.GIGPO, True),
}
"""The function, the convention, the recipe, and whether groups may be of unequal size."""
FAST = ("rf_pp_verl", "gae_verl")


@functools.cache
def wanted(fast, uneven):
    """What the recipes give, in one program."""
    chosen = {
        name: recipe
        for name, (_, recipe, odd) in CASES.items()
        if odd == uneven and (name in FAST) == fast
    }

    def credit(batch):
        return {name: recipe.credit(KEY, None, batch) for name, recipe in chosen.items()}

    with jax.enable_x64(True):
        return jax.jit(credit, compiler_options=QUICK)(nasty(uneven))


@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_functions_are_the_recipes(name):
    convention, _, uneven = CASES[name]
    with jax.enable_x64(True):
        batch = nasty(uneven)
        found = trainer(getattr(functions, name), convention).credit(KEY, None, batch)
        right = wanted(name in FAST, uneven)[name]
        decided = np.asarray(batch.of_counted(batch.decided))
        value, expected = np.asarray(found.value)[decided], np.asarray(right.value)[decided]
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(value, expected, atol=1e-7)
        np.testing.assert_array_equal(found.weight, decided)


def rows(uneven=True):
    with jax.enable_x64(True):
        fields = {name: np.asarray(x) for name, x in present(nasty(uneven)).items()}
    return Rows.of(fields)


@pytest.mark.parametrize("kind", CONVENTIONS, ids=lambda kind: kind.name)
def test_credit_comes_back_to_its_token(kind):
    """A function that gives each token a number of its own, in the trainer's layout."""
    convention, log = kind(), rows(uneven=False)
    offered = convention.offers(log, {})
    steps = log.reward.shape[1]
    wanted = np.arange(log.reward.size, dtype=float).reshape(log.reward.shape)
    if kind is Rllm:
        each = wanted[:, 0]
        answer = ([each[:3], each[3:]], None)
        wanted = log.spread(each)
    elif kind is Slime:
        cut = [row[:size] for row, size in zip(wanted, log.length, strict=True)]
        offered["rollout_data"]["advantages"], answer = cut, None
        wanted = np.where(log.live, wanted, 0.0)
    elif kind is OpenRLHF:
        answer = np.concatenate([np.full((len(wanted), 2), np.nan), wanted], axis=1)
    elif kind is SkyRL:
        answer = np.stack([np.roll(x, steps - n) for x, n in zip(wanted, log.length, strict=True)])
    elif kind is VerlAgent:
        # One token a turn here, so the steps of the agent are the policy's tokens in order.
        answer = wanted[log.mask][:, None]
        wanted = np.where(log.mask, wanted, 0.0)
    else:
        answer = (wanted, None)
    np.testing.assert_array_equal(convention.credit(answer, offered, log), wanted)


def test_what_verl_hands_over():
    offered = Verl().offers(rows(), {"norm_adv_by_std_in_grpo": False})
    assert offered["token_level_rewards"].shape == (5, 5)  # the empty place is no row
    assert offered["response_mask"][3].tolist() == [1, 0, 0, 1, 1]
    assert offered["index"].tolist() == ["prompt-0"] * 3 + ["prompt-1"] * 2
    assert offered["config"].get("norm_adv_by_std_in_grpo") is False
    assert offered["config"].gamma == 1.0


def test_verl_hands_over_components_as_a_reward_function_gives_them():
    log = rows()
    assert "non_tensor_batch" not in Verl().offers(log, {})
    parts = np.stack([log.reward, np.where(log.live, 0.5, 0.0)], axis=-1)
    offered = Verl().offers(log._replace(component=parts), {"gdpo_reward_weights": [1.0, 2.0]})
    keys = offered["config"].get("gdpo_reward_keys")
    first, second = (offered["non_tensor_batch"][key] for key in keys)
    assert first.dtype == object
    np.testing.assert_allclose(first.astype(float), log.outcome)
    np.testing.assert_allclose(second.astype(float), 0.5 * log.length)
    width = offered["batch"]["prompts"].shape[1]
    attended = offered["batch"]["attention_mask"]
    np.testing.assert_array_equal(attended[:, width:].sum(axis=1), log.length)


def test_padding_of_skyrl_is_on_the_left_and_tools_are_in_its_mask():
    offered = SkyRL().offers(rows(), {})
    assert offered["response_mask"][2].tolist() == [0, 0, 1, 1, 1]
    assert offered["token_level_rewards"][2].tolist() == [0, 0, 0, 0, 0.75]


def test_openrlhf_moves_the_score_to_the_last_token_of_the_model():
    """Row 2 ends on a token of a tool, which earns 0.75."""
    log = rows(uneven=False)
    offered = OpenRLHF().offers(log, {})
    assert not offered["action_mask"][:, :2].any()
    reward = offered["rewards"][2, 2:]
    assert log.mask[2].tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(reward, [0, 0.75, 0, 0, 0])


def test_verl_agent_has_a_row_for_each_turn():
    log = rows()
    turn = np.broadcast_to(np.array([0, 0, 0, 1, 1]), log.turn.shape)
    offered = VerlAgent(step_gamma=0.5).offers(log._replace(turn=turn), {})
    # Row 0 has tokens 0, 1 in turn 0 and 3, 4 in turn 1: token 2 is the environment's.
    assert offered["response_mask"][:2].tolist() == [[1, 1], [1, 1]]
    assert offered["traj_index"][:2].tolist() == ["rollout-0"] * 2
    score = log.reward[0].sum()
    np.testing.assert_allclose(offered["token_level_rewards"][:2], [[0, score], [0, score]])
    later = log.reward[0, 3:].sum()
    now = log.reward[0, :3].sum() + 0.5 * later
    np.testing.assert_allclose(offered["step_rewards"][:2], [now, later])


def test_slime_hands_over_what_it_has_normalised():
    offered = Slime().offers(rows(), {})
    rewards = np.array(offered["rollout_data"]["rewards"])
    assert rewards[:3].sum() == pytest.approx(0, abs=1e-12)
    assert np.std(rewards[:3], ddof=1) == pytest.approx(1, abs=1e-5)
    raw = Slime().offers(rows(), {"advantage_estimator": "ppo"})
    np.testing.assert_allclose(raw["rollout_data"]["rewards"], rows().outcome)


def test_unequal_groups_are_refused_where_a_trainer_has_one_size():
    with pytest.raises(ValueError, match=r"one size here, got \[2, 3\]"):
        Trl().offers(rows(), {})


def test_one_gamma_is_asked_for():
    log = rows()
    discount = log.discount.copy()
    discount[0, 1] = 0.5
    with pytest.raises(ValueError, match=r"one for all tokens here, got 0.5 to 1.0"):
        Verl().offers(log._replace(discount=discount), {})
