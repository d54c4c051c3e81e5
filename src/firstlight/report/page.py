"""One self-contained HTML file, which loads nothing from elsewhere.

Its content-security policy enforces this: pictures are embedded, and only the template's own styles
and scripts, identified by their hashes, are allowed. Right-to-left text is inside ``bdi``, so that
it does not reorder the text beside it.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from jinja2 import Environment, StrictUndefined

from firstlight.untrusted import printable, right_to_left


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture on the page."""

    png: bytes = b""
    svg: str = ""
    """A drawing that follows a light or a dark page, in place of the PNG."""
    alt: str
    """Alternative text for people who cannot see the picture."""
    caption: str = ""
    """The caption below the picture."""
    wide: bool = False
    """Too wide for a small screen, where it scrolls sideways instead of shrinking."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; every cell is text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and its content, in this order."""

    title: str
    text: str = ""
    legend: Mapping[str, str] = field(default_factory=dict)
    """The meaning of each colour in the pictures: names and their colours, ``#rrggbb``."""
    pictures: Sequence[Shown] = ()
    table: Table | None = None
    code: str = ""
    folded: bool = False
    """Collapsed until the reader opens it; open in print."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The content of a page."""

    title: str
    lead: str
    """One line below the title."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """The headline numbers: name and value."""
    sections: Sequence[Section] = ()
    foot: str = ""


def render(page: Page) -> str:
    """Return the page as one HTML file."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"right_to_left": right_to_left, "printable": printable}
    template = resources.files("firstlight.report").joinpath("page.html.jinja")
    text = template.read_text(encoding="utf-8")
    return environment.from_string(text).render(page=page, address=_address, policy=_policy(text))


def _policy(template: str) -> str:
    """Return the content-security policy. Browsers hash the exact text between the tags."""
    hashes = {}
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        digest = hashlib.sha256(inside.encode()).digest()
        hashes[tag] = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        f"default-src 'none'; img-src data:; style-src {hashes['style']}; "
        f"script-src {hashes['script']}; base-uri 'none'; form-action 'none'"
    )


def _address(shown: Shown) -> str:
    kind, content = ("svg+xml", shown.svg.encode()) if shown.svg else ("png", shown.png)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
