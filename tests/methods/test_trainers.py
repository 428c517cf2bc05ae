"""Recipes of public trainers, on one nasty log in double precision, against their formulas."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    Baseline,
    Chain,
    DynamicSampling,
    FromEnds,
    Gae,
    LessDivergence,
    LogRatio,
    OverConstant,
    Overlong,
    OverMean,
    PerComponent,
    PrefixGain,
    Times,
    ToGo,
    TokenBaseline,
    TopEntropy,
    Traces,
    Whole,
)
from casim.types import Batch, to_rows
from tests.methods import reference_trainers as ref
from tests.quick import QUICK

EXACT = 1e-12
WHITE = 1e-7
"""Verl's means divide by n + 1e-8."""
KEY = jax.random.key(0)
run = jax.jit(
    lambda recipe, batch: recipe.credit(KEY, None, batch),
    static_argnums=0,
    compiler_options=QUICK,
)
VALUES = {
    "GRPO_VERL": (ref.grpo_verl, EXACT),
    "GRPO_VERL_VECTORIZED": (ref.grpo_verl_vectorized, EXACT),
    "GRPO_TRL": (ref.grpo_trl, EXACT),
    "GRPO_TRL_BATCH": (ref.grpo_trl_batch, EXACT),
    "GRPO_OPENRLHF": (ref.grpo_openrlhf, EXACT),
    "GRPO_SPO": (ref.grpo_spo, EXACT),
    "GRPO_DR": (ref.grpo_dr, EXACT),
    "DR_GRPO": (ref.dr_grpo, EXACT),
    "DR_GRPO_CONSTANT": (ref.dr_grpo, EXACT),
    "DR_GRPO_VERL": (ref.dr_grpo_verl, EXACT),
    "DR_GRPO_TRL": (ref.grpo_trl, EXACT),
    "DR_GRPO_TRL_UNSCALED": (ref.dr_grpo, EXACT),
    "DAPO": (ref.grpo_verl, EXACT),
    "MAXRL": (ref.maxrl, EXACT),
    "MAXRL_SKYRL": (ref.maxrl_skyrl, EXACT),
    "GPG": (ref.gpg, EXACT),
    "PASS_AT_K": (ref.pass_at_k, EXACT),
    "RLOO": (ref.rloo, EXACT),
    "RLOO_VERL_VECTORIZED": (ref.rloo_zero, EXACT),
    "RLOO_TRL": (ref.rloo_zero, EXACT),
    "RLOO_TRL_KL": (ref.rloo_trl_kl, EXACT),
    "RLOO_TRL_NORMALIZED": (ref.rloo_trl_normalized, EXACT),
    "RLOO_OPENRLHF": (ref.rloo_zero, EXACT),
    "REINFORCE_PP_VERL": (ref.reinforce_pp_verl, WHITE),
    "REINFORCE_PP_VERL_CARRIED": (ref.reinforce_pp_verl_carried, WHITE),
    "REINFORCE_PP_OPENRLHF": (ref.reinforce_pp_openrlhf, EXACT),
    "REINFORCE_PP_BASELINE": (ref.reinforce_pp_baseline, WHITE),
    "REINFORCE_PP_BASELINE_OPENRLHF": (ref.reinforce_pp_baseline_openrlhf, EXACT),
    "REMAX": (ref.remax, EXACT),
    "OPO": (ref.opo, EXACT),
    "OTB": (ref.otb, EXACT),
    "OTB_TIR": (ref.otb_tir, EXACT),
    "GDPO": (ref.gdpo, WHITE),
    "GDPO_TRL": (ref.gdpo_trl, EXACT),
    "GDPO_REVERSED": (ref.gdpo_reversed, EXACT),
    "GAE_VERL": (ref.gae_verl, WHITE),
    "GAE_OPENRLHF": (ref.gae_openrlhf, EXACT),
    "GAE_SKYRL": (ref.gae_skyrl, WHITE),
    "TEMPO": (ref.tempo, EXACT),
    "TEMPO_HISTORY": (functools.partial(ref.tempo, stop=False), EXACT),
    "PRL": (ref.prl, EXACT),
    "PRL_TOKEN": (ref.prl_token, EXACT),
    "SPRO": (ref.spro, EXACT),
    "PURE_VERL": (ref.pure_verl, EXACT),
    "PURE_OPENRLHF": (functools.partial(ref.pure_openrlhf, per="token"), EXACT),
    "PURE_OPENRLHF_STEP": (ref.pure_openrlhf, EXACT),
    "ENTROPY_80_20_VERL": (ref.grpo_verl, EXACT),
    "ENTROPY_80_20_TRL": (ref.grpo_trl, EXACT),
    "GRPO_LAMBDA": (ref.grpo_spo, EXACT),
}
"""What the credit is, and to which share of the largest."""
WEIGHTS = {
    "GRPO_VERL": lambda log: log["mask"],
    "GRPO_DR": ref.own_share,
    "DR_GRPO_CONSTANT": lambda log: log["mask"] / 3000,
    "DR_GRPO_VERL": ref.padded_share,
    "DR_GRPO_TRL": lambda log: log["mask"] / 512,
    "DAPO": ref.dapo_share,
    "ENTROPY_80_20": ref.top_entropy,
    "ENTROPY_80_20_VERL": ref.entropy_verl,
    "ENTROPY_80_20_TRL": ref.entropy_trl,
    "GRPO_LAMBDA": functools.partial(ref.traces, form="recent"),
    "GRPO_LAMBDA_BOTH": functools.partial(ref.traces, form="both"),
    "GRPO_LAMBDA_LATE": functools.partial(ref.traces, form="late"),
}


