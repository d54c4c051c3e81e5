"""Named sets in MNIST's format: one file for the images and one for the labels of each part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from firstlight.data import idx
from firstlight.data.entry import TRAIN, Arrays, Entry, FileFormat, RemoteFile, Source
from firstlight.errors import DataError
from firstlight.files import is_file

_NPZ_BYTES = 70_000 * (28 * 28 + 1) + 4096


@dataclass(frozen=True)
class IdxFiles(FileFormat):
    """The format of an entry with four files: images and labels of the training part, then of the
    test part."""

    archives: ClassVar[int] = 4

    keras: str = ""
    """The name of Keras's file with all four arrays, if it has one."""
    label_columns: int = 0
    """How many numbers the label files have for each image, the class first. 0 for files like
    MNIST's, with a byte per image."""

    def sources(self, entry: Entry, place: Path, wanted: Sequence[str]) -> Iterator[Source]:
        for folder in entry.folders(place):
            found = {
                file.name: path
                for part in wanted
                for file in _files(entry, part)
                if (path := idx_path(folder, file.name)) is not None
            }
            if len(found) == 2 * len(wanted):
                md5s = {file.name: file.md5 for file in entry.files}
                as_published = all(path.name == name for name, path in found.items())
                published = tuple((path, md5s[name]) for name, path in found.items())
                yield Source(
                    folder,
                    partial(self._read, entry, found, wanted),
                    published if as_published else (),
                )
        if self.keras and is_file(place / self.keras):
            yield Source(place / self.keras, partial(_read_npz, place / self.keras, wanted))

    def _read(
        self, entry: Entry, found: dict[str, Path], wanted: Sequence[str]
    ) -> dict[str, Arrays]:
        height, width, _ = entry.image_shape
        classes, read = len(entry.class_names), {}
        for part in wanted:
            images, labels = (found[file.name] for file in _files(entry, part))
            count = entry.count(part)
            images_NHWC = idx.read_images(images, (height, width), count)
            if self.label_columns:
                shape = (count, self.label_columns)
                labels_N = idx.read_first_column(labels, classes, shape)
            else:
                labels_N = idx.read_labels(labels, classes, count)
            read[part] = images_NHWC, labels_N
        return read


def idx_path(folder: Path, name: str) -> Path | None:
    """Find the file under one of its names: packed or not, with a dot or a dash."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    for candidate in (name, f"{dotted}.gz", plain, dotted):
        if is_file(folder / candidate):
            return folder / candidate
    return None


def _files(entry: Entry, part: str) -> Sequence[RemoteFile]:
    """Return the files with a part's images and labels."""
    return entry.files[:2] if part == TRAIN else entry.files[2:]


def _read_npz(path: Path, wanted: Sequence[str]) -> dict[str, Arrays]:
    """Read Keras's ``mnist.npz``. Pickles inside are refused."""
    from firstlight.data.packed import named_arrays

    try:
        keys = [key for part in wanted for key in (f"x_{part}", f"y_{part}")]
        arrays = named_arrays(path, keys, _NPZ_BYTES)
    except DataError as error:
        raise DataError(
            f"{error}. It is not the mnist.npz of Keras. Remove it, or fetch the data set next "
            "to it with: firstlight data fetch mnist"
        ) from error
    for key, array in arrays.items():
        shape = (28, 28) if key.startswith("x") else ()
        if array.dtype != np.uint8 or array.ndim == 0 or array.shape[1:] != shape:
            raise DataError(
                f"{path}: wanted uint8 images N×28×28 and labels N, got {array.dtype} of shape "
                f"{array.shape}"
            )
    return {p: (arrays[f"x_{p}"][..., None], arrays[f"y_{p}"].astype(np.int64)) for p in wanted}
