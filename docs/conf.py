"""Sphinx settings: `make docs` builds the pages of this folder, warnings being errors."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

from casim import __version__
from casim.survey import choice, inventory, to_html
from casim.survey.page import plain_table

project = "casim"
author = "The casim developers"
release = __version__
sys.path.append(str(Path(__file__).parent / "_ext"))
extensions = ["myst_nb", "lessons"]  # docs/_ext/lessons.py has executed what myst_nb shows
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
html_theme = "furo"
html_static_path = ["_static"]
html_extra_path = ["explorer.html"]
exclude_patterns = ["_build"]


class Inventory(Directive):
    """The table of docs/inventory.md, made from the data that come with casim."""

    def run(self):
        """The table as HTML; other formats leave it out."""
        return [nodes.raw("", to_html(inventory(), "_static/inventory.js"), format="html")]


class Choices(Directive):
    """What casim measures of the survey's tree in one setting, from the rows that come with it."""

    required_arguments = 1

    def run(self):
        """The table as HTML; other formats leave it out."""
        return [nodes.raw("", plain_table(choice.summary(self.arguments[0])), format="html")]


def setup(app):
    """Registers the directives."""
    app.add_directive("inventory", Inventory)
    app.add_directive("choices", Choices)
