"""Model-based: credit from a judge or a learned model."""
