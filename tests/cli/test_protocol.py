"""`casim run protocol`: what is written, how it goes on, and what is refused."""

import dataclasses

import pytest

from casim.cli import main
from casim.cli.machine import Machine
from casim.cli.protocol import Benchmark, file_name, read_method
from casim.methods import GRPO, RLOO
from casim.protocol.suite import Suite
from casim.protocol.worlds import single_agent
from casim.storage import load
from casim.survey.cards import check, read_card

OWN = """
from casim.methods import GRPO

MINE = GRPO.recipe
KIND = type(MINE)
NUMBER = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of methods in the folder where the command is typed."""
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


def test_a_method_of_ones_own_is_read_from_the_folder(own):
    assert read_method("my_methods:MINE") == GRPO.recipe
    assert read_method("casim.methods:RLOO") is RLOO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RLOO", "method must be module:RECIPE, got 'RLOO'"),
        (
            "nowhere_at_all:X",
            "method must be in a module that can be imported: ModuleNotFoundError",
        ),
        ("casim.methods:RLOOO", "method must be a name in casim.methods, got 'RLOOO'"),
        ("my_methods:NUMBER", "method my_methods:NUMBER must be a casim.methods.Method or an est"),
        ("my_methods:KIND", "method my_methods:KIND must be a casim.methods.Method or an est"),
    ],
)
def test_what_is_no_method_is_refused_in_a_line(own, text, message):
    with pytest.raises(SystemExit, match=message):
        main(["run", "protocol", "--quick", "--method", text, "--no-cache"])


def test_options_of_files_and_of_the_protocol_are_kept_apart():
    with pytest.raises(SystemExit, match="until must be of a file"):
        main(["run", "protocol", "--quick", "--until", "bias=0.1", "--no-cache"])
    with pytest.raises(SystemExit, match="method must be of `casim run protocol`, got 'a:B'"):
        main(["run", "some.py", "--method", "a:B", "--no-cache"])


def test_names_of_worlds_and_methods_are_names_of_files():
    assert file_name("cause +") == "cause_plus"
    assert file_name("cause -") == "cause_minus"
    assert file_name("VinePPO by step") == "VinePPO_by_step"
    assert file_name("early, 8 turns") == "early_8_turns"


@pytest.mark.slow
def test_a_run_writes_all_that_it_says_and_goes_on_where_it_stopped(tmp_path, capsys, unhooked):
    worlds = [world for world in single_agent(4) if world.name in ("early", "cause -")]
    suite = Suite("quick", tuple(worlds), (RLOO,), replicates=10)
    machine = Machine(no_cache=True)
    benchmark = Benchmark(suite, (read_method("casim.methods:GRPO"),), tmp_path, machine, False)
    alone = dataclasses.replace(benchmark, own=())
    alone.run()
    assert "10 of them new" in capsys.readouterr().out
    benchmark.run()
    assert "2 of them new" in capsys.readouterr().out
    rows = load(tmp_path / "rows.jsonl")
    assert {row.label for row in rows} >= {"RLOO", "GRPO", "exact", "shuffled"}
    report = (tmp_path / "report.md").read_text()
    assert "| early | think 1 | exact | 1 | at the end |" in report
    assert "## cause -" in report
    assert "| GRPO | monte_carlo | 2 of 2 |" in (tmp_path / "leaderboard.md").read_text()
    for name in ("identification.png", "gradient.png"):
        assert (tmp_path / name).stat().st_size > 1000
    card = read_card((tmp_path / "cards" / "cause_minus" / "GRPO.md").read_text())
    assert "falsification" not in [gap.question.id for gap in check(card)]
