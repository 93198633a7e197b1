"""The site: `make docs`. Nothing is fetched; the tutorials are run; every warning is an error."""

import pvq
from numpydoc.xref import DEFAULT_LINKS

project = "pvq-bound"
author = "The pvq-bound developers"
version = release = pvq.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["tutorials", "templates"]  # pages of tutorials are in generated/tutorials
nitpicky = True
default_role = "code"  # `x` in a docstring
smartquotes = False  # X' is a transpose
templates_path = ["templates"]

html_theme = "furo"
html_title = f"pvq-bound {release}"
html_copy_source = False
html_show_copyright = False

# Types are in the docstrings, in words.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False  # pages of classes have them
numpydoc_xref_param_type = True
numpydoc_xref_aliases = {name: f"pvq.{name}" for name in pvq.__all__}
numpydoc_xref_ignore = "all"
DEFAULT_LINKS.clear()  # of the pages of Python and numpy, whose inventories would have to be fetched
# What functions and problems take is documented, all of it; records have their fields, solvers' insides less.
numpydoc_validation_checks = {"GL03", "PR01", "PR02", "PR10", "SS03", "YD01"}
numpydoc_validation_exclude = {r"^pvq\.(?!(Layer|Quant|Prune|[a-z_]+)$|Layer\.)", r"^pvq\.(solvers|bounds)\."}

myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "generated/tutorials",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "run_stale_examples": True,  # the library may have changed though the tutorial has not
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": float("inf"),  # times of a shared machine say nothing
    "write_computation_times": False,
}


def plain_bars(app, what, name, obj, options, lines):
    """Bars are absolute values here, never substitutions."""
    lines[:] = [line if "``" in line else line.replace("|", r"\|") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", plain_bars, priority=900)
