"""What `experiments/explorer.py` computes: knobs, methods, exact moments, the grid of points."""
