"""Recipes on nasty logs of turns, in double precision, against formulas derived apart from them."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from casim import methods
from casim.estimators import BilevelGae, Chain
from casim.methods import whitening
from tests.methods import derived_groups as groups
from tests.methods import derived_implicit as implicit
from tests.methods import derived_tokens as tokenwise
from tests.methods import derived_turns as turns
from tests.methods.derived_log import (
    of_steps,
    of_texts,
    of_turns,
    of_walks,
    tokens,
    with_dirty_padding,
)
from tests.methods.derived_run import agree, found

EXACT = 1e-9
WHITE = 1e-7
"""A mean divides by n + 1e-8."""


def component(log) -> np.ndarray:
    """The turn's reward at the end of the first turn, and the outcome where it is earned."""
    out = np.stack([np.zeros_like(log["reward"]), log["reward"]], axis=-1)
    rng = np.random.default_rng(1)
    for i in range(len(out)):
        out[i, tokens(log, i)[0][-1], 0] = rng.choice([0.0, 0.5, 0.75])
    return out


def ends_paid(log) -> dict[str, np.ndarray]:
    """The last token of every row earns something: elsewhere RAGEN's code fails."""
    reward = log["reward"].copy()
    for i in range(len(reward)):
        last = np.nonzero(log["mask"][i])[0][-1]
        reward[i, last] = reward[i, last] or 0.625
    return dict(log, reward=reward)


@functools.cache
def log(name: str) -> dict[str, np.ndarray]:
    if name == "steps":
        return of_steps()
    if name == "texts":
        return of_texts(1)
    known = ends_paid(of_turns(3))
    return dict(known, component=component(known), entropy=0.4 * known["entropy"])


STEPS = {
    "GIGPO": groups.gigpo,
    "GIGPO_STD": functools.partial(groups.gigpo, std=True),
    "GIGPO_TRAJECTORY": functools.partial(groups.gigpo, each_row=False),
    "GIGPO_TRAJECTORY_STD": functools.partial(groups.gigpo, std=True, each_row=False),
    "HGPO": functools.partial(groups.hgpo, longest=3),
    "HGPO_CENTRED": functools.partial(groups.hgpo, longest=3, std=False),
    "HGPO_BASE": functools.partial(groups.hgpo, longest=3, base=True),
    "GRAPH_GPO": functools.partial(groups.graph_gpo, success=0.5),
    "G2PO": functools.partial(groups.g2po, win=lambda outcome: float(outcome == 1)),
    "G2PO_RELEASED": groups.g2po,
    "GRAFT": groups.graft,
    "RTMC": groups.rtmc,
    "RTMC_SCALED": functools.partial(groups.rtmc, scaled=True),
    "TURN_LOO": groups.turn_loo,
    "ECPO": groups.ecpo,
    "GACA": groups.gaca,
    "AGENT_LIGHTNING": groups.agent_lightning,
}
"""On rollouts whose turns are single tokens: a row of these methods is a decision."""
TURNS = {
    "AGENT_LIGHTNING_ROLLOUT": functools.partial(groups.agent_lightning, each_row=False),
    "STARPO": groups.starpo,
    "DR_MAS": groups.dr_mas,
    "DR_MAS_GLOBAL": functools.partial(groups.dr_mas, by_agent=False),
    "TURN_PPO": turns.turn_ppo,
    "TURN_GAE": functools.partial(turns.turn_gae, lam=1.0),
    "POAD": turns.poad,
    "NTPO": turns.ntpo,
    "ARCHER_TPPO": turns.archer_tppo,
    "RAGEN": turns.ragen,
    "RAGEN_TURNS": functools.partial(turns.ragen, every_turn=True),
    "VETTA": turns.vetta,
    "HYGAE": turns.hygae,
    "MT_PPO": turns.mt_ppo,
    "VTRACE": lambda log: turns.v_trace(log)[0],
    "SORL": turns.gae_of_all,
    "PRIME": implicit.prime,
    "ITPO": implicit.itpo,
    "ITPO_NORM": functools.partial(implicit.itpo, norm=True),
    "ISTAR": implicit.istar,
    "ISTAR_FROZEN": functools.partial(implicit.istar, frozen=True),
    "SPA_RL_RELEASED": implicit.spa_released,
    "IGPO": implicit.igpo,
    "IGPO_REVERSED": functools.partial(implicit.igpo, accumulate_first=True),
    "IGPO_TOKEN": functools.partial(implicit.igpo_first_code, local=False),
    "IGPO_LOCAL": functools.partial(implicit.igpo_first_code, local=True),
    "IGPO_KEPT": implicit.igpo_kept,
    "A2TGPO": implicit.a2tgpo,
    "TRACE": implicit.trace,
    "DELTA_BELIEF": implicit.delta_belief,
    "MT_GRPO": implicit.mt_grpo,
    "MT_GRPO_CUMULATIVE": functools.partial(implicit.mt_grpo, cumulative=True),
}
TEXTS = {
    "TEMPO": tokenwise.tempo,
    "PRL_TOKEN": tokenwise.prl_token,
    "PRL_SEGMENT": tokenwise.prl_segment,
    "SPRO": tokenwise.spro,
    "PURE_VERL": tokenwise.pure_verl,
    "PURE_OPENRLHF_STEP": tokenwise.pure_step,
}
"""On rollouts of one turn without tools, all of whose tokens have a score."""
TEXT_WEIGHTS = {
    "ENTROPY_80_20": tokenwise.most_uncertain,
    "ENTROPY_80_20_VERL": lambda log: tokenwise.share_of(tokenwise.most_uncertain(log)),
    "ENTROPY_80_20_TRL": lambda log: tokenwise.above_quantile(log) * tokenwise.share_of_all(log),
    "GRPO_LAMBDA": functools.partial(tokenwise.traced, form="recent"),
    "GRPO_LAMBDA_BOTH": functools.partial(tokenwise.traced, form="both"),
    "GRPO_LAMBDA_LATE": functools.partial(tokenwise.traced, form="late"),
}
WHITENED = {"TURN_PPO", "MT_PPO", "RAGEN", "RAGEN_TURNS", "PRIME", "ITPO", "ITPO_NORM"}


