"""A tar that gzip or bzip2 packed, gone through once, member after member.

Nothing of it is trusted: what it unpacks to is counted, and no header may be longer than names are.
"""

import bz2
import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from firstlight.errors import DataError
from firstlight.untrusted import one_line

PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
_MOST_AT_ONCE = 16 << 20
"""Bytes that are read at once: a header that is longer holds no name."""
UNREADABLE: tuple[type[Exception], ...] = (
    *(tarfile.TarError, EOFError, OSError, ValueError, OverflowError),
)


class TooMuchError(Exception):
    """It unpacks to more than it may."""


def is_packed_tar(path: Path) -> bool:
    """Whether a file is one, by its name and its first bytes."""
    if not path.name.lower().endswith(PACKED_TARS):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError:
        return False
    return start[:2] == b"\x1f\x8b" or start == b"BZh"


def tar_files(path: Path, most: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in it; the content is to be read before the next is asked for.

    Raises ``DataError`` for links and devices, ``TooMuchError`` beyond ``most`` bytes, and one of
    ``UNREADABLE`` where it is damaged.
    """
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if is_gzip else bz2.BZ2File(file) as packed:
            counted = _Counted(packed, most)
            with tarfile.open(fileobj=cast(BinaryIO, counted), mode="r:") as tar:
                while (one := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]
                    if one.isdir():
                        continue
                    if not one.isreg() or one.issparse():
                        raise DataError(
                            f"{path}: {one_line(one.name)} is not a regular file. Unpack the "
                            "archive yourself"
                        )
                    content = tar.extractfile(one)
                    assert content is not None, "a regular file"
                    yield one.name, content
                # tarfile takes a damaged or missing header for the end.
                counted.seek(tar.offset)
                if counted.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it is truncated")
                while counted.read(1 << 20):  # its checksum is at the very end
                    pass


class _Counted:
    """What tarfile reads from, within bounds."""

    def __init__(self, packed: gzip.GzipFile | bz2.BZ2File, most: int) -> None:
        self._packed, self._most = packed, most

    def read(self, size: int) -> bytes:
        """So many bytes, or those that are left."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        content = self._packed.read(size)
        self._check()
        return content

    def seek(self, place: int) -> int:
        """Go on to a place."""
        if place > self._most:
            raise TooMuchError
        return self._packed.seek(place)

    def tell(self) -> int:
        """The bytes so far."""
        return self._packed.tell()

    def _check(self) -> None:
        if self.tell() > self._most:
            raise TooMuchError
