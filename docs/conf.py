"""How Sphinx makes the site of these pages (`make docs`), into outputs/site. A dead link fails the build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "extern"))

project = "ModelMeter"
html_title = "ModelMeter"
copyright = "the ModelMeter maintainers"
language = "en"
extensions = ["myst_parser", "sphinx.ext.autodoc"]

html_theme = "furo"  # its files lie in the site: nothing is fetched from elsewhere
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

# the interactive page is a file of its own, which `make explore` writes
html_extra_path = [path.name for path in [Path(__file__).with_name("explore.html")] if path.exists()]

# GitHub's anchors: a link to a heading that is not there fails the build, too
myst_heading_anchors = 4

# the Python API: types stand in the signatures, `name` in a docstring is code
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100
add_module_names = False
# DeepSeek-OCR's `CostModel` has the name of the one that it extends
suppress_warnings = ["ref.python"]
toc_object_entries_show_parents = "hide"
