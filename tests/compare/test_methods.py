"""Paired comparisons cover the truth, are narrower than unpaired, and refuse what does not pair."""

import math

import numpy as np
import pytest

from casim.cli import main
from casim.compare import by_budget, by_score, compare, student_quantile
from tests.compare.samples import scored
from tests.rows import NAN

BLOCKS = 10


def two(rng, gap, luck=3.0, own=0.5, seed=0):
    """Two methods that share the luck of their groups; B is better by `gap`."""
    shared = luck * rng.standard_normal(BLOCKS) + 10
    a, b = (shared + own * rng.standard_normal(BLOCKS) for _ in range(2))
    return [scored("A", {"snr": a}, seed=seed), scored("B", {"snr": b + gap}, seed=seed)]


def differences(rows, by="difference"):
    (found,) = compare(rows, by_score(rows, "snr"), "A", by)
    return found


@pytest.mark.slow
def test_intervals_of_differences_cover_the_truth_and_are_narrower_than_unpaired_ones():
    rng = np.random.default_rng(0)
    hits, rejected, widths, unpaired = 0, 0, [], []
    runs = 1000
    for _ in range(runs):
        rows = two(rng, gap=0.25)
        estimate = differences(rows).estimate
        hits += estimate.low <= 0.25 <= estimate.high
        rejected += not estimate.low <= 0 <= estimate.high
        assert (estimate.p < 0.05) == (not estimate.low <= 0 <= estimate.high)
        widths.append(estimate.high - estimate.low)
        left = np.array([row.left_out["snr"] for row in rows])
        spread = math.sqrt((BLOCKS - 1) * left.var(axis=1).sum())
        unpaired.append(2 * student_quantile(BLOCKS - 1) * spread)
    assert 0.93 <= hits / runs <= 0.97
    assert np.median(widths) < 0.25 * np.median(unpaired)
    assert rejected / runs > 0.1  # what no unpaired comparison would see


@pytest.mark.slow
def test_intervals_of_ratios_cover_the_truth():
    rng = np.random.default_rng(1)
    runs, hits = 1000, 0
    for _ in range(runs):
        shared = 10 + rng.standard_normal(BLOCKS)
        rows = [
            scored("A", {"snr": shared}),
            scored("B", {"snr": 2.5 * shared + rng.standard_normal(BLOCKS)}),
        ]
        estimate = differences(rows, "ratio").estimate
        hits += estimate.low <= 2.5 <= estimate.high
    assert 0.93 <= hits / runs <= 0.97


@pytest.mark.slow
def test_intervals_over_seeds_cover_the_truth():
    rng = np.random.default_rng(2)
    runs, hits = 500, 0
    for _ in range(runs):
        rows = [
            row for seed in range(3) for row in two(rng, gap=0.25, own=0.2 * (seed + 1), seed=seed)
        ]
        found = differences(rows)
        assert len(found.rows) == 3
        hits += found.estimate.low <= 0.25 <= found.estimate.high
    assert 0.925 <= hits / runs <= 0.975


@pytest.mark.slow
def test_no_difference_is_called_one_in_one_of_twenty_families():
    rng = np.random.default_rng(3)
    runs, wrong = 400, 0
    for _ in range(runs):
        a, *others = (rng.standard_normal(BLOCKS) for _ in range(6))
        rows = [scored("A", {"snr": a})]
        rows += [scored(f"B{i}", {"snr": x}) for i, x in enumerate(others)]
        found = compare(rows, by_score(rows, "snr"), "A")
        wrong += any(one.verdict != "not told apart" for one in found)
    assert wrong / runs <= 0.07


def test_verdicts_know_which_way_is_better():
    rng = np.random.default_rng(4)
    noise = 0.1 * rng.standard_normal(BLOCKS)
    verdicts = {}
    for score in ("snr", "bias", "gradient_slope"):
        rows = [scored("A", {score: 1 + noise}), scored("B", {score: 2 + noise[::-1]})]
        (found,) = compare(rows, by_score(rows, score), "A")
        verdicts[score] = found.verdict
        assert found.estimate.value == pytest.approx(1.0)
        assert (found.value, found.reference) == pytest.approx((2 + noise.mean(), 1 + noise.mean()))
    assert verdicts == {"snr": "better", "bias": "worse", "gradient_slope": "higher"}


def test_what_differs_by_rounding_is_the_same_and_not_told_apart_by_it():
    numbers = 3 + np.random.default_rng(5).standard_normal(BLOCKS)
    rows = [scored("A", {"snr": numbers}), scored("B", {"snr": numbers * (1 + 3e-6)})]
    assert differences(rows).verdict == "same"
    assert differences(rows, "ratio").estimate[:3] == (1.0, 1.0, 1.0)
    far = [scored("A", {"snr": numbers}), scored("B", {"snr": numbers * (1 + 3e-4)})]
    assert differences(far).verdict == "better"


def test_constant_differences_are_certain():
    rows = [scored("A", {"env_steps": [0.0] * 4}), scored("B", {"env_steps": [7.0] * 4})]
    (found,) = compare(rows, by_score(rows, "env_steps"), "A")
    assert (found.verdict, found.estimate.p) == ("worse", 0.0)


def test_what_is_missing_says_why_and_is_not_counted():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, BLOCKS))
    rows = [
        scored("A", {"snr": a}),
        scored("B", {"snr": b}),
        scored("C", {"snr": [NAN] * BLOCKS}, notes={"snr": "no gradient"}),
    ]
    found = {one.rows[0].label: one for one in compare(rows, by_score(rows, "snr"), "A")}
    assert found["C"].verdict == "missing"
    assert found["C"].note == "C: no gradient"
    assert found["B"].corrected == found["B"].estimate.p
    lower = [scored("A", {"snr": a - 9}), scored("B", {"snr": b})]
    negative = differences(lower, "ratio")
    assert "a ratio needs positive numbers" in negative.note


