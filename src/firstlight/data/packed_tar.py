"""Read a tar compressed with gzip or bzip2 once, member after member.

Nothing in it is trusted: the unpacked bytes are counted, and the length of headers is limited.
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
"""The largest read in bytes. A longer header contains no name."""
UNREADABLE: tuple[type[Exception], ...] = (
    *(tarfile.TarError, EOFError, OSError, ValueError, OverflowError),
)


class TooMuchError(Exception):
    """The archive unpacks to more than is allowed."""


def is_packed_tar(path: Path) -> bool:
    """Return whether a file is a compressed tar, by its name and its first bytes."""
    if not path.name.lower().endswith(PACKED_TARS):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError:
        return False
    return start[:2] == b"\x1f\x8b" or start == b"BZh"


def tar_files(path: Path, most: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and content of each file. Read the content before you ask for the next.

    Raises ``DataError`` for links and devices, ``TooMuchError`` beyond ``most`` bytes, and one of
    ``UNREADABLE`` for a damaged archive.
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
                # tarfile treats a damaged or missing header as the end.
                counted.seek(tar.offset)
                if counted.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError("it is truncated")
                while counted.read(1 << 20):  # the checksum is at the very end
                    pass


class _Counted:
    """The stream that tarfile reads from, within limits."""

    def __init__(self, packed: gzip.GzipFile | bz2.BZ2File, most: int) -> None:
        self._packed, self._most = packed, most

    def read(self, size: int) -> bytes:
        """Read this many bytes, or those that are left."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        content = self._packed.read(size)
        self._check()
        return content

    def seek(self, place: int) -> int:
        """Skip to a position."""
        if place > self._most:
            raise TooMuchError
        return self._packed.seek(place)

    def tell(self) -> int:
        """Return the number of bytes so far."""
        return self._packed.tell()

    def _check(self) -> None:
        if self.tell() > self._most:
            raise TooMuchError
