"""What happens across the environment's tokens, at a cut, and to ratios along a sequence."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from casim import methods
from casim.bridge.score.worlds import small_worlds
from casim.estimators import Baseline, Chain, Gae, Ratio, ToGo, Whole
from casim.oracle.moments import by_reward, group_moments, precise_truth
from casim.tasks import Bifurcation
from settled.found import SAME, Dispute, Found, Setting, cosine, scores, settle
from settled.worlds import STOP, built, constant, stopping

LAMBDAS = (0.0, 0.5, 0.95, 1.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Valued:
    """A recipe with a critic that is right, but for an error on the environment's tokens.

    Attributes:
        recipe: what reads the values.
        value: of each step and state.
        error: added to the values of the environment's tokens.
    """

    recipe: Any
    value: np.ndarray
    error: float = 0.0

    def credit(self, key: Any, world: Any, batch: Any) -> Any:
        step = jnp.arange(batch.state.shape[-1])
        right = jnp.asarray(self.value)[step, batch.state]
        value = right + self.error * ~batch.decision
        return self.recipe.credit(key, world, batch._replace(value=value))


def errand() -> Setting:
    """A call, a token that the tool writes, an answer, which pays."""
    small = next(x for x in small_worlds() if x.name == "a tool's token between")
    return Setting(small.mdp, small.policy)


def tool_tokens() -> Found:
    """GAE that skips the tool's tokens, gives them value 0, or bootstraps from them."""
    setting = errand()
    value = precise_truth(*setting).value
    forms: dict[str, tuple[Any, float]] = {
        "skipped (verl)": ("skipped", 0.0),
        "value 0 (OpenRLHF)": ("zeroed", 0.0),
        "bootstrapped, critic right (SkyRL, slime)": ("count", 0.0),
        "bootstrapped, critic wrong by 0.5 there": ("count", 0.5),
    }
    rows = {}
    for name, (gaps, error) in forms.items():
        row = []
        for lambda_ in LAMBDAS:
            recipe = Gae(lambda_=lambda_, gaps=gaps)
            found = scores(setting, Valued(recipe, value, error), 1)
            row.append(found["bias"])
        rows[name] = row
    skipped, zeroed, right, wrong = rows.values()
    numbers = {
        "skipped": max(skipped),
        "right": max(right),
        "zeroed": zeroed[0],
        "zeroed_95": zeroed[2],
        "zeroed_1": zeroed[3],
        "wrong": wrong[0],
        "wrong_95": wrong[2],
        "wrong_1": wrong[3],
    }
    columns = [f"bias at lambda {x:g}" for x in LAMBDAS]
    exact = numbers["skipped"] < SAME
    return Found(settle(yes=not exact, no=zeroed[0] < SAME), numbers, columns, rows)


def reset() -> Found:
    """REINFORCE++ whose return is reset, carried or discounted over a tool's token."""
    setting = errand()
    wanted = precise_truth(*setting).gradient
    forms = {
        "reset (verl before August 2026)": ToGo(1.0, gaps="reset"),
        "carried (verl 0.9.1)": ToGo(1.0, gaps="skipped"),
        "carried, gamma 0.9": ToGo(0.9, gaps="skipped"),
        "every token discounts, gamma 0.9": ToGo(0.9),
    }
    rows = {}
    for name, rule in forms.items():
        found = group_moments(*setting, Chain(rule), 1).gradient
        before, after = (_along(found[t], wanted[t]) for t in (0, 2))
        rows[name] = [before, after, cosine(found, wanted)]
    whitened = group_moments(*setting, methods.REINFORCE_PP_VERL, 2).gradient
    before, after = (_along(whitened[t], wanted[t]) for t in (0, 2))
    rows["reset and whitened, N = 2"] = [before, after, cosine(whitened, wanted)]
    lost, carried, skipped, counted, white = rows.values()
    numbers = {
        "reset": lost[0],
        "cosine": lost[2],
        "carried": carried[2],
        "skipped": skipped[0],
        "counted": counted[0],
        "ratio": counted[0] / skipped[0],
        "white": white[0],
        "white_cosine": white[2],
    }
    columns = ("slope before the tool", "slope after it", "cosine")
    gone = abs(lost[0]) < SAME
    return Found(settle(yes=gone, no=lost[0] > 1 - SAME), numbers, columns, rows)


