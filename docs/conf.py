"""Configuration of the documentation site; `make site` runs Sphinx over the repository with it.

The pages are the Markdown files of the repository under their own paths, so links work in both places. The build is
strict: a broken link or anchor ends it.
"""

from importlib.metadata import version as installed_version

project = "Linnaea"
author = "The Linnaea maintainers"
copyright = "2026, The Linnaea maintainers"
version = release = installed_version("linnaea")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
include_patterns = [
    "index.md",
    "*.md",
    "docs/*.md",
    "examples/*.md",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "src/linnaea/model/bundled/*.md",
]
exclude_patterns = ["build", ".venv"]
root_doc = "docs/index"
html_theme = "furo"
html_title = "Linnaea"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]
# Docstrings use single backticks for code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "imported-members": True, "undoc-members": True, "show-inheritance": False}
# Docstrings are plain text, not reStructuredText: their layout may not be perfect markup. Links stay strict.
suppress_warnings = ["docutils", "autodoc.mocked_object"]
