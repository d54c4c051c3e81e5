"""Read a folder of IDX files, as published with MNIST and as torchvision keeps it (``MNIST/raw``).

Axes: N images, H height, W width, C channels.
"""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from firstlight.data.arrays import PLAIN, ArrayForm, ArrayPart, dataset_of
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset, UInt8Array
from firstlight.data.idx import read_any
from firstlight.data.packed import TIMES, UNPACKED
from firstlight.data.split import TEST, TRAIN, VALIDATION, part_in_name
from firstlight.errors import DataError

_NAME = re.compile(r"(.*?)[-_.]?(images|labels)[-.]idx[13][-.]ubyte(\.gz)?", re.IGNORECASE)


class _Pair(NamedTuple):
    """The files with a part's images and labels."""

    stem: str
    part: str
    images: Path
    labels: Path


def idx_files(folder: Path) -> list[Path]:
    """Return the sorted IDX files of a folder, or of the folder ``raw`` in it."""
    for place in (folder, folder / "raw"):
        try:
            found = sorted(path for path in place.iterdir() if _NAME.fullmatch(path.name))
        except OSError:
            continue
        if found:
            return found
    return []


def read_idx_folder(folder: Path, form: ArrayForm = PLAIN) -> tuple[Dataset, list[str]]:
    """Read the images of IDX files, and the part of each, empty without parts.

    Files are ``NAME-images-idx3-ubyte`` and ``NAME-labels-idx1-ubyte``, plain or gzip. ``NAME`` is
    the part (``train``, ``t10k``). Raises ``DataError``.
    """
    pairs = _pairs(folder)
    order = ("", TRAIN, VALIDATION, TEST)
    parts, warnings, sums = [], list[str](), dict[str, str]()
    for pair in sorted(pairs, key=lambda one: order.index(one.part)):
        images_NHW = _bounded(pair.images, 3, "images")
        labels_N = _bounded(pair.labels, 1, "labels")
        sums[pair.part] = hashlib.sha256(images_NHW.tobytes()).hexdigest()
        if "emnist" in pair.stem.lower():
            images_NHW = images_NHW.transpose(0, 2, 1)
            warnings.append(
                f"{pair.images.name}: EMNIST's images are stored on their side; turned upright"
            )
        parts.append(
            ArrayPart(
                part=pair.part,
                images=images_NHW,
                labels=labels_N.astype(int),
                images_name=str(pair.images),
                labels_name=str(pair.labels),
            )
        )
    known = [
        f"these are the images of {name}. firstlight train {name} uses a recipe made for them"
        for name, entry in CATALOG.items()
        if entry.content is not None and sums.get(TRAIN) == entry.content.train_images
    ]
    data, part_of = dataset_of(parts, form, str(folder))
    notes = (*data.notes, *warnings, *known)
    return replace(data, notes=notes, warnings=(*data.warnings, *warnings)), part_of


def _pairs(folder: Path) -> list[_Pair]:
    """Return the pair of each part. Raises ``DataError`` if a file lacks its counterpart, or if the
    files belong to several data sets."""
    found: dict[str, dict[str, Path]] = {}
    for path in idx_files(folder):
        match = _NAME.fullmatch(path.name)
        assert match is not None, "idx_files has checked this"
        pair, kind = found.setdefault(match[1], {}), match[2].lower()
        if kind not in pair or not path.name.endswith(".gz"):  # unpacked beside packed
            pair[kind] = path
    pairs = []
    for stem, pair in found.items():
        if len(pair) < 2:
            there = next(iter(pair.values()))
            other = "labels" if "images" in pair else "images"
            raise DataError(f"{there}: wanted its {other} next to it, as {stem}-{other}-idx…-ubyte")
        part = TEST if stem.lower().endswith("t10k") else part_in_name(stem).part
        pairs.append(_Pair(stem, part, pair["images"], pair["labels"]))
    parts = [pair.part for pair in pairs]
    if len(set(parts)) < len(parts) or ("" in parts and len(parts) > 1) or parts == [TEST]:
        raise DataError(
            f"{folder}: wanted the IDX files of one data set, train-images, train-labels and "
            f"perhaps t10k-images, t10k-labels; got {', '.join(sorted(found)[:8])}. Put the "
            "files of one data set into their own folder"
        )
    return pairs


def _bounded(path: Path, axes: int, what: str) -> UInt8Array:
    try:
        most = max(UNPACKED, TIMES * path.stat().st_size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return read_any(path, axes, what, most)
