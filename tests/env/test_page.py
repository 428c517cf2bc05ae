"""The code in the page on the environment view runs and says what it claims."""

import doctest
from pathlib import Path


def test_the_page_on_environments():
    page = Path(__file__).parents[2] / "docs" / "environment.md"
    failed, attempted = doctest.testfile(str(page), module_relative=False)
    assert attempted > 15
    assert failed == 0
