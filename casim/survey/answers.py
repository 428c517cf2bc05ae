"""The answers of a card, from a recipe and from a run: computed, never typed.

In maths: with p_t the probability that step t is live, the length L of an episode has P(L > t) =
p_t and mean sum_t p_t. The overlap is the least pi(a | s) over the actions of all decisions that
the policy can come to.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from casim.estimators import Estimator
from casim.methods import Method, named_methods, recipe_of
from casim.oracle import solve
from casim.report import Row, describe, label, rebuild
from casim.scores import Score
from casim.survey.card import Card
from casim.survey.evidence import goes_back, interface_of, source_of, state_of, tier_of
from casim.targets import (
    Advantage,
    FirstError,
    FirstLoss,
    Regularised,
    Soft,
    StepError,
    Target,
)
from casim.tasks import Task
from casim.types import MDP, Truth

CONTENT = {
    "observed": "what the log shows: the prompt, the time, what was observed",
    "matched": "what the peers have in common: what was observed, or the prefix",
    "restored": "the whole state of the environment",
    "latent": "the latent state, at training time",
}
EXACT = "exact: a branch under the same noise repeats to the last bit"
MAX_VALUES = 6
"""Of rewards that are named one by one."""
THREE = "(least, median, largest)"
COSTS = ("env_steps", "judge_calls", "critic_updates")


class Facts(NamedTuple):
    """What is exact about a run."""

    task: Task
    mdp: MDP
    truth: Truth


def card_of_method(
    name: str,
    method: Method | Estimator,
) -> Card:
    """The card of a recipe that was not run: what a run would say is not in it.

    Args:
        name: of the recipe; the title has it, and the paper of a published method.
        method: the recipe.
    """
    title = f"{name}: {_paper(method)}" if isinstance(method, Method) else name
    return Card(title, _of_recipe(method) | _of_branches(recipe_of(method)))


def _paper(method: Method) -> str:
    """What the field calls a method, and where it is from."""
    source = f"arXiv:{method.arxiv}" if method.arxiv else method.reference
    return f"{method.name}, {source}"


def card_of_row(
    row: Row,
    beside: Sequence[Row],
    facts: Facts | None = None,
) -> Card:
    """The card of a row.

    Args:
        row: of a method.
        beside: the rows of its file; those of the same task, policy and sizes are compared.
        facts: what `facts_of` says of the row, where it was asked already.

    Raises:
        ValueError: a row of a control, or recipes that cannot be built again.
    """
    if row.methodology == "control":
        raise ValueError(f"a card must be of a method, got the control {row.label!r}")
    method = method_of(row)
    facts = facts or facts_of(row)
    same = [other for other in beside if _setting(other) == _setting(row)]
    answers = (
        _of_recipe(method)
        | _of_branches(recipe_of(method), facts.task)
        | _of_protocol(row, facts)
        | _of_numbers(row, facts, same)
        | _of_others(row, same)
    )
    return Card(f"{row.label} on {label(facts.task)}", answers)


def method_of(row: Row) -> Method | Estimator:
    """The published method of a row, or its estimator where it is none.

    Raises:
        ValueError: a recipe that cannot be built again.
    """
    for method in _methods():
        if method.name == row.label and describe(method.recipe) == row.estimator:
            return method
    return rebuild(row.estimator)


@functools.cache
def _methods() -> tuple[Method, ...]:
    """All published methods; a file of rows asks for them again and again."""
    return tuple(named_methods().values())


def facts_of(row: Row) -> Facts:
    """The world of a row, solved.

    Raises:
        ValueError: a recipe that cannot be built again.
    """
    task = rebuild(row.task)
    mdp = task.build()
    truth = jax.jit(solve)(mdp, rebuild(row.policy).table(mdp))
    return Facts(task, *jax.tree.map(np.asarray, (mdp, truth)))


def _setting(row: Row) -> tuple:
    """What rows that are compared have in common; not the seed, nor the method."""
    sizes = (row.num_prompts, row.num_trajectories, row.share, row.replicates)
    return (row.study, str(row.task), str(row.policy), str(row.behaviour), *sizes)


def _of_recipe(method: Method | Estimator) -> dict[str, str]:
    """What the parts say, and the taxonomy."""
    target = method.target or Advantage()
    summary, *_ = inspect.getdoc(type(target)).splitlines()  # pyright: ignore
    doors = interface_of(recipe_of(method))
    return {
        "unit": method.granularity,
        "estimand": f"{label(target)}: {summary}",
        "reference_actions": _reference(target),
        "interface": ", ".join(doors),
        "granularity": method.granularity,
        "methodology": method.methodology,
    }


def _reference(target: Target) -> str:
    """What actions are compared with."""
    if isinstance(target, Soft | Regularised):
        return "the actions of the reference policy"
    if isinstance(target, FirstError | StepError | FirstLoss):
        return "the best actions"
    null = getattr(target, "null", None)
    return "the actions of the policy itself" if null is None else f"action {null}, always"


def _of_branches(
    recipe: Estimator,
    task: Task | None = None,
) -> dict[str, str]:
    """State, source and tier; with a task, how well branches go back."""
    state, source = state_of(recipe), source_of(recipe)
    found = {
        "state": state,
        "state_content": CONTENT[state],
        "source": source,
        "tier": tier_of(recipe, task.replay if task else None),
    }
    if not goes_back(recipe):
        return found | {"fidelity": "no state is gone back to"}
    if task is None:
        return found
    noise = task.replay.noise
    if noise == 0:
        return found | {"fidelity": EXACT}
    again = f"what is hidden is redrawn with probability {noise:g}"
    found["fidelity"] = again
    if state == "restored":
        # What was to be restored is only matched, by what is seen.
        found |= {"state": "matched", "state_content": f"what is seen; {again}"}
    return found


def _of_protocol(
    row: Row,
    facts: Facts,
) -> dict[str, str]:
    """How episodes go on, and what they are of."""
    policy = label(rebuild(row.policy))
    task = label(facts.task)
    rewards = _rewards(facts.mdp)
    discounts = np.unique(facts.mdp.discount)
    discount = ", ".join(f"{x:g}" for x in discounts)
    end = f"to the end of the episode, {row.num_steps} steps at most"
    noise = "episodes are a function of seed and replicate, so methods share them"
    prompts = _counted(row.num_prompts, "prompt")
    rollouts = _counted(row.num_trajectories, "rollout")
    sizes = f"{prompts} x {rollouts}"
    return {
        "continuation": policy + _acting(row),
        "horizon": f"{end}; discount {discount}",
        "verifier": f"the reward of the task: {rewards}",
        "seeds": f"seed {row.seed}; {noise}, and branches draw noise of their own",
        "base_model": f"no language model: the policy {policy}, a table",
        "training_data": f"{task}: {sizes}",
        "benchmarks": f"{task}, study {row.study!r}, seed {row.seed}",
    }


def _counted(number: int, noun: str) -> str:
    """A number of things, one of them in the singular."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _acting(row: Row) -> str:
    """Who acts in rollouts, where it is not the policy."""
    if row.behaviour is None:
        return ""
    behaviour = label(rebuild(row.behaviour))
    return f"; {behaviour} acts in rollouts"


