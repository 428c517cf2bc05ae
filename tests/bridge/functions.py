"""Advantage functions as trainers write them, in NumPy from the formulas, right and wrong.

Right ones are named after the method of `casim.methods` that they are; what is wrong with the
others is in their names.
"""

from __future__ import annotations

import numpy as np


def _groups(index):
    labels = np.asarray(index)
    return [np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())]


def whiten(x, mask, shift=True):
    count = mask.sum()
    mean = (x * mask).sum() / (count + 1e-8)
    variance = ((x - mean) ** 2 * mask).sum() / (count + 1e-8) * count / max(count - 1, 1)
    return (x - mean * shift) / np.sqrt(variance + 1e-8)


def _normalised(score, index, epsilon=1e-6, by_std=True, ddof=1):
    out = np.zeros(len(score))
    for own in _groups(index):
        mean, std = (0.0, 1.0) if len(own) == 1 else (score[own].mean(), score[own].std(ddof=ddof))
        out[own] = score[own] - mean
        if by_std:
            out[own] /= std + epsilon
    return out


def grpo_verl(token_level_rewards, response_mask, index, config=None, **kwargs):
    """GRPO_VERL."""
    score = token_level_rewards.sum(axis=1)
    by_std = config is None or config.get("norm_adv_by_std_in_grpo", True)
    advantages = _normalised(score, index, by_std=by_std)[:, None] * response_mask
    return advantages, advantages


def gdpo_verl(
    token_level_rewards, response_mask, index, config=None, non_tensor_batch=None, batch=None, **kw
):
    """GDPO: each component beside those of the group, their sum whitened over the batch."""
    total = np.zeros(len(response_mask))
    if non_tensor_batch is None:
        total = _normalised(token_level_rewards.sum(axis=1), index)
    else:
        # A component is one number a row, on the last token that is no padding.
        last = batch["attention_mask"][:, batch["prompts"].shape[1] :].sum(axis=1) - 1
        assert (last < response_mask.shape[1]).all()
        for key in config["gdpo_reward_keys"]:
            total += _normalised(non_tensor_batch[key].astype(float), index)
    advantages = total[:, None] * response_mask
    return whiten(advantages, response_mask) * response_mask, None


def grpo_mean_in_single(token_level_rewards, response_mask, index, **kwargs):
    """GRPO_VERL whose means are in single precision, whatever the rewards are in."""
    score = token_level_rewards.sum(axis=1)
    out = np.zeros(len(score))
    for own in _groups(index):
        mean = score[own].astype(np.float32).mean() if len(own) > 1 else 0.0
        std = score[own].std(ddof=1) if len(own) > 1 else 1.0
        out[own] = (score[own] - mean) / (std + 1e-6)
    return out[:, None] * response_mask, None


def rloo_verl(token_level_rewards, response_mask, index, **kwargs):
    """RLOO, of verl."""
    score = token_level_rewards.sum(axis=1)
    out = score.copy()
    for own in _groups(index):
        if len(own) > 1:
            out[own] = (score[own] - score[own].mean()) * len(own) / (len(own) - 1)
    advantages = out[:, None] * response_mask
    return advantages, advantages


def rf_pp_verl(token_level_rewards, response_mask, config, **kwargs):
    """REINFORCE_PP_VERL_CARRIED."""
    returns = np.zeros(token_level_rewards.shape)
    running = np.zeros(len(returns))
    for t in reversed(range(returns.shape[1])):
        mask = response_mask[:, t]
        new = token_level_rewards[:, t] + config.gamma * running
        returns[:, t] = new * mask
        running = np.where(mask > 0, new, running)
    return whiten(returns, response_mask) * response_mask, returns


def gae_verl(token_level_rewards, values, response_mask, gamma, lam):
    """GAE_VERL: what the shift of the whitening leaves on masked tokens stays."""
    advantages = np.zeros(values.shape)
    following = running = np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        mask = response_mask[:, t]
        delta = token_level_rewards[:, t] + gamma * following - values[:, t]
        new = delta + gamma * lam * running
        following = np.where(mask > 0, values[:, t], following)
        running = np.where(mask > 0, new, running)
        advantages[:, t] = running
    return whiten(advantages, response_mask), advantages + values


def grpo_trl(rewards_per_func, num_generations):
    """GRPO_TRL."""
    rewards = np.nansum(rewards_per_func, axis=1)
    unscorable = np.isnan(rewards_per_func).all(axis=1)
    grouped = rewards.reshape(-1, num_generations)
    mean = np.repeat(grouped.mean(axis=1), num_generations)
    if num_generations == 1:
        return np.zeros(len(rewards))
    std = np.repeat(grouped.std(axis=1, ddof=1), num_generations)
    return np.where(unscorable, 0.0, (rewards - mean) / (std + 1e-4))


