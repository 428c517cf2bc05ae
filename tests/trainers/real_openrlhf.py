"""OpenRLHF's experience maker, real, without the GPU's libraries that its package imports.

Packages are opened without their `__init__`, which pulls them in; deepspeed and the module that
starts workers, neither of which an advantage touches, are stood in for.
"""

from __future__ import annotations

import importlib
import types
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

from casim.bridge.conventions import Config
from tests.trainers.installed import needed, opened

(torch,) = needed("openrlhf", "torch")
INNER = ("models", "trainer", "trainer.ppo_utils", "trainer.ray", "utils")
PACKAGES = ("openrlhf", *(f"openrlhf.{name}" for name in INNER))
STOOD_IN = ("deepspeed", "openrlhf.trainer.ray.launcher")


def _opened() -> Any:
    """The module of the experience maker."""
    opened(PACKAGES, STOOD_IN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("openrlhf.trainer.ppo_utils.experience_maker")


maker = _opened()


def advantage(estimator: str) -> Callable:
    """The experience maker's advantages as a function that `casim.bridge.OpenRLHF` calls.

    It knows outcomes only: the reward of a row, which it puts on the model's last token.
    """

    def advantages(rewards, action_mask, gamma, lambd, n_samples_per_prompt, index, values=None):
        options = {"estimator": estimator, "gamma": gamma, "lambd": lambd, "no_std_norm": False}
        args = Config(
            algo=Config(advantage=Config(options)),
            rollout=Config(n_samples_per_prompt=n_samples_per_prompt, max_new_tokens=None),
            reward=mock.MagicMock(
                clip_range=None, overlong_buffer_len=None, stop_properly_penalty_coef=None
            ),
        )
        nothing = dict.fromkeys(
            (
                "actor_model_group",
                "critic_model_group",
                "reward_model_group",
                "initial_model_group",
                "tokenizer",
            )
        )
        made = maker.RemoteExperienceMaker(
            kl_controller=types.SimpleNamespace(value=0.0),
            strategy=types.SimpleNamespace(args=args),
            **nothing,
        )
        experience = maker.Experience(
            rewards=rewards.sum(dim=1),
            action_mask=action_mask,
            values=values,
            kl=torch.zeros_like(rewards),
            index=index.tolist(),
            info={},
        )
        (done,) = made.compute_advantages_and_returns([experience])
        return done.advantages, done.returns

    # It is found again by its name.
    advantages.__qualname__ = estimator
    return advantages
