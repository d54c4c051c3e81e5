"""An archive of class folders at an address, ``https://HOST/NAME.tgz``. It is fetched once,
unpacked into the cache, and identified by its SHA-256 from then on.

``ADDRESS#sha256=HEX`` (or ``#md5=HEX``) pins the content, in pip's notation.
"""

import hashlib
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from firstlight.data.archive import ENDINGS, archive_name, list_unpacked, opened, place_of, unpacked
from firstlight.data.download import Report, fetch_any, only_one
from firstlight.data.listing import Listing
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.files import cache_folder, write_whole

_SCHEMES = ("https", "http")
_SUM = re.compile(r"(sha256|md5)=([0-9a-fA-F]+)")
_LENGTHS = {"sha256": 64, "md5": 32}


@dataclass(frozen=True, kw_only=True)
class ArchiveAddress:
    """The address of an archive, and its expected checksum."""

    url: str
    kind: str = ""
    """``sha256`` or ``md5``; empty if any content is accepted."""
    wanted: str = ""
    """The checksum in hex."""

    def __str__(self) -> str:
        return f"{self.url}#{self.kind}={self.wanted}" if self.kind else self.url

    @property
    def file(self) -> str:
        """The name of the archive."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]

    @property
    def name(self) -> str:
        """The same without its extension."""
        return archive_name(self.file)


class _Known(NamedTuple):
    """What was last fetched from an address."""

    sha256: str
    md5: str
    fetched: str


def is_archive_address(word: str | Path) -> bool:
    """Return whether a word is the address of an archive."""
    parts = urlsplit(_text(word))
    return parts.scheme in _SCHEMES and parts.path.lower().endswith(ENDINGS)


def archive_address(word: str | Path) -> ArchiveAddress:
    """Parse an address. Raises ``UserError`` for a badly written checksum."""
    url, mark, fragment = _text(word).partition("#")
    if not mark:
        return ArchiveAddress(url=url)
    found = _SUM.fullmatch(fragment)
    if found is None or len(found[2]) != _LENGTHS[found[1]]:
        raise UserError(
            f"{url}: wanted #sha256= with 64 hex digits, or #md5= with 32, after the address; "
            f"got #{fragment[:80]}"
        )
    return ArchiveAddress(url=url, kind=found[1], wanted=found[2].lower())


def _text(word: str | Path) -> str:
    """Return an address as text, also if a ``Path`` changed its slashes."""
    found = re.match(r"(https?):[/\\]+(.*)", str(word))
    return str(word) if found is None else f"{found[1]}://{found[2].replace(chr(92), '/')}"


@dataclass(frozen=True, kw_only=True)
class FetchedArchive:
    """An archive that was fetched and unpacked."""

    address: ArchiveAddress
    """The address with the SHA-256 of the archive."""
    folder: Path
    fetched: str
    """The day it was fetched."""
    notes: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Where the archive came from, as text."""
        return f"from {self.address.url}, fetched on {self.fetched}"


def fetched_archive(
    word: str | Path, *, connect: bool = True, report: Report | None = None
) -> FetchedArchive:
    """Return the unpacked archive of an address. It is fetched if it is not on this machine yet.

    Without ``connect``, no connection is made. Raises ``UserError`` for a badly written address,
    ``UnreachableError`` if the archive is not on this machine and cannot be fetched, and
    ``DataError`` if the content has the wrong checksum or ``unpacked`` refuses it.
    """
    address = archive_address(word)
    place = _place(address)
    found = _here(address, _read(place))
    if found is not None:
        return found
    if not connect:
        raise UnreachableError(f"{address.url} is not on this machine")
    with only_one(place.parent, place.name):
        found = _here(address, _read(place))  # another process was faster
        return _fetch(address, place, report) if found is None else found


def pinned(word: str | Path) -> str:
    """Return the address with the SHA-256 of the copy on this machine; unchanged if there is
    none."""
    address = archive_address(word)
    found = _here(address, _read(_place(address)))
    return str(address if found is None else found.address)


def list_archive_at(word: str | Path, *, least: int = 2) -> Listing:
    """List the pictures of an archive at an address as ``list_folder`` does. Raises what
    ``fetched_archive`` raises."""
    found = fetched_archive(word)
    listing = list_unpacked(found.folder, found.address.url, list(found.notes), least)
    return replace(listing, origin=found.origin)


def _place(address: ArchiveAddress) -> Path:
    """Return the path of the note about what came from an address."""
    name = hashlib.blake2b(address.url.encode(), digest_size=20).hexdigest()
    return cache_folder() / "archives" / f"{name}.json"


def _read(place: Path) -> _Known | None:
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        return _Known(str(told["sha256"]), str(told["md5"]), str(told["fetched"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _here(address: ArchiveAddress, known: _Known | None) -> FetchedArchive | None:
    """Return the archive from the cache, if the wanted content is there."""
    sha256 = address.wanted if address.kind == "sha256" else known.sha256 if known else ""
    if address.kind == "md5" and (known is None or known.md5 != address.wanted):
        return None
    if not sha256 or not place_of(sha256).is_dir():
        return None
    notes = list[str]()
    try:
        folder = opened(sha256, address.file, notes)
    except (OSError, ValueError):
        return None
    day = known.fetched if known is not None and known.sha256 == sha256 else "an earlier day"
    exact = replace(address, kind="sha256", wanted=sha256)
    return FetchedArchive(address=exact, folder=folder, fetched=day, notes=tuple(notes))


def _fetch(address: ArchiveAddress, place: Path, report: Report | None) -> FetchedArchive:
    part = place.with_name(f".{place.stem}.{address.file}")
    fetch_any(address.url, part, report, name=address.file, schemes=_SCHEMES)
    try:
        with part.open("rb") as file:
            start = file.read(16)
        if not start.startswith((b"PK", b"\x1f\x8b", b"BZh")):
            raise DataError(
                f"{address.url}: did not send an archive; the data begins with {start!r}"
            )
        with part.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        got = {"sha256": sha256, "md5": md5}.get(address.kind, "")
        if got != address.wanted:
            raise DataError(
                f"{address.url}: sent a different file: wanted {address.kind} {address.wanted}, "
                f"got {got}. The published file has changed. Train again without the checksum, "
                "or find the original file"
            )
        try:
            folder = unpacked(part, sha256, notes := list[str]())
        except DataError as error:
            raise DataError(str(error).replace(str(part), address.url)) from error
        day = time.strftime("%Y-%m-%d")
        told = {"url": address.url, "sha256": sha256, "md5": md5, "fetched": day}
        write_whole(place, json.dumps(told))
    except OSError as error:
        raise DataError(
            f"{part}: cannot be read: {error.strerror}. Free some disk space, or set "
            "XDG_CACHE_HOME to a folder that can be written"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    exact = replace(address, kind="sha256", wanted=sha256)
    notes = [one.replace(part.name, address.file) for one in notes]
    return FetchedArchive(address=exact, folder=folder, fetched=day, notes=tuple(notes))