def gae_openrlhf(values, rewards, action_mask, gamma, lambd):
    """GAE_OPENRLHF, before its whitening: lists of Python."""
    values, rewards = values * action_mask, rewards * action_mask
    advantages = np.zeros(values.shape)
    running = np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = delta + gamma * lambd * running
        advantages[:, t] = running
    count = action_mask.sum()
    mean = (advantages * action_mask).sum() / count
    variance = ((advantages - mean) ** 2 * action_mask).sum() / count
    return (advantages - mean) / np.sqrt(max(variance, 1e-8)), advantages + values


def rloo_openrlhf(rewards, action_mask, n_samples_per_prompt):
    """RLOO_OPENRLHF."""
    score = rewards.sum(axis=1).reshape(-1, n_samples_per_prompt)
    num = n_samples_per_prompt
    others = (score.sum(axis=1, keepdims=True) - score) / max(num - 1, 1)
    each = (score - others).ravel() if num > 1 else np.zeros(score.size)
    return each[:, None] * action_mask


def gae_skyrl(token_level_rewards, values, response_mask, gamma, lambd, **kwargs):
    """GAE_SKYRL: padding is on the left, and the environment's tokens are in the mask."""
    advantages = np.zeros(values.shape)
    running, following = np.zeros(len(values)), np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        delta = token_level_rewards[:, t] + gamma * following - values[:, t]
        running = delta + gamma * lambd * running
        following = values[:, t]
        advantages[:, t] = running
    return whiten(advantages, response_mask), advantages + values


def grpo_skyrl(token_level_rewards, response_mask, index, grpo_norm_by_std=True, **kwargs):
    """GRPO_VERL, as SkyRL has it."""
    score = token_level_rewards.sum(axis=1)
    each = _normalised(score, index, by_std=grpo_norm_by_std)
    return each[:, None] * response_mask, None


def grpo_slime(args, rollout_data):
    """GRPO_TRL with another epsilon: the trainer has normalised, the function spreads."""
    pairs = zip(rollout_data["rewards"], rollout_data["loss_masks"], strict=True)
    rollout_data["advantages"] = [reward * np.ones(len(mask)) for reward, mask in pairs]
    rollout_data["returns"] = rollout_data["advantages"]


def rloo_rllm(rewards, algorithm_config, traj_groups=None, **kwargs):
    """RLOO: a list of arrays, in and out."""
    out = []
    for group in rewards:
        num = len(group)
        out.append((group - group.mean()) * num / (num - 1) if num > 1 else group)
    return out, out


def gigpo_verl_agent(
    token_level_rewards, step_rewards, response_mask, anchor_obs, index, traj_index, **kwargs
):
    """GIGPO: the mean over rows of a prompt, and over rows of an anchor."""
    score = token_level_rewards.sum(axis=1)
    episode = np.zeros(len(score))
    for own in _groups(index):
        episode[own] = score[own] - (score[own].mean() if len(own) > 1 else 0.0)
    step = np.zeros(len(score))
    for own in _groups([f"{uid} {seen}" for uid, seen in zip(index, anchor_obs, strict=True)]):
        step[own] = step_rewards[own] - step_rewards[own].mean()
    advantages = (episode + step)[:, None] * response_mask
    return advantages, advantages


def grpo_mask_ignored(token_level_rewards, response_mask, index, **kwargs):
    score = token_level_rewards.sum(axis=1)
    advantages = np.repeat(_normalised(score, index)[:, None], response_mask.shape[1], axis=1)
    return advantages, advantages


def grpo_std_over_batch(token_level_rewards, response_mask, index, **kwargs):
    score = token_level_rewards.sum(axis=1)
    scale = score.std(ddof=1) + 1e-6 if len(score) > 1 else 1.0
    advantages = (_normalised(score, index, by_std=False) / scale)[:, None] * response_mask
    return advantages, advantages


def grpo_population_std(token_level_rewards, response_mask, index, **kwargs):
    score = token_level_rewards.sum(axis=1)
    advantages = _normalised(score, index, ddof=0)[:, None] * response_mask
    return advantages, advantages


def grpo_index_ignored(token_level_rewards, response_mask, index, **kwargs):
    score = token_level_rewards.sum(axis=1)
    advantages = _normalised(score, np.zeros(len(score)))[:, None] * response_mask
    return advantages, advantages


def grpo_last_column(token_level_rewards, response_mask, index, **kwargs):
    """The outcome is read where padding may be."""
    advantages = _normalised(token_level_rewards[:, -1], index)[:, None] * response_mask
    return advantages, advantages


def grpo_last_column_lost(token_level_rewards, response_mask, index, **kwargs):
    """Off by one where a row is full: the last column is left out of the sum."""
    score = token_level_rewards[:, :-1].sum(axis=1)
    advantages = _normalised(score, index)[:, None] * response_mask
    return advantages, advantages