def gated(ratio, of=None):
    """rho where the ratio, or another, is in [.5, 5]."""
    other = ratio if of is None else of
    return ratio * ((other >= 0.5) & (other <= 5))


def sequence(log):
    return turns.geometric(log, "sequence")


WEIGHTS = {
    "VTRACE": lambda log: turns.v_trace(log)[1],
    "STARPO_S": lambda log: 1.0 * turns.starpo_s(log),
    "GSPO": lambda log: (
        turns.over_length(log) * turns.ppo(sequence(log), groups.starpo(log), 1 - 3e-4, 1 + 4e-4)
    ),
    "CISPO": lambda log: np.clip(turns.ratios(log), 0.8, 1.28),
    "TIS": lambda log: np.clip(turns.ratios(log), 0.5, 5.0),
    "ICEPOP": lambda log: gated(turns.ratios(log)),
    "SEQUENCE_MASK_TIS": lambda log: gated(turns.ratios(log), sequence(log)),
    "IMPORTANCE_SAMPLING": lambda log: turns.product(log, "sequence"),
    "SORL_PRODUCT": lambda log: turns.product(log, "turn"),
    "SORL_UNCLIPPED": lambda log: turns.geometric(log, "turn"),
    "STARE": lambda log: turns.surprised(log, groups.starpo(log)),
    "STARE_BOTH": lambda log: turns.surprised(log, groups.starpo(log), down=0.9),
}
CLIPPED = {
    "SORL": lambda log: turns.geometric(log, "turn"),
    "SORL_TOKEN": turns.ratios,
    "PPO_CLIP": turns.ratios,
    "TURN_CLIP": lambda log: turns.product(log, "turn"),
    "TURN_PPO_CLIP": lambda log: turns.product(log, "turn"),
}
"""PPO's clip of these ratios, at .8 and 1.2, by the sign of the recipe's own value."""


FAST = {"GIGPO_STD", "ISTAR", "ITPO_NORM", "IGPO", "IGPO_LOCAL", "MT_GRPO", "RAGEN", "POAD"}
"""Those that the fast suite compiles; the programs of the rest take long."""


def named(names):
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.slow
def test_both_levels_of_ragen_have_a_lambda():
    """Its scripts set 1, which hides where lambda enters."""
    known = log("turns")
    recipe = Chain(BilevelGae(lambda_=0.8, turn_discount=0.9, discount=0.7), whitening.VERL)
    value, _ = found(known, {"both": recipe})["both"]
    agree(value, turns.ragen(known, high=0.9, lam=0.8, low=0.7), known, WHITE)


@functools.cache
def given(kind: str, fast: bool):
    """What recipes give to a log, by one program."""
    turnwise = {**TURNS, **WEIGHTS, **CLIPPED}
    names = {"steps": STEPS, "turns": turnwise, "texts": {**TEXTS, **TEXT_WEIGHTS}}[kind]
    return found(with_dirty_padding(log(kind)), [n for n in names if (n in FAST) == fast])


def value_and_weight(name):
    kind = "steps" if name in STEPS else "texts" if name in TEXTS | TEXT_WEIGHTS else "turns"
    return given(kind, name in FAST)[name]


