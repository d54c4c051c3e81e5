"""Pictures of one's own as data sets: listed, decoded once, split, and kept by content.

The first start decodes; a later one finds everything in the cache. What is kept is named by the
files' contents, classes and parts, so that moving or touching files costs no second decoding.
"""

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from firstlight.data.dataset import Dataset, Int64Array, TrainTest, UInt8Array
from firstlight.data.decoded import Progress, choose_shape, decode_into, file_digests
from firstlight.data.duplicates import groups, near_copies
from firstlight.data.folder import TEST, TRAIN, VALIDATION, Listing, list_pictures
from firstlight.data.load import cache_folder
from firstlight.data.split import hold_out
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError, UserError

TEST_SHARE = 0.15
"""Of each class's pictures, where the folder has no test part of its own."""
IN_MEMORY = 1 << 30
"""Bytes of pixels; a larger set stays on disk."""
# Raised with every change of what is kept or how it is made.
_EDITION = 1
_ORDER = (TRAIN, VALIDATION, TEST)


def load_own(
    path: Path,
    *,
    size: int | None = None,
    excluded: Sequence[str] = (),
    progress: Progress | None = None,
) -> TrainTest:
    """The pictures of a folder or a CSV as uint8 images of one shape; ``train.notes`` says what was
    decided and left out.

    ``size`` is the images' side in pixels; without it the pictures decide. ``excluded`` are names
    to leave out. Where the folder has no test part, one is taken from its training pictures:
    stratified, decided by their contents alone, near copies on one side. Raises ``DataError``
    where there is nothing to train on, and ``UserError`` for an impossible size.
    """
    if size is not None and not 8 <= size <= 512:
        raise UserError(f"--size must be 8 to 512 pixels, not {size}")
    listing = list_pictures(path).without(excluded)
    shelf = cache_folder() / "pictures"
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        known = shelf / f"seen-{_outside(listing, size)}"
        key = known.read_text() if known.exists() else ""
        if not key or not (shelf / key / "about.json").exists():
            digests = file_digests(listing.root, [p.name for p in listing.pictures])
            key = _inside(listing, size, digests)
            if not (shelf / key / "about.json").exists():
                _build(shelf, key, listing, size, progress)
            known.write_text(key)
    except OSError as error:
        raise DataError(
            f"{shelf}: decoded pictures cannot be kept there: {error.strerror}. Make room, or "
            "point XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return _open(shelf / key, listing)


def _outside(listing: Listing, size: int | None) -> str:
    """Names the listing by what can be seen without opening a file: names, sizes, times."""
    digest = hashlib.blake2b(f"{_EDITION} {listing.root.resolve()} {size}".encode(), digest_size=20)
    for one in listing.pictures:
        status = os.stat(listing.root / one.name)  # noqa: PTH116 (60,000 of them)
        line = f"\0{one.name}\0{one.label}\0{one.part}\0{status.st_size}\0{status.st_mtime_ns}"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _inside(listing: Listing, size: int | None, digests: list[bytes]) -> str:
    """Names what will be kept: contents, classes and parts."""
    digest = hashlib.blake2b(
        json.dumps([_EDITION, size, listing.class_names]).encode(), digest_size=20
    )
    for one, content in zip(listing.pictures, digests, strict=True):
        digest.update(f"\0{one.name}\0{one.label}\0{one.part}\0".encode(errors="surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _build(
    shelf: Path, key: str, listing: Listing, size: int | None, progress: Progress | None
) -> None:
    """Decode, split and write; nothing is left behind on failure."""
    work = shelf / f".{key}.{os.getpid()}"
    work.mkdir()
    try:
        names = [p.name for p in listing.pictures]
        shape, reason = choose_shape(listing.root, names, size)
        decoded = decode_into(work / "decoded", listing.root, names, shape, progress)
        readable = [at for at, digest in enumerate(decoded.digests) if digest]
        every = Dataset(
            name=str(listing.root),
            images_NHWC=cast(UInt8Array, StoredImages(work / "decoded", (len(names), *shape))),
            labels_N=np.array([p.label for p in listing.pictures], dtype=np.int64),
            class_names=listing.class_names,
        ).take(np.array(readable, dtype=np.int64))
        pairs = near_copies(every.images_NHWC)
        every = replace(every, groups_N=groups(len(every), pairs))
        parts, notes = _split(every, [listing.pictures[at].part or TRAIN for at in readable])
        part_of = {int(at): part for part in _ORDER for at in parts[part]}
        leaks = sum(part_of[i] != part_of[j] for i, j in pairs)
        if leaks:
            notes.append(
                f"{leaks} pairs of copies lie in two parts, so a test will look too good; "
                f"see: firstlight data check {shlex.quote(str(listing.root))}"
            )
        order_N = np.concatenate([parts[part] for part in _ORDER])
        with (work / "pixels").open("wb") as out:
            for start in range(0, len(order_N), 256):
                out.write(every.images_NHWC[order_N[start : start + 256]].tobytes())
        (work / "decoded").unlink()
        assert every.groups_N is not None, "set above"
        about = {
            "shape": shape,
            "shape_reason": reason,
            "class_names": listing.class_names,
            "parts": {part: len(parts[part]) for part in _ORDER},
            "names": [names[readable[at]] for at in order_N.tolist()],
            "labels": every.labels_N[order_N].tolist(),
            "groups": every.groups_N[order_N].tolist(),
            "notes": [*decoded.notes, *notes],
            "problems": decoded.problems,
        }
        train, test = _data(work / "pixels", about, "")
        about["fingerprints"] = {TRAIN: train.fingerprint, TEST: test.fingerprint}
        (work / "about.json").write_text(json.dumps(about))
        try:
            work.rename(shelf / key)
        except OSError:
            if not (shelf / key / "about.json").exists():  # else another process was faster
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _split(every: Dataset, part_of: list[str]) -> tuple[dict[str, Int64Array], list[str]]:
    """Numbers of each part's pictures, and what was decided."""
    numbers = np.arange(len(every))
    parts = {p: numbers[[one == p for one in part_of]] for p in _ORDER}
    notes = []
    if not len(parts[TEST]) and len(parts[TRAIN]):
        rest = every.take(parts[TRAIN])
        try:
            kept, taken = hold_out(rest, TEST_SHARE)
        except ValueError as error:
            raise DataError(f"{error} for a test; add pictures") from error
        parts[TEST], parts[TRAIN] = parts[TRAIN][np.sort(taken)], parts[TRAIN][np.sort(kept)]
        notes.append(
            f"test: {len(taken)} of the {len(rest)} pictures, {TEST_SHARE:.0%} of each class, "
            "chosen by content, near copies kept together"
        )
    counts = np.bincount(every.labels_N[parts[TRAIN]], minlength=len(every.class_names))
    if (counts == 0).any():
        name = every.class_names[int(np.argmin(counts))]
        raise DataError(
            f"{every.name}: no readable picture of {name!r} to train on; add pictures, or remove "
            "the class"
        )
    return parts, notes


def _open(folder: Path, listing: Listing) -> TrainTest:
    try:
        about: dict[str, Any] = json.loads((folder / "about.json").read_text())
        train, test = _data(folder / "pixels", about, listing.root.name)
        unread = [f"{name}: {reason}; left out" for name, reason in about["problems"]]
        notes = (*listing.notes, about["shape_reason"], *about["notes"], *unread)
        return TrainTest(replace(train, notes=notes), test)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}: the kept pictures are damaged ({error}); remove this folder and try again"
        ) from error


def _data(pixels: Path, about: dict[str, Any], name: str) -> TrainTest:
    """Both parts of a file of pixels, in memory where that is small enough."""
    labels_N = np.array(about["labels"], dtype=np.int64)
    stored = StoredImages(pixels, (len(labels_N), *about["shape"]))
    small = len(labels_N) * int(np.prod(about["shape"])) <= IN_MEMORY
    train, validation = about["parts"][TRAIN], about["parts"][VALIDATION]

    def part(which: str, rows: slice) -> Dataset:
        numbers_N = np.arange(len(labels_N))[rows]
        return Dataset(
            name=f"{name}/{which}",
            images_NHWC=stored[rows] if small else cast(UInt8Array, stored.take(numbers_N)),
            labels_N=labels_N[rows],
            class_names=tuple(about["class_names"]),
            names=tuple(about["names"][rows]),
            groups_N=np.array(about["groups"][rows], dtype=np.int64),
            held_out_N=numbers_N >= train if which == TRAIN and validation else None,
            known_fingerprint=about.get("fingerprints", {}).get(which),
        )

    learnt = train + validation
    return TrainTest(part(TRAIN, slice(0, learnt)), part(TEST, slice(learnt, None)))
