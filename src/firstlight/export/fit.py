"""Bring images of any size and kind to the model's, with tensor operations that a graph can
contain.

This equals ``data.pictures``, which uses Pillow, where that searches no stroke and clears no
background: the same grey, the same part of the picture, the same filters. ``pixels.Preprocess``
does the rest. Axes: N images, H height, W width, C channels; h and w are the model's height and
width, S the pixels of one axis before resizing and s after.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from firstlight.pixels import Preprocess

# Pillow's weights of red, green and blue for grey (ITU-R 601-2), in units of 1/65,536.
GREY = (19595, 38470, 7471)


def fitted(images_NHWC: Tensor, preprocess: Preprocess) -> Tensor:
    """Return uint8 N×h×w×C for the model, from uint8 of any height and width with one or three
    channels.

    Images that have the model's shape are returned unchanged, to the bit.
    """
    return _resized(_with_channels(images_NHWC, preprocess.channels), preprocess)


def _with_channels(images_NHWC: Tensor, channels: int) -> Tensor:
    """Convert one or three channels to ``channels``, 1 or 3.

    Everything is first converted to three channels, and for a grey model back to one. That leaves
    grey unchanged, because the weights sum to 65,536.
    """
    last = _number(images_NHWC.shape[3], torch.int64) - 1
    three_NHWC = images_NHWC.index_select(3, torch.arange(3).minimum(last))
    if channels == 3:
        return three_NHWC
    weighted_NHWC = three_NHWC.to(torch.int32) * torch.tensor(GREY, dtype=torch.int32)
    sum_NHWC = weighted_NHWC.sum(3, keepdim=True, dtype=torch.int32) + 32768
    return sum_NHWC.div(65536, rounding_mode="trunc").to(torch.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Span:
    """Where one axis of the picture goes: ``length`` pixels from ``start`` are resized to ``size``
    pixels of the model from ``place``. All are whole numbers, as float64 scalars."""

    start: Tensor
    length: Tensor
    place: Tensor
    size: Tensor


def _resized(images_NHWC: Tensor, preprocess: Preprocess) -> Tensor:
    """Return uint8 N×h×w×C: the whole picture on black for a model of light strokes on dark,
    otherwise its centre."""
    sides = [_number(side) for side in images_NHWC.shape[1:3]]
    wanted = [_number(side) for side in (preprocess.height, preprocess.width)]
    scales = [want / side for want, side in zip(wanted, sides, strict=True)]
    if preprocess.light_on_dark:
        scale = torch.minimum(*scales)
        spans = [_whole(side, want, scale) for side, want in zip(sides, wanted, strict=True)]
    else:
        scale = torch.maximum(*scales)
        spans = [_middle(side, want, scale) for side, want in zip(sides, wanted, strict=True)]
    down, across = (
        _weights(span, stored, want, scale, preprocess.light_on_dark)
        for span, stored, want in zip(
            spans, images_NHWC.shape[1:3], (preprocess.height, preprocess.width), strict=True
        )
    )
    # Resize horizontally first and round in between, as Pillow does.
    maps_NCHW = images_NHWC.permute(0, 3, 1, 2).to(torch.float32)
    maps_NCHW = _whole_levels(maps_NCHW @ across.T)
    maps_NCHW = _whole_levels(down @ maps_NCHW)
    return maps_NCHW.permute(0, 2, 3, 1).to(torch.uint8)


def _whole(side: Tensor, wanted: Tensor, scale: Tensor) -> _Span:
    size = (side * scale).round().clamp(min=1)
    place = ((wanted - size) / 2).floor()
    return _Span(start=torch.zeros_like(side), length=side, place=place, size=size)


def _middle(side: Tensor, wanted: Tensor, scale: Tensor) -> _Span:
    length = (wanted / scale).round().clamp(min=1)
    start = ((side - length) / 2).floor()
    return _Span(start=start, length=length, place=torch.zeros_like(side), size=wanted)


def _weights(span: _Span, stored: int, wanted: int, scale: Tensor, light_on_dark: bool) -> Tensor:
    """Return float32 s×S: each row has the weights of the picture's pixels in one pixel of the
    model."""
    step = span.length / span.size
    stretch = step.clamp(min=1)  # shrinking averages over more of the picture's pixels
    target_s = torch.arange(wanted, dtype=torch.float64) - span.place
    source_S = torch.arange(stored, dtype=torch.float64) - span.start
    centre_s1 = ((target_s + 0.5) * step)[:, None]
    away_sS = (source_S - centre_s1 + 0.5) / stretch
    if light_on_dark:
        box_sS = _box(source_S, centre_s1, stretch) & (away_sS > -0.5) & (away_sS <= 0.5)
        weights_sS = torch.where(scale <= 1, box_sS.to(torch.float64), _cubic(away_sS))
    else:
        weights_sS = _lanczos(away_sS)
    inside_sS = (source_S >= 0) & (source_S < span.length)
    inside_sS = inside_sS & ((target_s >= 0) & (target_s < span.size))[:, None]
    weights_sS = torch.where(inside_sS, weights_sS, 0.0)
    total_s = weights_sS.sum(1, keepdim=True)
    return (weights_sS / torch.where(total_s == 0, 1.0, total_s)).to(torch.float32)


def _box(source_S: Tensor, centre_s1: Tensor, stretch: Tensor) -> Tensor:
    """The pixels that Pillow uses; a value on an edge is rounded as in Pillow."""
    first = (centre_s1 - stretch / 2 + 0.5).floor()
    end = (centre_s1 + stretch / 2 + 0.5).floor()
    return (source_S >= first) & (source_S < end)


def _cubic(away: Tensor) -> Tensor:
    """Keys 1981, eq. 4, with a = -1/2."""
    x = away.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(away: Tensor) -> Tensor:
    """A sinc, windowed by the central lobe of a sinc three times as wide."""
    return torch.where(away.abs() < 3, _sinc(away) * _sinc(away / 3), 0.0)


def _sinc(x: Tensor) -> Tensor:
    turned = x * torch.pi
    return torch.where(x == 0, 1.0, turned.sin() / torch.where(x == 0, 1.0, turned))


def _whole_levels(levels: Tensor) -> Tensor:
    return (levels + 0.5).floor().clamp(0, 255)


def _number(value: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A size as a tensor; a Python number would become a constant in the graph."""
    return torch.full((), value, dtype=dtype)
