"""The ladder: right functions pass, each mistake is caught by the line that it belongs to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from casim import methods
from casim.bridge import (
    Called,
    Function,
    OpenRLHF,
    Rllm,
    SkyRL,
    Slime,
    Trl,
    Verl,
    VerlAgent,
    trainer,
)
from casim.bridge.score import AT_LENGTH, EXACT, Line, Report, Verdict, claimable, to_html, to_text
from casim.bridge.score.contract import contract, line_names
from casim.bridge.score.exact import exact
from casim.bridge.score.legend import COLUMNS, WORDS
from casim.bridge.score.samples import samples
from casim.bridge.score.worlds import small_worlds
from casim.cli import main
from casim.methods import named_methods
from casim.oracle.moments import enumerate_trajectories
from casim.wellformed import check_mdp
from tests.bridge import functions

ROOT = Path(__file__).parents[2]

RIGHT = {
    "grpo_verl": (Verl(), "GRPO_VERL"),
    "rloo_verl": (Verl(), "RLOO"),
    "rf_pp_verl": (Verl(), "REINFORCE_PP_VERL_CARRIED"),
    "gae_verl": (Verl(), "GAE_VERL"),
    "gdpo_verl": (Verl(), "GDPO"),
    "grpo_trl": (Trl(), "GRPO_TRL"),
    "gae_openrlhf": (OpenRLHF(), "GAE_OPENRLHF"),
    "gae_skyrl": (SkyRL(), "GAE_SKYRL"),
    "rloo_rllm": (Rllm(), "RLOO"),
}
RF_PP = "REINFORCE_PP_VERL_CARRIED"
WRONG = {
    "grpo_mask_ignored": ("GRPO_VERL", "masked tokens are exactly 0", "multiply by the mask"),
    "grpo_std_over_batch": ("GRPO_VERL", "it is what it claims to be", "deviation is the batch's"),
    "grpo_population_std": ("GRPO_VERL", "it is what it claims to be", "of the population"),
    "grpo_index_ignored": (
        "GRPO_VERL",
        "other prompts change nothing",
        "depends on what a rollout",
    ),
    "grpo_last_column": ("GRPO_VERL", "it is what it claims to be", "where padding may be"),
    "grpo_last_column_lost": (
        "GRPO_VERL",
        "it is what it claims to be",
        "reward in the last column is lost",
    ),
    "grpo_counts_to_first_zero": ("GRPO_VERL", "more padding changes nothing", "columns"),
    "grpo_alone_gets_nothing": ("GRPO_VERL", "it is what it claims to be", "only groups of one"),
    "rf_pp_not_reset": (RF_PP, "it is what it claims to be", "not reset between rows"),
    "rf_pp_reset_at_tools": (RF_PP, "it is what it claims to be", "starts anew at tokens of tools"),
    "rf_pp_off_by_one": (RF_PP, "it is what it claims to be", "own reward is not in its return"),
    "gae_bootstraps_padding": ("GAE_VERL", "it is what it claims to be", "values of their own"),
    "rloo_wrong_sign": ("RLOO", "it is what it claims to be", "the sign is wrong"),
}
"""What the function claims to be, the line that fails, and what it says."""
BAD = {
    "raises": ("it can be called", "it raised IndexError: list index out of range"),
    "mutates": ("it leaves its arguments as they are", "changed token_level_rewards"),
    "too_short": ("it gives advantages of the right shape", "got (1, 0)"),
    "grpo_squeezed": ("it gives advantages of the right shape", "(1, 1), got (1,)"),
    "gives_text": ("it gives advantages of the right shape", "got str"),
    "elsewhere": ("it stays on the device of what it is given", "got cuda:0"),
    "not_finite": ("finite", "not finite"),
    "draws": ("it gives the same twice", "draws, or remembers"),
    "by_row_order": ("row order changes nothing", "in the opposite order"),
    "wants_more": ("it can be called", "it wants ref_log_probs"),
}
"""The line that fails without any claim, and what it says."""


def lines_of(name, convention=None, claim=None):
    called = Called(Function.of(getattr(functions, name)), convention or Verl())
    method = None if claim is None else getattr(methods, claim)
    return {line.name: line for line in contract(called, method)}


def failed(lines):
    return {name for name, line in lines.items() if line.verdict == Verdict.FAIL}


@pytest.mark.parametrize("name", BAD)
def test_bad_functions_fail_one_line_and_the_rest_is_asked(name):
    lines = lines_of(name)
    line, said = BAD[name]
    assert lines[line].verdict == Verdict.FAIL
    assert said in lines[line].said
    assert "\n" not in lines[line].said
    assert failed(lines) <= {line, "a group of one is finite"}
    assert set(lines) == set(line_names()[:-2])


@pytest.mark.parametrize("name", [*RIGHT, "gigpo_verl_agent", "grpo_slime"])
def test_right_functions_fail_nothing_without_a_claim(name):
    others = {"gigpo_verl_agent": VerlAgent(), "grpo_slime": Slime()}
    convention = RIGHT[name][0] if name in RIGHT else others[name]
    lines = lines_of(name, convention)
    assert not failed(lines)
    assert lines["it can be called"].verdict == Verdict.PASS
    assert lines["row order changes nothing"].verdict == Verdict.PASS


def test_the_smallest_batch_is_shown_with_its_numbers():
    """A group of one whose outcome is 1; two equal ones divide by 0."""
    breach = lines_of("not_finite")["finite"].breach
    head, first, second = breach.table
    assert head == ["row", "prompt", "token", "mask", "reward", "came", "right"]
    assert first == ["0", "0", "0", "model", "0.5", "nan", "-"]
    assert second[0] == "1"


def test_a_group_of_one_is_a_line_of_its_own():
    lines = lines_of("raises_alone")
    assert not failed(lines)
    assert lines["it can be called"].verdict == Verdict.PASS
    assert lines["a group of one is finite"].verdict == Verdict.REMARK
    assert "ZeroDivisionError" in lines["a group of one is finite"].said


def test_rounding_is_no_breach_of_equal_returns():
    """A mean in single precision misses outcomes in double precision; the epsilon is 1e-6."""
    lines = lines_of("grpo_mean_in_single")
    assert lines["equal returns give 0"].verdict == Verdict.PASS
    precise = lines["single precision is enough"]
    assert precise.verdict == Verdict.REMARK
    assert "7 outcomes of 0.35" in precise.said
    came = {float(row[5]) for row in precise.breach.table[1:]}
    assert len(came) == 1  # rounding, the same for all that are equal
    assert 0.01 < abs(came.pop()) < 0.1
    assert lines_of("rloo_verl")["single precision is enough"].verdict == Verdict.PASS


def test_what_a_wrong_function_says_without_a_claim_is_a_remark():
    """A mean over the batch is no mistake unless the function says that it is none."""
    lines = lines_of("grpo_index_ignored")
    assert not failed(lines)
    assert lines["other prompts change nothing"].verdict == Verdict.REMARK
    assert lines["rewards times 3: the credit"].said == "stays as it is"


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_are_what_they_claim_to_be(name):
    convention, claim = RIGHT[name]
    lines = lines_of(name, convention, claim)
    assert not failed(lines)
    assert lines["it is what it claims to be"].verdict == Verdict.PASS
    leaves = claim in ("GAE_VERL", "GAE_OPENRLHF", "GAE_SKYRL")
    masked = lines["masked tokens are exactly 0"].verdict
    assert masked == (Verdict.REMARK if leaves else masked)
    assert masked != Verdict.FAIL


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_caught_and_named(name):
    claim, line, said = WRONG[name]
    lines = lines_of(name, Verl(), claim)
    assert line in failed(lines)
    assert said in lines[line].said
    assert lines[line].breach.table[1:]


def test_worlds_are_whole_and_of_one_shape():
    shapes = set()
    for world in small_worlds():
        check_mdp(world.mdp)
        shapes.add(world.mdp.prob.shape)
        paths = enumerate_trajectories(world.mdp, world.policy)
        assert paths.probability.sum() == pytest.approx(1)
        assert len(np.unique(paths.trajectory.reward.sum(axis=1))) > 1
    assert len(shapes) == 1
    tool = next(world for world in small_worlds() if "tool" in world.name)
    assert np.asarray(tool.mdp.decision).tolist() == [True, False, True]


def test_batches_grow_and_hold_everything_awkward():
    every = samples(equal_groups=False)
    assert [len(sample.rows.group) for sample in every[:4]] == [1, 1, 2, 2]
    last = every[-1].rows
    assert (last.live & ~last.mask).any()
    assert len(set(np.bincount(last.group))) == 2
    assert all(len(set(sample.sizes)) == 1 for sample in samples(equal_groups=True))


def test_every_batch_has_a_row_without_padding_and_one_where_all_have_some():
    every = {sample.name: sample.rows for sample in samples(equal_groups=False)}
    assert every["alone"].mask.tolist() == [[True]]
    for name, rows in every.items():
        padding = ~rows.live
        is_padded = name.endswith(", padded")
        assert padding.any(axis=1).all() == is_padded
        if is_padded:
            tight = every[name.removesuffix(", padded")]
            columns = tight.reward.shape[1]
            assert rows.reward[:, :columns].tolist() == tight.reward.tolist()
            assert not rows.live[:, columns:].any()
    full = [rows for rows in every.values() if rows.live.all()]
    assert max(rows.live.shape[1] for rows in full) > 2
    assert any(rows.mask.all() for rows in full)
    assert any(not rows.mask[:, -1].any() for rows in full)


def test_a_fault_where_a_row_is_full_is_shown_by_one_row():
    """It agrees with the method wherever a column is to spare."""
    breach = lines_of("grpo_last_column_lost")["more padding changes nothing"].breach
    assert breach.table[1:] == [["0", "0", "0", "model", "1", "1", "0"]]


def test_methods_that_need_a_world_cannot_be_claimed():
    assert claimable(methods.GRPO_VERL)
    assert claimable(methods.GAE_VERL)
    assert not claimable(methods.VINEPPO)


@pytest.mark.slow
def test_exact_numbers_of_a_function_are_those_of_the_method():
    """And the sign that is wrong is seen without any claim."""
    lines = exact(trainer(functions.grpo_verl, Verl()), methods.GRPO_VERL)
    assert [line.verdict for line in lines] == [Verdict.PASS] * 6
    for line in lines:
        known = {"gradient_slope": 1, "gradient_cosine": 1, "centred_bias": 0}
        found = {name: line.numbers["RLOO"][name] for name in known}
        assert found == pytest.approx(known, abs=1e-12)
    stop = next(line for line in lines if "STOP" in line.name).numbers
    assert stop["RLOO"]["gradient_cosine"] == pytest.approx(1, abs=1e-12)
    assert stop["it"]["gradient_cosine"] < 0.95
    wrong = exact(trainer(functions.rloo_wrong_sign, Verl()), None)
    assert [line.verdict for line in wrong] == [Verdict.FAIL] * 6
    assert wrong[0].numbers["it"]["gradient_slope"] == pytest.approx(-1, abs=1e-12)
    assert "cosine -1" in wrong[0].said


@pytest.mark.slow
def test_components_are_handed_over_in_exact_moments():
    """An advantage of the whole reward is another method's there."""
    errand = [world for world in small_worlds() if "tool" in world.name]
    (line,) = exact(trainer(functions.gdpo_verl, Verl()), methods.GDPO, errand)
    assert line.verdict == Verdict.PASS
    (line,) = exact(trainer(functions.rloo_verl, Verl()), methods.GDPO, errand)
    assert line.verdict == Verdict.FAIL


