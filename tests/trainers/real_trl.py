"""TRL has no function to call: a real trainer, with a model of four tokens, scores and weighs.

`GRPOTrainer` and `RLOOTrainer` are made as anyone makes them. Of theirs are the reward functions'
call, the advantages (`_generate_and_score_completions`) and the loss (`_compute_loss`); replaced is
only what a language model would do: sampling (for GRPO by TRL's own `rollout_func`), and the
logarithms of probabilities, by which the loss is differentiated.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from casim.bridge import Rows, Trl
from casim.bridge.rows import present
from casim.types import Batch
from tests.trainers.installed import needed

trl, torch, datasets, tokenizers, transformers = needed(
    "trl", "trl", "torch", "datasets", "tokenizers", "transformers"
)
PADDING, END, PROMPT = range(3)
VOCABULARY = {"[PAD]": PADDING, "[EOS]": END, "a": PROMPT, "b": 3}


class _Given:
    """What stands in for a language model: rollouts and logarithms that are handed over."""

    completions: Any
    """Lists of tokens."""
    tool_masks: Any
    """Lists of flags, 1 on the policy's tokens."""
    log_probs: Any = None
    """Of the policy; None asks the model."""
    reference: Any = None
    """Those of the reference model."""
    entropies: Any = None

    def _get_per_token_logps_and_entropies(self, model, *arguments, **options):
        if self.reference is not None and model is self.ref_model:
            return self.reference, None, None
        if self.log_probs is None:
            return super()._get_per_token_logps_and_entropies(model, *arguments, **options)  # type: ignore
        return self.log_probs, self.entropies, None


class Grpo(_Given, trl.GRPOTrainer):
    """TRL's, whose rollouts are given."""


class Rloo(_Given, trl.RLOOTrainer):
    """TRL's, whose rollouts are given."""

    def _generate_single_turn(self, prompt_ids, *rest):
        return self.completions


def rollout(prompts: list, trainer: Any) -> dict[str, Any]:
    """TRL's `rollout_func`."""
    return {
        "prompt_ids": [[PROMPT]] * len(prompts),
        "completion_ids": trainer.completions,
        "logprobs": None,
        "env_mask": trainer.tool_masks,
    }


def _reward(index: int) -> Callable:
    """A reward function: one of the scores that each row brings."""

    def reward(scores, **kwargs):
        return [row[index] for row in scores]

    reward.__name__ = f"reward_{index}"
    return reward


def made(kind: type, functions: int = 1, **settings: Any) -> Any:
    """A trainer of TRL with so many reward functions; settings are those of its config."""
    words = tokenizers.models.WordLevel(VOCABULARY, unk_token="a")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words),
        pad_token="[PAD]",
        eos_token="[EOS]",
    )
    size = transformers.GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=64,
        n_embd=8,
        n_layer=1,
        n_head=1,
        bos_token_id=END,
        eos_token_id=END,
    )
    config = trl.GRPOConfig if kind is Grpo else trl.RLOOConfig
    options = {"rollout_func": rollout} if kind is Grpo else {}
    arguments = config(
        output_dir=tempfile.gettempdir(),
        per_device_train_batch_size=4,
        num_generations=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        **settings,
    )
    trainer = kind(
        model=transformers.GPT2LMHeadModel(size),
        args=arguments,
        processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["a"] * 4}),
        reward_funcs=[_reward(index) for index in range(functions)],
        **options,
    )
    trainer.model.train()
    # Else set by the loop of training: one batch, one step.
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def _cut(rows: Any, completion_mask: Any) -> list[list[int]]:
    """Lists without padding."""
    return [
        row[: int(mask.sum())].tolist() for row, mask in zip(rows, completion_mask, strict=True)
    ]


def scored(
    trainer: Any,
    rewards_per_func: Any,
    num_generations: int,
    completion_ids: Any,
    completion_mask: Any,
    tool_mask: Any,
) -> dict[str, Any]:
    """What the trainer makes of rollouts and rewards: advantages, masks, numbers of tokens."""
    trainer.num_generations = num_generations
    trainer.completions = _cut(completion_ids, completion_mask)
    trainer.tool_masks = _cut(tool_mask, completion_mask)
    known = np.asarray(rewards_per_func, float)
    scores = [[None if np.isnan(x) else float(x) for x in row] for row in known]
    inputs = [{"prompt": "a", "scores": row} for row in scores]
    return trainer._generate_and_score_completions(inputs)


def advantage(kind: type, functions: int = 1, **settings: Any) -> Callable:
    """The trainer's advantages as a function that `casim.bridge.Trl` calls."""
    trainer = functools.cache(lambda: made(kind, functions, **settings))

    def advantages(
        rewards_per_func, num_generations, completion_ids, completion_mask, tool_mask
    ) -> torch.Tensor:
        out = scored(
            trainer(), rewards_per_func, num_generations, completion_ids, completion_mask, tool_mask
        )
        return out["advantages"]

    # It is found again by its name.
    advantages.__qualname__ = f"{kind.__name__}{functions}{sorted(settings.items())}"
    return advantages


def loss_credit(trainer: Any, batch: Batch) -> np.ndarray:
    """What the loss does to the logarithm of each token, `[R, T]`: value x weight.

    It is minus the derivative times the number of rollouts, since the loss is a mean over them. The
    batch has no places that no rollout fills.

    Args:
        trainer: one of `made`.
        batch: with the logarithms of both policies.
    """
    fields = {name: np.asarray(x) for name, x in present(batch).items()}
    rows = Rows.of(fields)
    width = int(rows.length.max())

    def tensor(x: Any) -> Any:
        flat = np.asarray(x).reshape(rows.live.shape)
        return torch.tensor(flat[:, :width], dtype=torch.float32)

    offered = Trl().offers(rows, {})
    names = ("rewards_per_func", "num_generations")
    tokens = ("completion_ids", "completion_mask", "tool_mask")
    given = {name: offered[name] for name in names}
    given |= {name: torch.tensor(offered[name]) for name in tokens}
    # The older policy acted, and the trained one is differentiated.
    trainer.log_probs = tensor(batch.log_prob)
    inputs = scored(trainer, **given)
    if isinstance(trainer, Grpo):
        inputs["old_per_token_logps"] = trainer.log_probs
    leaf = tensor(batch.policy_log_prob).requires_grad_()
    trainer.log_probs = leaf
    trainer.entropies = tensor(batch.entropy)
    loss = trainer._compute_loss(trainer.model, inputs)
    (slope,) = torch.autograd.grad(loss, leaf)
    out = np.zeros(rows.live.shape)
    out[:, :width] = -len(out) * slope.numpy()
    return out
