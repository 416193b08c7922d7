"""Sphinx settings: ``make docs`` builds the README, this folder and the pages of the benchmarks into ``site/``.

The source folder is the repository's root, so that links between these are checked. Every warning is an error.
"""

project = "nas"
html_title = "nas"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["README.md", "docs/**.md", "benchmarks/**.md", "tests/robustness/README.md"]
exclude_patterns = [".*", "build", "dist", "runs", "site"]

highlight_language = "none"  # what a terminal shows is no Python
myst_heading_anchors = 3  # so that links to a heading work as they do on code hosting sites

html_theme = "alabaster"  # comes with Sphinx, and loads nothing from elsewhere
html_theme_options = {
    "description": "One training run, the best quantized network for every device",
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "font_size": "16px",
    "page_width": "1180px",
}
html_copy_source = False
html_show_sphinx = False
