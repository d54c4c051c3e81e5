"""Seeds derived from the run's seed.

The randomness of each epoch and each step is a function of the seed and of its number alone. So a
resumed run needs no saved generator state to go on with the same bits, and neither threads nor
workers have a say.
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
    """A fresh permutation of 0..N-1, int64, of images in shards, numbered ``shards_N``: the shards
    in a random order, and all images of ``WINDOW`` of them that follow one another shuffled.

    A function of seed, epoch and where the images lie alone.
    """
    order_N = epoch_order(len(shards_N), seed, epoch)
    _, shard_N = shards_N.unique(return_inverse=True)
    count = int(shard_N.max()) + 1 if len(shard_N) else 0
    place_S = torch.randperm(count, generator=reseed(Generator(), seed, "order of shards", epoch))
    window_N = place_S[shard_N[order_N]] // WINDOW
    return order_N[window_N.argsort(stable=True)]
