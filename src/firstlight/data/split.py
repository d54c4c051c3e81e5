"""Parts of a data set, chosen by image content and not by order."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from firstlight.data.altered import altered_copies
from firstlight.data.dataset import Dataset, Int64Array, TrainTest
from firstlight.data.duplicates import groups, near_copies
from firstlight.data.grouping import grouped
from firstlight.data.shards.split import chosen_by_digest
from firstlight.data.stored import ImagesOnDisk
from firstlight.data.stratified import stratified
from firstlight.errors import DataError

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
PART_NAMES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION}
PART_NAMES |= {"test": TEST}
# Words for the parts in folder names, and words beside them that mean nothing.
_PART_WORDS = PART_NAMES | {"training": TRAIN, "trn": TRAIN, "dev": VALIDATION}
_PART_WORDS |= {"validate": VALIDATION, "testing": TEST, "tests": TEST, "tst": TEST}
_FILLERS: tuple[str, ...] = (
    "dataset",
    "set",
    "data",
    "images",
    "image",
    "imgs",
    "img",
    "pictures",
    "pics",
)
_FILLERS += ("photos", "samples", "split", "part", "folder", "dir", "files")
TEST_SHARE = 0.15
"""Share of each class's pictures for the test part, if there is none yet."""


class PartName(NamedTuple):
    """What a folder's name says about the part in it."""

    part: str
    """``train``, ``validation`` or ``test``; empty if the name names none."""
    rest: frozenset[str]
    """The other words of the name."""

    @property
    def is_exact(self) -> bool:
        """Whether the name says nothing else."""
        return bool(self.part) and not self.rest


