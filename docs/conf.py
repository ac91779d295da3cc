"""The site that `make docs` builds from these pages: Sphinx, Markdown by MyST, the theme Furo; nothing is downloaded.

python -m sphinx --fail-on-warning --keep-going docs build/docs
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlgym_jax  # noqa: E402

project = "mlgym_jax"
author = copyright = "the authors of mlgym_jax"
release = version = mlgym_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["images"]
myst_heading_anchors = 4  # [a page](page.md#a-heading) leads to it, as on other sites that show Markdown

default_role = "literal"  # `name` is code in a docstring, as it is in Markdown
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype, napoleon_use_ivar = False, True

html_theme = "furo"
html_title = f"mlgym_jax {release}"
html_copy_source = html_show_sphinx = False
html_static_path = []


def _is_left_out(_app, _kind, _name, member, skip, _options):
    """Leave out the fields of named tuples, which their class's text describes."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field number") else skip


def setup(app):
    """Let a file of HAProxy's be shown as it is, which no highlighter knows."""
    from pygments.lexers import TextLexer

    app.add_lexer("haproxy", TextLexer)
    app.connect("autodoc-skip-member", _is_left_out)
