"""Which layers of a long network to show."""

from collections.abc import Sequence

MOST_LAYERS = 40
"""A network with more layers than this is shown in part."""
NUMBERS = (1, 1)


def stages(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the indices of the layers to show, given the height and width of each layer's maps (1
    and 1 for single numbers).

    A short network is shown in full. Of a long one: the first layer, the last layer of each map
    size, and all layers after the maps that output single numbers.
    """
    if len(sizes) <= MOST_LAYERS:
        return [*range(len(sizes))]
    last = {size: at for at, size in enumerate(sizes) if size != NUMBERS}
    end = max(last.values(), default=0)
    return sorted({0, *last.values(), *range(end + 1, len(sizes))})
