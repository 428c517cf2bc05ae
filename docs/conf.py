"""Sphinx settings: `make docs` builds the pages of this folder, warnings being errors."""

import sys
from pathlib import Path

from casim import __version__

project = "casim"
author = "The casim developers"
release = __version__
sys.path.append(str(Path(__file__).parent / "_ext"))
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    # What the build makes by itself, see docs/_ext.
    "bibliography",
    "docstrings",
    "drawn",
    "exact",
    "lessons",  # has executed what myst_nb shows
    "mathml",
    "recipes",
    "scores",
    "sphinxcontrib.bibtex",
]
nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib", "survey.bib"]
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
# Fields of several classes have one name; none of them is meant as a link.
suppress_warnings = ["ref.python"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "casim"
html_static_path = ["_static"]
html_css_files = ["casim.css"]
html_extra_path = ["explorer.html"]
html_copy_source = False
html_show_copyright = False
exclude_patterns = ["_build"]
