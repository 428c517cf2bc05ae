"""The code in the README and in the docs runs and says what it claims, and commands parse."""

import dataclasses
import doctest
import re
import shlex
import sys
import types

import pytest

import casim.testing
from casim.bridge import Verl, trainer
from casim.bridge.score import score, to_text
from casim.cli.experiment import opened
from casim.cli.main import COMMANDS, parse
from casim.targets import TARGETS
from tests.pages import ROOT, blocks, commands, is_dialogue, pages, programs

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
DIALOGUES = {name: page for name, page in PAGES.items() if is_dialogue(page)}
PROGRAMS = {name: page for name, page in PAGES.items() if programs(page)}
ALONE = ("demo", "list", "teach")
"""Commands that can be typed as they are."""
MAKE = (ROOT / "Makefile").read_text()


def every(chosen):
    return pytest.mark.parametrize("page", chosen.values(), ids=list(chosen))


def words_of(command):
    """The words of a line, up to where its output goes."""
    words = []
    for word in shlex.split(command):
        if word in (">", "|", "&&"):
            break
        words.append(word)
    return words


@pytest.mark.slow
@every(DIALOGUES)
def test_dialogues_say_what_they_claim(page):
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert attempted >= 3
    assert failed == 0


@pytest.mark.slow
@every(PROGRAMS)
def test_programs_run(page, monkeypatch):
    # Dataclasses look their module up by name.
    module = types.ModuleType("a_page")
    monkeypatch.setitem(sys.modules, "a_page", module)
    for text in programs(page):
        exec(compile(text, str(page), "exec"), vars(module))


def test_the_pages_are_found():
    assert len(DIALOGUES) >= 10
    assert {"README.md", "docs/bridge.md", "docs/add-your-own.md"} <= set(PROGRAMS)
    assert sum(len(commands(page)) for page in PAGES.values()) >= 50


@every(PAGES)
def test_commands_can_be_typed(page):
    for command in commands(page):
        first, *rest = words_of(command)
        if first == "casim":
            parse(rest)
        if first == "make":
            assert f"\n{rest[0]}:" in MAKE, command
        if first == "python" and rest[0].startswith(("experiments/", "benchmarks/", "docs/")):
            assert (ROOT / rest[0]).is_file(), command


@pytest.mark.parametrize("name", ["docs/guide.md", "docs/index.md", "docs/start.md", "README.md"])
def test_commands_in_the_text_can_be_typed(name):
    spans = re.findall(r"`(casim [^`]+)`", PAGES[name].read_text())
    assert spans
    for span in spans:
        _, command, *rest = shlex.split(span)
        if rest or command in ALONE:
            parse([command, *rest])


@every(PAGES)
def test_commands_in_the_text_are_there(page):
    for name in re.findall(r"`casim ([a-z]+)[^`]*`", page.read_text()):
        assert name in COMMANDS


@pytest.mark.slow
def test_the_function_of_the_readme_is_wrong_as_it_says():
    names = {}
    exec(programs(PAGES["README.md"])[0], names)
    assert "score.std(ddof=1)" in programs(PAGES["README.md"])[0]
    own = trainer(names["advantage"], Verl())
    report = score(own, casim.methods.GRPO_VERL, None)
    assert "the deviation is the batch's, and else it is GRPO, verl" in to_text(report)


def test_the_readme_fits_a_screen_and_a_half():
    assert len(PAGES["README.md"].read_text().splitlines()) <= 75


def code_of(name, place=0):
    return programs(PAGES[name])[place]


@pytest.mark.slow
def test_added_estimator_passes_the_contract():
    names = {"__name__": "add_your_own"}
    exec(code_of("docs/add-your-own.md"), names)
    casim.testing.check_estimator(names["METHOD"].recipe, num_groups=200)


@pytest.mark.slow
def test_added_task_passes_the_contract():
    names = {"__name__": "add_your_own_task"}
    exec(code_of("docs/add-your-own.md", 1), names)
    casim.testing.check_task(names["Drafts"](), names["Drafts"](horizon=3, discount=0.9), num=3000)


def test_the_lines_to_change_in_a_first_experiment_are_there():
    """The page says which two lines of the template name a method of one's own."""
    page = PAGES["docs/add-your-own.md"].read_text()
    (lines,) = [
        block.text for block in blocks(PAGES["docs/add-your-own.md"]) if block.kind == "text"
    ]
    names = re.search(r"ESTIMATORS = \((.*), METHOD\)", lines)[1].split(", ")
    template = (ROOT / "casim/templates/new_experiment.py").read_text()
    found = re.search(r"ESTIMATORS = \(\n(.*?)\n\)", template, re.DOTALL)[1]
    assert [line.strip(" ,") for line in found.splitlines()] == names
    assert "from clipped import METHOD" in lines
    assert "`QUICK`" in page


def test_the_experiment_of_the_docs_is_one(tmp_path):
    path = tmp_path / "filler.py"
    path.write_text(code_of("docs/experiments.md"))
    with opened(path) as experiment:
        assert experiment.STUDY.name == "filler"


def test_every_target_is_on_its_page():
    page = PAGES["docs/targets.md"].read_text()
    for target in TARGETS:
        settings = ", ".join(field.name for field in dataclasses.fields(target))
        assert f"| `{target.__name__}({settings})` |" in page


@every(PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)#\s]+)", page.read_text()):
        path = page.parent / link
        # Figures that the build draws are beside what draws them.
        source = path.with_suffix(".py") if path.suffix == ".svg" else path
        assert source.exists(), link


def test_blocks_are_of_a_kind_that_is_looked_at():
    kinds = {block.kind for page in PAGES.values() for block in blocks(page)}
    assert kinds <= {"python", "sh", "text", "json", "bibtex"}