def _along(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sum(found * wanted) / np.sum(wanted**2))


LONG, CUT = 6, 3
LATER = (1.0, 0.5, 2.0, 0.0, 3.0, 1.0)


def bootstrap() -> Found:
    """Bootstrapping at a cut, against the objective with the cut and the one without."""
    rows = {}
    agree = []
    for chance in (STOP, 0.8):
        whole = stopping(*LATER, chance=chance)
        truth = precise_truth(*whole)
        left = float(np.max(np.abs(truth.value[CUT])))
        goal = truth.gradient[:CUT]
        ended = precise_truth(*stopping(*LATER[:CUT], chance=chance)).gradient
        for name, error in {"zero": None, "value": 0.0, "value, 1 too high": 1.0}.items():
            paid = 0.0 if error is None else left + error
            going = (0.0,) * (CUT - 1) + (paid,)
            setting = stopping(*LATER[:CUT], chance=chance, going=going)
            found = precise_truth(*setting).gradient
            row = [paid - left, cosine(found, ended), cosine(found, goal)]
            rows[f"{name}, pi(STOP) = {chance:g}"] = row
        agree.append(cosine(ended, goal))
    zero, value, wrong, zero_few, _, wrong_few = rows.values()
    numbers = {
        "zero": zero[2],
        "value": value[2],
        "value_cut": value[1],
        "left": -zero[0],
        "wrong": wrong[2],
        "chance": (1 - STOP) ** CUT,
        "few": 0.2**CUT,
        "zero_few": zero_few[2],
        "wrong_few": wrong_few[2],
        "zero_cut": zero[1],
    }
    columns = (
        "error at the cut",
        "cosine, objective with the cut",
        "cosine, objective without",
    )
    both = min(agree) > 1 - SAME
    # Each is exact for one objective: which is wanted is not for numbers to say.
    return Found(settle(yes=False, no=both), numbers, columns, rows)


HORIZONS = (2, 4, 8)
BEHAVIOUR = 0.7
"""How likely the older policy takes action 0, which the policy takes with 0.5."""
FRESH = "rollouts of the policy itself"


def two_forks(horizon: int) -> tuple[Setting, np.ndarray]:
    """Forks at both ends of so many steps, and the table of the older policy."""
    mdp = built(Bifurcation(horizon=horizon, pivots=(0, horizon - 1), gap=0.6))
    behaviour = constant(mdp, BEHAVIOUR, 1 - BEHAVIOUR).policy
    return constant(mdp, 0.5, 0.5), behaviour


def ratios() -> Found:
    """Importance ratios by token, product and geometric mean, along the length."""
    forms = {
        "no ratio": (),
        "product over the sequence": (Ratio("sequence"),),
        "... truncated at 2": (Ratio("sequence", bounds=(0.0, 2.0)),),
        "token": (Ratio("token"),),
        "geometric mean of the sequence": (Ratio("sequence", "geometric"),),
    }
    rows: dict[str, list[float]] = {}
    for horizon in HORIZONS:
        setting, behaviour = two_forks(horizon)
        fresh = scores(setting, Chain(Whole()), 1)
        cells = [fresh["gradient_bias"], fresh["gradient_variance"]]
        rows[FRESH] = rows.get(FRESH, []) + cells
        for name, parts in forms.items():
            rule = Chain(Whole(), *parts)
            found = scores(setting, rule, 1, behaviour=behaviour)
            cells = [found["gradient_bias"], found["gradient_variance"]]
            rows[name] = rows.get(name, []) + cells
    fresh, none, product, cut, token, mean = rows.values()
    second = 0.25 / BEHAVIOUR + 0.25 / (1 - BEHAVIOUR)
    numbers = {
        "product": max(product[0::2]),
        "product_first": product[1],
        "product_last": product[-1],
        "growth": second,
        "second": second ** HORIZONS[-1],
        "fresh_first": fresh[1],
        "fresh_last": fresh[-1],
        "token_bias": token[-2],
        "token_first": token[0],
        "token_variance": token[-1],
        "mean_bias": mean[-2],
        "mean_variance": mean[-1],
        "none_variance": none[-1],
        "none_bias": none[-2],
        "cut_bias": cut[-2],
        "cut_variance": cut[-1],
    }
    columns = [f"{name}, T = {x}" for x in HORIZONS for name in ("bias", "variance")]
    exact = numbers["product"] < SAME
    stale = (none, product, cut, token, mean)
    best = product[-1] <= min(bias + variance for *_, bias, variance in stale)
    return Found(settle(yes=exact and best, no=not exact), numbers, columns, rows)


