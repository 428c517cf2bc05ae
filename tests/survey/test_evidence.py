"""Tiers: what is sure of each kind of recipe, and that no part is forgotten."""

import dataclasses
import inspect

import pytest

from casim import methods
from casim.estimators import ESTIMATORS, PARTS
from casim.estimators.base import Source
from casim.survey import tiers
from casim.survey.evidence import (
    MASKS,
    MODELS,
    OBSERVED,
    PROXIES,
    WEIGHTS,
    interface_of,
    members,
    source_of,
    state_of,
    tier_of,
)
from casim.survey.tiers import TIERS
from casim.types import Replay
from casim.vocabulary import NEEDS

RESTORED, OBSERVATIONAL, MODEL, PREDICTIVE = TIERS


@pytest.mark.parametrize(
    ("name", "tier", "state", "source"),
    [
        ("VINEPPO", RESTORED, "restored", "environment restore"),
        ("CARL", RESTORED, "restored", "environment restore"),
        ("CARL_JUDGE", RESTORED, "restored", "environment restore"),
        ("C3", RESTORED, "restored", "environment restore"),
        ("C3_VALUE", PREDICTIVE, "restored", "model proxy"),
        ("GRPO", OBSERVATIONAL, "observed", "log matching"),
        ("REINFORCE", OBSERVATIONAL, "observed", "none"),
        ("REMAX", OBSERVATIONAL, "observed", "none"),
        ("GIGPO", OBSERVATIONAL, "matched", "log matching"),
        ("TEMPO", OBSERVATIONAL, "matched", "log matching"),
        ("TURN_PPO", OBSERVATIONAL, "observed", "log matching"),
        ("ARCHER", OBSERVATIONAL, "observed", "log matching"),
        ("HCAPO", MODEL, "observed", "model proxy"),
        ("COCOA_REWARD_EXACT", MODEL, "observed", "model proxy"),
        ("SPA_RL", MODEL, "observed", "model proxy"),
        ("CAPO", PREDICTIVE, "observed", "model proxy"),
        ("ENTROPY_80_20", PREDICTIVE, "observed", "model proxy"),
        ("SPRO", PREDICTIVE, "observed", "model proxy"),
        ("SWEET_RL", PREDICTIVE, "latent", "model proxy"),
    ],
)
def test_tiers_are_those_of_the_weakest_part(name, tier, state, source):
    recipe = getattr(methods, name).recipe
    assert (tier_of(recipe), state_of(recipe), source_of(recipe)) == (tier, state, source)


def test_what_is_not_restored_is_only_matched():
    recipe = methods.VINEPPO_STEP.recipe
    assert tier_of(recipe, Replay(noise=0.0)) == RESTORED
    assert tier_of(recipe, Replay(noise=0.1)) == OBSERVATIONAL
    # A judge is no better for what it goes back to.
    assert tier_of(methods.INT.recipe, Replay(noise=0.1)) == PREDICTIVE


def _needs(kind):
    """What a part needs by default, or may need by its settings where it has no default."""
    required = [f for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    if not required:
        return kind().needs
    return {need for need in NEEDS if f'"{need}"' in inspect.getsource(kind)}


def test_every_source_has_a_tier():
    for kind in (*ESTIMATORS, *PARTS):
        if not issubclass(kind, Source):
            continue
        asks = _needs(kind) & {"judge", "reset"}
        assert asks or issubclass(kind, MODELS + PROXIES + OBSERVED), kind
        assert sum(issubclass(kind, kinds) for kinds in (MODELS, PROXIES, OBSERVED)) <= 1


def test_masks_and_weights_are_the_parts_that_set_weights():
    """Whatever writes `weight` is a mask or a weight; the rest leaves the loss alone."""
    for kind in (*ESTIMATORS, *PARTS):
        sets = "weight=" in inspect.getsource(kind)
        assert sets == issubclass(kind, MASKS + WEIGHTS), kind
    assert not set(MASKS) & set(WEIGHTS)


def test_the_interface_names_every_door():
    assert interface_of(methods.RLOO.recipe) == ("advantage",)
    assert interface_of(methods.ENTROPY_80_20.recipe) == ("advantage", "mask")
    assert interface_of(methods.PPO_CLIP.recipe) == ("advantage", "loss weight")
    inner = [type(part).__name__ for part in members(methods.ENTROPY_80_20.recipe)]
    assert inner[0] == "Chain"
    assert "TopEntropy" in inner


def test_every_claim_says_what_it_allows():
    assert set(tiers.CLAIMS) == set(TIERS)