def part_in_name(name: str) -> PartName:
    """The part that a folder's name means, as in ``test1``, ``training_set``, ``ValImages``,
    ``letters-train``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = [_bare(word) for word in re.findall(r"[^\W\d_]+", spaced)]
    parts = {_PART_WORDS[word] for word in words if word in _PART_WORDS}
    if len(parts) != 1:
        return PartName("", frozenset(words))
    rest = {word for word in words if word not in _PART_WORDS and word not in _FILLERS}
    return PartName(parts.pop(), frozenset(rest))


def _bare(word: str) -> str:
    """``train`` for ``trainset``; other words unchanged."""
    for filler in _FILLERS:
        if word.endswith(filler) and word.removesuffix(filler) in _PART_WORDS:
            return word.removesuffix(filler)
    return word


class Divided(NamedTuple):
    """A data set in its parts."""

    images: Dataset
    """Images for training, then validation, then test; near copies are in ``groups_N``."""
    sizes: dict[str, int]
    """Number of images of each part."""


def divide(data: Dataset, part_of: Sequence[str]) -> Divided:
    """Divide the images into parts, find copies, and add what was decided to the notes.

    ``part_of`` names the part of each image; empty means training. If no image is for the test,
    ``hold_out`` takes some. Images of one group in ``data.groups_N`` stay together, and so do near
    and altered copies. Raises ``DataError`` if a class has nothing left to train on.
    """
    names = data.class_names
    if len(names) < 2:
        got = f"{names[0][:60]!r} alone" if names else "none"
        raise DataError(f"{data.name}: wanted at least two classes, got {got}")
    pairs, altered, alike_N = grouped(
        data.images_NHWC,
        data.each_label,
        near_copies(data.images_NHWC),
        altered_copies(data.images_NHWC),
    )
    given = [] if data.groups_N is None else _chains(data.groups_N)
    data = replace(data, groups_N=groups(len(data), [*pairs, *altered, *given]))
    numbers = np.arange(len(data))
    parts = {p: numbers[[(one or TRAIN) == p for one in part_of]] for p in PARTS}
    notes, warnings = [*data.notes], [*data.warnings]
    if len(alike_N):
        warnings.append(_looks_alike(data, alike_N))
    if not len(parts[TEST]) and len(parts[TRAIN]):
        rest = data.take(parts[TRAIN])
        try:
            kept, taken = hold_out(rest, TEST_SHARE)
        except ValueError as error:
            raise DataError(
                f"{data.name}: wanted pictures that can be held out for a test, two of a class at "
                f"least that show different things; got {len(rest)} pictures"
                f"{', copies of one another' if pairs or altered else ''}"
                f"{', in groups that stay together' if given else ''}. Add pictures"
            ) from error
        parts[TEST], parts[TRAIN] = parts[TRAIN][np.sort(taken)], parts[TRAIN][np.sort(kept)]
        kind, groups_too = "label" if data.several else "class", "groups and " if given else ""
        notes.append(
            f"test: {len(taken):,} of the {len(rest):,} pictures, {100 * TEST_SHARE:.0f} % of each "
            f"{kind}, chosen by content, {groups_too}near copies kept together"
        )
        counts_K = data.counts(parts[TEST])
        absent = [data.class_names[k] for k in np.flatnonzero(counts_K == 0)]
        if absent:
            warnings.append(
                f"the test part has no pictures of {', '.join(absent[:10])}: there are too few "
                "that differ"
            )
    counts = data.counts(parts[TRAIN])
    if (counts == 0).any():
        name = data.class_names[int(np.argmin(counts))]
        raise DataError(
            f"{data.name}: no readable picture of {name!r} to train on. Add pictures, or remove "
            "the class"
        )
    part_at = {int(at): part for part in PARTS for at in parts[part]}
    # Rotated copies may belong to two classes, such as 6 and 9; they do not spoil a test.
    labels = data.each_label
    alike = {(i, j) for i, j in altered if np.array_equal(labels[i], labels[j])}
    leaks = sum(part_at[i] != part_at[j] for i, j in {*pairs, *alike})
    if leaks:
        see = "" if data.names is None else " (firstlight data check shows them)"
        lie = "1 pair of copies is" if leaks == 1 else f"{leaks:,} pairs of copies are"
        warnings.append(f"{lie} in two parts, so the test will look too good{see}")
    notes += warnings[len(data.warnings) :]
    ordered = data.take(np.concatenate([parts[part] for part in PARTS]))
    sizes = {part: len(parts[part]) for part in PARTS}
    return Divided(replace(ordered, notes=tuple(notes), warnings=tuple(warnings)), sizes)


def _looks_alike(data: Dataset, alike_N: Int64Array) -> str:
    classes = [data.class_names[k] for k in np.flatnonzero(data.counts(alike_N))]
    return (
        f"{len(alike_N):,} pictures of {', '.join(classes[:10])} are very similar, so only the "
        "closest copies among them are kept together. If they are views of one object, the test "
        "will look too good: name such groups in a column group of a CSV"
    )


def together(names: Sequence[str]) -> Int64Array | None:
    """Group numbers from names; an image without a name is a group of its own. None if there are
    no names."""
    if not any(names):
        return None
    first: dict[str, int] = {}
    return np.array(
        [first.setdefault(name, at) if name else at for at, name in enumerate(names)], np.int64
    )


def _chains(groups_N: Int64Array) -> list[tuple[int, int]]:
    """Pairs of images that connect each group."""
    last: dict[int, int] = {}
    pairs = []
    for at, group in enumerate(groups_N.tolist()):
        if group in last:
            pairs.append((last[group], at))
        last[group] = at
    return pairs


def hold_out(data: Dataset, share: float) -> tuple[Int64Array, Int64Array]:
    """Image numbers (kept, held out), each in content order.

    If the set's authors held out a part, it is used. Otherwise about ``share`` of each class is
    held out, at least one image of two. The choice depends on content: the same images in another
    order or from other files are split in the same way. Images of one group stay together, and a
    class with a single group is not split. For images in shards, identical files stay together.
    Raises ``ValueError`` if nothing would be held out.
    """
    order_N = data.content_order
    held_N = data.held_out_N
    if held_N is None and data.shards is not None:
        held_N = chosen_by_digest(data.shards.digests, data.labels_N, share)
    if held_N is None:
        held_N = np.zeros(len(data), dtype=bool)
        held_N[_chosen(data, order_N, share)] = True
    if held_N.all() or not held_N.any():
        raise ValueError(f"{data.name}: {len(data)} images, too few to hold some out")
    return order_N[~held_N[order_N]], order_N[held_N[order_N]]


def joined(data: TrainTest) -> Dataset:
    """Both parts of the user's own pictures as one data set, with nothing held out."""
    train, test = data
    assert train.groups_N is not None and test.groups_N is not None, "numbered across both parts"
    names = None if train.names is None or test.names is None else train.names + test.names
    return Dataset(
        name=train.name,
        images_NHWC=train.images_NHWC.followed_by(test.images_NHWC)
        if isinstance(train.images_NHWC, ImagesOnDisk)
        else np.concatenate([train.images_NHWC, test.images_NHWC]),
        labels_N=np.concatenate([train.labels_N, test.labels_N]),
        labels_NK=None
        if train.labels_NK is None or test.labels_NK is None
        else np.concatenate([train.labels_NK, test.labels_NK]),
        class_names=train.class_names,
        names=names,
        groups_N=np.concatenate([train.groups_N, test.groups_N]),
        origins=None
        if train.origins is None or test.origins is None
        else train.origins + test.origins,
    )


