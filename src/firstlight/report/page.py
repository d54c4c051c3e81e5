"""One self-contained HTML file: nothing is loaded from elsewhere."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from jinja2 import Environment, StrictUndefined


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture on the page."""

    png: bytes
    alt: str
    """What a person who cannot see it should be told."""
    caption: str = ""
    """Stands under the picture."""


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
    template = resources.files("firstlight.report").joinpath("page.html.jinja")
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        page=page, data_address=_data_address
    )


def _data_address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
