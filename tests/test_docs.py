"""The code in the README and in the docs runs and says what it claims."""

import dataclasses
import doctest
import re
from pathlib import Path

import pytest

import casim.testing
from casim.cli.experiment import opened
from casim.targets import TARGETS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("page", "examples"),
    [
        pytest.param("README.md", 11, marks=pytest.mark.slow),
        pytest.param("docs/targets.md", 9, marks=pytest.mark.slow),
        pytest.param("docs/truths.md", 8, marks=pytest.mark.slow),
        pytest.param("docs/environment.md", 28, marks=pytest.mark.slow),
    ],
)
def test_examples_say_what_they_claim(page, examples):
    failed, attempted = doctest.testfile(str(ROOT / page), module_relative=False)
    assert attempted >= examples
    assert failed == 0


@pytest.mark.slow
def test_added_estimator_passes_the_contract():
    code = re.search(
        r"```python\n(.*?)```", (ROOT / "docs" / "add-your-own.md").read_text(), re.DOTALL
    ).group(1)
    names = {"__name__": "add_your_own"}
    exec(code, names)  # dataclasses look their module up by name
    casim.testing.check_estimator(names["METHOD"], num_groups=200)


@pytest.mark.slow
def test_added_task_passes_the_contract():
    text = (ROOT / "docs" / "add-your-own.md").read_text()
    names = {"__name__": "add_your_own_task"}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    casim.testing.check_task(names["Drafts"](), names["Drafts"](horizon=3, discount=0.9), num=3000)


def test_the_experiment_of_the_docs_is_one(tmp_path):
    code = re.search(
        r"```python\n(.*?)```", (ROOT / "docs" / "experiments.md").read_text(), re.DOTALL
    ).group(1)
    path = tmp_path / "filler.py"
    path.write_text(code)
    with opened(path) as experiment:
        assert experiment.STUDY.name == "filler"


def test_every_target_is_on_its_page():
    page = (ROOT / "docs" / "targets.md").read_text()
    for target in TARGETS:
        settings = ", ".join(field.name for field in dataclasses.fields(target))
        assert f"| `{target.__name__}({settings})` |" in page


def test_links_in_the_docs_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
