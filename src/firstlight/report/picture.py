"""Figures without pyplot: no global state, the same bytes every time, displayed by notebooks."""

import io
import textwrap
import warnings
from contextlib import AbstractContextManager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from firstlight.untrusted import printable, right_to_left

INK, FAINT, PAPER = "#1f2933", "#7b8794", "#ffffff"
# Okabe and Ito's colours, which people with any colour vision can distinguish.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#c8372d"
SERIES = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9", "#7f6b00", "#404040")

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "text.parse_math": False,  # a class name may contain a dollar sign
}


class SavedFigure(Figure):
    """A figure that notebooks display and that saves to the same bytes every time."""

    def __init__(self, width: float, height: float) -> None:
        """Width and height in inches of 110 pixels each."""
        super().__init__(figsize=(width, height), facecolor=PAPER, layout="constrained")

    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        out = io.BytesIO()
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            text.set_text(_drawable(text.get_text()))
        with rc_context(_STYLE), warnings.catch_warnings():
            # A missing glyph is drawn as a box; the page has the name as text.
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
            self.savefig(out, format="png", dpi=110, metadata={"Software": None})
        return out.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def _drawable(text: str) -> str:
    """Replace characters that cannot be drawn, because a file name may not be valid text. Marks
    around right-to-left words keep them from reordering the text beside them."""
    pieces = right_to_left(printable(text))
    return "".join(f"\u200e{piece}\u200e" if turned else piece for turned, piece in pieces)


def style() -> AbstractContextManager[None]:
    """Apply the style of every figure; create axes inside ``with style():``."""
    return rc_context(_STYLE)


def bare(axes: Axes) -> None:
    """Remove ticks and frame, for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def fitted(text: str, width: int) -> str:
    """Break text into at most two lines of ``width`` characters."""
    first, *rest = textwrap.wrap(text, width) or [text]
    return "\n".join([first, shortened(" ".join(rest), width)] if rest else [first])


def shortened(text: str, width: int) -> str:
    """Cut text to at most ``width`` characters."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def end_of(path: str, width: int) -> str:
    """Return the last ``width`` characters of a path, which include the file name."""
    return path if len(path) <= width else "…" + path[1 - width :]
