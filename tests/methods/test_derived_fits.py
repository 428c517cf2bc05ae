"""Recipes that learn from rollouts, on rollouts that are given, against loops in NumPy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import MonotoneMixing
from casim.estimators.sources.mixing import Model
from casim.graders import Judge, Shares
from casim.methods.method import recipe_of
from casim.simulate import JUDGE, World
from tests.methods import derived_fits as fits
from tests.methods import derived_words as words
from tests.methods.derived_run import agree
from tests.methods.derived_world import certain, log_of, process
from tests.methods.test_derived_worlds import Played, credits_of, played
from tests.precise import wide

pytestmark = pytest.mark.slow

FITTED: dict[str, Callable[..., np.ndarray]] = {
    "RUDDER": fits.rudder,
    "HCA_RETURN": fits.hca_return,
    "COCOA_RETURN": fits.cocoa_return,
    "AGENTPRM": fits.agent_prm,
    "VDN": fits.vdn,
    "QLLM": fits.qllm,
    "LLM_MCA": fits.llm_mca,
}
"""Of single rollouts, or of none."""
OF_GROUPS: dict[str, Callable[..., np.ndarray]] = {
    "SPA_RL": fits.spa_rl,
    "LARE": fits.lare,
    "SWEET_RL": fits.sweet_rl,
}


@functools.cache
def on_policy() -> Played:
    with jax.enable_x64(True):
        mdp, policy = wide(*process())
        panel = {JUDGE: Judge(), "shares": Shares()}
        return played(mdp, policy, panel, prior=jnp.asarray(words.reference()))


@functools.cache
def off_policy() -> Played:
    """Another policy acts, in the scored batch and in what is learned from."""
    with jax.enable_x64(True):
        mdp, policy = wide(*process())
        return played(mdp, policy, {}, jnp.asarray(words.reference()))


def learned(one: Played, recipes: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict, dict]:
    """What they give when all that they draw are these rollouts; and both logs of those."""
    with jax.enable_x64(True):
        rollouts = one.world.rollout(jax.random.key(11), 60)
        groups = one.world.groups(jax.random.key(12), 4, 8)
        single = one.world.attach(jax.tree.map(lambda x: x[None], rollouts))
    with (
        mock.patch.object(World, "rollout", return_value=rollouts),
        mock.patch.object(World, "groups", return_value=groups),
    ):
        found = credits_of(one, recipes)
    return {n: value for n, (value, _) in found.items()}, log_of(single), log_of(groups)


@functools.cache
def given():
    names = (*FITTED, *OF_GROUPS)
    return learned(on_policy(), {name: recipe_of(getattr(methods, name)) for name in names})


@pytest.mark.parametrize("name", [*FITTED, *OF_GROUPS])
def test_credit_of_fits(name):
    one = on_policy()
    found, single, groups = given()
    derive, data = (FITTED, single) if name in FITTED else (OF_GROUPS, groups)
    agree(found[name], derive[name](one.log, data, one.mdp, one.known), one.log)


def test_retrace_of_what_another_policy_did():
    one = off_policy()
    found, single, _ = learned(one, {"RETRACE": recipe_of(methods.RETRACE)})
    agree(found["RETRACE"], fits.retrace(one.log, single, one.mdp, one.known), one.log)


def test_qmix_is_a_monotone_mixer_fitted_by_adam_to_the_returns_of_rollouts():
    """From weights that are given: what is drawn is only where the fit begins."""
    one, updates, rate = on_policy(), 40, 0.05
    with jax.enable_x64(True):
        start = Model(*map(jnp.asarray, fits.first_mixer()))
    recipe = recipe_of(methods.QMIX)
    assert (recipe.num_updates, recipe.learning_rate) == (200, rate)
    recipe = dataclasses.replace(recipe, hidden=len(start.outer), num_updates=updates)
    with mock.patch.object(MonotoneMixing, "_initial", return_value=start):
        found, single, _ = learned(one, {"QMIX": recipe})
    wanted = fits.qmix(one.log, single, one.mdp, one.known, updates, rate)
    agree(found["QMIX"], wanted, one.log)
    # It is not the additive fit, and not where it began.
    assert np.abs(wanted - fits.vdn(one.log, single, one.mdp, one.known)).max() > 0.01
    untrained = fits.qmix(one.log, single, one.mdp, one.known, 0, rate)
    assert np.abs(wanted - untrained).max() > 0.01


def test_archer_discounts_a_turn_once_however_many_tokens_it_has():
    """Without chance both critics find what a turn is worth, from what another policy did."""
    with jax.enable_x64(True):
        mdp, policy, behaviour = certain(2, binary=True)
        mdp, behaviour = wide(mdp, behaviour)
        one = played(mdp, policy, {}, behaviour)
    recipe = dataclasses.replace(
        recipe_of(methods.ARCHER), num_rollouts=400, num_epochs=30, learning_rate=1.0, polyak=1.0
    )
    value, _ = credits_of(one, {"ARCHER": recipe})["ARCHER"]
    agree(value, fits.archer(one.log, mdp, one.known), one.log)
