"""Diagrams of networks for beginners, as SVG.

Each layer's output is a box drawn to scale, from top to bottom, with residual paths and branches.
The drawing contains only text, follows a light or a dark page, and loads nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log2

from firstlight.layers.layer import Layer, Shape, Way, shown
from firstlight.layers.network import Network
from firstlight.layers.sequence import flat, names, shapes
from firstlight.layers.summary import Summary, checked_shape, require_layers

SIDE = 56.0
"""Length of the longer side of the largest maps, usually the image's. All lengths are in CSS
pixels."""
LEAST = 4.0
GAP, LINE = 20.0, 16.0
"""Gap between two boxes, and height of a line of text."""
LETTERS, NARROW = 34, 22
"""Letters in a line of text, and in a line of text in a branch."""
LETTER = 6.3
_FONT = '12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
_STYLE = f"""
svg {{ color: #1f2933; font: {_FONT} }}
text {{ fill: currentColor }}
.faint {{ fill: #616e7c }}
.box {{ fill: #cfe3f1; stroke: #0072b2 }}
.set {{ fill: none; stroke: #9aa5b1 }}
.way {{ fill: none; stroke: currentColor }}
.short {{ fill: none; stroke: #d55e00 }}
.sum {{ fill: #fff; stroke: #d55e00 }}
.sign {{ fill: #b34f00 }}
@media (prefers-color-scheme: dark) {{
  svg {{ color: #e6e9ec }}
  .faint {{ fill: #9aa5b1 }}
  .box {{ fill: #16384f; stroke: #56b4e9 }}
  .sum {{ fill: #1e2227 }}
  .sign {{ fill: #f0a868 }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """A piece of the drawing. Its path enters from above on the axis and leaves at the bottom."""

    marks: tuple[str, ...]
    axis: float
    """Distance from the left edge."""
    width: float
    height: float
    enters: float = 0.0
    """How far below the top edge the path ends."""

    def at(self, x: float, y: float) -> str:
        return f'<g transform="translate({x:.1f} {y:.1f})">{"".join(self.marks)}</g>'


@dataclass(frozen=True, kw_only=True)
class _Box:
    """The output of several layers, drawn as one box: the first layer, and those that keep its
    shape."""

    words: tuple[str, ...]
    name: str
    shape: Shape


@dataclass(frozen=True)
class _Scale:
    """The scale of the drawing."""

    pixel: float
    letters: int


def diagram(network: Network, image_shape: tuple[int, int, int], classes: int) -> str:
    """Return the drawing as an SVG document. Raises ``UserError`` if a layer does not fit its
    input."""
    require_layers(network)
    image_shape = checked_shape(image_shape)
    layers = _for_classes(network, classes)
    scale = _scale(shapes(layers, image_shape))
    image = _box(_Box(words=("image",), name="", shape=image_shape), scale)
    whole = _stacked([image, *_pieces(layers, image_shape, scale)])
    title = f"A network of {len(layers)} layers for images of {'×'.join(map(str, image_shape))}"
    return _document(whole, title, described_in_words(network, image_shape, classes))


def _scale(there: Sequence[Shape]) -> _Scale:
    """The scale that fits the largest maps. A network may enlarge its images."""
    return _Scale(SIDE / max(max(shape[:2]) for shape in there if len(shape) == 3), LETTERS)


def _document(whole: _Drawn, title: str, description: str) -> str:
    width, height = whole.width + 8, whole.height + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="t d">'
        f'<title id="t">{title}</title>'
        f'<desc id="d">{escape(description)}</desc>'
        f"<style>{_STYLE}</style>{whole.at(4, 4)}</svg>\n"
    )


def overview(summary: Summary, numbers: Sequence[int]) -> str:
    """Return some layers of a long network as an SVG document, with the number of layers left out.

    ``numbers`` are indices into ``Summary.named``, from 0.
    """
    rows = summary.named()
    scale = _scale([summary.image_shape, *(rows[at].output for at in numbers)])
    pieces = [_box(_Box(words=("image",), name="", shape=summary.image_shape), scale)]
    for before, at in zip([-1, *numbers], numbers, strict=False):
        if left_out := at - before - 1:
            pieces.append(_left_out(left_out))
        row = rows[at]
        pieces.append(_box(_Box(words=(row.what,), name=row.name, shape=row.output), scale))
    return _document(_stacked(pieces), f"{len(numbers)} of {len(rows)} layers", "")


def described_in_words(network: Network, image_shape: tuple[int, int, int], classes: int) -> str:
    """Describe the network in words, for readers who cannot see the drawing."""
    layers = _for_classes(network, classes)
    before = shapes(layers, image_shape)
    steps = [
        f"{at}. {layer.words()}: {shown(behind)}."
        for at, (layer, behind) in enumerate(zip(layers, before[1:], strict=True), start=1)
    ]
    return " ".join((f"Input: {shown(tuple(image_shape))}.", *steps))


def _for_classes(network: Network, classes: int) -> list[Layer]:
    return [layer.with_classes(classes) for layer in network.layers]


def _pieces(layers: Sequence[Layer], shape: Shape, scale: _Scale) -> list[_Drawn]:
    """The pieces of consecutive layers. The first gets ``shape``."""
    pieces: list[_Drawn] = []
    box: _Box | None = None
    parts = _written_out(layers)
    called = iter(names(flat(layers)))
    for part, inner in zip(parts, shapes(parts, shape), strict=False):
        name, *_ = [next(called) for _ in flat([part])]
        behind = part.output(inner)
        ways = part.ways(inner)
        if not ways and box is not None and behind == inner and not part.multiply_adds(inner):
            box = _Box(words=(*box.words, part.words()), name=box.name, shape=box.shape)
            continue
        if box is not None:
            pieces.append(_box(box, scale))
        box = None if ways else _Box(words=(part.words(),), name=name, shape=behind)
        if ways:
            draw = _branches if any(way.number for way in ways) else _residual
            pieces.append(draw(part, ways, inner, scale))
    return pieces if box is None else [*pieces, _box(box, scale)]


def _written_out(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, with each repeat replaced by the layers that it repeats."""
    found: list[Layer] = []
    for layer in layers:
        parts = layer.parts()
        repeats = not isinstance(parts[0], type(layer))
        found += _written_out(parts) if repeats else [layer]
    return found


def _box(box: _Box, scale: _Scale) -> _Drawn:
    """A box to scale with its description beside it."""
    first, *others = box.words
    lines = [*textwrap.wrap(first[0].upper() + first[1:], scale.letters)]
    more = textwrap.wrap("then " + ", ".join(others), scale.letters) if others else []
    size = "×".join(map(str, box.shape)) if len(box.shape) == 3 else f"{box.shape[0]} numbers"
    if len(box.shape) == 2:
        size = f"{box.shape[0]} tokens of {box.shape[1]}"
    fits = len(size) + len(box.name) + 2 <= scale.letters - 4
    small = [*more, *([f"{size}  {box.name}".strip()] if fits else [size, box.name])]
    sheets = 0
    if len(box.shape) == 3:
        high, wide = (max(LEAST, scale.pixel * side) for side in box.shape[:2])
        sheets = min(6, round(log2(box.shape[2])))
    else:
        high, wide = 7.0, min(SIDE, 6 + 4.5 * log2(box.shape[-1] + 1))
        sheets = min(6, round(log2(box.shape[0]))) if len(box.shape) == 2 else 0
    axis, text = SIDE / 2 + 12, SIDE + 36
    full = high + 2 * sheets
    height = max(full, LINE * (len(lines) + len(small)))
    top, left = (height - full) / 2, axis - wide / 2
    marks = [
        f'<rect class="box" x="{left + 2 * at:.1f}" y="{top + 2 * (sheets - at):.1f}" '
        f'width="{wide:.1f}" height="{high:.1f}" rx="1.5"/>'
        for at in range(sheets, -1, -1)
    ]
    marks += [_line(axis, top + full, height)] if top > 1 else []
    y = (height - LINE * (len(lines) + len(small))) / 2 + 12
    for at, line in enumerate([*lines, *small]):
        kind = "" if at < len(lines) else ' class="faint"'
        marks.append(f'<text x="{text:.0f}" y="{y + LINE * at:.1f}"{kind}>{escape(line)}</text>')
    width = text + LETTER * scale.letters
    return _Drawn(marks=tuple(marks), axis=axis, width=width, height=height, enters=top)


def _left_out(count: int) -> _Drawn:
    axis, height = SIDE / 2 + 12, 2 * LINE
    what = "1 layer" if count == 1 else f"{count} layers"
    marks = (
        f'<path class="way" stroke-dasharray="2 5" d="M{axis:.1f} 0 V{height:.1f}"/>',
        f'<text class="faint" x="{SIDE + 36:.0f}" y="{height / 2 + 4:.1f}">{what}</text>',
    )
    width = SIDE + 36 + LETTER * LETTERS
    return _Drawn(marks=marks, axis=axis, width=width, height=height)


def _stacked(pieces: Sequence[_Drawn]) -> _Drawn:
    """Stack pieces from top to bottom with arrows between them; without pieces, draw a plain
    line."""
    if not pieces:
        return _Drawn(marks=(_line(20, 0, GAP),), axis=20, width=40, height=GAP)
    axis = max(piece.axis for piece in pieces)
    marks, y = list[str](), 0.0
    for at, piece in enumerate(pieces):
        if at:
            marks.append(_arrow(axis, y, y + GAP + piece.enters))
            y += GAP
        marks.append(piece.at(axis - piece.axis, y))
        y += piece.height
    width = max(axis - piece.axis + piece.width for piece in pieces)
    return _Drawn(marks=tuple(marks), axis=axis, width=width, height=y, enters=pieces[0].enters)


def _residual(layer: Layer, ways: Sequence[Way], shape: Shape, scale: _Scale) -> _Drawn:
    """Draw the layers of a residual block, and its shortcut around them to the sum."""
    long, short = ways
    inside = _stacked(_pieces(long.layers, shape, scale))
    axis, top = inside.axis + 18, 12.0
    bottom = top + inside.height + GAP + 9
    plus = ", ".join(one.words() for one in short.layers)
    then = layer.words().partition(", ")[2]
    said = [f"plus {plus} of the input" if plus else "plus the input", then]
    lines = textwrap.wrap("; ".join(filter(None, said)), scale.letters + 4)
    end = bottom + 22 + LINE * (len(lines) - 1)
    left = 8.0
    marks = [
        f'<rect class="set" x="0.5" y="0.5" width="{inside.width + 18:.1f}" '
        f'height="{end:.1f}" rx="8" stroke-dasharray="3 3"/>',
        _arrow(axis, 0, top + inside.enters),
        f'<path class="short" stroke-width="2" d="M{axis:.1f} {top / 2:.1f} H{left + 10} '
        f"Q{left} {top / 2:.1f} {left} {top / 2 + 10:.1f} V{bottom - 10:.1f} "
        f'Q{left} {bottom:.1f} {left + 10} {bottom:.1f} H{axis - 10:.1f}"/>',
        inside.at(18, top),
        _arrow(axis, top + inside.height, bottom - 9),
        _joint(axis, bottom, "+"),
        _line(axis, bottom + 9, end),
    ]
    marks += [
        f'<text class="faint" x="{axis + 16:.1f}" y="{bottom + 4 + LINE * at:.1f}">{escape(line)}'
        "</text>"
        for at, line in enumerate(lines)
    ]
    return _Drawn(marks=tuple(marks), axis=axis, width=inside.width + 20, height=end)


def _branches(layer: Layer, ways: Sequence[Way], shape: Shape, scale: _Scale) -> _Drawn:
    """Draw branches side by side, from one path and back into one."""
    inner = _Scale(scale.pixel, NARROW)
    columns = [_stacked(_pieces(way.layers, shape, inner)) for way in ways]
    tall = max(column.height for column in columns)
    top, marks, x = 16.0, list[str](), 0.0
    axes = []
    for column in columns:
        axes.append(x + column.axis)
        marks += [column.at(x, top), _line(axes[-1], top + column.height, top + tall + 16)]
        marks.append(_arrow(axes[-1], 8, top + column.enters))
        x += column.width + 8
    axis, end = axes[0], top + tall + 16
    marks += [_line(axis, 0, 8), _across(axes, 8), _across(axes, end), _line(axis, end, end + 8)]
    adds = layer.output(shape) == shapes(ways[0].layers, shape)[-1]
    marks.append(_joint(axis, end + 17, "+" if adds else "‖"))
    said = [layer.words(), "×".join(map(str, layer.output(shape)))]
    marks += [
        f'<text{kind} x="{axis + 16:.1f}" y="{end + 21 + LINE * at:.1f}">{escape(line)}</text>'
        for at, (line, kind) in enumerate(zip(said, ("", ' class="faint"'), strict=True))
    ]
    marks.append(_line(axis, end + 26, end + 26 + LINE))
    width = max(x, axis + 16 + LETTER * LETTERS)
    return _Drawn(marks=tuple(marks), axis=axis, width=width, height=end + 26 + LINE)


def _line(x: float, top: float, bottom: float) -> str:
    return f'<path class="way" d="M{x:.1f} {top:.1f} V{bottom:.1f}"/>'


def _across(axes: Sequence[float], y: float) -> str:
    return f'<path class="way" d="M{axes[0]:.1f} {y:.1f} H{axes[-1]:.1f}"/>'


def _arrow(x: float, top: float, bottom: float) -> str:
    return f'<path class="way" d="M{x:.1f} {top:.1f} V{bottom:.1f} m-4 -5 l4 5 l4 -5"/>'


def _joint(x: float, y: float, sign: str) -> str:
    return (
        f'<circle class="sum" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
        f'<text class="sign" x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle">{sign}</text>'
    )
