"""Game-theoretic: credit from coalitions and counterfactuals."""
