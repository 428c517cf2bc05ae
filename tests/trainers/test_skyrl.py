"""SkyRL's estimators against casim's recipes."""

from __future__ import annotations

import pytest

from casim import methods
from casim.bridge import SkyRL
from tests.trainers.agree import Case, check_agrees
from tests.trainers.batches import doubles
from tests.trainers.installed import needed, release

needed("skyrl")

from tests.trainers.real_skyrl import estimators  # noqa: E402  (needs SkyRL)

RELEASE = release("skyrl")
SEEDS = range(4)
CASES = {
    "grpo": ("compute_grpo_outcome_advantage", methods.GRPO_VERL, {}),
    "grpo without deviation": (
        "compute_grpo_outcome_advantage",
        methods.DR_GRPO_VERL,
        {"grpo_norm_by_std": False},
    ),
    "rloo": ("compute_rloo_outcome_advantage", methods.RLOO, {}),
    "gae": ("compute_gae_advantage_return", methods.GAE_SKYRL, {}),
    "maxrl": ("compute_maxrl_advantage", methods.MAXRL_SKYRL, {}),
}
"""The function, its recipe and settings; rloo gives a rollout alone 0."""


@pytest.mark.parametrize("name", CASES)
def test_estimators_are_the_recipes(name):
    function, method, settings = CASES[name]
    asked = Case(getattr(estimators, function), SkyRL(), method, settings)
    batches = [doubles(seed, sizes=(4, 3, 2)) for seed in SEEDS]
    check_agrees(asked, batches, RELEASE)


def test_what_is_registered_has_a_recipe_or_is_named():
    """REINFORCE++ whitens over the tools' tokens too: no recipe does."""
    registered = {each.value for each in estimators.AdvantageEstimator}
    assert registered == {"gae", "grpo", "rloo", "maxrl", "reinforce++"}


def test_the_convention_was_read_in_this_release():
    assert SkyRL.trainer == RELEASE
