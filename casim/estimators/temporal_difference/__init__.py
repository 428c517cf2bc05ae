"""Temporal difference: credit from learned, bootstrapped values."""
