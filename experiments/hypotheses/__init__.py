"""What the survey says of credit, each claim as a small experiment: see `experiments/claims.py`."""