def test_settings_are_compared_apart_and_corrected_together():
    rng = np.random.default_rng(7)
    rows = []
    for horizon in (4, 9):
        task = {"recipe": "Chain", "module": "tests", "horizon": horizon}
        shared = rng.standard_normal(BLOCKS)
        rows += [scored("A", {"snr": shared}, task=task, horizon=horizon)]
        rows += [
            scored(
                "B",
                {"snr": shared + horizon + 0.1 * rng.standard_normal(BLOCKS)},
                task=task,
                horizon=horizon,
            )
        ]
    found = compare(rows, by_score(rows, "snr"), "A")
    assert [round(one.estimate.value) for one in found] == [4, 9]
    low, high = sorted(one.estimate.p for one in found)
    assert sorted(one.corrected for one in found) == pytest.approx([2 * low, max(high, 2 * low)])


def test_of_repeated_measurements_the_one_with_most_replicates_counts():
    numbers = [np.arange(BLOCKS) + x for x in (0.0, 1.0, 5.0)]
    rows = [
        scored(label, {"snr": numbers[0] * 0.1}, replicates=count)
        for label in "AB"
        for count in (20, 40)
    ]
    rows += [scored("B", {"snr": numbers[1]}, replicates=80)]
    rows[3] = scored("B", {"snr": numbers[2]}, replicates=40)
    found = differences(rows)
    assert found.rows[0].replicates == 40
    assert found.value == pytest.approx(numbers[2].mean())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"replicates": 40}, "replicates"),
        ({"seed": 9}, "seed"),
        ({"sources": {"casim": "2"}}, "version of casim"),
    ],
)
def test_rows_with_other_groups_are_refused_and_the_difference_named(change, name):
    rows = [scored("A", {"snr": [1.0, 2.0]}), scored("B", {"snr": [1.0, 2.0]}, **change)]
    with pytest.raises(
        ValueError, match=f"must share their groups .* 'B' and 'A' with different {name}"
    ):
        differences(rows)


def test_labels_that_no_row_has_or_several_recipes_share_are_refused():
    rows = [scored("A", {"snr": [1.0, 2.0]}), scored("B", {"snr": [1.0, 2.0]})]
    with pytest.raises(ValueError, match=r"against must be one of \('A', 'B'\), got 'C'"):
        compare(rows, by_score(rows, "snr"), "C")
    twice = [*rows, scored("B", {"snr": [1.0, 2.0]}, estimator={"recipe": "B", "module": "other"})]
    with pytest.raises(ValueError, match="label must stand for one recipe, got 'B' for several"):
        compare(twice, by_score(twice, "snr"), "A")


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(8)
    gradient = {"gradient_slope": 1.0, "gradient_bias": 0.0, "batch_steps": 8.0, "env_steps": 0.0}
    rows = []
    for label, noise in (("RLOO", 9.0), ("Vine", 4.0), ("exact", 1.0)):
        variance = noise + 0.01 * rng.standard_normal(BLOCKS)
        blocks = {name: [x] * BLOCKS for name, x in gradient.items()}
        blocks |= {"gradient_variance": variance, "snr_aligned": 1 / variance}
        methodology = "control" if label == "exact" else "monte_carlo"
        rows.append(scored(label, blocks, methodology=methodology))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row.to_json() + "\n" for row in rows))
    return path


def test_the_command_prints_verdicts_and_what_a_budget_buys(saved, capsys):
    main(["compare", str(saved), "--against", "RLOO"])
    out = capsys.readouterr().out
    assert "snr_aligned against RLOO; p by Holm over 1 comparisons" in out
    assert out.split("\n")[3].split()[-1] == "better"
    main(["compare", str(saved), "--against", "RLOO", "--controls", "--by", "ratio"])
    assert "exact" in capsys.readouterr().out
    main(["compare", str(saved), "--against", "RLOO", "--budget", "800"])
    out = capsys.readouterr().out
    assert "error at 800 steps against RLOO" in out
    assert "1 / error at 800 steps: what the budget buys" in out
    # 100 groups: error = 1 - 1 / (1 + 9 / 100), 1 / error = 1 + 100 / 9.
    lines = {
        line.split()[2]: line.split()
        for line in out.split("what the budget buys")[1].strip().split("\n")
    }
    assert float(lines["RLOO"][3]) == pytest.approx(1 + 100 / 9, rel=0.01)
    assert float(lines["Vine"][3]) == pytest.approx(1 + 100 / 4, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--against", "Vin"],
            "against must be a known name, got 'Vin': did you mean Vine",
        ),
        (
            ["--against", "Vine", "--score", "snr_alined"],
            "score must be a known name.*did you mean snr_aligned",
        ),
        (["--against", "Vine", "--budget", "-1"], "budget must be in"),
    ],
)
def test_the_command_refuses_what_it_cannot_compare(saved, arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(["compare", str(saved), *arguments])


def test_budgets_are_compared_by_errors():
    rng = np.random.default_rng(9)
    rows = []
    for label, noise in (("A", 9.0), ("B", 9.5)):
        variance = noise + 0.01 * rng.standard_normal(BLOCKS)
        blocks = {name: [1.0] * BLOCKS for name in ("gradient_slope", "env_steps", "batch_steps")}
        blocks |= {
            "gradient_bias": [0.0] * BLOCKS,
            "gradient_variance": variance,
            "snr_aligned": 1 / variance,
        }
        rows.append(scored(label, blocks))
    (found,) = compare(rows, by_budget(20.0), "A")
    assert found.verdict == "worse"
    assert found.estimate.value == pytest.approx(1 / (1 + 0.9) - 1 / (1 + 0.95), rel=0.05)
