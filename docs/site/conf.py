"""What Sphinx has to know; `python -m docs.site` runs it with this file."""

from __future__ import annotations

from pathlib import Path

import bpengine
from bpengine.extras import repository

project = "bpengine"
author = "The bpengine authors"
copyright = f"2026, {author}"
version = release = bpengine.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "docs.site.mathml", "docs.site.extension"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
math_number_all = False
html_math_renderer = "mathml"

nitpicky = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
address = repository()
html_theme_options = {
    "footer_icons": [{"name": "Repository", "url": address, "html": "Repository", "class": ""}] if address else []
}
html_title = f"bpengine {version}"
html_static_path = [str(Path(__file__).with_name("static"))]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
templates_path: list[str] = []
exclude_patterns = ["files", "extra"]
