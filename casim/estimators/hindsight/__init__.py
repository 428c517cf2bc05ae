"""Hindsight: credit from how the outcome changes the belief about the action."""
