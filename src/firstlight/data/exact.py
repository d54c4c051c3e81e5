"""Read files with a known length and known labels."""

import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Int64Array
from firstlight.errors import DataError
from firstlight.files import make_folder, write_whole


def read_exactly(path: Path, size: int, what: str) -> bytes:
    """Read a file that must have this size; ``what`` describes its content. Raises
    ``DataError``."""
    try:
        have = path.stat().st_size
        if have != size:
            how = "cut short" if have < size else "too long"
            raise DataError(f"{path}: {how}: wanted {size:,} bytes ({what}), got {have:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def tar_members(archive: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of these files in a ``.tar.gz``, in any of its folders. Other members are
    ignored. ``sizes`` are the files' sizes in bytes.

    Raises ``DataError`` for a file that is missing or has another size, and for a damaged archive.
    """
    left = dict(sizes)
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = Path(member.name).name
                if not member.isfile() or name not in left:
                    continue
                if member.size != left.pop(name):
                    raise DataError(
                        f"{archive}: {name} in it is {member.size:,} bytes long, "
                        f"wanted {sizes[name]:,}"
                    )
                file = members.extractfile(member)
                assert file is not None, "regular files can be read"
                yield name, file.read()
                if not left:
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: damaged archive: {error}. Fetch it again") from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error}") from error
    raise DataError(f"{archive}: the archive lacks {', '.join(left)}")


def unpack(archive: Path, folder: Path, sizes: Mapping[str, int]) -> None:
    """Unpack these files of the archive into ``folder``, each through a temporary name."""
    try:
        make_folder(folder)
        for name, blob in tar_members(archive, sizes):
            write_whole(folder / name, blob)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written: {error.strerror}. Free some disk space"
        ) from error


def from_zero(labels_N: npt.NDArray[Any], known: range, name: object) -> Int64Array:
    """Return the labels counted from 0. Raises ``DataError``, whose message begins with ``name``,
    for a label that is not ``known``."""
    wrong_N = np.flatnonzero(~np.isin(labels_N, np.array(known)))
    if len(wrong_N):
        place = int(wrong_N[0])
        raise DataError(
            f"{name}: label {labels_N[place]} at place {place}; "
            f"labels must be {known.start} to {known.stop - 1}"
        )
    return labels_N.astype(np.int64) - known.start
