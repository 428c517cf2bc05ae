"""What trajectories of unequal length do to a mean over tokens: of credit, and of the loss."""

from __future__ import annotations

from typing import Any

from casim import methods
from casim.estimators import Baseline, Chain, OverLength
from casim.oracle.moments import by_reward
from settled.baselines import CORRELATIONS, correlated
from settled.found import SAME, Dispute, Found, direction, scores, settle
from settled.worlds import stopping

PAYS = (0.0, 2.0, 1.0, 3.0)
"""What stopping pays at each turn."""
NUM = 3
"""Rollouts of a group."""
RLOO = methods.RLOO_VERL_VECTORIZED.recipe
TINY = 1e-8
"""Beside a variance, as verl has it."""


def over(votes: Any, centre: bool = True, scale: bool = True) -> Chain:
    """RLOO, and what of a whitening over the batch comes after it: the shift, or the scale."""
    whitening = Baseline(
        "batch",
        votes=votes,
        centre=centre,
        scale=scale,
        epsilon=TINY,
        epsilon_at="inside",
    )
    return Chain(RLOO, whitening)


def whitening() -> Found:
    """Advantages that are right, less their mean over tokens or rollouts, over their deviation."""
    rules = {
        "not whitened": RLOO,
        "less the mean over tokens": over("step", scale=False),
        "over the deviation of tokens": over("step", centre=False),
        "both, over tokens (verl, OpenRLHF, SkyRL)": over("step"),
        "both, over rollouts (TRL)": over("trajectory"),
    }
    ends, lasts = (stopping(*PAYS, ends=x) for x in (True, False))
    rows = {}
    for name, rule in rules.items():
        unequal, equal = (scores(x, rule, NUM, by_reward) for x in (ends, lasts))
        cells = [*direction(unequal), equal["gradient_cosine"]]
        rows[name] = [float(x) for x in cells]
    two = scores(ends, over("step"), NUM, by_reward, num_prompts=2)
    plain, shifted, scaled, tokens, rollouts = rows.values()
    numbers = {
        "plain": plain[1],
        "shifted": shifted[1],
        "scaled": scaled[1],
        "tokens": tokens[1],
        "tokens_2": float(two["gradient_cosine"]),
        "rollouts": rollouts[1],
        "shifted_equal": shifted[3],
        "tokens_equal": tokens[3],
        "variance": plain[2],
        "tokens_variance": tokens[2],
    }
    columns = ("slope", "cosine", "variance", "cosine, equal lengths")
    turned = tokens[1] < 1 - SAME
    also_equal = tokens[3] < 1 - SAME
    return Found(settle(yes=turned and also_equal, no=not turned), numbers, columns, rows)


def length_denominators() -> Found:
    """What the sum over a trajectory's tokens is divided by, along length and outcome."""
    by_own = Chain(RLOO, OverLength("own"))
    rules = {
        "a constant (Dr. GRPO), or nothing": RLOO,
        "the own length (GRPO)": by_own,
        "the tokens of the group (DAPO, one prompt)": Chain(RLOO, OverLength("mean")),
        "the longest of the group": Chain(RLOO, OverLength("longest")),
    }
    settings = [correlated(x) for x in CORRELATIONS]
    rows = {}
    for name, rule in rules.items():
        found = [scores(setting, rule, NUM, by_reward) for setting in settings]
        rows[name] = [float(x["gradient_cosine"]) for x in found]
    constant, own, tokens, longest = rows.values()
    lasts = stopping(*PAYS, ends=False)
    equal = scores(lasts, by_own, NUM, by_reward)
    numbers = {
        "constant": min(constant),
        "own": min(own),
        "own_best": max(own),
        "middle": own[CORRELATIONS.index(0.0)],
        "tokens": min(tokens),
        "longest": min(longest),
        "equal": float(equal["gradient_cosine"]),
        "worst": CORRELATIONS[own.index(min(own))],
        "tokens_worst": CORRELATIONS[tokens.index(min(tokens))],
    }
    columns = [f"cosine at correlation {x:g}" for x in CORRELATIONS]
    biased = max(own) < 1 - SAME
    return Found(settle(yes=biased, no=min(own) > 1 - SAME), numbers, columns, rows)


DISPUTES = (
    Dispute(
        name="whitening",
        question="Does whitening advantages over the batch's tokens turn the gradient?",
        asked="OpenRLHF/OpenRLHF#830; areal-project/AReaL#303; redai-studio/Relax#192",
        world="Four turns; stopping (probability 0.3) pays 0, 2, 1, 3; RLOO in one group of 3, and "
        "in two where it says so. Equal lengths are the same rewards where stopping does not end.",
        answer="Yes, as far as the batch is small: RLOO is exact before it ({plain:.4f}) and has "
        "cosine {tokens:.4f} after it in a batch of one group of 3, {tokens_2:.4f} of two. Long "
        "runs have more votes in a mean over tokens, so that right advantages do not have mean 0 "
        "there, and taking it off costs direction ({shifted:.4f}); the deviation goes with one's "
        "own outcome and costs as much ({scaled:.4f}). Over rollouts the mean is 0 already and "
        "only the deviation is left: {rollouts:.4f}.",
        flips="the size of the batch, and lengths: with equal ones the mean over tokens is 0 and "
        "costs nothing ({shifted_equal:.4f}), and both together have {tokens_equal:.4f}",
        measure=whitening,
    ),
    Dispute(
        name="length_denominators",
        question="Does dividing a run's loss by its own length turn the gradient?",
        asked="huggingface/trl#3138, #3256; verl-project/verl#2435; sail-sg/understand-r1-zero#10",
        world="Four turns, stop probability 0.3; the outcome is a function of the length with mean "
        "0, deviation 1 and the given correlation with it; RLOO, one group of 3.",
        answer="Yes: a constant is exact (cosine {constant:.4f}), the own length has between "
        "{own:.4f} and {own_best:.4f}, {middle:.4f} even where outcome and length are "
        "uncorrelated, since a token of a short run then counts for more. The tokens of the whole "
        "group are no constant either, as one's own are among them, but cost little: "
        "{tokens:.4f} at worst, as the longest run does ({longest:.4f}).",
        flips="unequal lengths: with equal ones the own length is a constant (cosine {equal:.4f}). "
        "The own length is worst at correlation {worst:g}, the group's tokens at {tokens_worst:g}, "
        "and a larger batch makes them more of a constant",
        measure=length_denominators,
    ),
)
