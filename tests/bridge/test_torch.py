"""The same function in PyTorch, where it is installed."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim.bridge import Verl, trainer
from casim.bridge.arrays import wanted_by
from tests.bridge import functions
from tests.bridge.batches import nasty

torch = pytest.importorskip("torch")
KEY = jax.random.key(0)


def advantage(token_level_rewards, response_mask, index, **kwargs):
    """GRPO_VERL."""
    assert isinstance(token_level_rewards, torch.Tensor)
    score = token_level_rewards.sum(dim=-1)
    out = torch.zeros_like(score)
    for label in set(index.tolist()):
        own = torch.tensor([name == label for name in index])
        alone = own.sum() == 1
        mean = 0.0 if alone else score[own].mean()
        std = 1.0 if alone else score[own].std()
        out[own] = (score[own] - mean) / (std + 1e-6)
    advantages = out[:, None] * response_mask
    return advantages, advantages


def test_tensors_in_and_out():
    assert wanted_by(advantage) == "torch"
    batch = nasty()
    credit = jax.jit(lambda recipe, batch: recipe.credit(KEY, None, batch).value, static_argnums=0)
    found = credit(trainer(advantage, Verl()), batch)
    wanted = credit(trainer(functions.grpo_verl, Verl()), batch)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_tensor_elsewhere_is_refused():
    def elsewhere(token_level_rewards, **kwargs):
        return torch.empty(token_level_rewards.shape, device="meta")

    with pytest.raises(jax.errors.JaxRuntimeError, match="on cpu, got meta"):
        trainer(elsewhere, Verl()).credit(KEY, None, nasty()).value.block_until_ready()
