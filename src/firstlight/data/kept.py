"""The cache of decoded pictures: a folder for each data set, named by the hash of its source.

``pixels`` holds the images, ``about.json`` everything else, and ``sha256`` the checksums of both in
the format of ``sha256sum``. They are checked at every start, so a network is trained on exactly
what was decoded. Axes: N images, H height, W width, C channels.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from firstlight import cache
from firstlight.data.dataset import Dataset, Known, TrainTest, UInt8Array
from firstlight.data.levels import dark_note
from firstlight.data.split import TEST, TRAIN, VALIDATION, divide
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError
from firstlight.files import put_in_place, write_whole
from firstlight.locks import alone, has_locks, held, is_held

IN_MEMORY = 1 << 30
"""A set with more bytes of pixels stays on disk."""
Make = Callable[[Path], tuple[Dataset, Sequence[str]]]
"""Takes a working folder and returns the images and the part of each."""

_PIXELS, _ABOUT, _SUMS = "pixels", "about.json", "sha256"
_BLOCK = 1 << 22


class _DamagedError(Exception):
    """A folder of the cache is damaged."""


def kept(shelf: Path, seen: str, name_of: Callable[[], str], make: Make, name: str) -> TrainTest:
    """Return a data set from the cache. It is made if it is not there yet or damaged.

    ``seen`` identifies the source by what can be checked quickly. ``name_of`` computes the name in
    the cache from the whole source; it is called only for a new ``seen``. ``name`` is the data
    set's name.
    """
    cache.bound()  # an invalid size is reported before any work, and every time
    known = shelf / f"seen-{seen}"
    key = _read_key(known)
    if not key or not (shelf / key).is_dir():
        key = name_of()
        if not (shelf / key).is_dir():
            _keep(shelf, key, make)
            cache.make_room()
        write_whole(known, key)
    cache.opened(shelf / key)
    try:
        return _opened(shelf / key, name)
    except _DamagedError as damage:
        _keep(shelf, key, make, again=True)
        note = f"the cached copy of these images was damaged ({damage}) and was made again"
    try:
        train, test = _opened(shelf / key, name)
    except _DamagedError as damage:
        raise DataError(
            f"{shelf / key}: was just written, but reads back damaged: {damage}. The storage is "
            "failing, or another program changes it. Set XDG_CACHE_HOME to another disk"
        ) from damage
    told = replace(train, notes=(*train.notes, note), warnings=(*train.warnings, note))
    return TrainTest(told, test)


def _read_key(known: Path) -> str:
    """Return the recorded name, or an empty text."""
    try:
        key = known.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
    return key if re.fullmatch("[0-9a-f]{40}", key) else ""


def _keep(shelf: Path, key: str, make: Make, *, again: bool = False) -> None:
    """Make, split and write the set. Nothing is left behind on failure.

    With ``again``, an existing set is replaced. Otherwise another process was faster.
    """
    with workplace(shelf, key) as work:
        made, part_of = make(work)
        images, sizes = divide(_told_of_levels(made), part_of)
        with (work / _PIXELS).open("wb") as out:
            for start in range(0, len(images), 256):
                out.write(images.images_NHWC[start : start + 256].tobytes())
        (work / "decoded").unlink(missing_ok=True)
        assert images.groups_N is not None, "divide sets them"
        about = {
            "shape": images.image_shape,
            "class_names": images.class_names,
            "parts": sizes,
            "names": images.names,
            "labels": images.labels_N.tolist()
            if images.labels_NK is None
            else [np.flatnonzero(row_K).tolist() for row_K in images.labels_NK],
            **({"several": True} if images.several else {}),
            "groups": images.groups_N.tolist(),
            "origins": None if images.origins is None else [one.hex() for one in images.origins],
            "notes": images.notes,
            "warnings": images.warnings,
        }
        stored = StoredImages(work / _PIXELS, (len(images), *images.image_shape))
        about["known"] = [_worked_out(part) for part in _data(stored, about, "")]
        (work / _ABOUT).write_text(json.dumps(about))
        sums = [f"{_sum_of(work / name)}  {name}\n" for name in (_PIXELS, _ABOUT)]
        (work / _SUMS).write_text("".join(sums))
        target, old = shelf / key, work.with_name(f"{work.name}.old")
        if again and target.exists():
            target.rename(old)
        try:
            put_in_place(work, target)
        except OSError:
            if not target.is_dir():
                raise
        shutil.rmtree(old, ignore_errors=True)


def _opened(folder: Path, name: str) -> TrainTest:
    """Check a folder's checksums and open it. Raises ``_DamagedError``."""
    try:
        lines = (folder / _SUMS).read_text(encoding="ascii").splitlines()
        sums = {file: digest for digest, _, file in (line.partition("  ") for line in lines)}
        blob = (folder / _ABOUT).read_bytes()
        _compare(_ABOUT, hashlib.sha256(blob).hexdigest(), sums)
        about: dict[str, Any] = json.loads(blob)
        shape = (len(about["labels"]), *about["shape"])
        stored: UInt8Array | StoredImages
        if np.prod(shape, dtype=np.int64) <= IN_MEMORY:
            stored = np.fromfile(folder / _PIXELS, np.uint8)
            _compare(_PIXELS, hashlib.sha256(stored.data).hexdigest(), sums)
            stored = stored.reshape(shape)
        else:
            _compare(_PIXELS, _sum_of(folder / _PIXELS), sums)
            stored = StoredImages(folder / _PIXELS, shape)
        return _data(stored, about, name)
    except OSError as error:
        raise _DamagedError(f"{Path(error.filename or folder).name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _DamagedError(str(error)) from error


def _compare(file: str, digest: str, sums: dict[str, str]) -> None:
    if sums.get(file) != digest:
        raise _DamagedError(f"{file} differs from what was written")


def _sum_of(file: Path) -> str:
    """Return the SHA-256 (hex) of a file, at about 1.5 GB per second."""
    digest = hashlib.sha256()
    with file.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _told_of_levels(images: Dataset) -> Dataset:
    """Add a note if all images are nearly black."""
    note = dark_note(int(np.flatnonzero(images.level_counts.any(axis=0)).max()))
    if not note:
        return images
    return replace(images, notes=(*images.notes, note), warnings=(*images.warnings, note))


@contextmanager
def workplace(shelf: Path, key: str) -> Iterator[Path]:
    """Create a working folder and remove it afterwards. Folders of killed processes are removed
    first.

    A process holds a lock next to its folder, which the system releases when the process ends in
    any way. On a file system without locks, nothing is removed first.
    """
    work = shelf / f".{key}.{os.getpid()}"
    with ExitStack() as lock:
        with alone(shelf / ".lock"):  # else another process might remove the folder before its lock
            if has_locks(shelf):
                for left in shelf.glob(".*.*"):
                    _clear(left)
            lock.enter_context(held(_lock_of(work), passing=True))
            work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _lock_of(work: Path) -> Path:
    return work.with_name(f"{work.name}.lock")


def _clear(left: Path) -> None:
    """Remove a folder that no process uses, or the lock of a folder that is gone."""
    if left.is_dir():
        if not is_held(_lock_of(left)):
            shutil.rmtree(left, ignore_errors=True)
    elif left.suffix == ".lock" and not is_held(left):
        with suppress(OSError):
            left.unlink()


def _worked_out(part: Dataset) -> dict[str, Any]:
    return Known(
        fingerprint=part.fingerprint,
        content_order=part.content_order.tolist(),
        level_counts=part.level_counts.tolist(),
        pictures=part.pictures,
    )._asdict()


def _rows(labels: Sequence[Sequence[int]], classes: int) -> npt.NDArray[np.bool_]:
    """Return bool N×K from the numbers of each image's labels."""
    labels_NK = np.zeros((len(labels), classes), dtype=bool)
    for row_K, numbers in zip(labels_NK, labels, strict=True):
        row_K[numbers] = True
    return labels_NK


def _data(images_NHWC: UInt8Array | StoredImages, about: dict[str, Any], name: str) -> TrainTest:
    """Return both parts of the images: views of an array, or images that stay on disk."""
    several, count = about.get("several", False), len(about["labels"])
    labels_N = np.array([] if several else about["labels"], dtype=np.int64)
    labels_NK = _rows(about["labels"], len(about["class_names"])) if several else None
    train, validation = about["parts"][TRAIN], about["parts"][VALIDATION]
    known, origins = about.get("known"), about["origins"]

    def part(which: str, rows: slice) -> Dataset:
        numbers_N = np.arange(count)[rows]
        on_disk = isinstance(images_NHWC, StoredImages)
        images = images_NHWC.take(numbers_N) if on_disk else images_NHWC[rows]
        return Dataset(
            name=f"{name}/{which}",
            images_NHWC=cast(UInt8Array, images),
            labels_N=labels_N if several else labels_N[rows],
            labels_NK=None if labels_NK is None else labels_NK[rows],
            class_names=tuple(about["class_names"]),
            names=None if about["names"] is None else tuple(about["names"][rows]),
            groups_N=np.array(about["groups"][rows], dtype=np.int64),
            origins=None if origins is None else tuple(map(bytes.fromhex, origins[rows])),
            held_out_N=numbers_N >= train if which == TRAIN and validation else None,
            notes=tuple(about["notes"]) if which == TRAIN else (),
            warnings=tuple(about["warnings"]) if which == TRAIN else (),
            known=Known(**known[(TRAIN, TEST).index(which)]) if known else None,
        )

    learnt = train + validation
    return TrainTest(part(TRAIN, slice(0, learnt)), part(TEST, slice(learnt, None)))
