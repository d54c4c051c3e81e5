"""Seeds derived from the run's seed.

The randomness of each epoch and step depends only on the seed and on its number. So a resumed run
needs no saved generator state to continue with the same bits, and threads and workers have no
influence.
"""

import hashlib

import torch
from torch import Generator


def reseed(rng: Generator, seed: int, stream: str, index: int) -> Generator:
    """Set ``rng`` to the start of the ``index``-th draw of a named stream, and return it."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return rng.manual_seed(int.from_bytes(digest) >> 1)


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """A fresh permutation of 0..count-1, int64, the same for the same seed and epoch."""
    return torch.randperm(count, generator=reseed(Generator(), seed, "order", epoch))


WINDOW = 8
"""Shards whose images are shuffled together."""


def order_in_shards(shards_N: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
    """A fresh permutation of 0..N-1, int64, for images in shards; ``shards_N`` is each one's shard.

    The shards are in random order, and the images of every ``WINDOW`` consecutive shards are
    shuffled together. The result depends only on the seed, the epoch and ``shards_N``.
    """
    order_N = epoch_order(len(shards_N), seed, epoch)
    _, shard_N = shards_N.unique(return_inverse=True)
    count = int(shard_N.max()) + 1 if len(shard_N) else 0
    place_S = torch.randperm(count, generator=reseed(Generator(), seed, "order of shards", epoch))
    window_N = place_S[shard_N[order_N]] // WINDOW
    return order_N[window_N.argsort(stable=True)]
