"""The benchmark protocol: worlds with controlled bifurcations, what they are like, and a report."""
