"""A figure without pyplot: no global state, the same bytes each time, shown by a notebook."""

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
# Okabe and Ito's colours, told apart by people with any colour vision.
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
    "text.parse_math": False,  # a class name may hold a dollar sign
}


class SavedFigure(Figure):
    """A figure that a notebook shows and that saves to the same bytes each time."""

    def __init__(self, width: float, height: float) -> None:
        """Width and height in inches, of 110 pixels each."""
        super().__init__(figsize=(width, height), facecolor=PAPER, layout="constrained")

    def png(self) -> bytes:
        """The picture as a PNG file."""
        out = io.BytesIO()
        for text in self.findobj(Text):
            assert isinstance(text, Text)
            text.set_text(_drawable(text.get_text()))
        with rc_context(_STYLE), warnings.catch_warnings():
            # Where the font lacks a sign of a name, it draws a box; the page has the name as text.
            warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
            self.savefig(out, format="png", dpi=110, metadata={"Software": None})
        return out.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def _drawable(text: str) -> str:
    """Text without what cannot be drawn: a file's name may be no text at all. Marks on both sides
    of words from right to left keep them from turning around what stands beside them."""
    pieces = right_to_left(printable(text))
    return "".join(f"\u200e{piece}\u200e" if turned else piece for turned, piece in pieces)


def style() -> AbstractContextManager[None]:
    """The look of every picture; axes must be made inside ``with style():``."""
    return rc_context(_STYLE)


def bare(axes: Axes) -> None:
    """No ticks and no frame: for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def fitted(text: str, width: int) -> str:
    """Text broken to lines of ``width`` characters, at most two of them."""
    first, *rest = textwrap.wrap(text, width) or [text]
    return "\n".join([first, shortened(" ".join(rest), width)] if rest else [first])


def shortened(text: str, width: int) -> str:
    """Text of at most ``width`` characters, its end left out where there are more."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def end_of(path: str, width: int) -> str:
    """The last ``width`` characters of a path, where the file's name is."""
    return path if len(path) <= width else "…" + path[1 - width :]
