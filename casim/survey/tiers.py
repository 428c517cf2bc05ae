"""Tiers of evidence, and words for what they rest on: how a branch is made, from what state.

References:
    Zhang 2026, arXiv:2604.09459 (the four tiers).
"""

TIERS = ("restored-interventional", "observational-causal", "model-relative", "predictive")
"""From the strongest claim to the weakest: 1 to 4."""
CLAIMS = {
    TIERS[0]: "the contrast under the stated protocol",
    TIERS[1]: "the contrast, if no hidden cause drives the action and every action occurs",
    TIERS[2]: "a statement about the model that plays the missing branch",
    TIERS[3]: "usefulness, not causation",
}
"""What each tier allows to say."""
SOURCES = (
    "real re-run",
    "decoder restore",
    "environment restore",
    "log matching",
    "model proxy",
    "none",
)
"""How the alternative branch is made."""
STATES = ("observed", "matched", "restored", "latent")
"""How the state before the decision is had."""
