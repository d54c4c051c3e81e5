"""Whether a file of answers is as it was written.

The hidden file ``.NAME.sha256`` beside it holds its sum, as ``sha256sum`` writes it. It is written
first, so that no whole file is ever without its sum.
"""

import hashlib
from pathlib import Path

from firstlight.errors import DataError


def sum_file(name: str) -> str:
    """The name of the file that holds the sum of the file ``name``."""
    return f".{name}.sha256"


def sum_line(name: str, content: bytes) -> str:
    """What the file of the sum holds."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def sha256(path: Path) -> str:
    """Of a file's content, as hex digits. Raises ``DataError`` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def is_as_written(path: Path) -> bool:
    """Whether the file has the content whose sum lies beside it. Raises ``DataError`` where the
    file cannot be read."""
    found = f"{sha256(path)}  {path.name}\n".encode()
    try:
        return (path.parent / sum_file(path.name)).read_bytes() == found
    except OSError:
        return False
