"""Words that recipes, rows and the survey have in common."""

GRANULARITIES = ("token", "segment", "step", "turn", "trajectory", "multi_agent")
"""Units that receive credit."""
METHODOLOGIES = (
    "monte_carlo",
    "temporal_difference",
    "model_based",
    "game_theoretic",
    "information_theoretic",
)
"""Families of methods."""
CLAIMS = ("target", "advantage", "gradient")
"""What a method can be unbiased for."""
NEEDS = ("group", "reset", "critic", "reference", "judge", "privileged", "outcome")
"""What a method can need beyond its batch."""
JUDGE = "judge"
"""The name of the judge that is asked if none is named."""
