"""Pictures of one's own as data sets: read, decoded once, split, and kept by content.

The first start decodes; a later one finds everything in the cache. What is kept is named by the
files' contents, classes and parts, so that moving or touching files costs no second decoding.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from firstlight.data.arrays import read_npz
from firstlight.data.dataset import Dataset, Known, TrainTest, UInt8Array
from firstlight.data.decoded import Progress, Shape, choose_shape, decode_into, file_digests
from firstlight.data.folder import Listing, list_pictures
from firstlight.data.split import TEST, TRAIN, VALIDATION, divide
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError, UserError
from firstlight.files import cache_folder

IN_MEMORY = 1 << 30
"""Bytes of pixels; a larger set stays on disk."""
# Raised with every change of what is kept or how it is made.
_EDITION = 3
Make = Callable[[Path], tuple[Dataset, Sequence[str]]]
"""From a folder to work in to the images and the part of each."""


class Form(NamedTuple):
    """What the images are to be, as far as that is asked for."""

    size: int | None
    shape: Shape | None


def load_own(
    path: Path,
    *,
    size: int | None = None,
    shape: Shape | None = None,
    excluded: Sequence[str] = (),
    progress: Progress | None = None,
) -> TrainTest:
    """The pictures of a folder, a CSV or an ``.npz`` as uint8 images of one shape; ``train.notes``
    says what was decided and left out.

    ``size`` is the images' side in pixels; without it the pictures decide. ``shape`` (height,
    width, channels) takes its place. ``excluded`` are names to leave out. Where there is no test
    part, one is taken from the training pictures: stratified, decided by their contents alone,
    near copies on one side. Raises ``DataError`` where there is nothing to train on, and
    ``UserError`` for an impossible size.
    """
    if size is not None and not 8 <= size <= 512:
        raise UserError(f"--size must be 8 to 512 pixels, not {size}")
    form = Form(size, shape)
    shelf = cache_folder() / "pictures"
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".npz" and path.is_file():
            return _arrays(shelf, path, form, excluded)
        return _pictures(shelf, list_pictures(path).without(excluded), form, progress)
    except OSError as error:
        raise DataError(
            f"{shelf}: decoded pictures cannot be kept there: {error.strerror}. Make room, or "
            "point XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _pictures(shelf: Path, listing: Listing, form: Form, progress: Progress | None) -> TrainTest:
    def inside() -> str:
        return _inside(listing, form)

    def make(work: Path) -> tuple[Dataset, list[str]]:
        return _decoded(work, listing, form, progress)

    train, test = _kept(shelf, _outside(listing, form), inside, make, listing.root.name)
    return TrainTest(replace(train, notes=(*listing.notes, *train.notes)), test)


def _arrays(shelf: Path, file: Path, form: Form, excluded: Sequence[str]) -> TrainTest:
    if excluded:
        raise UserError(f"--exclude leaves out picture files by name; {file.name} holds arrays")
    status = file.stat()
    seen = f"{_EDITION} {file.resolve()} {form} {status.st_size} {status.st_mtime_ns}"

    def inside() -> str:
        (content,) = file_digests(file.parent, [file.name])
        return _short(f"{_EDITION} {form} {content.hex()}")

    return _kept(shelf, _short(seen), inside, lambda _: read_npz(file, *form), file.stem)


def _outside(listing: Listing, form: Form) -> str:
    """Names the listing by what can be seen without opening a file: names, sizes, times."""
    root = listing.root.resolve()
    digest = hashlib.blake2b(f"{_EDITION} {root} {form}".encode(), digest_size=20)
    for one in listing.pictures:
        try:
            status = os.stat(f"{root}/{one.name}")  # noqa: PTH116 (60,000 of them)
            seen = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError as error:  # a link to nothing, which decoding will say
            seen = str(error.errno)
        line = f"\0{one.name}\0{one.label}\0{one.part}\0{seen}"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _inside(listing: Listing, form: Form) -> str:
    """Names what will be kept: contents, classes and parts."""
    digests = file_digests(listing.root, [p.name for p in listing.pictures])
    digest = hashlib.blake2b(
        json.dumps([_EDITION, form, listing.class_names]).encode(), digest_size=20
    )
    for one, content in zip(listing.pictures, digests, strict=True):
        digest.update(f"\0{one.name}\0{one.label}\0{one.part}\0".encode(errors="surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=20).hexdigest()


def _decoded(
    work: Path, listing: Listing, form: Form, progress: Progress | None
) -> tuple[Dataset, list[str]]:
    """Every picture that can be read, its pixels in a file in ``work``; and the part of each."""
    sources = listing.sources()
    try:
        shape, reason = choose_shape(sources, *form)
    except DataError as error:
        raise DataError(f"{listing.root}: {error}") from error
    decoded = decode_into(work / "decoded", sources, shape, progress)
    readable = np.flatnonzero([bool(digest) for digest in decoded.digests])
    every = Dataset(
        name=str(listing.root),
        images_NHWC=cast(UInt8Array, StoredImages(work / "decoded", (len(sources), *shape))),
        labels_N=np.array([p.label for p in listing.pictures], dtype=np.int64),
        class_names=listing.class_names,
        names=tuple(p.name for p in listing.pictures),
        notes=(reason, *decoded.notes, *decoded.unread),
    )
    return every.take(readable), [listing.pictures[at].part for at in readable]


def _kept(shelf: Path, outside: str, inside: Callable[[], str], make: Make, name: str) -> TrainTest:
    """What is kept under the name that ``inside`` works out, or under that of the last time when
    nothing has changed from ``outside``; made where it is not there yet."""
    known = shelf / f"seen-{outside}"
    key = known.read_text() if known.exists() else ""
    if not key or not (shelf / key / "about.json").exists():
        key = inside()
        if not (shelf / key / "about.json").exists():
            _keep(shelf, key, make)
        known.write_text(key)
    try:
        about: dict[str, Any] = json.loads((shelf / key / "about.json").read_text())
        return _data(shelf / key / "pixels", about, name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{shelf / key}: the kept pictures are damaged ({error}); remove this folder and try "
            "again"
        ) from error


def _keep(shelf: Path, key: str, make: Make) -> None:
    """Make, split and write; nothing is left behind on failure."""
    with _workplace(shelf, key) as work:
        images, sizes = divide(*make(work))
        with (work / "pixels").open("wb") as out:
            for start in range(0, len(images), 256):
                out.write(images.images_NHWC[start : start + 256].tobytes())
        (work / "decoded").unlink(missing_ok=True)
        assert images.groups_N is not None, "divide sets them"
        about = {
            "shape": images.image_shape,
            "class_names": images.class_names,
            "parts": sizes,
            "names": images.names,
            "labels": images.labels_N.tolist(),
            "groups": images.groups_N.tolist(),
            "notes": images.notes,
        }
        about["known"] = [_worked_out(part) for part in _data(work / "pixels", about, "")]
        (work / "about.json").write_text(json.dumps(about))
        try:
            work.rename(shelf / key)
        except OSError:
            if not (shelf / key / "about.json").exists():  # else another process was faster
                raise


@contextmanager
def _workplace(shelf: Path, key: str) -> Iterator[Path]:
    """A new folder, removed afterwards; those of processes that were killed are removed before.

    A process holds a lock on its folder, which the system lets go when the process ends, however
    it does. Windows has no such lock: there, nothing is removed before.
    """
    work = shelf / f".{key}.{os.getpid()}"
    with ExitStack() as locks:
        with _lock(shelf, wait=True):  # or another process might take a folder not locked yet
            for left in shelf.glob(".*.*"):
                with _lock(left) as free:
                    if free:
                        shutil.rmtree(left, ignore_errors=True)
            work.mkdir()
            locks.enter_context(_lock(work))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _lock(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a folder's lock, with ``wait`` when others are done; whether it could be had."""
    with ExitStack() as closed:
        try:
            import fcntl

            opened = os.open(folder, os.O_RDONLY)
            closed.callback(os.close, opened)
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (ImportError, OSError):  # held, gone, or a file system without locks
            held = False
        else:
            held = True
        yield held


