"""One self-contained HTML file: nothing is loaded from elsewhere.

Its content-security policy lets nothing in it do so: pictures stand inside, and of styles and
scripts only the template's own count, known by their hashes. Text from right to left stands in a
``bdi``, so that it turns nothing around beside it.
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
    """In place of the PNG: a drawing with the colours of a light or a dark page."""
    alt: str
    """What a person who cannot see it should be told."""
    caption: str = ""
    """Stands under the picture."""
    wide: bool = False
    """Too much to see on a small screen: there it is moved from side to side in place of being made
    smaller."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; every cell is text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading with what stands under it, in this order."""

    title: str
    text: str = ""
    legend: Mapping[str, str] = field(default_factory=dict)
    """What each colour of the pictures means: names and their colours, ``#rrggbb``."""
    pictures: Sequence[Shown] = ()
    table: Table | None = None
    code: str = ""
    folded: bool = False
    """Closed until a person opens it; open on paper."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that a page says."""

    title: str
    lead: str
    """One line under the title."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """The headline numbers: what, and how much."""
    sections: Sequence[Section] = ()
    foot: str = ""


def render(page: Page) -> str:
    """The page as one HTML file."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"right_to_left": right_to_left, "printable": printable}
    template = resources.files("firstlight.report").joinpath("page.html.jinja")
    text = template.read_text(encoding="utf-8")
    return environment.from_string(text).render(page=page, address=_address, policy=_policy(text))


def _policy(template: str) -> str:
    """What the page may do. Browsers hash what stands between the tags, to the letter."""
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