@pytest.mark.parametrize("name", named(STEPS))
def test_groups_of_steps(name):
    agree(value_and_weight(name)[0], STEPS[name](log("steps")), log("steps"), EXACT)


@pytest.mark.parametrize("name", named(TURNS))
def test_turns(name):
    known = log("turns")
    tolerance = WHITE if name in WHITENED else EXACT
    agree(value_and_weight(name)[0], TURNS[name](known), known, tolerance)


@pytest.mark.parametrize("name", named(TEXTS))
def test_texts(name):
    known = log("texts")
    agree(value_and_weight(name)[0], TEXTS[name](known), known, EXACT)


@pytest.mark.parametrize("name", named(TEXT_WEIGHTS))
def test_weights_of_texts(name):
    known = log("texts")
    agree(value_and_weight(name)[1], TEXT_WEIGHTS[name](known), known, EXACT)


@pytest.mark.parametrize("name", named(WEIGHTS))
def test_weights(name):
    known = log("turns")
    wanted = WEIGHTS[name](known)
    agree(value_and_weight(name)[1], wanted, known, EXACT)
    assert np.ptp(wanted[known["mask"]]) > 1e-3


@pytest.mark.parametrize("name", named(CLIPPED))
def test_clipped_weights(name):
    known = log("turns")
    value, weight = value_and_weight(name)
    wanted = turns.ppo(CLIPPED[name](known), value, 0.8, 1.2)
    agree(weight, wanted, known, EXACT)
    assert np.any(wanted[known["mask"]] == 0)


@pytest.mark.parametrize("kind", ["steps", "turns"])
def test_nothing_else_gets_weight(kind):
    for _, weight in given(kind, fast=True).values():
        assert not weight[~log(kind)["mask"]].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GRAPH_GPO", "GRAFT"])
def test_graphs_whose_ways_change_from_walk_to_walk(name):
    """What fails passes by where others succeed, and where nothing leads on."""
    walks = [[0, 1, 2, 3], [4, 3, 5], [6, 2, 7], [0, 8, 8], [5, 5, 1], [9, 6]]
    known = of_walks(walks, [0.0, 1.0, 0.25, 0.0, 0.0, 0.75])
    agree(found(known, [name])[name][0], STEPS[name](known), known, EXACT)


@pytest.mark.slow
def test_tokens_without_a_score_count_in_the_baseline_of_their_step():
    """PURE by token, where two tokens of three have no score."""
    known = log("texts")
    scored = np.arange(known["mask"].shape[1]) % 3 == 1
    known = dict(known, reward=np.where(scored, known["reward"], 0.0))
    value, _ = found(known, ["PURE_OPENRLHF"])["PURE_OPENRLHF"]
    agree(value, tokenwise.pure_token(known), known, EXACT)


@pytest.mark.slow
def test_calls_of_sub_agents_vote_each():
    """M-GRPO, where no component of the reward says that a form is broken."""
    known = of_turns()
    agree(found(known, ["M_GRPO"])["M_GRPO"][0], groups.m_grpo(known), known, EXACT)


@pytest.mark.slow
def test_dapo_takes_from_the_reward_of_overlong_rows():
    """min(-(len - (Lmax - Lbuf)) / Lbuf, 0) on the outcome, and GRPO of that; the tools count."""
    steps = int(log("turns")["live"].sum(axis=1).max()) + 1
    known = {name: x if x.ndim == 1 else x[:, :steps] for name, x in log("turns").items()}
    value, _ = found(known, ["DAPO_OVERLONG"])["DAPO_OVERLONG"]
    lost = turns.overlong(known, steps, 0.2 * steps)
    assert (lost < 0).any()
    last = known["live"].sum(axis=1) - 1
    reward = known["reward"].copy()
    reward[np.arange(len(last)), last] += lost
    agree(value, groups.starpo(dict(known, reward=reward)), known, EXACT)


@pytest.mark.slow
def test_who_acted_is_the_policy_of_a_log_that_says_nothing_else():
    """So iStar's old policy is, whatever is trained by now."""
    known = log("turns")
    bare = {name: x for name, x in known.items() if name != "policy_log_prob"}
    both = found(known, ["ISTAR_FROZEN"])["ISTAR_FROZEN"][0]
    agree(found(bare, ["ISTAR_FROZEN"])["ISTAR_FROZEN"][0], both, known, EXACT)


def test_every_name_is_a_method():
    for name in {**STEPS, **TURNS, **WEIGHTS, **CLIPPED, **TEXTS, **TEXT_WEIGHTS}:
        assert getattr(methods, name) in methods.METHODS
