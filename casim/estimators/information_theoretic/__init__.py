"""Information-theoretic: credit from gains of information."""
