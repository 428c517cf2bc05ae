"""A judge for every name that published methods ask."""

from __future__ import annotations

from casim.contributions import Contributed
from casim.graders import (
    BestAction,
    Counterfactual,
    Critic,
    Discriminator,
    Expert,
    FirstMistake,
    Grader,
    JointCritic,
    Judge,
    Lexicon,
    Mistakes,
    PerAction,
    Posterior,
    Reader,
    Shares,
    Skill,
    Verdict,
)
from casim.simulate import JUDGE

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
    "value": Judge("value", fidelity=0.9),
    "q_value": Judge("q_value", fidelity=0.9),
    "critical": Judge("spread", fidelity=0.9),
    "saliency": Judge("advantage", fidelity=0.9),
    "actions": PerAction(Judge("advantage", fidelity=0.9)),
    "posterior": Posterior(trust=0.9),
    "counterfactual": Counterfactual(trust=0.9),
    "state_contribution": Contributed("state", trust=0.9),
    "reward_contribution": Contributed("reward", trust=0.9),
    "feature_contribution": Contributed("prediction", trust=0.9),
    "reader": Reader(noise=0.05),
}
"""Whom published methods ask, by name, with an error that is stated: `Study(judges=PANEL)`.

The rates are casim's; those of papers are not known, but for what a method's docstring says. Not
among them is "belief": what is to be believed is the world's word, see `casim.graders.Belief`.
"""
