"""Parts of a data set, chosen by what the images show and not by their order."""

import numpy as np

from firstlight.data.dataset import Dataset, Int64Array, TrainTest


def hold_out(data: Dataset, share: float) -> tuple[Int64Array, Int64Array]:
    """Numbers of the images (kept, held out), each in the order of their content.

    What the set's maker held out, where there is such a part; else of each class about ``share``,
    at least one image of two, chosen by the images' content: the same images in another order or
    from other files are split the same. Images of one group go together, and a class of a single
    group stays whole. Raises ``ValueError`` when nothing would be held out.
    """
    order_N = data.content_order
    held_N = data.held_out_N
    if held_N is None:
        held_N = np.zeros(len(data), dtype=bool)
        held_N[_chosen(data, order_N, share)] = True
    if held_N.all() or not held_N.any():
        raise ValueError(f"{data.name}: {len(data)} images are too few to hold some out")
    return order_N[~held_N[order_N]], order_N[held_N[order_N]]


def limit(data: TrainTest, count: int) -> TrainTest:
    """At most ``count`` images of each part, evenly spaced so that sorted sets keep all classes."""

    def some(part: Dataset) -> Dataset:
        if count >= len(part):
            return part
        return part.take(np.arange(count) * len(part) // count)

    return TrainTest(some(data.train), some(data.test))


def _chosen(data: Dataset, order_N: Int64Array, share: float) -> list[int]:
    """Group by group, in the order of content, while each of the group's classes has room."""
    group_of = np.arange(len(data)) if data.groups_N is None else data.groups_N
    members: dict[int, list[int]] = {}
    for number in order_N.tolist():
        members.setdefault(int(group_of[number]), []).append(number)
    sizes = np.bincount(data.labels_N, minlength=len(data.class_names))
    wanted = np.maximum(1, np.round(share * sizes)).astype(np.int64)
    have = np.zeros_like(sizes)
    chosen: list[int] = []
    for group in members.values():
        counts = np.bincount(data.labels_N[group], minlength=len(sizes))
        after, touched = have + counts, counts > 0
        # A large group may go beyond what is wanted, but not far, and never takes a whole class.
        room = (have < wanted) & (after <= np.maximum(2 * wanted, 1)) & (after < sizes)
        if room[touched].all():
            chosen += group
            have = after
    return chosen