@pytest.mark.slow
def test_the_command_prints_one_page_and_ends_with_a_status(
    tmp_path, capsys, monkeypatch, unhooked
):
    page, data = tmp_path / "page.html", tmp_path / "report.json"
    place = "tests.bridge.functions:grpo_verl"
    words = ["score", place, "--as", "GRPO_VERL", "--html", str(page), "--json", str(data)]
    main(words)
    text = capsys.readouterr().out
    assert "nothing is wrong" in text
    assert "256 tokens" in text
    report = json.loads(data.read_text())
    assert report["passed"]
    assert report["claimed"] == "GRPO, verl"
    length = report["stages"]["sampled, at length"][0]["numbers"]
    assert length["it"] == pytest.approx(length["GRPO, verl"], rel=1e-3)
    assert "<h1>tests.bridge.functions:grpo_verl" in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "function must be given"),
        (["no_such_file.py:f"], "a file that exists"),
        (["tests.bridge.functions:grpo_verl", "--convention", "verL"], "did you mean verl"),
        (["tests.bridge.functions:grpo_verl", "--as", "GRPO_VERLL"], "did you mean GRPO_VERL"),
        (["tests.bridge.functions:grpo_verl", "--as", "VINEPPO"], "as must be"),
        (["tests.bridge.functions:grpo_verl", "--set", "gamma"], "set must be NAME=VALUE"),
    ],
)
def test_bad_words_are_one_line(words, message):
    with pytest.raises(SystemExit) as stop:
        main(["score", *words])
    assert message in str(stop.value)


