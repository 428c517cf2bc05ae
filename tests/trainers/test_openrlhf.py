"""OpenRLHF's estimators, as its experience maker computes them, against casim's recipes."""

from __future__ import annotations

import pytest

from casim import methods
from casim.bridge import OpenRLHF
from tests.trainers.agree import Case, check_agrees
from tests.trainers.batches import doubles
from tests.trainers.installed import needed, release

needed("openrlhf")

from tests.trainers.real_openrlhf import advantage  # noqa: E402  (needs OpenRLHF)

pytestmark = pytest.mark.filterwarnings("ignore")
RELEASE = release("openrlhf")
METHODS = {
    "gae": methods.GAE_OPENRLHF,
    "reinforce": methods.REINFORCE_PP_OPENRLHF,
    "rloo": methods.RLOO_OPENRLHF,
    "reinforce_baseline": methods.REINFORCE_PP_BASELINE_OPENRLHF,
    "group_norm": methods.GRPO_OPENRLHF,
    "dr_grpo": methods.DR_GRPO,
}
SEEDS = range(4)


@pytest.mark.parametrize("name", METHODS)
def test_estimators_are_the_recipes(name):
    asked = Case(advantage(name), OpenRLHF(), METHODS[name], uneven=False)
    batches = [doubles(seed, sizes=(4, 4, 4), in_between=False) for seed in SEEDS]
    check_agrees(asked, batches, RELEASE)


def test_the_convention_was_read_in_this_release():
    assert OpenRLHF.trainer == RELEASE