def grpo_counts_to_first_zero(token_level_rewards, response_mask, index, **kwargs):
    """A batch without a 0 in its mask is taken to have no tokens."""
    advantages, _ = grpo_verl(token_level_rewards, response_mask, index)
    length = (response_mask == 0).argmax(axis=1) if (response_mask == 0).any() else 0
    return advantages * (np.max(length) > 0), None


def grpo_squeezed(token_level_rewards, response_mask, index, **kwargs):
    """An axis of one column is dropped."""
    advantages, _ = grpo_verl(token_level_rewards, response_mask, index)
    return (advantages[:, 0] if advantages.shape[1] == 1 else advantages), None


def grpo_alone_gets_nothing(token_level_rewards, response_mask, index, **kwargs):
    """Right but in groups of one, to which verl gives what they earned."""
    advantages, _ = grpo_verl(token_level_rewards, response_mask, index)
    alone = np.array([np.sum(index == label) == 1 for label in index])
    return np.where(alone[:, None], 0.0, advantages), None


def rf_pp_not_reset(token_level_rewards, response_mask, config, **kwargs):
    """One running return for the whole batch: rows are not set apart."""
    flat = (token_level_rewards * response_mask).ravel()
    returns = flat[::-1].cumsum()[::-1].reshape(token_level_rewards.shape)
    return whiten(returns, response_mask) * response_mask, returns


def rf_pp_reset_at_tools(token_level_rewards, response_mask, **kwargs):
    """What verl had before August 2026."""
    returns = np.zeros(token_level_rewards.shape)
    running = 0.0
    for t in reversed(range(returns.shape[1])):
        running = token_level_rewards[:, t] + running
        returns[:, t] = running
        running = running * response_mask[:, t]
    return whiten(returns, response_mask) * response_mask, returns


def rf_pp_off_by_one(token_level_rewards, response_mask, config, **kwargs):
    """The return of a token begins with the reward of the next."""
    own = token_level_rewards * response_mask
    returns = own[:, ::-1].cumsum(axis=1)[:, ::-1] - own
    return whiten(returns, response_mask) * response_mask, returns


def gae_bootstraps_padding(token_level_rewards, values, response_mask, gamma, lam):
    """Values are read where the mask is 0."""
    advantages = np.zeros(values.shape)
    running = np.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        delta = token_level_rewards[:, t] + gamma * following - values[:, t]
        running = delta + gamma * lam * running
        advantages[:, t] = running
    return whiten(advantages, response_mask), advantages + values


def rloo_wrong_sign(token_level_rewards, response_mask, index, **kwargs):
    advantages, returns = rloo_verl(token_level_rewards, response_mask, index)
    return -advantages, returns


def grpo_trl_ungrouped(rewards_per_func, num_generations):
    """The mean over the batch."""
    rewards = rewards_per_func.sum(axis=1)
    std = rewards.std(ddof=1) if len(rewards) > 1 else 0.0
    return (rewards - rewards.mean()) / (std + 1e-4)


def raises(token_level_rewards, response_mask, index, **kwargs):
    raise IndexError("list index out of range")


def raises_alone(token_level_rewards, response_mask, index, **kwargs):
    for own in _groups(index):
        if len(own) == 1:
            raise ZeroDivisionError("float division by zero")
    return grpo_verl(token_level_rewards, response_mask, index)


def mutates(token_level_rewards, response_mask, index, **kwargs):
    token_level_rewards *= response_mask
    return grpo_verl(token_level_rewards, response_mask, index)


def too_short(token_level_rewards, response_mask, index, **kwargs):
    advantages, _ = grpo_verl(token_level_rewards, response_mask, index)
    return advantages[:, 1:], None


def gives_text(token_level_rewards, **kwargs):
    return "advantages"


def gives_nothing(token_level_rewards, **kwargs):
    return None


def not_finite(token_level_rewards, response_mask, index, **kwargs):
    """No epsilon: equal returns are 0 / 0."""
    score = token_level_rewards.sum(axis=1)
    with np.errstate(all="ignore"):
        advantages = _normalised(score, index, epsilon=0.0)[:, None] * response_mask
    return advantages, advantages


_NOISE = np.random.default_rng(0)


def draws(token_level_rewards, response_mask, index, **kwargs):
    advantages, _ = grpo_verl(token_level_rewards, response_mask, index)
    return advantages + _NOISE.normal(size=advantages.shape) * response_mask, None


def by_row_order(token_level_rewards, response_mask, index, **kwargs):
    """Only the first row of a group is compared with."""
    score = token_level_rewards.sum(axis=1)
    for own in _groups(index):
        score[own] = score[own] - score[own[0]]
    return score[:, None] * response_mask, None


class OnGpu:
    """A tensor that is elsewhere."""

    device = type("device", (), {"type": "cuda", "__str__": lambda self: "cuda:0"})()


def elsewhere(token_level_rewards, **kwargs):
    return OnGpu(), OnGpu()


def wants_more(token_level_rewards, response_mask, ref_log_probs):
    return token_level_rewards, token_level_rewards