def test_a_function_without_credit_is_reported_at_once(capsys):
    """No world is asked of it; JSON goes to the terminal."""
    with pytest.raises(SystemExit) as stop:
        main(["score", "tests.bridge.functions:raises", "--json", "-"])
    assert stop.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["passed"]
    first = report["stages"]["contract"][0]
    assert first["said"] == "it raised IndexError: list index out of range"
    assert first["batch"]["tokens"][0]["mask"] == "model"


def test_the_list_names_what_can_be_asked(capsys):
    main(["score", "--list"])
    text = capsys.readouterr().out
    for name in ("verl-agent", "row order changes nothing", "one chain", "GRPO_VERL"):
        assert name in text
    assert "VINEPPO" not in text
    assert "GRPO_VERL" in named_methods()


def test_pages_escape_what_they_show():
    lines = list(lines_of("not_finite").values())
    report = Report("<f>", "verl", None, {"contract": lines})
    assert not report.passed
    assert "&lt;f&gt;" in to_html(report)
    assert "1 wrong" in to_text(report)


def test_pages_say_what_their_columns_and_verdicts_mean():
    scores = dict.fromkeys(COLUMNS, 1.0)
    stage = [Line("a world", Verdict.PASS, "", None, {"it": scores, "RLOO": scores, "GAE": scores})]
    whole = Report("f", "verl", "GAE", {"contract": [], EXACT: stage, AT_LENGTH: stage})
    text, page = " ".join(to_text(whole).split()), to_html(whole)
    documented = (ROOT / "docs" / "bridge.md").read_text()
    for column in COLUMNS.values():
        assert f" {column.head} {column.full}" in text
        assert f"<dt>{column.head}</dt><dd>{column.full}</dd>" in page
        assert f"| {column.head} | {column.words} | {column.right} |" in documented
    for verdict, said in WORDS.items():
        assert f" {verdict} {said}" in text
        assert f"<dt>{verdict}</dt><dd>{said}</dd>" in page
        assert f"| `{verdict}` | {said} |" in documented
    for word in ("it", "RLOO", "GAE", AT_LENGTH):
        assert f"<dt>{word}</dt>" in page
    short = to_html(Report("f", "verl", None, {"contract": []}))
    assert "<dt>FAIL</dt>" in short
    assert "<dt>slope</dt>" not in short


@pytest.mark.slow
def test_the_plugin_makes_a_test_of_each_line(tmp_path):
    """As in a trainer's CI: a process of its own, with a worker, and the plugin asked for twice."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    wrong = "tests.bridge.functions:by_row_order"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_casim", "-n", "1"]
    done = subprocess.run(
        [*command, "--casim-score", wrong, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        env=_without_workers(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "contract: row order changes nothing" in done.stdout
    assert "the opposite order" in done.stdout
    assert "1 failed" in done.stdout


def _without_workers(environment):
    """Variables without those by which pytest-xdist knows the workers of this run."""
    return {
        name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")
    }