GAMMAS = (0.5, 0.7, 0.9, 1.0)
FEW, MANY = 1, 256


def turn_discount() -> Found:
    """A discount over turns, by bias and variance at numbers of groups."""
    early = stopping(0.0, 2.0, 1.0, 3.0)
    late = stopping(0.0, 0.5, 1.0, 3.0, chance=0.1)
    rows = {}
    for gamma in GAMMAS:
        rule = Chain(ToGo(gamma), Baseline("turn", own=False, single="raw"))
        row = []
        for setting in (early, late):
            found = scores(setting, rule, 4, by_reward)
            row += [found["gradient_bias"], found["gradient_variance"], found["gradient_cosine"]]
        rows[f"gamma {gamma:g}"] = row

    def best(place: int, groups: int) -> float:
        error = [row[place] + row[place + 1] / groups for row in rows.values()]
        return GAMMAS[int(np.argmin(error))]

    numbers = {
        "few": best(0, FEW),
        "many": best(0, MANY),
        "few_late": best(3, FEW),
        "many_late": best(3, MANY),
        "groups": float(MANY),
        "bias": rows["gamma 0.9"][0],
        "cosine": rows["gamma 0.9"][2],
        "cosine_late": rows["gamma 0.9"][5],
        "low": rows["gamma 0.5"][2],
        "low_late": rows["gamma 0.5"][5],
    }
    names = ("bias", "variance", "cosine")
    columns = [f"{name}, {world}" for world in ("stops early", "stops late") for name in names]
    helps = min(numbers["few"], numbers["few_late"]) < 1
    never = max(numbers["many"], numbers["many_late"]) < 1
    return Found(settle(yes=helps and never, no=not helps), numbers, columns, rows)


