"""The documentation site: ``make docs``.

Its pages are the project's own Markdown files, read where they lie, so that one link works on the
code host and in the site. The Python on a page is run from top to bottom when the site is built,
and what it prints and draws stands under it.
"""

import shutil
from pathlib import Path
from types import GenericAlias

import numpy.typing
from docutils.nodes import Element, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import firstlight

ROOT = Path(__file__).resolve().parent.parent


class NDArray:
    """So that signatures say ``NDArray[uint8]`` and not what it stands for."""

    __class_getitem__ = classmethod(GenericAlias)


class ArrayLike:
    """So that signatures say this and not the dozen types it stands for."""


numpy.typing.NDArray = NDArray  # before firstlight's modules are read
numpy.typing.ArrayLike = ArrayLike

project = "firstlight"
author = "The firstlight founders"
copyright = f"2026, {author}"  # noqa: A001
version = release = firstlight.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "README"
CARDS = "src/firstlight/box/*/README.md"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("docs/*.md", "docs/dev/*.md", CARDS),
]
exclude_patterns = [".*", "build", "dist", "runs", "shared"]
nitpicky = True
# Names of other projects. Their pages are not looked up, so the build needs no network.
FOREIGN = (
    *("pathlib", "Path", "collections", "contextlib", "typing"),
    *("numpy", "np", "npt", "NDArray", "ArrayLike"),
    *("torch", "nn", "Module", "Tensor", "Generator", "dtype", "PIL", "Image", "Figure", "sklearn"),
)
# Short names for types, and values inside others, without an entry in the reference.
INNER = ("Images", "Labels", "AnyMetrics", "Shape", "Shares", "Way", "Row", "Options", "Range")
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join(FOREIGN)})(\..*)?"),
    ("py:.*", rf"(firstlight\..*\.)?({'|'.join(INNER)})"),
]
highlight_language = "none"

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 1800
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__init__, __new__", "undoc-members": True}
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"firstlight {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

BOXED = ("src/firstlight/box/mnist/README", "src/firstlight/box/cifar10/README")
NAVIGATION = {
    "Get started": (
        "docs/tutorial",
        "docs/data-sets",
        "docs/own-networks",
        "docs/own-pictures",
        "docs/transfer",
    ),
    "Understand": ("docs/ideas", "docs/networks", "docs/performance", "docs/trust", "docs/explain"),
    "Use": (
        *("docs/serve", "docs/studio", "docs/export", "docs/tracking", "docs/scale"),
        *BOXED,
    ),
    "Reference": ("docs/reference", "docs/glossary", "docs/design"),
    "Project": ("CHANGELOG", "docs/dev/log", "CONTRIBUTING", "SECURITY"),
}
RUN_BY_TESTS = ("docs/serve", "docs/export", *BOXED)
"""Pages whose Python needs a server, or a file beside it."""
NOTEBOOK = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n"


def navigation() -> str:
    """A list of pages for each caption."""
    parts = []
    for caption, pages in NAVIGATION.items():
        there = [page for page in pages if (ROOT / f"{page}.md").is_file()]
        parts.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", *there, "```"]))
    return "\n\n".join(parts)


def as_page(_: Sphinx, name: str, source: list[str]) -> None:
    """A file of the project as a page of the site."""
    if name == root_doc:
        source[0] += f"\n{navigation()}\n"
    if name not in RUN_BY_TESTS and "\n```python\n" in source[0]:
        cells = source[0].replace("\n```python\n", "\n```{code-cell} python\n")
        source[0] = NOTEBOOK + cells


def first_page(app: Sphinx, error: Exception | None) -> None:
    """The README is also what a server or a browser shows for the folder."""
    if error is None:
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: TextElement
) -> Element | None:
    """Link a type that a signature names without its module, if the reference has one such name."""
    last = node["reftarget"].rpartition(".")[2]
    found = env.domains.python_domain.find_obj(env, "", "", last, None, searchmode=1)
    if node.get("refdomain") != "py" or len(found) != 1:
        return None
    name, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown, name)


def setup(app: Sphinx) -> None:
    app.registry.source_suffix.pop(".ipynb")  # the notebook is a file to download, not a page
    app.connect("missing-reference", by_last_name)
    app.connect("source-read", as_page)
    app.connect("build-finished", first_page)
