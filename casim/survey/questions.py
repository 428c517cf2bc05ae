"""What a claim about credit must say: the fields of the card, the tier, and the checklist.

References:
    Zhang 2026, arXiv:2604.09459: fourteen items of the checklist, ten of them required; six fields
    of the card, taken apart here so that each asks one thing; four tiers. Reasons are casim's.
"""

from __future__ import annotations

from typing import NamedTuple

from casim.survey.tiers import SOURCES, STATES, TIERS
from casim.vocabulary import GRANULARITIES, METHODOLOGIES

SECTIONS = (
    "unit and estimand",
    "state before the decision",
    "source of the intervention",
    "downstream protocol",
    "support and uncertainty",
    "optimisation interface",
    "evidence",
    "model and data",
    "credit method",
    "baselines",
    "evaluation",
    "compute",
    "trajectories",
)
"""The six fields of the card, its tier, and the six groups of the checklist."""
_ABLATE = "casim ablate --over horizon=16,64 --estimators {methods}"


class Question(NamedTuple):
    """One thing to state."""

    id: str
    section: str
    asks: str
    why: str
    command: str
    """What of casim gives it, on its own worlds; `{method}` is a recipe, `{methods}` the same and a
    baseline, ROWS a file of rows."""
    required: bool = True
    choices: tuple[str, ...] = ()
    """Words that are allowed; any text if there is none."""


