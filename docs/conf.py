"""Configuration of the documentation's site: `make site` builds it, and a warning fails the build.

The root of the sources is the repository, so that README, tables of results, cards of the zoo and the notebook are
pages too, and a relative link means the same here as in a listing of files.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS / "_extensions"), str(DOCS.parent)]

from maml_rl import __version__  # noqa: E402

project = "maml_rl"
author = "maml_rl contributors"
project_copyright = author
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "mathml_renderer",
    "plain_docstrings",
    "repository_links",
    "settings_tables",
    "studies_table",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Testing_Notebook.ipynb",
    "results/*/table.md",
    "results/recovery/recovery.md",
    "results/drifting-bandit/models/models.md",
    "results/drifting-bandit-published/models/models.md",
    "zoo/**",
]
exclude_patterns = [".*", "build", "dist", "runs", "maml_rl", "docs/README.md", "docs/_*", "**/node_modules"]
templates_path = ["_templates"]
nitpicky = False  # types of numpy and torch are named, not linked: a build needs no network

myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 4
nb_execution_mode = "off"
suppress_warnings = [
    "myst.header",  # tables of results begin at any level
    "ref.python",  # attributes of two classes have one name
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "code"
add_module_names = False
python_maximum_signature_line_length = 88
copybutton_exclude = ".linenos, .gp, .go"

smartquotes = False  # two dashes begin a flag
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"maml_rl {release}"
html_additional_pages = {"index": "to_index.html"}
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
