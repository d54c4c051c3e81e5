"""Load a set of shards as training and test images.

A small set is treated like any other set of pictures: see ``listed``. In a large one, images stay
encoded in their shards: see ``streamed``. Axes: N images, H height, W width, C channels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset, TrainTest, UInt8Array
from firstlight.data.decoded import SAMPLE as SAMPLED
from firstlight.data.decoded import Shape, choose_shape
from firstlight.data.fixes import Fixes, label_number
from firstlight.data.kept import IN_MEMORY
from firstlight.data.listing import Listed, Listing, alike_names, counted
from firstlight.data.pictures import PictureSource
from firstlight.data.shards.files import ShardFiles, find_shards
from firstlight.data.shards.held import shelf
from firstlight.data.shards.images import ShardImages, as_is
from firstlight.data.shards.index import NO_LABEL
from firstlight.data.shards.set import SAMPLE, Progress, ShardSet, open_shards
from firstlight.data.shards.split import chosen_by_digest
from firstlight.data.split import TEST, TEST_SHARE, TRAIN, VALIDATION
from firstlight.errors import DataError
from firstlight.files import write_whole

Int64Array = npt.NDArray[np.int64]

MOST_LOOKED_THROUGH = 200_000
"""In a set with more images, near duplicates are not searched."""


@dataclass(frozen=True, kw_only=True)
class ShardListing(Listing):
    """All images of a set of shards as pictures."""

    shards: ShardSet
    row_of: dict[str, int]
    """Name to image number."""

    def sources(self) -> list[PictureSource]:
        """The source of each picture."""
        return [
            PictureSource(name=one.name, content=self.shards.image(self.row_of[one.name]))
            for one in self.pictures
        ]

    def digests(self) -> list[bytes]:
        """The BLAKE2 hash of each picture's file."""
        every = self.shards.digests_N2.astype(">u8")
        return [every[self.row_of[one.name]].tobytes() for one in self.pictures]


def shards_at(path: str | Path, progress: Progress | None = None) -> ShardSet:
    """Open the labelled set of shards that a word names. Raises ``DataError`` for an image without
    a label."""
    found = find_shards(path)
    shards = _with_labels(found, open_shards(found, progress))
    bare = np.flatnonzero(shards.labels_N == NO_LABEL)
    if len(bare):
        (name,) = shards.names(bare[:1])
        raise DataError(
            f"{shards.word}: {len(bare):,} of {counted(len(shards), 'image')} have no label, "
            f"such as {name}; wanted a .cls or .json next to each, or a column label"
        )
    return shards


def _with_labels(found: ShardFiles, shards: ShardSet) -> ShardSet:
    """Return the set without a validation or test part that has no labels at all, because
    competitions do not publish them. ``notes`` says so."""
    parts = shards.parts()
    bare = {part for part in (VALIDATION, TEST) if _is_bare(shards, parts, part)}
    if not bare:
        return shards
    notes = (*found.notes, f"{' and '.join(sorted(bare))}: no labels, left out")
    left = [file for file, part in zip(found.files, parts, strict=True) if part not in bare]
    return open_shards(replace(found, files=tuple(left), notes=notes))


def _is_bare(shards: ShardSet, parts: Sequence[str], part: str) -> bool:
    """Return whether a part has images but no labels."""
    chosen_S = np.array([one == part for one in parts])
    return bool(chosen_S.any() and (shards.labels_N[chosen_S[shards.shard_N]] == NO_LABEL).all())


def is_large(shards: ShardSet) -> bool:
    """Return whether there are too many images to compare, or to fit in memory at the default size
    for training. A different size does not change the answer."""
    if len(shards) > MOST_LOOKED_THROUGH:
        return True
    return len(shards) * int(np.prod(shape_of(shards, None, None)[0])) > IN_MEMORY


def listed_at(path: str | Path) -> ShardListing:
    """List the images of a small set as pictures. Raises ``DataError`` for a large one."""
    shards = shards_at(path)
    if is_large(shards):
        raise DataError(
            f"{shards.word}: {len(shards):,} images in shards are too many to search. Name fewer "
            "shards, as in images-{000000..000003}.tar"
        )
    return listed(shards)


def listed(shards: ShardSet) -> ShardListing:
    """List the images of a small set, like any other pictures."""
    names = shards.names(np.arange(len(shards)))
    parts = shards.parts()
    order = sorted(range(len(names)), key=names.__getitem__)
    return ShardListing(
        root=Path(shards.word),
        class_names=shards.class_names,
        pictures=tuple(
            Listed(names[row], int(shards.labels_N[row]), parts[shards.shard_N[row]])
            for row in order
        ),
        notes=(*shards.notes, *alike_names(shards.class_names)),
        origin=shards.origin,
        shards=shards,
        row_of={name: row for row, name in enumerate(names)},
    )


