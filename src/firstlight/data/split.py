"""Parts of a data set, chosen by seed."""

import numpy as np

from firstlight.data.dataset import Dataset, TrainTest


def hold_out(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """(kept, held out): of each class the given share is held out, at least one image of two.

    Both keep the images' order. Raises ``ValueError`` when nothing would be left to train on.
    """
    rng = np.random.default_rng(seed)
    held_N = np.zeros(len(data), dtype=bool)
    for label in range(len(data.class_names)):
        members = np.flatnonzero(data.labels_N == label)
        count = min(len(members) - 1, max(1, round(fraction * len(members))))
        if count > 0:
            held_N[rng.permutation(members)[:count]] = True
    if held_N.all() or not held_N.any():
        raise ValueError(f"{data.name}: {len(data)} images are too few to hold some out")
    kept = data.take(np.flatnonzero(~held_N), name=f"{data.name}, less held out")
    return kept, data.take(np.flatnonzero(held_N), name=f"{data.name}, held out")


def limit(data: TrainTest, count: int) -> TrainTest:
    """At most ``count`` images of each part, evenly spaced so that sorted sets keep all classes."""

    def some(part: Dataset) -> Dataset:
        if count >= len(part):
            return part
        return part.take(np.arange(count) * len(part) // count)

    return TrainTest(some(data.train), some(data.test))
