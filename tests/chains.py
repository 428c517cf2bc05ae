"""Published methods at settings that no paper names."""

from __future__ import annotations

from typing import Any

from casim.estimators import Baseline, Chain, Whole


def grpo(discount: float | None = None, scale: bool = True, **settings: Any) -> Chain:
    """GRPO, or Dr. GRPO without `scale`, with a discount or a baseline of one's own."""
    return Chain(Whole(discount), Baseline(scale=scale, **settings))


def rloo(discount: float | None) -> Chain:
    """RLOO with a discount of its own."""
    return Chain(Whole(discount), Baseline(own=False, single="raw"))
