"""Decompression of a request's body, up to a limit."""

import zlib

from firstlight.serve.limits import RefusedError, too_large

WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's ``wbits`` for each coding. HTTP's "deflate" is the format with zlib's header."""
MEMBERS = 64
"""Most members of a gzip body, which may be several concatenated. Each costs a copy of the rest."""


def unpacker(coding: str) -> "Unpacker | None":
    """Return the decompressor for a ``Content-Encoding`` header; None if the body is not
    compressed.

    Raises ``RefusedError`` 415 for an unsupported coding.
    """
    name = coding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in WINDOW:
        raise RefusedError(
            status=415,
            message="Content-Encoding: wanted gzip, deflate or none",
            headers={"Accept-Encoding": "gzip, deflate", "Connection": "close"},
        )
    return Unpacker(name)


class Unpacker:
    """Decompresses one body, chunk by chunk."""

    def __init__(self, coding: str) -> None:
        self._coding, self._stream = coding, zlib.decompressobj(WINDOW[coding])
        self._left = MEMBERS if coding != "deflate" else 1

    def unpack(self, piece: bytes, most: int, *, last: bool) -> bytes:
        """Decompress a chunk. Raises ``RefusedError`` 413 for more than ``most`` bytes, and 400 if
        the body is damaged or, at its ``last`` chunk, truncated."""
        found = bytearray()
        try:
            while piece:
                if self._stream.eof:
                    self._left -= 1
                    if self._left <= 0:
                        raise self._damaged("data follows after its end")
                    self._stream = zlib.decompressobj(WINDOW[self._coding])
                found += self._stream.decompress(piece, most + 1 - len(found))
                if len(found) > most:
                    raise too_large(most)
                piece = self._stream.unused_data
        except zlib.error as error:
            raise self._damaged("it cannot be unpacked") from error
        if last and not self._stream.eof:
            raise self._damaged("it is truncated")
        return bytes(found)

    def _damaged(self, what: str) -> RefusedError:
        return RefusedError(
            status=400,
            message=f"Content-Encoding is {self._coding}, but the body does not match: {what}",
            headers={"Connection": "close"},
        )
