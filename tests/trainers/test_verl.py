"""Every advantage estimator that verl registers, against the recipe that casim has of it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from casim import methods
from casim.bridge import Verl
from casim.bridge.conventions import Config
from casim.estimators import Chain, OverLength, Ratio
from tests.trainers.agree import (
    Case,
    check_agrees,
    check_contract,
    check_exact,
    check_weighs,
)
from tests.trainers.batches import doubles
from tests.trainers.installed import needed, release

core_algos, workers, torch = needed(
    "verl", "verl.trainer.ppo.core_algos", "verl.workers.config", "torch"
)
pytestmark = pytest.mark.filterwarnings("ignore")
RELEASE = release("verl")
METHODS = {
    "gae": methods.GAE_VERL,
    "grpo": methods.GRPO_VERL,
    "grpo_vectorized": methods.GRPO_VERL,
    "grpo_passk": methods.PASS_AT_K,
    "gdpo": methods.GDPO,
    "rloo": methods.RLOO,
    "rloo_vectorized": methods.RLOO_VERL_VECTORIZED,
    "reinforce_plus_plus": methods.REINFORCE_PP_VERL_CARRIED,
    "reinforce_plus_plus_baseline": methods.REINFORCE_PP_BASELINE,
    "remax": methods.REMAX,
    "opo": methods.OPO,
    "gpg": methods.GPG,
    "optimal_token_baseline": methods.OTB,
    "tir_optimal_token_baseline": methods.OTB_TIR,
}
"""By the name in verl's registry."""
SEEDS = range(4)


def case(name: str, **settings) -> Case:
    function = core_algos.get_adv_estimator_fn(name)
    uneven = name != "grpo_passk"  # it raises where a rollout is alone
    return Case(function, Verl(), METHODS[name], settings, uneven)


@functools.cache
def batches(uneven: bool):
    """With and without a rollout that is alone in its group."""
    sizes = (4, 1, 3, 4) if uneven else (4, 2, 3, 4)
    return [doubles(seed, sizes=sizes) for seed in SEEDS]


def test_nothing_that_is_registered_is_left_out():
    assert set(core_algos.ADV_ESTIMATOR_REGISTRY) == set(METHODS), RELEASE


@pytest.mark.parametrize("name", METHODS)
def test_estimators_are_the_recipes(name):
    asked = case(name)
    check_agrees(asked, batches(asked.uneven), RELEASE)


DIFFERENCES = {
    "grpo_passk": {"a group of one is finite": "requires at least 2 samples per group"},
    "optimal_token_baseline": {"padding on the left changes nothing": "padding on the left"},
}
"""Lines of the contract that a function is known to break, and what is said; see docs/bridge.md."""


@pytest.mark.parametrize("name", METHODS)
def test_estimators_keep_the_contract(name):
    check_contract(case(name), RELEASE, DIFFERENCES.get(name, {}))


@pytest.mark.parametrize("name", ["grpo", "gdpo", "gae"])
def test_exact_moments_are_those_of_the_recipe(name):
    check_exact(case(name), RELEASE)


def test_without_a_deviation_grpo_is_dr_grpo():
    asked = case("grpo", norm_adv_by_std_in_grpo=False)
    check_agrees(asked._replace(method=methods.DR_GRPO_VERL), batches(True), RELEASE)


def rewards(dtype, *each):
    """A group of rollouts of one token each."""
    reward = torch.tensor(each, dtype=dtype)[:, None]
    index = np.array(["prompt"] * len(each), dtype=object)
    return {
        "token_level_rewards": reward,
        "response_mask": torch.ones_like(reward),
        "index": index,
    }


def test_grpo_vectorized_keeps_its_means_in_single_precision():
    """So equal outcomes in double precision get what it misses them by, over an epsilon of 1e-6."""
    function = core_algos.get_adv_estimator_fn("grpo_vectorized")
    missed = 0.35 - float(np.float32(0.35))
    double, _ = function(**rewards(torch.float64, 0.35, 0.35))
    np.testing.assert_allclose(double.ravel(), missed / 1e-6, rtol=1e-6, err_msg=RELEASE)
    single, _ = function(**rewards(torch.float32, 0.35, 0.35))
    assert not single.any(), RELEASE
    # Seven of them miss their own mean, in both forms.
    for name in ("grpo", "grpo_vectorized"):
        function = core_algos.get_adv_estimator_fn(name)
        seven, _ = function(**rewards(torch.float32, *[0.35] * 7))
        assert 0.01 < seven.abs().max() < 0.1, (RELEASE, name)


