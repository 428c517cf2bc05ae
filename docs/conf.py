"""Sphinx settings: `make docs` builds the pages of this folder, warnings being errors."""

from docutils import nodes
from docutils.parsers.rst import Directive

from casim import __version__
from casim.survey import inventory, to_html

project = "casim"
author = "The casim developers"
release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_static_path = ["_static"]
exclude_patterns = ["_build"]


class Inventory(Directive):
    """The table of docs/inventory.md, made from the data that come with casim."""

    def run(self):
        """The table as HTML; other formats leave it out."""
        return [nodes.raw("", to_html(inventory(), "_static/inventory.js"), format="html")]


def setup(app):
    """Registers the directive."""
    app.add_directive("inventory", Inventory)