QUESTIONS = (
    Question(
        "unit",
        "unit and estimand",
        "the unit that receives credit",
        "a score of a turn says nothing of the tokens in it, and the other way round",
        "casim list methods",
        choices=GRANULARITIES,
    ),
    Question(
        "estimand",
        "unit and estimand",
        "the contrast that the credit is meant to be",
        "two methods can both be right and disagree, as they aim at different things",
        "casim show {method}",
    ),
    Question(
        "reference_actions",
        "unit and estimand",
        "what the action is compared with: the distribution of reference actions",
        "the sign of a contrast depends on what the alternative is",
        "casim show {method}",
    ),
    Question(
        "state",
        "state before the decision",
        "how the state before the decision is had",
        "equal text does not mean equal dynamics where something is hidden",
        "casim card {method}",
        choices=STATES,
    ),
    Question(
        "state_content",
        "state before the decision",
        "what that state contains",
        "a hidden cause that is left out can turn the sign of the effect",
        "casim show HiddenCause",
    ),
    Question(
        "source",
        "source of the intervention",
        "how the alternative branch is made",
        "a branch that a model imagines supports a statement about the model alone",
        "casim card {method}",
        choices=SOURCES,
    ),
    Question(
        "fidelity",
        "source of the intervention",
        "how well a branch repeats: the noise of replicas that should be equal",
        "a contrast smaller than that noise is none",
        "casim ablate --over task.replay_noise=0,0.5 --task ToolChain --estimators {method}",
    ),
    Question(
        "continuation",
        "downstream protocol",
        "the policy that plays on after both branches",
        "credit under another policy is the credit of another policy",
        "casim card ROWS",
    ),
    Question(
        "horizon",
        "downstream protocol",
        "how far branches are played, and the discount",
        "what is cut off is credited to nobody",
        "casim card ROWS",
    ),
    Question(
        "verifier",
        "downstream protocol",
        "what gives the outcome",
        "a judge that can be hacked rewards what hacks it",
        "casim show HackableProcess",
    ),
    Question(
        "seeds",
        "downstream protocol",
        "how seeds are handled, and whether branches share their noise",
        "shared noise changes the variance, and an unstated seed everything",
        "casim card ROWS",
    ),
    Question(
        "overlap",
        "support and uncertainty",
        "the least probability of an action that is compared",
        "what never happens in the data cannot be compared by matching",
        "casim card ROWS",
    ),
    Question(
        "repetitions",
        "support and uncertainty",
        "how many independent repetitions there are",
        "without them there is no interval",
        "casim card ROWS",
    ),
    Question(
        "interval",
        "support and uncertainty",
        "the credit's quality with an interval",
        "a difference within the noise is no finding",
        "casim table ROWS --scores snr_aligned",
    ),
    Question(
        "interface",
        "optimisation interface",
        "where the credit enters training: reward, advantage, mask, loss weight",
        "a mask and an advantage of the same numbers train differently",
        "casim card {method}",
    ),
    Question(
        "ablation",
        "optimisation interface",
        "whether the credit alone was taken out, all else being equal",
        "otherwise the gain may be that of whatever else changed",
        _ABLATE + " --controls broadcast shuffled",
    ),
    Question(
        "tier",
        "evidence",
        "the tier of the claim",
        "a claim must not say more than its evidence can",
        "casim card {method}",
        choices=TIERS,
    ),
    Question(
        "falsification",
        "evidence",
        "a test that could show the credit to be wrong",
        "a method that does as well on its own labels shuffled does not find anything",
        _ABLATE + " --controls shuffled",
        required=False,
    ),
    Question(
        "base_model",
        "model and data",
        "which model: name, size, revision",
        "what is hard for one is decided already for another",
        "casim card ROWS",
    ),
    Question(
        "training_data",
        "model and data",
        "where the training data are from, how many, what was filtered out",
        "a filter on the outcome is credit by another name",
        "casim card ROWS",
    ),
    Question(
        "granularity",
        "credit method",
        "the unit on the survey's axis",
        "methods are compared within and across units, not by name",
        "casim survey --granularity turn",
        choices=GRANULARITIES,
    ),
    Question(
        "methodology",
        "credit method",
        "the family on the survey's axis",
        "families fail for different reasons",
        "casim survey --methodology monte_carlo",
        choices=METHODOLOGIES,
    ),
    Question(
        "episode_baseline",
        "baselines",
        "a baseline of whole trajectories (GRPO or PPO) from the same model",
        "fine credit has to beat coarse credit, not no training",
        _ABLATE,
    ),
    Question(
        "compute_match",
        "baselines",
        "that baseline at equal compute, or both computes",
        "the steps that branches take would have bought more rollouts",
        "casim compare ROWS --against GRPO --budget 100000",
    ),
    Question(
        "ca_ablation",
        "baselines",
        "an ablation that isolates the credit",
        "otherwise the gain may be that of whatever else changed",
        _ABLATE + " --controls exact zero broadcast shuffled",
        required=False,
    ),
    Question(
        "benchmarks",
        "evaluation",
        "the names of the benchmarks, with their splits",
        "two splits of one name are two benchmarks",
        "casim card ROWS",
    ),
    Question(
        "metric",
        "evaluation",
        "the exact definition of the metric",
        "the best of 16 and the mean of 16 rank methods differently",
        "casim table ROWS",
    ),
    Question(
        "variance",
        "evaluation",
        "the spread over three seeds or more, or intervals",
        "the spread over seeds is often as large as the gain",
        _ABLATE + " --seeds 0 1 2",
        required=False,
    ),
    Question(
        "gpu_hours",
        "compute",
        "the hours on devices in all",
        "what cannot be afforded cannot be repeated",
        "casim card ROWS",
    ),
    Question(
        "ca_overhead",
        "compute",
        "what the credit adds: steps, resets, calls of models",
        "a method is worth its cost or it is not",
        "casim table ROWS --scores env_steps judge_calls critic_updates batch_steps",
        required=False,
    ),
    Question(
        "mean_length",
        "trajectories",
        "the mean length",
        "what works at ten turns need not at a hundred",
        "casim card ROWS",
    ),
    Question(
        "length_distribution",
        "trajectories",
        "the least, the median and the largest length",
        "baselines of groups are biased where lengths differ with the outcome",
        "casim card ROWS",
        required=False,
    ),
)
"""Every question, in the order of a card."""

CHECKLIST = tuple(each for each in QUESTIONS if SECTIONS.index(each.section) > 6)
"""The fourteen items of the survey's checklist."""
