"""Sphinx configuration of the documentation; `make docs` builds it into `docs/_build/html`.

The build needs no network and treats warnings as errors. The pages load nothing from other hosts: formulas are MathML, fonts are the
reader's, and the notebooks show their stored outputs as SVG.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "evalkit"
author = "the evalkit authors"
project_copyright = "2026, the evalkit authors"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"]
version = release

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_nb",
    "mathml",
    "generated",
    "public_names",
    "self_contained",
]
root_doc = "index"
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "_generated", "_ext", "**.ipynb_checkpoints"]
default_role = "py:obj"
nitpicky = True
suppress_warnings = ["mystnb.unknown_mime_type"]  # of the stored outputs, the SVG is shown

# The inventories of other projects are on the network, so their names cannot be linked.
nitpick_ignore_regex = [
    (r"py:.*", r"(pl|pd|alt|np|npt|polars|pandas|altair|numpy|pathlib|datetime|collections|typing|types|os|enum|warnings|uuid)\..*"),
    (r"py:.*", r"(pydantic|pydantic_core|annotated_types|functools|dataclasses|asyncio|ipywidgets|re|io|decimal|importlib|json)\..*"),
    (r"py:(class|exc|obj)", r"(Path|Any|Callable|Iterable|Iterator|Mapping|Sequence|Literal|ClassVar|Annotated|Self|TracebackType)"),
    (r"py:(class|exc)", r"[A-Z]\w*(Error|Warning)|[TU]|Item|optional"),  # built-in exceptions and type variables
    (r"py:obj", r"[a-z_]\w*"),  # in docstrings, `name` is a parameter, a column or a metric
    (r"py:obj", r"[A-Z]\w*(Error|Warning)"),
    (r"py:class", r"CheckpointRef"),  # an alias in overloads, which are shown as written
]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False  # autodoc lists them
numpydoc_attributes_as_param_list = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "attrs_block", "html_image"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [
    ("html", "image/svg+xml", 1),
    ("html", "text/html", 2),
    ("html", "image/png", 3),
    ("html", "text/plain", 4),
]
nb_ipywidgets_js = {}  # the stored outputs have no widgets, and the default is a script of another host

html_theme = "furo"
html_title = "evalkit"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fae", "color-brand-content": "#1f5fae", "color-brand-visited": "#1f5fae"},
    "dark_css_variables": {"color-brand-primary": "#7db4f5", "color-brand-content": "#7db4f5", "color-brand-visited": "#7db4f5"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
