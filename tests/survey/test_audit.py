"""The survey's own counts: they add up, and what does not is refused."""

import itertools
import json
from importlib import resources

import pytest

from casim.survey import audit, read_audit
from casim.survey.questions import CHECKLIST


@pytest.fixture
def data():
    return json.loads((resources.files("casim") / "survey" / "audit.json").read_text())


def test_two_coders_agreed_on_223_of_252_cells():
    found = audit()
    assert sum(each.agreed for each in found.diagnostics) == 223
    assert found.papers * len(found.diagnostics) == 252
    assert [each.code for each in found.diagnostics] == list("TORHVC")


def tables_of(diagnostic, papers):
    """How often both coders were positive, in every table of counts that has its kappa."""
    apart = papers - diagnostic.agreed
    for both, first in itertools.product(range(diagnostic.agreed + 1), range(apart + 1)):
        one, two = (both + first) / papers, (both + apart - first) / papers
        chance = one * two + (1 - one) * (1 - two)
        kappa = (diagnostic.agreed / papers - chance) / (1 - chance)
        if abs(kappa - diagnostic.kappa) < 6e-4:
            yield both


def test_kappas_are_those_of_counts_but_positives_are_those_of_one_diagnostic_only():
    found = audit()
    fits = {each.code: set(tables_of(each, found.papers)) for each in found.diagnostics}
    assert all(fits.values())
    positives = {each.code: each.positives for each in found.diagnostics}
    assert [code for code in fits if positives[code] in fits[code]] == ["R"]


def test_the_revision_holds_69_papers():
    assert sum(audit().half_years.values()) == 69


def test_the_trial_leaves_out_two_of_the_fourteen_items():
    items = [question.id for question in CHECKLIST]
    for said in audit().trial.values():
        assert set(items) - set(said) == {"metric", "length_distribution"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data["fields"][0]["counts"].update(absent=3), "matched comparator"),
        (lambda data: data["diagnostics"][0].update(positives=43), "positives of T"),
        (lambda data: data["diagnostics"][2].update(agreed=-1), "agreed of R"),
        (lambda data: data["reported"].update(gpu_hours=42), "reported of gpu_hours"),
        (lambda data: data["reported"].update(gpu_days=1), "item"),
        (lambda data: data["trial"]["hicra"].update(variance="perhaps"), "variance of hicra"),
        (lambda data: data["trial"].update(grpo={}), "trial"),
    ],
)
def test_what_does_not_add_up_is_refused(data, spoil, message):
    read_audit(data)
    spoil(data)
    with pytest.raises(ValueError, match=message):
        read_audit(data)
