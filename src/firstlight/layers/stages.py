"""Which layers of a long network are shown."""

from collections.abc import Sequence

MOST_LAYERS = 40
"""That are all shown. Of more a choice is."""
NUMBERS = (1, 1)


def stages(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """The layers to show of a network whose layers give maps of these heights and widths; 1 and 1
    for single numbers.

    All of a short one. Of a long one the first, the last of each size of maps, and, once there are
    no maps left, all that give single numbers.
    """
    if len(sizes) <= MOST_LAYERS:
        return [*range(len(sizes))]
    last = {size: at for at, size in enumerate(sizes) if size != NUMBERS}
    end = max(last.values(), default=0)
    return sorted({0, *last.values(), *range(end + 1, len(sizes))})