def _worked_out(part: Dataset) -> dict[str, Any]:
    return Known(
        fingerprint=part.fingerprint,
        content_order=part.content_order.tolist(),
        level_counts=part.level_counts.tolist(),
    )._asdict()


def _data(pixels: Path, about: dict[str, Any], name: str) -> TrainTest:
    """Both parts of a file of pixels, in memory where that is small enough."""
    labels_N = np.array(about["labels"], dtype=np.int64)
    stored = StoredImages(pixels, (len(labels_N), *about["shape"]))
    small = len(labels_N) * int(np.prod(about["shape"])) <= IN_MEMORY
    train, validation = about["parts"][TRAIN], about["parts"][VALIDATION]
    known = about.get("known")

    def part(which: str, rows: slice) -> Dataset:
        numbers_N = np.arange(len(labels_N))[rows]
        return Dataset(
            name=f"{name}/{which}",
            images_NHWC=stored[rows] if small else cast(UInt8Array, stored.take(numbers_N)),
            labels_N=labels_N[rows],
            class_names=tuple(about["class_names"]),
            names=None if about["names"] is None else tuple(about["names"][rows]),
            groups_N=np.array(about["groups"][rows], dtype=np.int64),
            held_out_N=numbers_N >= train if which == TRAIN and validation else None,
            notes=tuple(about["notes"]) if which == TRAIN else (),
            known=Known(**known[(TRAIN, TEST).index(which)]) if known else None,
        )

    learnt = train + validation
    return TrainTest(part(TRAIN, slice(0, learnt)), part(TEST, slice(learnt, None)))