def test_gdpo_makes_credit_of_what_rounding_leaves_where_components_cancel():
    """In a group of two each component gives 0.7071 and -0.7071, less what its epsilon takes."""
    function = core_algos.get_adv_estimator_fn("gdpo")
    first = np.array([0.15625, 0.5], dtype=object)
    second = np.array([0.59375, 0.5], dtype=object)
    config = Config(gdpo_reward_keys=["first", "second"])
    prompts = torch.zeros(2, 1, dtype=torch.long)
    attended = torch.ones(2, 2, dtype=torch.long)
    found, _ = function(
        **rewards(torch.float32, 0.75, 1.0),
        config=config,
        non_tensor_batch={"first": first, "second": second},
        batch={"prompts": prompts, "attention_mask": attended},
    )
    assert 0.01 < found.abs().max() < 0.1, RELEASE
    assert found.sum().abs() < 1e-6


EQUAL = (4, 4, 4)
CLIP = Ratio("token", bounds=(0.8, 1.2), kind="ppo")
GRPO = methods.GRPO_VERL.recipe
LOSSES = {
    "vanilla": ("vanilla", "token-mean", Chain(GRPO, OverLength("mean"), CLIP)),
    "a mean over rollouts of means": (
        "vanilla",
        "seq-mean-token-mean",
        Chain(GRPO, OverLength("own"), CLIP),
    ),
    "a mean over rollouts of sums": ("vanilla", "seq-mean-token-sum", Chain(GRPO, CLIP)),
    "... over the padded length": (
        "vanilla",
        "seq-mean-token-sum-norm",
        Chain(GRPO, OverLength("padded"), CLIP),
    ),
    "gspo": (
        "gspo",
        "seq-mean-token-mean",
        Chain(
            GRPO,
            OverLength("own"),
            Ratio("sequence", "geometric", bounds=(0.8, 1.2), kind="ppo"),
        ),
    ),
    "cispo": (
        "cispo",
        "token-mean",
        Chain(GRPO, OverLength("mean"), Ratio("token", bounds=(0.8, 1.2))),
    ),
}
"""A loss of verl's, how it is added up, and value x weight of which recipe it is."""


@pytest.mark.parametrize("name", LOSSES)
def test_losses_weigh_as_the_recipes(name):
    loss, mode, recipe = LOSSES[name]
    for seed in SEEDS:
        batch = doubles(seed, sizes=EQUAL)
        found = loss_credit(loss, mode, batch)
        check_weighs(found, recipe, batch, f"{RELEASE}: loss {name}")


def loss_credit(loss: str, mode: str, batch) -> np.ndarray:
    """What a loss on GRPO's advantages does to the logarithm of each token, `[R, T]`.

    It is minus the derivative times the number of rollouts, since the loss is a mean over them.
    """
    flat = (-1, batch.live.shape[-1])

    def tensor(x):
        return torch.tensor(np.asarray(x).reshape(flat))

    mask = tensor(batch.decided).long()
    groups, num = batch.live.shape[:2]
    advantages, _ = core_algos.get_adv_estimator_fn("grpo")(
        token_level_rewards=tensor(batch.reward),
        response_mask=mask,
        index=np.repeat(np.arange(groups), num),
    )
    leaf = tensor(batch.policy_log_prob).requires_grad_()
    value, _ = core_algos.get_policy_loss_fn(loss)(
        old_log_prob=tensor(batch.log_prob),
        log_prob=leaf,
        advantages=advantages,
        response_mask=mask,
        loss_agg_mode=mode,
        config=workers.ActorConfig(
            strategy="fsdp",
            rollout_n=num,
            ppo_micro_batch_size_per_gpu=1,
            clip_ratio=0.2,
            clip_ratio_low=0.2,
            clip_ratio_high=0.2,
        ),
    )
    (slope,) = torch.autograd.grad(value, leaf)
    return -len(mask) * slope.numpy()


def test_the_convention_was_read_in_this_release():
    assert Verl.trainer == RELEASE
