"""Data sets of the user's own pictures: read, decoded once, split, and cached by content.

The first start decodes; later ones find everything in the cache. The name in the cache depends on
the files' contents, classes and parts, so moved or touched files are not decoded again.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np

from firstlight.data.archive import archive_name, is_archive
from firstlight.data.archive_address import archive_address, is_archive_address
from firstlight.data.arrays import ArrayForm
from firstlight.data.dataset import Dataset, TrainTest, UInt8Array
from firstlight.data.decode import FEW_LEVELS
from firstlight.data.decoded import Progress, Shape, choose_shape, decode_into, file_digests
from firstlight.data.fixes import NO_FIXES, Fixes, fixed
from firstlight.data.hub.sets import hub_folder
from firstlight.data.idx_folder import idx_files, read_idx_folder
from firstlight.data.kept import kept
from firstlight.data.levels import Range
from firstlight.data.listing import Listing
from firstlight.data.packed import PACKED, files_of, packed_in, read_packed
from firstlight.data.pixel_table import is_pixel_table, read_pixel_table
from firstlight.data.shards.files import names_shards
from firstlight.data.shards.load import (
    ShardListing,
    is_large,
    listed,
    shape_of,
    shards_at,
    streamed,
)
from firstlight.data.sheet import read_sheet
from firstlight.data.split import together
from firstlight.data.stored import StoredImages
from firstlight.data.table import list_pictures
from firstlight.data.table_folder import read_table_folder, table_files
from firstlight.errors import DataError, UserError
from firstlight.files import cache_folder, make_folder
from firstlight.hub.word import hub_word, is_hub

# Increased with every change of what is cached or how it is made.
_EDITION = 8


class Form(NamedTuple):
    """What the user specified about the images."""

    size: int | None = None
    """Their side in pixels; chosen from the pictures by default."""
    shape: Shape | None = None
    """Height, width and channels, instead of ``size``."""
    range: Range | None = None
    """The values of black and white in arrays."""


_UNASKED = Form()


def load_own(
    path: Path | str,
    form: Form = _UNASKED,
    *,
    fixes: Fixes = NO_FIXES,
    allow_outside: bool = False,
    progress: Progress | None = None,
    indexing: Progress | None = None,
) -> TrainTest:
    """Load the pictures of a folder, a CSV or shards, or the arrays of an ``.npz``, ``.npy`` or
    ``.mat``, as uint8 images of one shape. ``train.notes`` says what was decided and left out.

    ``fixes`` leaves pictures out and gives others another class. ``allow_outside`` accepts files of
    a CSV that are outside its folder. Without a test part, one is made from the training pictures:
    stratified, decided only by their contents, with near duplicates on one side. ``progress``
    receives how many pictures are decoded, ``indexing`` how many shards are indexed. Raises
    ``DataError`` if there is nothing to train on, and ``UserError`` for an impossible size.
    """
    if form.size is not None and not 8 <= form.size <= 512:
        raise UserError(f"--size must be 8 to 512 pixels, not {form.size}")
    shelf = cache_folder() / "pictures"
    try:
        make_folder(shelf)
        at_address = is_archive_address(path)
        if at_address or hub_folder(path) is not None:
            _refuse_range(form, path)
            listing = fixed(list_pictures(Path(path)), fixes)
            name = archive_address(path).name if at_address else hub_word(path).name
            return _pictures(shelf, listing, form, progress, name)
        if names_shards(path):
            shards = shards_at(path, indexing)
            name = hub_word(path).name if is_hub(path) else PurePosixPath(shards.word).name
            _refuse_range(form, path)
            if is_large(shards):
                return streamed(shards, shape_of(shards, form.size, form.shape), fixes, name)
            return _pictures(shelf, fixed(listed(shards), fixes), form, progress, name)
        path = Path(path)
        if (arrays := _as_arrays(path)) is not None:
            return _arrays(shelf, arrays, form, fixes)
        if form.range is not None:
            raise UserError(
                f"--range is for images in arrays, such as a CSV of pixels; {path} holds picture "
                "files, which define their own range"
            )
        listing = fixed(list_pictures(path, allow_outside=allow_outside), fixes)
        packed = path.is_file() and is_archive(path)
        name = archive_name(path.name) if packed else listing.root.name
        return _pictures(shelf, listing, form, progress, name)
    except OSError as error:
        raise DataError(
            f"{shelf}: decoded pictures cannot be stored there: {error.strerror}. Free some disk "
            "space, or set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _refuse_range(form: Form, path: Path | str) -> None:
    if form.range is not None:
        raise UserError(f"--range is for images in arrays; {path} holds picture files")


def _pictures(
    shelf: Path, listing: Listing, form: Form, progress: Progress | None, name: str
) -> TrainTest:
    def inside() -> str:
        return _inside(listing, form)

    def make(work: Path) -> tuple[Dataset, list[str]]:
        return _decoded(work, listing, form, progress)

    train, test = kept(shelf, _outside(listing, form), inside, make, name)
    origin = (listing.origin,) if listing.origin else ()
    notes, warnings = (*origin, *listing.notes, *train.notes), (*listing.notes, *train.warnings)
    return TrainTest(replace(train, notes=notes, warnings=warnings), test)


class _Arrays(NamedTuple):
    """A file or folder of arrays, and its reader."""

    path: Path
    files: list[Path]
    read: Callable[[Path, ArrayForm], tuple[Dataset, list[str]]]


def is_arrays(path: Path) -> bool:
    """Return whether a path has images as arrays, not as picture files. Raises ``DataError``."""
    return _as_arrays(path) is not None


def read_arrays(path: Path, form: ArrayForm) -> tuple[Dataset, list[str]] | None:
    """Read the images of a path that ``is_arrays``, and the part of each; else return None. Nothing
    is cached. Raises ``DataError``."""
    arrays = _as_arrays(path)
    return None if arrays is None else arrays.read(arrays.path, form)


def _as_arrays(path: Path) -> _Arrays | None:
    if path.is_dir():
        packed = packed_in(path)
        if packed is not None:
            return _Arrays(packed, files_of(packed), read_packed)
        if files := idx_files(path):
            return _Arrays(path, files, read_idx_folder)
        files = table_files(path)
        return _Arrays(path, files, read_table_folder) if files else None
    if path.suffix.lower() in PACKED and path.is_file():
        return _Arrays(path, files_of(path), read_packed)
    if path.is_file() and not is_archive(path) and is_pixel_table(read_sheet(path)):
        return _Arrays(path, [path], read_pixel_table)
    return None


def _arrays(shelf: Path, arrays: _Arrays, form: Form, fixes: Fixes) -> TrainTest:
    path, files = arrays.path, arrays.files
    if fixes:
        raise UserError(f"--fixes corrects picture files by name; {path.name} holds arrays")
    statuses = [f"{file.resolve()} {_seen(file.stat())}" for file in files]
    seen = f"{_EDITION} {path.resolve()} {form} {' '.join(statuses)}"

    def inside() -> str:
        names = [file.name for file in files]
        contents = " ".join(content.hex() for content in file_digests(files[0].parent, names))
        # The name matters: it says the part in a folder, and whether the file is EMNIST's.
        told = names[1:] if path.is_file() and "emnist" not in names[0].lower() else names
        return _short(f"{_EDITION} {form} {' '.join(told)} {contents}")

    name = path.name if path.is_dir() else path.stem
    wanted = ArrayForm(size=form.size, shape=form.shape, range=form.range)
    return kept(shelf, _short(seen), inside, lambda _: arrays.read(path, wanted), name)


def _outside(listing: Listing, form: Form) -> str:
    """Name the listing by what is known without opening a file: names, sizes, times."""
    root = str(listing.root.resolve())
    head = json.dumps([_EDITION, root, form, listing.class_names])
    digest = hashlib.blake2b(head.encode(), digest_size=20)
    if isinstance(listing, ShardListing):
        return _short(f"{digest.hexdigest()} {_inside(listing, form)}")
    for one in listing.pictures:
        try:
            seen = _seen(os.stat(f"{root}/{one.name}"))  # noqa: PTH116 (60,000 of them)
        except OSError as error:  # a broken link, which decoding reports
            seen = str(error.errno)
        line = f"\0{one.name}\0{one.told}\0{seen}"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _seen(status: os.stat_result) -> str:
    """Return what changes with a file's contents. A file that replaces another may have its size
    and modification time, but on POSIX not its change time."""
    return f"{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"


def _inside(listing: Listing, form: Form) -> str:
    """Name what will be cached by contents, classes and parts."""
    if isinstance(listing, ShardListing):
        digests = listing.digests()
    else:
        digests = file_digests(listing.root, [p.name for p in listing.pictures])
    digest = hashlib.blake2b(
        json.dumps([_EDITION, form, listing.class_names]).encode(), digest_size=20
    )
    for one, content in zip(listing.pictures, digests, strict=True):
        line = f"\0{one.name}\0{one.told}\0"
        digest.update(line.encode(errors="surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=20).hexdigest()


def _decoded(
    work: Path, listing: Listing, form: Form, progress: Progress | None
) -> tuple[Dataset, list[str]]:
    """Decode every readable picture into a file in ``work``; return the images and their parts."""
    sources = listing.sources()
    try:
        shape, reason = choose_shape(sources, form.size, form.shape)
    except DataError as error:
        raise DataError(f"{listing.root}: {error}") from error
    decoded = decode_into(work / "decoded", sources, shape, progress)
    readable = np.flatnonzero([bool(one) for one in decoded.origins])
    every = Dataset(
        name=str(listing.root),
        images_NHWC=cast(UInt8Array, StoredImages(work / "decoded", (len(sources), *shape))),
        **_labels(listing),
        class_names=listing.class_names,
        names=tuple(p.name for p in listing.pictures),
        groups_N=together([p.group for p in listing.pictures]),
        origins=tuple(decoded.origins),
        notes=(reason, *decoded.notes, *decoded.unread),
        warnings=(*decoded.unread, *(n for n in decoded.notes if n.startswith(FEW_LEVELS))),
    )
    return every.take(readable), [listing.pictures[at].part for at in readable]


def _labels(listing: Listing) -> dict[str, Any]:
    """Return ``labels_N`` of a data set, or ``labels_NK`` if pictures may have several."""
    if not listing.several:
        return {"labels_N": np.array([p.label for p in listing.pictures], dtype=np.int64)}
    labels_NK = np.zeros((len(listing.pictures), len(listing.class_names)), dtype=bool)
    for row_K, picture in zip(labels_NK, listing.pictures, strict=True):
        row_K[[*picture.classes]] = True
    return {"labels_NK": labels_NK}
