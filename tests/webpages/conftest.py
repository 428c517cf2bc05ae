"""What tests of pages share."""

import pytest


@pytest.fixture
def without_cards(monkeypatch):
    """Cards solve worlds, which most questions do not ask."""
    nothing = {"questions": [], "texts": [], "cards": [], "notes": []}
    monkeypatch.setattr("casim.webpages.report.card_data", lambda rows: nothing)