NAMES = list(VALUES | WEIGHTS)
DOZEN = 12
"""Recipes in one program: together they compile in two thirds of the time."""


def batch_of(log, **changes):
    return Batch.from_arrays(**{**log, **changes})


def rows(name, log, part="value", **changes):
    """What the recipe gives to the rows of the log, in its order."""
    recipe = name if not isinstance(name, str) else getattr(methods, name).recipe
    with jax.enable_x64(True):
        batch = batch_of(log, **changes)
        return to_rows(getattr(run(recipe, batch), part), batch)


@functools.cache
def program(dozen):
    """The credit of recipes by name, those from DOZEN * dozen on."""
    names = NAMES[DOZEN * dozen : DOZEN * (dozen + 1)]
    recipes = {name: getattr(methods, name).recipe for name in names}

    def credit(batch):
        return {name: recipe.credit(KEY, None, batch) for name, recipe in recipes.items()}

    return jax.jit(credit, compiler_options=QUICK)


@functools.cache
def credit_of_a_dozen(dozen, dirty=False):
    """The log as a batch, or the one whose padding is no number, and what `program` gives."""
    log = ref.nasty()
    with jax.enable_x64(True):
        batch = batch_of(with_dirty_padding(log) if dirty else log)
        return batch, program(dozen)(batch)


def rows_of_log(name, part="value", dirty=False):
    """What a named recipe gives to the rows of the log, in its order."""
    batch, found = credit_of_a_dozen(NAMES.index(name) // DOZEN, dirty)
    with jax.enable_x64(True):
        return to_rows(getattr(found[name], part), batch)


def agree(found, wanted, log, share, name):
    found, wanted = found[log["mask"]], wanted[log["mask"]]
    assert found.dtype == np.float64
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(
        found, wanted, rtol=share, atol=share * np.abs(wanted).max(), err_msg=name
    )


@pytest.fixture(scope="module")
def log():
    return ref.nasty()


@pytest.mark.parametrize("name", VALUES)
def test_values_are_the_formula(log, name):
    formula, share = VALUES[name]
    agree(rows_of_log(name), formula(log), log, share, name)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_the_formula(log, name):
    found = rows_of_log(name, "weight")
    np.testing.assert_allclose(found, WEIGHTS[name](log), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("REINFORCE_PP_VERL", ref.reinforce_pp_verl),
        ("REINFORCE_PP_VERL_CARRIED", ref.reinforce_pp_verl_carried),
        ("REINFORCE_PP_OPENRLHF", ref.reinforce_pp_openrlhf),
        ("GAE_VERL", ref.gae_verl),
        ("GAE_OPENRLHF", ref.gae_openrlhf),
        ("GAE_SKYRL", ref.gae_skyrl),
    ],
)
def test_a_discount_counts_the_tokens_that_the_trainer_counts(log, name, formula):
    agree(rows(name, log, discount=0.9), formula(log, gamma=0.9), log, WHITE, name)
    assert np.abs(formula(log, 0.9) - formula(log))[log["mask"]].max() > 0.01


