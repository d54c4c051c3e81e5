"""Check whether a file of answers has changed since it was written.

The hidden file ``.NAME.sha256`` next to it has its checksum, in the format of ``sha256sum``. It is
written first, so that a complete file always has its checksum.
"""

import hashlib
from pathlib import Path

from firstlight.errors import DataError


def sum_file(name: str) -> str:
    """Return the name of the checksum file of ``name``."""
    return f".{name}.sha256"


def sum_line(name: str, content: bytes) -> str:
    """Return the content of the checksum file."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits. Raises ``DataError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def is_as_written(path: Path) -> bool:
    """Whether the file matches the checksum beside it. Raises ``DataError`` if the file cannot be
    read."""
    found = f"{sha256(path)}  {path.name}\n".encode()
    try:
        return (path.parent / sum_file(path.name)).read_bytes() == found
    except OSError:
        return False
