"""Weight initialization. Axes: O outputs, I inputs, h and w the sides of a filter."""

from torch import Generator, Tensor, arange, nn, no_grad
from torch.nn.init import calculate_gain


@no_grad()
def fill(weight: Tensor, way: str, rng: Generator, groups: int = 1) -> None:
    """Fill dense weights O×I, or filters O×I×h×w, with one of the ``INITIAL`` methods.

    ``groups`` is the convolution's number of groups, of O / groups filters each. Raises
    ``ValueError`` for any other method.
    """
    if weight.is_meta:  # has no numbers, and PyTorch would load its compiler
        return
    inputs = weight[0].numel()
    if way == "glorot":
        nn.init.xavier_uniform_(weight, generator=rng)
    elif way == "he":
        nn.init.normal_(weight, std=calculate_gain("relu") * inputs**-0.5, generator=rng)
    elif way == "lecun":
        nn.init.normal_(weight, std=inputs**-0.5, generator=rng)
    elif way == "orthogonal":
        nn.init.orthogonal_(weight, generator=rng)
    elif way == "dirac":
        nn.init.kaiming_uniform_(weight, a=5**0.5, generator=rng)
        for filters in weight.split(len(weight) // groups):
            _pass_through(filters)
    elif way == "zeros":
        nn.init.zeros_(weight)
    else:
        raise ValueError(f"unknown initialization {way!r}")


def _pass_through(filters: Tensor) -> None:
    """Make the first filters pass one channel each, at the middle pixel. If the side is even, use
    the pixel before the middle, where ``same`` padding has the pixel itself."""
    count = min(filters.shape[:2])
    middle = (filters.shape[2] - 1) // 2
    filters[:count] = 0
    every = arange(count)
    filters[every, every, middle, middle] = 1