def _rewards(mdp: MDP) -> str:
    """The rewards that can be earned, and whether only at the end."""
    can = mdp.prob > 0
    earned = np.unique(mdp.reward[can])
    if len(earned) > MAX_VALUES:
        values = f"{earned[0]:.3g} to {earned[-1]:.3g}"
    else:
        values = ", ".join(f"{value:.3g}" for value in earned)
    paid = np.any((mdp.reward != 0) & can, axis=(1, 2, 3))
    early = paid[mdp.schedule[:-1]].any()
    when = "on the way" if early else "at the last step only"
    return f"{values}, {when}"


def _of_numbers(
    row: Row,
    facts: Facts,
    same: Sequence[Row],
) -> dict[str, str]:
    """Support, repetitions, intervals, cost and lengths."""
    live = np.asarray(facts.truth.occupancy).sum(-1)
    least, median, largest = lengths(live)
    seeds = {other.seed for other in same if other.label == row.label}
    sizes = f"{row.num_prompts} x {row.num_trajectories} trajectories"
    batches = f"{row.replicates} independent batches of {sizes}"
    hours = (row.compile_time + row.wall_time) / 3600
    names = ", ".join(row.scores)
    found = {
        "overlap": f"{overlap(facts):.3g}",
        "repetitions": f"{batches}, {_counted(len(seeds), 'seed')}",
        "metric": f"{names}, as docs/scores.md defines them",
        "variance": f"95% intervals by the jackknife over {row.replicates} batches",
        "gpu_hours": f"{hours:.3g} hours on {row.device}, compilation included",
        "mean_length": f"{live.sum():.4g} steps, exact",
        "length_distribution": f"{least} / {median} / {largest} steps {THREE}, exact",
    }
    if "snr_aligned" in row.scores:
        score = row.scores["snr_aligned"]
        found["interval"] = f"snr_aligned {_interval(score)}"
    if all(name in row.scores for name in COSTS):
        found["ca_overhead"] = _overhead(row)
    return found


