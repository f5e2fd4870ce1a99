"""The course as a site: sphinx-build -W -n docs docs/_build/html.

The first build trains small stages (docs/_ext/course_runs.py), draws the pictures (docs/pictures) and exports the live
stages (docs/_ext/live_stages.py), all to docs/_generated; later ones make again what changed.
"""

import sys
from importlib.metadata import distribution
from pathlib import Path

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE.parent), str(_HERE), str(_HERE / "_ext")]  # gpt, quoting, pictures and the extensions
_GENERATED = _HERE / "_generated" / "static"  # live stages
_GENERATED.mkdir(parents=True, exist_ok=True)  # before Sphinx looks for it
# A file of the site, with its fonts in it, so that a reader's browser fetches nothing from elsewhere.
_PACKAGES = str(distribution("sphinx-mathjax-offline").locate_file(""))
_MATHJAX = Path(_PACKAGES, "sphinx-mathjax-offline/static/mathjax/tex-svg.js")

project = html_title = "gpt-ladder"
author = "the gpt-ladder authors"
project_copyright = author

extensions = [
    "myst_parser",  # pages in Markdown
    "sphinx_copybutton",
    "sphinx.ext.mathjax",
    "code_lines",  # how long lines of code break
    "ladder",  # {picture}, {results}, {seeds} and {live}; trains and draws first
    "notebook_pages",  # docs/notebooks as pages of the site
    "source_pages",  # links to files of the repository
]
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_block", "attrs_inline"]
myst_heading_anchors = 3
mathjax_path = _MATHJAX.name
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load files that are not there
exclude_patterns = ["_build", "_generated"]
nitpicky = True

templates_path = ["_templates"]  # the colour of a stage, and the heading that the theme's search lacks
html_theme = "furo"
html_static_path = ["_static", "../gpt/playground/page/tokens.css", str(_GENERATED), str(_MATHJAX)]
html_favicon = "_static/favicon.svg"
html_css_files = ["tokens.css", "course.css"]
html_js_files = [
    "record.js",
    "course.js",
    "guesses.js",
    "drawing.js",
    "progress.js",
    "seeds.js",
    "graph.js",
    "linked.js",
]
html_show_sphinx = html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "var(--accent)", "color-brand-content": "var(--accent)"},
    "dark_css_variables": {"color-brand-primary": "var(--accent)", "color-brand-content": "var(--accent)"},
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
