"""Fetch published files over HTTPS, from several mirrors; resume and verify them.

A file with its final name is complete and has its published checksum. Until then it is named
``.NAME.part`` and protected by a lock, which the system releases when the process ends.
"""

import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from firstlight.data.entry import RemoteFile
from firstlight.errors import DataError, UnreachableError
from firstlight.files import make_folder, put_in_place, write_whole
from firstlight.locks import alone

Report = Callable[[str, int, int | None], None]
"""Called while a file grows, with its name, the bytes so far, and the total bytes."""

TIMEOUT_SECONDS = 30.0
_CHUNK = 1 << 18


class _RefusedError(Exception):
    """One address did not send the file; the message says why."""


def fetch(
    file: RemoteFile,
    folder: Path,
    report: Report | None = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
    schemes: tuple[str, ...] = ("https",),
) -> Path:
    """Fetch a file into ``folder`` from the first address that sends it, and verify it.

    ``timeout`` (seconds) limits each wait for the server. Raises ``UnreachableError``, which gives
    the reason for each address, and ``DataError`` if the file cannot be written.
    """
    target = folder / file.name
    with only_one(folder, file.name):
        if target.is_file() and md5_of(target) == file.md5:  # another process was faster
            return target
        part = folder / f".{file.name}.part"
        reasons = []
        for url in file.urls:
            try:
                _fetch_from(url, file, part, report, timeout, schemes)
            except _RefusedError as reason:
                reasons.append(f"  {url}: {reason}")
                continue
            try:
                put_in_place(part, target)
            except OSError as error:
                raise DataError(_cannot_write(folder, error)) from error
            return target
    raise UnreachableError(f"{file.name} could not be fetched:\n" + "\n".join(reasons))


def _fetch_from(
    url: str,
    file: RemoteFile,
    part: Path,
    report: Report | None,
    timeout: float,
    schemes: tuple[str, ...],
) -> None:
    """Complete and verify ``part`` from one address. A wrong part is fetched again."""
    while True:
        resumed = part.exists() and part.stat().st_size > 0
        if not (resumed and part.stat().st_size == file.size):
            _pull(url, file, part, report, timeout, schemes)
        have = md5_of(part)
        if have == file.md5:
            return
        part.unlink()
        if not resumed:
            raise _RefusedError(f"sent different data: wanted md5 {file.md5}, got {have}")


def _pull(
    url: str,
    file: RemoteFile,
    part: Path,
    report: Report | None,
    timeout: float,
    schemes: tuple[str, ...],
) -> None:
    """Append to ``part`` what is missing. After a failure, what has arrived stays."""
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with _opened(url, headers, part, timeout, schemes) as answer:
        if have and answer.status != 206:  # the server starts over
            have = 0
        have = _append(answer, part, have, file.size, _named(report, file.name))
    if have < file.size:
        raise _RefusedError(f"stopped after {have:,} of {file.size:,} bytes")


def fetch_any(
    url: str,
    part: Path,
    report: Report | None = None,
    *,
    name: str,
    timeout: float = TIMEOUT_SECONDS,
    schemes: tuple[str, ...] = ("https",),
) -> None:
    """Complete ``part`` from an address without a known size or checksum; ``report`` gets ``name``.
    A partial file is continued if the server says that the file has not changed.

    Raises ``UnreachableError`` if the address does not send the file, and ``DataError`` if it
    cannot be written.
    """
    mark = part.with_name(f"{part.name}.etag")
    try:
        have, etag = _left_of(part, mark)
        headers = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
        with _opened(url, headers, part, timeout, schemes) as answer:
            if have and answer.status != 206:  # a different file, or the server starts over
                have = 0
            length = answer.headers.get("Content-Length")
            size = have + int(length) if length is not None and length.isdecimal() else None
            etag = answer.headers.get("ETag") or ""
            if not have and etag.startswith('"'):
                write_whole(mark, etag)
            have = _append(answer, part, have, size, _named(report, name))
        if size is not None and have < size:
            raise _RefusedError(
                f"stopped after {have:,} of {size:,} bytes; run the same again to continue"
            )
    except _RefusedError as reason:
        raise UnreachableError(
            f"{url}: could not be fetched: {reason}. Check the address and the connection"
        ) from reason
    except OSError as error:
        raise DataError(_cannot_write(part.parent, error)) from error
    mark.unlink(missing_ok=True)


def _left_of(part: Path, mark: Path) -> tuple[int, str]:
    """Return the bytes of the partial file and the server's tag for it; 0 without a tag."""
    try:
        return part.stat().st_size, mark.read_text(encoding="utf-8")
    except (OSError, ValueError):
        part.unlink(missing_ok=True)
        return 0, ""


@contextmanager
def _opened(
    url: str, headers: dict[str, str], part: Path, timeout: float, schemes: tuple[str, ...]
) -> Iterator[http.client.HTTPResponse]:
    """Return the response of an address. Raises ``_RefusedError``. ``part`` is removed if it does
    not belong to this file."""
    headers = {"User-Agent": "firstlight", "Accept-Encoding": "identity", **headers}
    opener = urllib.request.build_opener(_SafeRedirects(schemes))
    try:
        if url.partition(":")[0] not in schemes:
            raise _RefusedError(f"only {' or '.join(schemes)} is allowed")
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing left to send: the part does not belong to this file
            part.unlink(missing_ok=True)
        raise _RefusedError(f"answered {error.code} {error.reason}") from error
    except (http.client.HTTPException, urllib.error.URLError, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            raise _RefusedError(f"no response for {timeout:g} s") from error
        raise _RefusedError(str(reason) or type(reason).__name__) from error


def _named(report: Report | None, name: str) -> Callable[[int, int | None], None]:
    def told(have: int, size: int | None) -> None:
        if report is not None:
            report(name, have, size)

    return told


def _append(
    answer: IO[bytes],
    part: Path,
    have: int,
    size: int | None,
    told: Callable[[int, int | None], None],
) -> int:
    """Write the response after the first ``have`` bytes; return the new size."""
    try:
        out = part.open("r+b" if have else "wb")
    except OSError as error:
        raise DataError(_cannot_write(part.parent, error)) from error
    with out:
        out.seek(have)
        while chunk := answer.read(_CHUNK):
            try:
                out.write(chunk)
                out.flush()
            except OSError as error:
                raise DataError(_cannot_write(part.parent, error)) from error
            have += len(chunk)
            told(have, size)
            if size is not None and have > size:
                out.close()
                part.unlink()
                raise _RefusedError(f"sent more than the {size:,} bytes of the file")
    return have


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow a redirect only to an allowed scheme."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if newurl.partition(":")[0] not in self._schemes:
            raise _RefusedError(f"redirects to {newurl}, which is not {self._schemes[0]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def only_one(folder: Path, name: str) -> Iterator[None]:
    """Create ``folder`` and wait until no other process fetches ``name`` into it.

    Some network file systems have no locks. There, two processes may fetch at once, and each
    verifies the result.
    """
    with contextlib.ExitStack() as lock:
        try:
            make_folder(folder)
            lock.enter_context(alone(folder / f".{name}.lock"))
        except OSError as error:
            raise DataError(_cannot_write(folder, error)) from error
        yield


def md5_of(path: Path) -> str:
    """Return the MD5 of a whole file in hex. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _new_md5).hexdigest()


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _cannot_write(folder: Path, error: OSError) -> str:
    return (
        f"{folder}: cannot be written: {error.strerror}. Free some disk space, or choose another "
        "folder with --data-dir"
    )