def _overhead(row: Row) -> str:
    """What the method took beyond its batch."""
    trajectories = row.num_prompts * row.num_trajectories
    each = []
    for name in COSTS:
        used = row.scores[name].value / trajectories
        each.append(f"{used:.4g} {name}")
    return f"{', '.join(each)} per trajectory"


def overlap(facts: Facts) -> float:
    """The least probability of an action over all decisions that the policy can come to."""
    mdp, truth = facts.mdp, facts.truth
    acting = truth.state_policy[mdp.schedule].min(-1)
    there = (truth.occupancy > 0) & mdp.decision[mdp.schedule][:, None]
    return float(acting[there].min(initial=1.0))


def lengths(live: np.ndarray) -> tuple[int, int, int]:
    """Least, median and largest length of an episode, of P(step t is live) `[T]`."""
    sure = live > 1 - 1e-6
    least = int(np.argmin(sure)) if not sure.all() else len(live)
    return least, int(np.sum(live >= 0.5)), int(np.sum(live > 1e-12))


def _of_others(
    row: Row,
    same: Sequence[Row],
) -> dict[str, str]:
    """Baselines and controls that ran beside it."""
    ran = [other for other in same if other.seed == row.seed and other.label != row.label]
    controls = [other for other in ran if other.methodology == "control"]
    whole = [other for other in ran if other not in controls and _is_whole(other)]
    found = {}
    if controls:
        names = ", ".join(control.label for control in controls)
        said = f"controls beside it: {names}"
        found |= {"ablation": f"yes, {said}", "ca_ablation": said}
    for control in controls:
        if control.label == "shuffled" and "snr_aligned" in row.scores:
            found["falsification"] = _against(row, control)
    if whole:
        names = ", ".join(other.label for other in whole)
        found["episode_baseline"] = f"{names}, on the same trajectories"
        found["compute_match"] = f"stated: {_compute(row, whole[0])}"
    return found


def _against(
    row: Row,
    shuffled: Row,
) -> str:
    """Its SNR beside that of the truth at the wrong places."""
    own = _interval(row.scores["snr_aligned"])
    other = _interval(shuffled.scores["snr_aligned"])
    return f"snr_aligned {own}, of shuffled truth {other}"


def _is_whole(row: Row) -> bool:
    return method_of(row).granularity == "trajectory"


def _compute(
    row: Row,
    other: Row,
) -> str:
    """What both took, batch included."""
    own, its = _steps(row), _steps(other)
    return f"{own:.4g} environment steps a batch against {its:.4g} of {other.label}"


def _steps(row: Row) -> float:
    return row.scores["env_steps"].value + row.scores["batch_steps"].value


def _interval(score: Score) -> str:
    return f"{score.value:.3g} [{score.low:.3g}, {score.high:.3g}]"
