"""How trainers whiten credit over all tokens of a batch, so that long rollouts weigh more."""

from __future__ import annotations

from casim.estimators import Baseline

VERL = Baseline("batch", votes="step", scale=True, epsilon=1e-8, epsilon_at="inside")
"""(c - mean) / sqrt(var + 1e-8) over the policy's tokens, with n - 1 in the variance.

Verl's mean divides by n + 1e-8 instead of n.
"""

SKYRL = Baseline("batch", votes="live", scale=True, epsilon=1e-8, epsilon_at="inside")
"""The same over all tokens, the environment's too: SkyRL's mask of the response holds them."""

OPENRLHF = Baseline("batch", votes="step", scale=True, ddof=0, epsilon=1e-4, epsilon_at="floor")
"""(c - mean) / sqrt(max(var, 1e-8)) over the policy's tokens, with n in the variance."""
