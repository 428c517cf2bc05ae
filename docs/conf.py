"""Sphinx settings: `make docs` builds the pages of this folder, warnings being errors."""

from casim import __version__

project = "casim"
author = "The casim developers"
release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
