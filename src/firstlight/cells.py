"""Values as HTML for notebook cells: tables, pictures, curves.

Everything follows a light or dark page, and carries its style in its own elements, because a
notebook may drop anything else. Untrusted text, such as class names, is escaped and cut. Axes: N
images, H height, W width, C channels.
"""

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from firstlight.untrusted import one_line

UInt8Array = npt.NDArray[np.uint8]

LETTERS = 60
"""Most letters of a name; longer ones are cut."""
SMALL, LARGE = 32, 56
"""CSS pixels of the longer side of a small image, and of a larger one."""
BLUE, ORANGE = "#2f8fd0", "#d9822b"
"""Readable on white and on black (contrast of 3 or more)."""
_LINE = "1px solid rgba(128, 128, 128, 0.35)"
_CURVES = (BLUE, ORANGE)
_WIDE, _HIGH = 280, 130
_NAME = 13


def text(words: str, letters: int = LETTERS) -> str:
    """Return any text as HTML on one line, cut if it is long."""
    line = one_line(words)
    return escape(line if len(line) <= letters else f"{line[: letters - 1]}…")


def block(title: str, *parts: str) -> str:
    """Return a title with its content below; ``parts`` are HTML."""
    inner = "".join(part for part in parts if part)
    return (
        '<div style="max-width: 75em; line-height: 1.4">'
        f'<p style="margin: 0.3em 0; font-weight: 600">{text(title)}</p>{inner}</div>'
    )


def note(words: str) -> str:
    """Return a sentence in smaller letters."""
    return f'<p style="margin: 0.3em 0; font-size: 90%; opacity: 0.8">{escape(words)}</p>'