def shape_of(shards: ShardSet, size: int | None, shape: Shape | None) -> tuple[Shape, str]:
    """Choose height, width and channels from a sample of the images; return the reason too."""
    if shape is not None:
        return choose_shape((), size, shape)
    place = shelf() / f"{shards.key}-{size}.shape"
    try:
        height, width, channels, reason = json.loads(place.read_text())
        return (int(height), int(width), int(channels)), str(reason)
    except (OSError, ValueError, TypeError):
        rows = shards.sampled(np.arange(len(shards)))[:: SAMPLE // SAMPLED]
        try:
            chosen, reason = choose_shape(shards.sources(rows), size)
        except DataError as error:
            raise DataError(f"{shards.word}: {error}") from error
        write_whole(place, json.dumps([*chosen, reason]))
        return chosen, reason


def streamed(shards: ShardSet, wanted: tuple[Shape, str], fixes: Fixes, name: str) -> TrainTest:
    """Return both parts of a large set, with images that are decoded on demand.

    ``fixes`` leaves images out and gives others another class. Raises ``DataError`` if a class has
    no training image.
    """
    shape, reason = wanted
    excluded_N, labels_N = _fixed(shards, fixes)
    rows_N = np.setdiff1d(np.flatnonzero(shards.pictures_N), excluded_N)
    unread = _unread(shards, np.setdiff1d(np.flatnonzero(~shards.pictures_N), excluded_N))
    part_S = np.array([part or TRAIN for part in shards.parts()])
    part_N = part_S[shards.shard_N[rows_N]]
    notes = [
        *([shards.origin] if shards.origin else []),
        reason,
        f"{len(rows_N):,} images in {counted(len(shards.files), 'shard')} are too many to decode "
        "in advance: each is decoded when needed, and near copies are not detected",
    ]
    notes += fixes.notes
    notes += unread
    notes += shards.notes
    notes += alike_names(shards.class_names)
    if not (part_N == TEST).any():
        learnt_N = np.flatnonzero(part_N == TRAIN)
        chosen_N = chosen_by_digest(
            shards.digests_N2[rows_N[learnt_N]], labels_N[rows_N[learnt_N]], TEST_SHARE
        )
        part_N[learnt_N[chosen_N]] = TEST
        notes.append(
            f"test: {chosen_N.sum():,} of the {len(learnt_N):,} images, {100 * TEST_SHARE:.0f} % "
            "of each class, chosen by file content; identical files are kept together"
        )
    _check_classes(shards, labels_N[rows_N[part_N == TRAIN]])
    train_N, test_N = rows_N[part_N != TEST], rows_N[part_N == TEST]
    held_N = part_N[part_N != TEST] == VALIDATION

    def part(which: str, chosen_N: Int64Array) -> Dataset:
        images = ShardImages(shards, as_is(shape), chosen_N)
        return Dataset(
            name=f"{name}/{which}",
            images_NHWC=cast(UInt8Array, images),
            labels_N=labels_N[chosen_N],
            class_names=shards.class_names,
            names=tuple(images.names()) if which == TEST else None,
            held_out_N=held_N if which == TRAIN and held_N.any() else None,
            notes=tuple(notes) if which == TRAIN else (),
            warnings=(*unread, *shards.notes) if which == TRAIN else (),
        )

    return TrainTest(part(TRAIN, train_N), part(TEST, test_N))


def _unread(shards: ShardSet, rows_N: Int64Array) -> list[str]:
    """Return messages about files that are not pictures."""
    if not len(rows_N):
        return []
    what = (
        "1 file is not a picture" if len(rows_N) == 1 else f"{len(rows_N):,} files are not pictures"
    )
    names = ", ".join(shards.names(rows_N[:3]))
    return [f"{what}, left out: {names}{', …' if len(rows_N) > 3 else ''}"]


def _check_classes(shards: ShardSet, learnt_M: Int64Array) -> None:
    names = shards.class_names
    if len(names) < 2:
        raise DataError(f"{shards.word}: wanted at least two classes, got only {names[0]!r}")
    counts_K = np.bincount(learnt_M, minlength=len(names))
    if not counts_K.all():
        raise DataError(
            f"{shards.word}: no image of {names[int(np.argmin(counts_K))]!r} to train on. Add "
            "images, or remove the class"
        )


def _fixed(shards: ShardSet, fixes: Fixes) -> tuple[Int64Array, Int64Array]:
    """Return the numbers of the images to leave out, and the label of every image. Raises
    ``DataError`` for an image or a class that is not there."""
    if not fixes:
        return np.arange(0), shards.labels_N
    wanted, found = {*fixes.left_out, *fixes.relabelled}, dict[str, int]()
    for number, file in enumerate(shards.shard_names):
        if any(name.startswith(f"{file}/") for name in wanted):
            for row, key in zip(shards.rows_of(number), shards.keys(number), strict=True):
                if f"{file}/{key}" in wanted:
                    found[f"{file}/{key}"] = row
    if missing := sorted(wanted - set(found)):
        what = "leave out" if missing[0] in fixes.left_out else "give another class"
        raise DataError(
            f"{shards.word} has no image {missing[0]!r} to {what}; names look like "
            f"{shards.names(np.arange(1))[0]}"
        )
    labels_N = shards.labels_N.copy()
    for name, label in fixes.relabelled.items():
        given = shards.class_names[labels_N[found[name]]]
        labels_N[found[name]] = label_number(shards.class_names, given, name, label)
    return np.array([found[name] for name in fixes.left_out], np.int64), labels_N
