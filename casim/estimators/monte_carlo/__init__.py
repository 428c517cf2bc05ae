"""Monte Carlo: credit from sampled returns."""