def facts(values: Mapping[str, str]) -> str:
    """Return names and values, one pair per row."""
    return table((), [(text(name), text(value)) for name, value in values.items()])


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return a table whose cells are HTML; ``right`` are the columns of numbers."""

    def cells(row: Sequence[str], tag: str) -> str:
        style = "padding: 0.15em 0.8em 0.15em 0; vertical-align: middle; text-align: "
        number = "right; white-space: nowrap"  # so that a number keeps its unit
        return "".join(
            f'<{tag} style="{style}{number if at in right else "left"}">{cell}</{tag}>'
            for at, cell in enumerate(row)
        )

    line = f'<tr style="background: none; border-bottom: {_LINE}">'
    top = f"<thead>{line}{cells(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"{line}{cells(row, 'td')}</tr>" for row in rows)
    return (
        '<div style="overflow-x: auto"><table style="margin: 0.3em 0; border-collapse: collapse; '
        f'border: none">{top}<tbody>{body}</tbody></table></div>'
    )


def strip(images_NHWC: UInt8Array, alt: str) -> str:
    """Return images side by side as one picture; small ones keep their pixels, others are
    shrunk."""
    from PIL import Image

    count, height, width, channels = images_NHWC.shape
    if not count:
        return ""
    small = max(height, width) <= SMALL
    side = SMALL if small else LARGE
    scale = 1.0 if small else side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    gap = 0 if small else 2  # next to a small one, a pixel would look wide
    sheet = Image.new("RGBA", (count * (size[0] + gap) - gap, size[1]))
    for at, image_HWC in enumerate(images_NHWC):
        one = Image.fromarray(image_HWC[..., 0] if channels == 1 else image_HWC)
        sheet.paste(one if small else one.resize(size), (at * (size[0] + gap), 0))
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    shown = round(sheet.height * (side / max(height, width) if small else 1))
    pixels = "; image-rendering: pixelated" if small else ""
    return picture(content.getvalue(), alt, f"height: {shown}px; width: auto{pixels}")


def picture(png: bytes, alt: str, style: str = "") -> str:
    """Return a PNG file embedded in HTML."""
    data = base64.b64encode(png).decode()
    return (
        f'<img src="data:image/png;base64,{data}" alt="{text(alt, 200)}" '
        f'style="max-width: none; margin: 0; {style}">'
    )


def curves(series: Mapping[str, Sequence[float | None]], ends: str = "{:.2f}") -> str:
    """Return up to two curves over the epochs, from 1, as SVG; ``ends`` formats their values."""
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    span = high - low or 1.0
    count = max(map(len, series.values()))
    left, top, bottom = 44, 8, 20

    def place(at: int, value: float) -> tuple[float, float]:
        across = at / max(1, count - 1)
        x = left + across * (_WIDE - left - 8)
        return x, top + (1 - (value - low) / span) * (_HIGH - top - bottom)

    marks = [
        f'<line x1="{left}" y1="{y}" x2="{_WIDE - 8}" y2="{y}" stroke="currentColor" '
        'stroke-opacity="0.3"/>'
        for y in (top, _HIGH - bottom)
    ]
    for y, value in ((top + 4, high), (_HIGH - bottom + 4, low)):
        marks.append(_letters(left - 4, y, ends.format(value), "end"))
    for x, number in {left: 1, _WIDE - 8: count}.items():
        marks.append(_letters(x, _HIGH - 4, str(number), "middle" if x == left else "end"))
    for values, colour in zip(series.values(), _CURVES, strict=False):
        points = [place(at, value) for at, value in enumerate(values) if value is not None]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        marks.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            if len(points) > 1
            else "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points)
        )
    key = " &nbsp; ".join(
        f'<span style="color: {colour}">▬</span> {text(name)}'
        for name, colour in zip(series, _CURVES, strict=False)
    )
    said = text(f"{' and '.join(series)}, epochs 1 to {count}", 200)
    return (
        '<div style="display: inline-block; margin: 0.3em 1.5em 0.3em 0">'
        f'<div style="font-size: 90%">{key}</div>'
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}" '
        f'height="{_HIGH}" style="max-width: 100%">{"".join(marks)}</svg></div>'
    )


def counts(names: Sequence[str], counts_KK: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix: rows are true classes, columns predicted ones. The colour of a
    cell shows its share of the row."""
    shorts = [one_line(name)[:_NAME] for name in names]
    longest = 7 * max(map(len, shorts))
    side, wide, top = 30, 12 + longest, 18 + round(0.9 * longest)
    size = side * len(names)
    marks = []
    for at, name in enumerate(shorts):
        middle = side * (at + 0.5)
        short = escape(name)
        marks.append(_letters(wide - 6, top + middle + 4, short, "end"))
        x = wide + middle + 4
        marks.append(_letters(x, top - 6, short, "start", f"rotate(-60 {x:g} {top - 6})"))
    for row, line in enumerate(counts_KK):
        for column, count in enumerate(line):
            x, y = wide + side * column, top + side * row
            share = count / max(1, sum(line))
            colour = BLUE if row == column else ORANGE
            strength = min(0.75, 0.85 * share**0.5)
            marks.append(
                f'<rect x="{x}" y="{y}" width="{side - 1}" height="{side - 1}" fill="{colour}" '
                f'fill-opacity="{strength:.2f}" stroke="currentColor" stroke-opacity="0.12"/>'
            )
            if count:
                marks.append(_letters(x + side / 2, y + side / 2 + 4, _short(count), "middle"))
    width, height = wide + size + longest, top + size
    return (
        f'<div style="overflow-x: auto"><svg role="img" aria-label="Confusion matrix: rows are '
        f'true classes, columns predicted ones" width="{width}" height="{height}">'
        f"{''.join(marks)}</svg></div>"
    )


def _short(count: int) -> str:
    """Format in at most four letters."""
    return str(count) if count < 10_000 else f"{count // 1000}k"


def _letters(x: float, y: float, words: str, anchor: str, turn: str = "") -> str:
    """Return HTML text in a drawing."""
    turned = f' transform="{turn}"' if turn else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="11" fill="currentColor" '
        f'text-anchor="{anchor}"{turned}>{words}</text>'
    )