DISPUTES = (
    Dispute(
        name="tool_tokens",
        question="Is GAE biased across the tokens of a tool?",
        asked="verl-project/verl#2337; radixark/miles#1827; areal-project/AReaL#1600",
        world="A call, a token of the tool, an answer, which pays; the critic is exact but for "
        "the error named. Bias of the advantage, over its mean square.",
        answer="Skip them: with a right critic there is then no bias at any lambda "
        "({skipped:.4f}). Tool tokens of value 0 give a bias of {zeroed:.3f} at lambda 0 and "
        "{zeroed_95:.5f} at 0.95: it falls as (1 - lambda)^2. Bootstrapping from them is exact "
        "({right:.4f}) only as far as the critic is right there: an error of 0.5 gives "
        "{wrong:.3f} at lambda 0 and {wrong_95:.5f} at 0.95.",
        flips="lambda, and what the critic knows of tokens it is not trained on: at lambda 1 all "
        "forms are exact ({zeroed_1:.4f}, {wrong_1:.4f})",
        measure=tool_tokens,
    ),
    Dispute(
        name="reset",
        question="Does REINFORCE++ lose the reward before a tool's tokens?",
        asked="verl-project/verl#7278, fixed by #7300",
        world="The world of `tool_tokens`; slopes are those of the decision before the tool's "
        "token and of that after it, without whitening unless it is named.",
        answer="With a return that is reset at masked tokens, yes: the call gets {reset:.3f} of "
        "its gradient and the whole has cosine {cosine:.4f}; whitening does not mend it "
        "({white:.4f} of the call's gradient, cosine {white_cosine:.4f}). Carried over the span "
        "it is exact ({carried:.4f}).",
        flips="what the mask does to the running sum. With gamma 0.9 carrying leaves "
        "{skipped:.2f} and a discount at every token {counted:.2f}: {ratio:.2f} for each token of "
        "the span",
        measure=reset,
    ),
    Dispute(
        name="bootstrap",
        question="Should a length cut be bootstrapped?",
        asked="huggingface/trl#1536; areal-project/AReaL#1637; radixark/miles#1827",
        world="Six turns, STOP pays 1, 0.5, 2, 0, 3, 1, cut after three; the return of three "
        "turns plus zero or a value at the cut. Gradients are of the first three turns, with "
        "pi(STOP) 0.3 and 0.8.",
        answer="It depends on the objective, and neither is a bug: zero at the cut is the exact "
        "gradient of the task with the cut (cosine {zero_cut:.4f}) and has {zero:.4f} with that "
        "of the task without; the exact value at the cut is the reverse ({value_cut:.4f} and "
        "{value:.4f}). Zero is a critic that is wrong by {left:.3f}; one that is 1 too high has "
        "{wrong:.4f}, worse than no bootstrap.",
        flips="which objective is meant, and the share of cuts: {chance:.3f} above, and at "
        "{few:.3f} zero has {zero_few:.4f} and the critic that is 1 too high {wrong_few:.4f}",
        measure=bootstrap,
    ),
    Dispute(
        name="ratios",
        question="Is the product of ratios over the sequence the right importance weight?",
        asked="huggingface/trl#4493, #5814; NVIDIA-NeMo/RL#2269",
        world="Two forks at the ends of T steps, policy 0.5 to 0.5, rollouts of an older one with "
        "0.7 to 0.3; whole returns of one rollout. Bias and variance over |g*|^2.",
        answer="The product alone is unbiased ({product:.4f} at all lengths), and its weights "
        "spread more with every token (E w^2 = {growth:.3f}^T, {second:.2f} at 8): its variance "
        "is {product_first:.3g} at 2 tokens, {product_last:.3g} at 8, that of fresh rollouts "
        "{fresh_first:.3g} and {fresh_last:.3g}. At 8 tokens ratios of tokens have bias "
        "{token_bias:.3g} and variance {token_variance:.3g}, the geometric mean {mean_bias:.3g} "
        "and {mean_variance:.3g}, the product truncated at 2 {cut_bias:.3g} and "
        "{cut_variance:.3g}, no ratio {none_bias:.3g} and {none_variance:.3g}.",
        flips="length and staleness against the number of rollouts, which divides variance and "
        "not bias (docs/staleness.md has them along staleness)",
        measure=ratios,
    ),
    Dispute(
        name="turn_discount",
        question="Does a discount over turns help?",
        asked="PrimeIntellect-ai/prime-rl#3282; verifiers#1554",
        world="Four turns, an outcome when the agent stops: 0, 2, 1, 3 at probability 0.3 "
        "(early), or 0, 0.5, 1, 3 at 0.1 (late); returns to go less the mean of the others, N = "
        "4. Gamma 0.5, 0.7, 0.9 or 1.",
        answer="Only while variance rules: of one group the least bias + variance is at gamma "
        "{few:g} (early) and {few_late:g} (late), of {groups:.0f} groups at {many:g} and "
        "{many_late:g}. Gamma 0.9 costs little direction (cosine {cosine:.4f} and "
        "{cosine_late:.4f}), 0.5 more ({low:.4f} and {low_late:.4f}).",
        flips="the number of groups: the bias stays, the variance is divided by it",
        measure=turn_discount,
    ),
)
