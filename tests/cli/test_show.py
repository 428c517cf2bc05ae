"""`casim show` says what is too large, and means well; `casim list` fits a screen."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.cli import main
from casim.cli.list import List
from casim.cli.main import CLOSED
from casim.cli.names import check_names, named
from casim.figures.truths import telling
from casim.targets import TARGETS


def test_a_task_that_is_too_large_says_what_it_would_cost(tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["show", "Tree", "--horizon", "12", "--out", str(tmp_path)])
    message = str(ended.value)
    assert (
        "46,656 states after 6 of 12 steps, 6 times as many with each; "
        "if that goes on, 2.2e+09 states" in message
    )
    assert re.search(
        r"more than 1.2e\+03 GB and \S+ hours; choose a smaller --horizon, or pass --force", message
    )
    assert not list(tmp_path.iterdir())


def test_tables_that_are_too_large_are_not_laid_out(tmp_path):
    with pytest.raises(SystemExit, match=r"takes at least 1.46 GB \(T = 6, S = 7,776, O = 7,776\)"):
        main(["show", "Tree", "--horizon", "6", "--out", str(tmp_path)])


@pytest.mark.slow
def test_force_shows_what_is_large(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("casim.cli.size.MAX_FOLLOWED", 3)
    with pytest.raises(SystemExit, match="too large"):
        main(["show", "Recovery", "--out", str(tmp_path)])
    main(["show", "Recovery", "--force", "--out", str(tmp_path)])
    assert "figure:" in capsys.readouterr().out


@pytest.mark.slow
def test_truths_are_drawn_along_a_telling_trajectory(tmp_path, capsys):
    main(["show", "ToolChain", "--truth", "value", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "ToolChain: trajectory 12 of 256 of the uniform policy (seed 0), return 0" in out
    assert "chosen as its advantages spread most, -0.21 to +0.16" in out
    assert (tmp_path / "ToolChain-value.png").exists()


@pytest.mark.slow
def test_a_target_is_drawn_by_its_name(tmp_path):
    main(["show", "ToolChain", "--truth", "Redistribution", "--out", str(tmp_path)])
    assert (tmp_path / "ToolChain-Redistribution.png").exists()


def test_the_telling_trajectory_is_the_one_whose_decisions_spread_most():
    steps, states, actions = 3, 2, 2
    mdp = casim.Bifurcation(horizon=steps, pivots=(1,)).build()
    mdp = mdp._replace(decision=jnp.array([True, True, False])[: len(mdp.decision)])
    closed = int(np.flatnonzero(~np.asarray(mdp.decision)[np.asarray(mdp.schedule)])[0])
    advantage = np.zeros((steps, states, actions))
    advantage[0, :, 1], advantage[1, 1, 0], advantage[closed] = 0.2, -0.3, 9.0
    truth = casim.Truth(*[jnp.ones(1)] * 7)._replace(advantage=jnp.asarray(advantage))
    action = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [1, 0, 0]], np.int8)
    state = np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1]], np.int8)
    live = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    batch = casim.Trajectory(state, state, action, np.zeros((4, 3)), np.zeros((4, 3)), live)
    batch = jax.tree.map(jnp.asarray, batch)
    assert telling(mdp, truth, batch) == (2, "chosen as its advantages spread most, -0.3 to +0.2")
    dead = batch._replace(live=batch.live.at[2:, 1].set(False))  # the first of two that tell less
    assert telling(mdp, truth, dead).index == 0
    none = truth._replace(advantage=jnp.zeros_like(truth.advantage))
    assert telling(mdp, none, batch) == (0, "no decision of any of them matters")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["show", "Bifurcatoin"],
            "name must be a known name, got 'Bifurcatoin': did you mean Bifurcation?",
        ),
        (["show", "rloo"], "did you mean RLOO?"),
        (["show", "agentic_1k"], "did you mean agentic_1m or agentic_100_turns?"),
        (["show", "softmax"], "did you mean Softmax?"),
        (
            ["show", "ToolChain", "--truth", "valeu"],
            "truth must be a known name, got 'valeu': did you mean value?",
        ),
    ],
)
def test_an_unknown_name_is_answered_by_one_like_it(arguments, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        main(arguments)


def test_a_name_like_no_other_is_answered_by_all():
    with pytest.raises(ValueError, match=r"score must be one of \['bias', 'snr'\], got 'xyzzy'"):
        named("score", "xyzzy", {"snr": 1, "bias": 2})
    many = {f"name{number}": number for number in range(100)}
    with pytest.raises(ValueError, match="one of the 100 names that `casim list` prints, got 'xy"):
        named("score", "xyzzy", many)
    with pytest.raises(
        ValueError, match=r"scores must be a known name, got 'snrr': did you mean snr"
    ):
        check_names("scores", ["bias", "snrr"], ["bias", "snr"])


def test_a_published_method_is_shown_in_words(capsys):
    main(["show", "RLOO"])
    said = capsys.readouterr().out
    assert "unbiased for: target, gradient (discount 1)\n" in said
    assert "needs: group\n" in said
    assert "exact moments: at any horizon, and where all groups can be listed\n" in said
    assert "0x" not in said


def test_a_reader_who_stops_reading_is_no_fault(monkeypatch, tmp_path):
    def stop(command):
        raise BrokenPipeError

    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(List, "run", stop)
        with pytest.raises(SystemExit) as end:
            main(["list"])
    assert end.value.code == CLOSED


def test_the_list_fits_a_hundred_columns_and_says_every_setting(capsys):
    main(["list"])
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 100
    for recipe in (*casim.TASKS, *casim.ESTIMATORS, *casim.POLICIES):
        assert recipe.__name__ in out
    for target in TARGETS:
        assert target.__name__ in out
    words = " ".join(out.split())
    assert "LatentGain classes, form='probability'" in words
    assert "observation_noise=0.0, replay_noise=0.0, heterogeneity=0.0, unverified=0.0" in words
    assert "reasoning_500 ReasoningChain at num_steps=10" in words
