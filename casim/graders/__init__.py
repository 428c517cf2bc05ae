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
from casim.graders.critics import Critic
from casim.graders.experts import Discriminator, Expert
from casim.graders.hindsight import Posterior
from casim.graders.joint import JointCritic, Shares
from casim.graders.mistakes import FirstMistake, Mistakes
from casim.graders.shuffled import Shuffled
from casim.graders.verdicts import Verdict
from casim.graders.words import Lexicon, Skill
from casim.judges import Grader, Judge
from casim.simulate import JUDGE

GRADERS: tuple[type[Grader], ...] = (
    Judge,
    PerAction,
    BestAction,
    FirstMistake,
    Posterior,
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
)
"""Every recipe for a judge."""

PANEL: dict[str, Grader] = {
    JUDGE: Judge(),
    "mistakes": Mistakes(miss=0.1, false_alarm=0.1),
    "verdicts": Verdict(margin=0.02, accuracy=0.9),
    "hindsight": Verdict(Judge("td_error", leak=0.2), accuracy=0.9),
    "planning": Lexicon(recall=0.9, false_alarm=0.05),
    "first_mistake": FirstMistake(miss=0.1, false_alarm=0.1, shift=1),
    "best": BestAction("optimal", accuracy=0.9),
    "verifier": BestAction("optimal"),
    "levels": Judge("advantage", fidelity=0.8, resolution=4),
    "skills": Skill(match=0.8),
    "format": Lexicon("everywhere", words=(0,)),
    "expert": Expert(error=0.1),
    "discriminator": Discriminator(Expert(error=0.1)),
    "critic": Critic("latent_history"),
    "latent_critic": Critic("latent"),
    "clairvoyant": Critic("clairvoyant"),
    "joint": JointCritic(noise=0.1),
    "shares": Shares(uninformed=0.25, noise=0.05),
    "coach": Judge("q_value", fidelity=0.9, resolution=11),
}
"""Whom published methods ask, by name, with an error that is stated: `Study(judges=PANEL)`.

The rates are casim's; those of papers are not known, but for what a method's docstring says.
"""

__all__ = [
    "GRADERS",
    "PANEL",
    "Belief",
    "BestAction",
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
    "Shares",
    "Shuffled",
    "Skill",
    "Verdict",
]
