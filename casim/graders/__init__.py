"""Judges that say more than a score of a step: of actions, verdicts, mistakes, words, skills.

They give methods an oracle's word with a stated error: with the error at 0 the word is exact, and
no method ever sees the oracle itself. Scores of steps, and how critical a step is, are those of
`casim.judges.Judge`. All speak of the latent state, but for critics that are told of the history.

| who | says | its error |
|---|---|---|
| `Judge` | a score of each step | fidelity, noise, biases, leak, resolution, density |
| `PerAction` | a score of each action | that of its judge |
| `Critic` | an advantage of each action, by what it knows | none: what it does not know |
| `Verdict` | -1, 0 or 1 for each step or turn | accuracy, and that of who is behind it |
| `Mistakes` | 1 on each wrong step | misses, false alarms, and that of who is behind it |
| `FirstMistake` | 1 on the first wrong step | misses, false alarms, shift |
| `BestAction` | 1 on the best actions | accuracy |
| `Lexicon` | 1 on steps that use its words | recall, false alarms, always the same |
| `Skill` | 1 on steps that reach a subgoal | match of the skill |
| `Expert` | the probability of each action | error of the expert |
| `Discriminator` | how expert-like a step is | error of the expert |
| `Posterior` | each action's probability given the outcome | trust |
| `Counterfactual` | what each action would have earned with the same luck | trust |
| `Contributed` | what each action contributes to later rewards | trust |
| `Belief` | how probable the truth is | trust |
| `JointCritic` | what each action is worth among those of all others | noise |
| `Shares` | what each agent contributed to the outcome | uninformed, bias, noise, swaps |
| `Shuffled` | what another says, permuted over steps | all of it |

References:
    A judge that is right with a given probability, and one whose first error is shifted, missed or
    invented at given rates, are casim's own models of LLM judges and process verifiers.
"""

from casim.contributions import Contributed
from casim.graders.actions import BestAction, PerAction
from casim.graders.belief import Belief
from casim.graders.counterfactual import Counterfactual
from casim.graders.critics import Critic
from casim.graders.experts import Discriminator, Expert
from casim.graders.hindsight import Posterior
from casim.graders.joint import JointCritic, Shares
from casim.graders.mistakes import FirstMistake, Mistakes
from casim.graders.shuffled import Shuffled
from casim.graders.verdicts import Verdict
from casim.graders.words import Lexicon, Skill
from casim.judges import Judge
from casim.judging import Grader
from casim.readers import Reader

GRADERS: tuple[type[Grader], ...] = (
    Judge,
    PerAction,
    BestAction,
    FirstMistake,
    Posterior,
    Counterfactual,
    Contributed,
    Belief,
    Critic,
    Verdict,
    Mistakes,
    Lexicon,
    Skill,
    Expert,
    Discriminator,
    JointCritic,
    Shares,
    Shuffled,
    Reader,
)
"""Every recipe for a judge."""

__all__ = [
    "GRADERS",
    "Belief",
    "BestAction",
    "Counterfactual",
    "Critic",
    "Discriminator",
    "Expert",
    "FirstMistake",
    "Grader",
    "JointCritic",
    "Judge",
    "Lexicon",
    "Mistakes",
    "PerAction",
    "Posterior",
    "Reader",
    "Shares",
    "Shuffled",
    "Skill",
    "Verdict",
]
