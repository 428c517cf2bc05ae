"""`experiments/claims.py` and docs/claims.md: numbers of the page are those of the command."""

from pathlib import Path

import claims
import pytest
from hypotheses.found import Found

DOCS = Path(__file__).parents[2] / "docs"
LONG = {
    "td_or_outcome",
    "threshold",
    "levels",
    "branches",
    "coarse_or_fine",
    "sum_or_minimum",
    "fidelity",
}
"""Exact ones that take more than a moment."""
EXACT = [claim for claim in claims.CLAIMS if claim.exact]
SAMPLED = [claim for claim in claims.CLAIMS if not claim.exact]


@pytest.fixture(scope="module")
def kept():
    return claims.from_json((DOCS / "claims.json").read_text())


def named(claim):
    marks = [pytest.mark.slow] if claim.name in LONG else []
    return pytest.param(claim, id=claim.name, marks=marks)


def test_every_claim_is_on_the_page(kept):
    page = (DOCS / "claims.md").read_text()
    assert list(kept) == [claim.name for claim in claims.CLAIMS]
    assert claims.table(kept) in page
    assert claims.paged(page, kept) == page
    assert claims.from_json(claims.to_json(kept)) == kept
    for row in claims.table(kept).splitlines():
        assert row.count("|") == len(claims.HEAD) + 1


@pytest.mark.parametrize("claim", [named(claim) for claim in EXACT])
def test_exact_claims_are_found_as_the_page_says(claim, kept):
    found = claim.measure(True)
    told = kept[claim.name]
    assert found.verdict == told.verdict
    assert found.numbers == pytest.approx(told.numbers, rel=1e-6, abs=1e-9)
    for line, was in zip(found.panel.curves, told.panel.curves, strict=True):
        assert line.label == was.label
        assert line.y == pytest.approx(was.y, rel=1e-6, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("claim", SAMPLED, ids=lambda claim: claim.name)
def test_sampled_claims_are_found_within_their_intervals(claim, kept):
    found = claim.measure(True)
    told = kept[claim.name]
    assert found.verdict == told.verdict
    for name in told.numbers:
        if name.endswith("_low"):
            value = name.removesuffix("_low")
            # Intervals of fewer runs hold the mean of many, at twice their width.
            half = found.numbers[f"{value}_high"] - found.numbers[value]
            assert told.numbers[value] == pytest.approx(found.numbers[value], abs=2 * half + 1e-9)


def test_what_is_drawn_can_be_read(kept):
    assert set(claims.DRAWN) <= {claim.name for claim in claims.CLAIMS}
    for found in kept.values():
        assert 1 <= len(found.panel.curves) <= 8
    figure = claims.draw(kept)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    for name, title in zip(claims.DRAWN, titles, strict=True):
        found = kept[name]
        assert title == f"{found.panel.title}\n({found.verdict})"
    for axes, name in zip(figure.axes, claims.DRAWN, strict=True):
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == [curve.label for curve in kept[name].panel.curves]


def test_the_table_takes_the_place_of_the_old_one(kept):
    page = f"before\n{claims.BEGIN}\n| an old one |\n{claims.END}\nafter\n"
    made = claims.paged(page, kept)
    assert made == f"before\n{claims.BEGIN}\n\n{claims.table(kept)}\n\n{claims.END}\nafter\n"


def test_a_page_without_a_place_is_refused(kept):
    with pytest.raises(ValueError, match="the page must have the lines"):
        claims.paged("nothing", kept)


def test_the_command_measures_what_is_named(tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["claims.py", *words])
        claims.main()

    run("--quick", "--out", str(tmp_path), "step_snr")
    assert "depends, exact" in capsys.readouterr().out
    found = claims.from_json((tmp_path / "claims_quick.json").read_text())
    assert isinstance(found["step_snr"], Found)
    assert (tmp_path / "claims_quick.png").exists()
    for words, said in (
        (("no_claim",), "NAME must be among"),
        (("--page", "page.md", "step_snr"), "--page is made from all claims"),
    ):
        with pytest.raises(SystemExit):
            run(*words)
        assert said in capsys.readouterr().err