@pytest.mark.parametrize(
    ("gaps", "formula"),
    [("skipped", ref.gae_verl), ("zeroed", ref.gae_openrlhf), ("count", ref.gae_skyrl)],
)
def test_lambda_tells_the_conventions_apart(log, gaps, formula):
    for lam in (0.0, 0.95):
        recipe = Chain(Gae(lambda_=lam, gaps=gaps))
        wanted = formula(log, 0.9, lam, white=False)
        agree(rows(recipe, log, discount=0.9), wanted, log, EXACT, gaps)


@pytest.mark.parametrize(("gaps", "wanted"), [("skipped", 0.1), ("zeroed", -0.6), ("count", 0.3)])
def test_the_decision_before_a_tool(gaps, wanted):
    """The example of the docstring."""
    log = {
        "reward": np.array([[0, 0, 0, 0, 0, 1.0]]),
        "mask": np.array([[1, 1, 0, 0, 1, 1]]) > 0,
        "value": np.array([[0.5, 0.6, 0.9, 0.1, 0.7, 0.8]]),
        "prompt": np.array([0]),
    }
    for lam, at_lambda in ((0.0, wanted), (1.0, 0.4)):
        found = rows(Chain(Gae(lambda_=lam, gaps=gaps)), log)
        assert found[0, 1] == pytest.approx(at_lambda, abs=1e-12)


def test_what_cannot_be_scored_is_left_out_as_in_trl(log):
    """Their rewards are no numbers; a group with one that can be scored gets 0 throughout."""
    scorable = np.ones(len(log["prompt"]), bool)
    scorable[[0, 3, 7]] = False
    lost = {**log, "reward": np.where(scorable[:, None], log["reward"], np.nan)}
    kept = {name: x[scorable] for name, x in log.items()}
    for name in ("GRPO_TRL", "GRPO_TRL_BATCH", "RLOO_TRL", "RLOO_TRL_NORMALIZED"):
        found = rows(name, lost, scorable=scorable)
        agree(found[scorable], VALUES[name][0](kept), kept, EXACT, name)
        assert not found[~scorable].any()
        if name != "RLOO_TRL_NORMALIZED":
            assert not found[log["prompt"] == 9].any()


def test_a_component_that_is_missing_counts_nowhere(log):
    """TRL's reward functions may give None: a sum leaves it out, a mean is over the others."""
    component = log["component"].copy()
    component[[0, 6], :, 1] = np.nan
    each = component.sum(axis=1)
    total = np.zeros(len(each))
    for k in range(2):
        there = ~np.isnan(each[:, k])
        some = {"prompt": log["prompt"][there]}
        total[there] += ref.z_score(some, epsilon=1e-4, score=each[there, k])
    wanted = (total - total.mean()) / (ref.deviation(total) + 1e-4)
    agree(rows("GDPO_TRL", log, component=component), ref.spread(wanted, log), log, EXACT, "NaN")


