"""The site: ``make docs`` builds it into ``site/``."""

from __future__ import annotations

import sys
from pathlib import Path

import imageproxy

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "imageproxy"
author = "the imageproxy contributors"
release = version = imageproxy.__version__
html_title = "imageproxy"

extensions = ["myst_parser", "sphinx.ext.autodoc", "plain_docstrings", "links_to_files", "examples_page"]
exclude_patterns = ["_extensions"]

myst_heading_anchors = 3

# A link to what the reference should have and does not is a warning, and so an error; other people's types are theirs.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!imageproxy\b).*"),
    (r"py:class", r"imageproxy\.caches\._cleanup\.CleanupHandle"),
]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Nothing is loaded from elsewhere when the site is looked at: fonts are the system's, the search is a script of ours.
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
