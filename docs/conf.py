"""Sphinx configuration: pages in Markdown, the reference from the docstrings."""

import re
import sys
from pathlib import Path

import giga

sys.path.insert(0, str(Path(__file__).parent))
from reference import write_fields, write_pages, write_priors

project = "giga"
author = "giga developers"
copyright = "2026, giga developers"
release = version = giga.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "roofline.md"]  # included in performance.md
default_role = "literal"
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = f"giga {release}"

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False


def escape(app, what, name, obj, options, lines: list[str]) -> None:
    """Keep formulas like |e| < 1 and a*b, as plain docstrings have them, from being read as markup."""
    parts = re.split(r"(`[^`]*`|^ *>>>.*$)", "\n".join(lines), flags=re.MULTILINE)
    parts[::2] = [re.sub(r"(?<!\\)([*|])|(?<=\w)_(?!\w)", lambda m: "\\" + m.group(), part) for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def setup(app) -> None:
    """Write the generated pages; read docstrings before napoleon does."""
    app.connect("autodoc-process-docstring", escape, priority=400)
    folder = Path(__file__).parent / "api"
    folder.mkdir(exist_ok=True)
    write_pages(folder)
    write_fields(folder / "fields.txt")
    write_priors(folder / "priors.txt")
