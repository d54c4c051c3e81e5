"""3×3 convolutions with a quarter of the multiplications: Winograd's F(4×4, 3×3).

Each 4×4 block of an output comes from a 6×6 tile of the input. Tile and filter are transformed to
another basis, in which the convolution is an element-wise product. Summed over channels, that is 36
matrix products; the direct algorithm needs 144 of the same size (fewer if a tile crosses the edge).
After A. Lavin and S. Gray: Fast algorithms for convolutional neural networks. arXiv:1509.09308,
2015 (Bᵀ, G and Aᵀ of F(4×4, 3×3); the gradients are the same steps transposed). Axes: N images, C
channels in, O channels out, H height, W width, T tiles.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device="cpu")


B_T = _matrix(  # tile to basis
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
)
G = _matrix(  # filter to basis
    [6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]
).div(24)
A_T = _matrix(  # basis to output
    [1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]
)
PART = 2**21
"""Most numbers that a part of a batch may have in the new basis (8 MB), so that they stay in
cache."""
LEAST_SAVED = 83
"""Fewest multiplications saved per transformed number for which Winograd is faster, as measured."""


def pays(maps_NCHW: torch.Size, outputs: int) -> bool:
    """Whether Winograd is faster for maps of this shape: many channels and images, little beyond
    the edge."""
    images, inputs, height, width = maps_NCHW
    tiles = images * _fours(height) * _fours(width)
    saved = (9 * images * height * width - 36 * tiles) * inputs * outputs
    changed = 36 * (tiles * (inputs + outputs) + inputs * outputs)
    return saved >= LEAST_SAVED * changed


def convolve(maps_NCHW: Tensor, weight_OC33: Tensor) -> Tensor:
    """``conv2d(maps, weight, padding=1)`` N×O×H×W, float32, channels last, with gradients."""
    out_NOHW: Tensor = _Convolve.apply(maps_NCHW, weight_OC33)  # type: ignore[no-untyped-call]
    return out_NOHW


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps_NCHW: Tensor, weight_OC33: Tensor) -> Tensor:
        ctx.save_for_backward(maps_NCHW, weight_OC33)
        filters_36CO, maps_NHWC = _filters(weight_OC33), maps_NCHW.permute(0, 2, 3, 1)
        out_NHWO = maps_NHWC.new_empty((*maps_NHWC.shape[:3], len(weight_OC33)))
        for part in _parts(maps_NHWC, len(weight_OC33)):
            products_36TO = torch.bmm(_tiles(maps_NHWC[part]), filters_36CO)
            _join(_change(A_T, _square(products_36TO)), out_NHWO[part])
        return out_NHWO.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NOHW: Tensor) -> tuple[Tensor | None, Tensor]:
        maps_NCHW, weight_OC33 = ctx.saved_tensors
        filters_36OC = _filters(weight_OC33).transpose(1, 2).contiguous()
        maps_NHWC, grad_NHWO = maps_NCHW.permute(0, 2, 3, 1), grad_NOHW.permute(0, 2, 3, 1)
        grad_maps_NHWC = torch.empty_like(maps_NHWC)
        grad_filters_36CO = torch.zeros_like(filters_36OC).transpose(1, 2).contiguous()
        for part in _parts(maps_NHWC, len(weight_OC33)):
            grad_36TO = _change(A_T.T, _blocks(grad_NHWO[part])).flatten(0, 1)
            grad_filters_36CO.baddbmm_(_tiles(maps_NHWC[part]).transpose(1, 2), grad_36TO)
            if ctx.needs_input_grad[0]:
                grad_tiles_36TC = torch.bmm(grad_36TO, filters_36OC)
                _add_up(_change(B_T.T, _square(grad_tiles_36TC)), grad_maps_NHWC[part])
        grad_33CO = _change(G.T, _square(grad_filters_36CO))
        grad_maps_NCHW = grad_maps_NHWC.permute(0, 3, 1, 2) if ctx.needs_input_grad[0] else None
        return grad_maps_NCHW, grad_33CO.permute(3, 2, 0, 1)


def _parts(maps_NHWC: Tensor, outputs: int) -> Iterator[slice]:
    """Yield slices of a few images, so that intermediate results stay in the processor's cache."""
    images, height, width, inputs = maps_NHWC.shape
    numbers = 36 * _fours(height) * _fours(width) * (inputs + outputs)
    count = max(1, PART // numbers)
    return (slice(first, first + count) for first in range(0, images, count))


def _fours(length: int) -> int:
    return -(-length // 4)


def _change(matrix: Tensor, values: Tensor) -> Tensor:
    """Return M X Mᵀ over the first two axes of ``values``, s×s to r×r with a matrix r×s."""
    r, s = matrix.shape
    half_sr = torch.bmm(matrix.expand(s, r, s), values.reshape(s, s, -1).transpose(0, 1))
    whole_rr = torch.bmm(matrix.expand(r, r, s), half_sr.transpose(0, 1))
    return whole_rr.view(r, r, *values.shape[2:])


def _square(values_36: Tensor) -> Tensor:
    return values_36.view(6, 6, *values_36.shape[1:])


def _filters(weight_OC33: Tensor) -> Tensor:
    return _change(G, weight_OC33.permute(2, 3, 1, 0)).flatten(0, 1)


def _tiles(maps_NHWC: Tensor) -> Tensor:
    """Return 36×T×C: the maps' 6×6 tiles, four pixels apart, in the new basis."""
    tiles_66NhwC = _windows(_padded(maps_NHWC), 6, 6)
    return _change(B_T, tiles_66NhwC).flatten(2, 4).flatten(0, 1)


def _blocks(maps_NHWC: Tensor) -> Tensor:
    """Return 4×4×T×C: the maps in blocks of 4×4 pixels, with zeros beyond the edge."""
    inner_NHWC = _padded(maps_NHWC)[:, 1:, 1:]
    return _windows(inner_NHWC, 4, 4).flatten(2, 4)


def _padded(maps_NHWC: Tensor) -> Tensor:
    """Pad with one zero before each side, and after it to fill the last tile: 4h+2 by 4w+2."""
    n, height, width, channels = maps_NHWC.shape
    padded = maps_NHWC.new_zeros(n, 4 * _fours(height) + 2, 4 * _fours(width) + 2, channels)
    padded[:, 1 : 1 + height, 1 : 1 + width] = maps_NHWC
    return padded


def _windows(padded_NHWC: Tensor, rows: int, columns: int) -> Tensor:
    """Return rows×columns×N×h×w×C, a view: windows of rows×columns pixels, four pixels apart."""
    n, height, width, channels = padded_NHWC.shape
    per_image, down, right, _ = padded_NHWC.stride()
    h, w = (height - rows) // 4 + 1, (width - columns) // 4 + 1
    return padded_NHWC.as_strided(
        (rows, columns, n, h, w, channels), (down, right, per_image, 4 * down, 4 * right, 1)
    )


def _join(blocks_44TC: Tensor, out_NHWC: Tensor) -> None:
    """Write blocks of 4×4 pixels side by side; cut off what lies beyond the edge."""
    n, height, width, channels = out_NHWC.shape
    h, w = _fours(height), _fours(width)
    whole = blocks_44TC.view(4, 4, n, h, w, channels).permute(2, 3, 0, 4, 1, 5)
    out_NHWC.copy_(whole.reshape(n, 4 * h, 4 * w, channels)[:, :height, :width])


def _add_up(tiles_66TC: Tensor, out_NHWC: Tensor) -> None:
    """Write the sum of overlapping 6×6 tiles, four pixels apart, without the padding."""
    n, height, width, channels = out_NHWC.shape
    h, w = _fours(height), _fours(width)
    tiles = tiles_66TC.view(6, 6, n, h, w, channels)
    padded = out_NHWC.new_zeros(n, 4 * h + 2, 4 * w + 2, channels)
    for top, rows in ((0, 4), (4, 2)):  # within each of the four pieces, nothing overlaps
        for left, columns in ((0, 4), (4, 2)):
            piece = tiles[top : top + rows, left : left + columns]
            _windows(padded[:, top:, left:], rows, columns).add_(piece)
    out_NHWC.copy_(padded[:, 1 : 1 + height, 1 : 1 + width])