def test_weights_of_components_and_their_number(log, unhooked):
    each = methods.GDPO.recipe.parts[0]
    weighted = type(each)(each.each, (2.0, -0.5))
    first, second = (ref.z_score(log, single="raw", score=x) for x in ref.components(log).T)
    agree(rows(weighted, log), ref.spread(2 * first - 0.5 * second, log), log, EXACT, "weights")
    with pytest.raises(ValueError, match="weights must be 2, one for each component"):
        rows(type(each)(each.each, (1.0,)), log)


@pytest.mark.parametrize("capped", [False, True])
def test_long_answers_pay_within_the_buffer(log, capped):
    """From 5 tokens on, of 8 allowed: a rollout of 9 pays more than 1 unless it is capped."""
    found = rows(Chain(Overlong(8, 0.375, 2.0, capped), Whole(1.0)), log)
    length = log["live"].sum(axis=1)
    excess = np.clip(length - 5, 0, 3 if capped else None)
    wanted = ref.spread(ref.scores(log) - 2.0 * excess / 3, log)
    agree(found, wanted, log, EXACT, "overlong")
    assert length.max() == 9


def test_shaping_leaves_alone_which_groups_are_dropped(log):
    both = [rows(name, log, "weight") for name in ("DAPO", "DAPO_OVERLONG")]
    np.testing.assert_array_equal(*both)
    values = [rows(name, log) for name in ("DAPO", "DAPO_OVERLONG")]
    assert np.abs(values[0] - values[1]).max() > 0.01


NUMBERS = ("reward", "log_prob", "reference_log_prob", "sum_pi_squared", "entropy", "value")


def with_dirty_padding(log):
    dirty = {**log, **{key: np.where(log["live"], log[key], np.nan) for key in NUMBERS}}
    dirty["component"] = np.where(log["live"][..., None], log["component"], np.nan)
    return dirty


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_padding_may_hold_anything(name):
    """What is no number after the end of a rollout changes nothing."""
    for part in ("value", "weight"):
        found, wanted = (rows_of_log(name, part, dirty) for dirty in (True, False))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FromEnds(0), "length must be in"),
        (lambda: ToGo(gaps="filled"), "gaps must be one of"),
        (lambda: Baseline(votes="nobody"), "votes must be one of"),
        (lambda: Baseline(floor=-1.0), "floor must be in"),
        (lambda: TokenBaseline("turn"), "position must be one of"),
        (lambda: PrefixGain("turn"), "share must be one of"),
        (lambda: PrefixGain(holes="fill"), "holes must be one of"),
        (lambda: DynamicSampling(0), "max_batches must be in"),
        (lambda: OverMean(-1.0), "epsilon must be in"),
        (lambda: OverMean(nonpositive="one"), "nonpositive must be one of"),
        (lambda: OverMean(single="zero"), "single must be one of"),
        (lambda: Times(float("nan")), "factor must be in"),
        (lambda: Overlong(0), "longest must be in"),
        (lambda: Overlong(buffer=0.0), "buffer must be in"),
        (lambda: Overlong(factor=-1.0), "factor must be in"),
        (lambda: OverConstant(0.0), "size must be in"),
        (lambda: TopEntropy(by="sum"), "by must be one of"),
        (lambda: Traces("early"), "form must be one of"),
        (lambda: Traces(decay=1.5), "decay must be in"),
        (lambda: LogRatio(float("inf")), "beta must be in"),
        (lambda: LessDivergence(-1.0), "beta must be in"),
        (lambda: PerComponent(Whole(), (float("nan"),)), "weights must be in"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("OTB", "sum_pi_squared"),
        ("OTB", "log_prob"),
        ("PRL", "reference_log_prob"),
        ("GDPO", "component"),
        ("REMAX", "reward_baseline"),
        ("GAE_VERL", "value"),
        ("ENTROPY_80_20", "entropy"),
    ],
)
def test_a_log_must_have_what_the_method_reads(log, name, column, unhooked):
    without = {key: x for key, x in log.items() if key != column}
    with pytest.raises(ValueError, match="must"):
        rows(name, without)
