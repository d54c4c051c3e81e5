"""The container of a Keras 3 model: a zip of JSON and of weights in HDF5, read within limits.

Nothing in it is executed.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from firstlight.errors import DataError, UserError
from firstlight.plain import read_json

if TYPE_CHECKING:
    import h5py

Float32Array = npt.NDArray[np.float32]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
"""The members of a file."""
MOST_BYTES = {METADATA: 1 << 20, CONFIG: 2 << 20, WEIGHTS: 1 << 29}
"""Most bytes of each member, unpacked."""


def members(path: Path, source: Path | IO[bytes]) -> dict[str, bytes]:
    """Return the members of the zip, each read no further than its limit.

    Raises ``DataError`` for anything but such a zip, and ``UserError`` if there is no file.
    """
    found = {}
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            if sorted(names) != sorted(MOST_BYTES):
                raise DataError(
                    f"{path}: wanted a zip of {', '.join(MOST_BYTES)}, as Keras 3 writes it, got "
                    f"{', '.join(names[:5]) or 'nothing'}"
                )
            for name, most in MOST_BYTES.items():
                with archive.open(name) as member:
                    found[name] = member.read(most + 1)
                if len(found[name]) > most:
                    raise DataError(f"{path}: {name} is larger than {most:,} bytes")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: not a .keras file, or a damaged one ({error}). Keras 3 writes one with "
            'model.save("NAME.keras")'
        ) from error
    return found


def json_object(path: Path, name: str, content: bytes) -> dict[str, Any]:
    """Parse a member's JSON object. Raises ``DataError`` if it is not valid."""
    try:
        values = read_json(content)
    except ValueError as error:
        raise DataError(f"{path}: {name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: {name} is not a JSON object")
    return values


class GroupNames:
    """The names of Keras's weight groups: a layer's class, numbered if there are several."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def next(self, kind: str) -> str:
        """Return the group of the next layer of a class, such as ``layers/conv2d_1/vars``."""
        snake = snake_case(kind)
        count = self._used.get(snake, 0)
        self._used[snake] = count + 1
        return f"layers/{snake}{f'_{count}' if count else ''}/vars"


def snake_case(kind: str) -> str:
    """Return a class's name as Keras writes it in paths: ``max_pooling2d``, ``leaky_re_lu``."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


class Arrays:
    """The weights in an open file."""

    def __init__(self, path: Path, file: "h5py.File") -> None:
        self._path, self._file = path, file

    def read(self, name: str, shape: tuple[int, ...]) -> Float32Array:
        """Read one array of the file itself, with the shape that the layer expects.

        Raises ``DataError`` for a link to another file, a different shape, or numbers that are not
        finite.
        """
        try:
            return _array(self._file, name, shape)
        except _DAMAGE as error:
            raise DataError(f"{self._path}: {WEIGHTS} is damaged: {error}") from error


_DAMAGE = (OSError, RuntimeError, LookupError, TypeError, AttributeError, ValueError)


@contextmanager
def weights(path: Path, content: bytes) -> Iterator[Arrays]:
    """Open the weights from a member's bytes. Raises ``DataError`` if they are not HDF5."""
    import h5py

    try:
        file = h5py.File(io.BytesIO(content), "r")
    except _DAMAGE as error:
        raise DataError(f"{path}: {WEIGHTS} is damaged: {error}") from error
    with file:
        yield Arrays(path, file)


def _array(file: "h5py.File", name: str, shape: tuple[int, ...]) -> Float32Array:
    import h5py

    at: Any = file
    for part in name.split("/"):
        if not isinstance(at, h5py.Group) or not isinstance(
            at.get(part, getlink=True), h5py.HardLink
        ):
            raise ValueError(f"{name} is a link to another file, or missing")
        at = at[part]
    if not isinstance(at, h5py.Dataset) or at.external or at.is_virtual:
        raise ValueError(f"{name} is not an array of this file")
    if at.dtype != np.float32 or at.shape != shape:
        raise ValueError(f"{name} is {at.dtype} of shape {at.shape}, wanted float32 of {shape}")
    if at.size * 4 > MOST_BYTES[WEIGHTS]:
        raise ValueError(f"{name} is larger than {MOST_BYTES[WEIGHTS]:,} bytes")
    array: Float32Array = at[...]
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array
