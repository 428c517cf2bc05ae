"""What TRL's trainers make of rewards and of logarithms, against the recipes that casim has."""

from __future__ import annotations

import numpy as np
import pytest

from casim import methods
from casim.bridge import Trl
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

(trl,) = needed("trl", "trl")

from tests.trainers.real_trl import (  # noqa: E402  (needs TRL)
    Grpo,
    Rloo,
    advantage,
    loss_credit,
    made,
    torch,
)

pytestmark = pytest.mark.filterwarnings("ignore")
RELEASE = release("trl")
ADVANTAGES = {
    "scale_rewards group": (advantage(Grpo), methods.GRPO_TRL),
    "scale_rewards batch": (advantage(Grpo, scale_rewards="batch"), methods.GRPO_TRL_BATCH),
    "scale_rewards none": (advantage(Grpo, scale_rewards="none"), methods.DR_GRPO_TRL_UNSCALED),
    "rloo": (advantage(Rloo, beta=0.0), methods.RLOO_TRL),
    "rloo normalized": (
        advantage(Rloo, beta=0.0, normalize_advantages=True),
        methods.RLOO_TRL_NORMALIZED,
    ),
}
PARTED = {
    "sum_then_normalize": (advantage(Grpo, 2), methods.GDPO_REVERSED),
    "normalize_then_sum": (
        advantage(Grpo, 2, multi_objective_aggregation="normalize_then_sum"),
        methods.GDPO_TRL,
    ),
}
"""With two reward functions."""
SIZES = (4, 4, 4)
SEEDS = range(3)


def case(function, method) -> Case:
    return Case(function, Trl(), method, uneven=False)


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("unscored", [0.0, 0.4])
def test_advantages_are_those_of_the_recipes(name, unscored):
    batches = [doubles(seed, sizes=SIZES, unscored=unscored) for seed in SEEDS]
    alone = [batch._replace(component=None) for batch in batches]
    check_agrees(case(*ADVANTAGES[name]), alone, RELEASE)


@pytest.mark.parametrize("name", PARTED)
@pytest.mark.parametrize("unscored", [0.0, 0.4])
def test_several_reward_functions_are_the_recipes(name, unscored):
    batches = [doubles(seed, sizes=SIZES, unscored=unscored) for seed in SEEDS]
    check_agrees(case(*PARTED[name]), batches, RELEASE)


@pytest.mark.parametrize("name", [*ADVANTAGES, *PARTED])
def test_advantages_keep_the_contract(name):
    check_contract(case(*{**ADVANTAGES, **PARTED}[name]), RELEASE)


def test_exact_moments_are_those_of_the_recipe():
    check_exact(case(*ADVANTAGES["scale_rewards group"]), RELEASE)


CLIP = Ratio("token", bounds=(0.8, 1.2), kind="ppo")
SEQUENCE = Ratio("sequence", "geometric", bounds=(0.8, 1.2), kind="ppo")
GRPO = methods.GRPO_TRL.recipe
LOSSES = {
    "grpo": ({"loss_type": "grpo"}, Chain(GRPO, OverLength("own"), CLIP)),
    "bnpo": ({"loss_type": "bnpo"}, Chain(GRPO, OverLength("mean"), CLIP)),
    "dapo": ({"loss_type": "dapo"}, Chain(GRPO, OverLength("mean"), CLIP)),
    "the default": ({}, Chain(GRPO, OverLength("mean"), CLIP)),
    "dr_grpo": (
        {"loss_type": "dr_grpo", "max_completion_length": 512},
        Chain(methods.DR_GRPO_TRL.recipe, CLIP),
    ),
    "dr_grpo, unscaled": (
        {"loss_type": "dr_grpo", "scale_rewards": "none", "max_completion_length": 512},
        Chain(methods.DR_GRPO_TRL_UNSCALED.recipe, CLIP),
    ),
    "luspo": ({"loss_type": "luspo"}, Chain(GRPO, CLIP)),
    "ratio of the sequence": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        Chain(GRPO, OverLength("own"), SEQUENCE),
    ),
    "cispo": (
        {"loss_type": "cispo", "epsilon_high": 1.05},
        Chain(GRPO, OverLength("mean"), Ratio("token", bounds=(0.0, 1.05))),
    ),
    "top_entropy_quantile": (
        {"loss_type": "dapo", "top_entropy_quantile": 0.2},
        Chain(methods.ENTROPY_80_20_TRL.recipe, CLIP),
    ),
}
"""Settings, and value x weight of which recipe the loss is."""


@pytest.mark.parametrize("name", LOSSES)
def test_losses_weigh_as_the_recipes(name):
    settings, recipe = LOSSES[name]
    trainer = made(Grpo, 2, **settings)
    for seed in SEEDS:
        batch = doubles(seed, sizes=SIZES)
        found = loss_credit(trainer, batch)
        # The sum of the components is the reward.
        check_weighs(found, recipe, batch, f"{RELEASE}: loss {name}")


def test_the_loss_of_rloo_has_one_ratio_for_a_whole_rollout():
    ratio = Ratio("sequence", bounds=(0.8, 1.2), kind="ppo")
    trainer = made(Rloo, 2, beta=0.0)
    for seed in SEEDS:
        batch = doubles(seed, sizes=SIZES, tools=False)
        found = loss_credit(trainer, batch)
        recipe = Chain(methods.RLOO_TRL.recipe, ratio)
        check_weighs(found, recipe, batch, f"{RELEASE}: loss of RLOOTrainer")


def test_rloo_takes_the_divergence_from_the_reward():
    """By default, with 0.05; the sum of its estimates over the rollout.

    Set afterwards, since the trainer would fetch a reference model by the name of its model.
    """
    trainer = made(Rloo, 2, beta=0.0)
    trainer.beta = trl.RLOOConfig.__dataclass_fields__["beta"].default
    trainer.ref_model = torch.nn.Identity()
    for seed in SEEDS:
        batch = doubles(seed, sizes=SIZES, tools=False, equal_lengths=True)
        batch = batch._replace(log_prob=batch.policy_log_prob)
        flat = np.asarray(batch.reference_log_prob).reshape(-1, batch.live.shape[-1])
        trainer.reference = torch.tensor(flat, dtype=torch.float32)
        found = loss_credit(trainer, batch)
        check_weighs(found, methods.RLOO_TRL_KL.recipe, batch, f"{RELEASE}: RLOOTrainer with KL")


def test_the_convention_was_read_in_this_release():
    assert Trl.trainer == RELEASE