def folds(data: Dataset, count: int, rows_M: Int64Array | None = None) -> Int64Array:
    """The fold of each image, or of the images ``rows_M``, from 0 to ``count`` - 1.

    Folds depend on content and are stratified; images of one group are in the same fold.
    """
    fold_N = np.full(len(data), -1)
    order_N = data.content_order
    if rows_M is not None:
        order_N = order_N[np.isin(order_N, rows_M)]
    have_FK = np.zeros((count, len(data.class_names)), np.int64)
    groups = _groups(data, order_N)
    if data.several:
        in_turn = [*groups.in_turn(-groups.sizes_G)]
        for group, fold in zip(in_turn, _parts_of(data, in_turn, [1 / count] * count), strict=True):
            fold_N[group] = fold
        return fold_N if rows_M is None else fold_N[rows_M]
    for group in groups.in_turn(-groups.sizes_G):
        counts_K = np.bincount(data.labels_N[group], minlength=len(data.class_names))
        of_these_F = have_FK[:, counts_K > 0].sum(axis=1)
        fold = int(np.lexsort((have_FK.sum(axis=1), of_these_F))[0])
        fold_N[group] = fold
        have_FK[fold] += counts_K
    return fold_N if rows_M is None else fold_N[rows_M]


def limit(part: Dataset, count: int) -> Dataset:
    """At most ``count`` images, evenly spaced, so that sorted sets keep all classes."""
    if count >= len(part):
        return part
    return part.take(np.arange(count) * len(part) // count)


def _chosen(data: Dataset, order_N: Int64Array, share: float) -> Int64Array:
    """Choose groups one by one, as long as each of the group's classes has room.

    A group's place is the sum of its images' places in the content order, modulo its length, so it
    is early or late with equal probability. By its first image, a group of a hundred would nearly
    always be chosen.
    """
    groups = _groups(data, order_N)
    if data.several:
        in_turn = [*groups.in_turn(groups.places_G % len(order_N))]
        part_G = _parts_of(data, in_turn, [share, 1 - share])
        taken = [group for group, part in zip(in_turn, part_G, strict=True) if part == 0]
        return np.concatenate(taken) if taken else np.empty(0, np.int64)
    sizes = np.bincount(data.labels_N, minlength=len(data.class_names))
    wanted = np.maximum(1, np.round(share * sizes)).astype(np.int64)
    full = np.minimum(wanted, sizes - 1)
    have = np.zeros_like(sizes)
    chosen: list[Int64Array] = []
    for group in groups.in_turn(groups.places_G % len(order_N)):
        if (have >= full).all():
            break
        counts = np.bincount(data.labels_N[group], minlength=len(sizes))
        after, touched = have + counts, counts > 0
        # A large group may bring up to twice what is wanted, and never takes a whole class.
        room = (have < wanted) & (after <= np.maximum(2 * wanted, 1)) & (after < sizes)
        if room[touched].all():
            chosen.append(group)
            have = after
    for label in np.flatnonzero((have == 0) & (full > 0)):
        group = _smallest(data, groups, int(label))
        counts = np.bincount(data.labels_N[group], minlength=len(sizes))
        if (2 * (have + counts) <= sizes)[counts > 0].all():  # it leaves at least half
            chosen.append(group)
            have = have + counts
    return np.concatenate(chosen) if chosen else np.empty(0, np.int64)


def _parts_of(data: Dataset, groups: Sequence[Int64Array], shares: Sequence[float]) -> Int64Array:
    """The part of each group of images with several labels."""
    counts_GK = np.array([data.counts(group) for group in groups])
    return stratified(counts_GK, np.array([*map(len, groups)]), np.array(shares))


def _smallest(data: Dataset, groups: "_Groups", label: int) -> Int64Array:
    """Image numbers of the smallest group with images of this class."""
    return next(g for g in groups.in_turn(groups.sizes_G) if (data.labels_N[g] == label).any())


class _Groups(NamedTuple):
    """The images group by group. Axes: N images, G groups."""

    numbers_N: Int64Array
    """Image numbers: those of the first group in the given order, then of the next one."""
    ends_G: Int64Array
    """Where in ``numbers_N`` each group ends."""
    sizes_G: Int64Array
    first_G: Int64Array
    """Place of each group's first image in the given order."""
    places_G: Int64Array
    """Sum of the places of each group's images."""

    def in_turn(self, key_G: Int64Array) -> Iterator[Int64Array]:
        """Image numbers of each group, smallest key first; ties by the first image."""
        for g in np.lexsort((self.first_G, key_G)).tolist():
            yield self.numbers_N[self.ends_G[g] - self.sizes_G[g] : self.ends_G[g]]


def _groups(data: Dataset, order_N: Int64Array) -> _Groups:
    group_of_N = np.arange(len(data)) if data.groups_N is None else data.groups_N
    _, first_G, group_N = np.unique(group_of_N[order_N], return_index=True, return_inverse=True)
    sizes_G = np.bincount(group_N)
    together_N = np.argsort(group_N, kind="stable")  # places in the given order, group by group
    ends_G = np.cumsum(sizes_G)
    return _Groups(
        numbers_N=order_N[together_N],
        ends_G=ends_G,
        sizes_G=sizes_G,
        first_G=first_G,
        places_G=np.add.reduceat(together_N, ends_G - sizes_G),
    )
