"""The bytes of shards on this machine: a local tar file, or a copy in a cache of limited size.

A shard at an address is copied whole before it is read. The images of a Parquet file are written
one after another into a file in the cache. The least recently used copy is removed first.
"""

import hashlib
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from firstlight.cache import size_named
from firstlight.data.kept import workplace
from firstlight.data.shards.files import PARQUET, ShardFile, opened, unreachable
from firstlight.data.shards.index import ShardIndex, keep_index, read_index
from firstlight.data.shards.parquet import index_parquet
from firstlight.data.shards.tar import index_tar
from firstlight.errors import DataError
from firstlight.files import cache_folder, make_folder, put_in_place, write_whole
from firstlight.locks import alone

ROOM = "FIRSTLIGHT_SHARD_CACHE"
"""The environment variable with the size of the cache, such as 40GB."""
DEFAULT_ROOM = 16 << 30
_OPEN_FILES = 64
_BLOCK = 4 << 20


def room() -> int:
    """Return how many bytes copies of shards may take. Raises ``UserError`` for an invalid size."""
    return size_named(ROOM, DEFAULT_ROOM)


def check_room(files: Sequence[ShardFile], together: int) -> None:
    """Raise ``DataError`` if the ``together`` largest of these shards do not fit into the cache.
    Each would be fetched again and again."""
    sizes = sorted((one.size for one in files if is_copied(one)), reverse=True)
    wanted = sum(sizes[:together])
    if wanted > room():
        raise DataError(
            f"{min(together, len(sizes))} shards that are read together take {wanted / 1e9:.3g} "
            f"GB, but the cache may hold only {room() / 1e9:.3g} GB. Set "
            f"{ROOM}={-(-wanted // 10**9) + 1}GB, or pack them smaller: firstlight data pack"
        )


def is_copied(file: ShardFile) -> bool:
    """Return whether a shard is copied into the cache, not read in place."""
    return file.path is None or file.kind == PARQUET


def shards_ahead(files: Sequence[ShardFile], together: int) -> int:
    """Return how many shards may be fetched ahead, besides those that are being read."""
    sizes = sorted((one.size for one in files if is_copied(one)), reverse=True)
    if not sizes:
        return 0
    return max(0, min(together, (room() - sum(sizes[:together])) // max(1, sizes[0])))


def shelf() -> Path:
    """Return the cache folder for copies of shards and their indexes."""
    return cache_folder() / "shards"


def remember(address: str) -> None:
    """Record that the user named this address on this machine."""
    with suppress(OSError):
        make_folder(shelf())
        write_whole(_known(address), address)


def is_remembered(address: str) -> bool:
    """Return whether the user has named this address before."""
    return _known(address).is_file()


def _known(address: str) -> Path:
    name = hashlib.blake2b(address.encode(errors="surrogateescape"), digest_size=20).hexdigest()
    return shelf() / f"{name}.named"


class HeldShards:
    """Reads from the shards of a set. It can be called from several threads."""

    def __init__(self, files: Sequence[ShardFile]) -> None:
        self.files = tuple(files)
        self._lock = threading.Lock()
        self._open: OrderedDict[int, int] = OrderedDict()
        self._fetching: dict[int, threading.Lock] = {}

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Read bytes of a shard's copy on this machine. Raises ``DataError`` if it has changed."""
        descriptor = self._descriptor(shard)
        try:
            content = self._read(descriptor, length, offset)
        except OSError as error:
            raise DataError(f"{self.files[shard].name}: {error.strerror}") from error
        finally:
            os.close(descriptor)
        if len(content) != length:
            raise DataError(f"{self.files[shard].name}: {_CHANGED}")
        return content

    def _read(self, descriptor: int, length: int, offset: int) -> bytes:
        if sys.platform != "win32":
            return os.pread(descriptor, length, offset)
        with self._lock, os.fdopen(os.dup(descriptor), "rb") as file:  # they share one position
            file.seek(offset)
            return file.read(length)

    def fetch(self, shard: int) -> None:
        """Fetch a shard to this machine. Raises ``DataError``."""
        os.close(self._descriptor(shard))

    def forget(self, shard: int) -> None:
        """Remove the damaged copy of a shard, if it is a copy."""
        if is_copied(self.files[shard]):
            bytes_place(self.files[shard]).unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        with suppress(Exception):  # at interpreter shutdown, everything may be gone
            self.close()

    def _descriptor(self, shard: int) -> int:
        """Return a descriptor that the caller must close."""
        with self._lock:
            if shard in self._open:
                self._open.move_to_end(shard)
                return os.dup(self._open[shard])
            fetching = self._fetching.setdefault(shard, threading.Lock())
        with fetching:  # one thread fetches it, others wait
            with self._lock:
                if shard in self._open:
                    return os.dup(self._open[shard])
            if is_copied(self.files[shard]):
                self._keep_used()
            descriptor = open_held(self.files[shard])
            with self._lock:
                self._open[shard] = descriptor
                self._let_go()
                return os.dup(self._open[shard])

    def _keep_used(self) -> None:
        """Tell the cache which copies were used recently."""
        with self._lock:
            for shard, descriptor in self._open.items():
                if is_copied(self.files[shard]):
                    with suppress(OSError, TypeError):  # not every system can touch open files
                        os.utime(descriptor)

    def _let_go(self) -> None:
        """Close the least recently used files, and copies that the cache has removed, because only
        then are their bytes free."""
        newest = next(reversed(self._open))
        for shard, descriptor in list(self._open.items()):
            gone = is_copied(self.files[shard]) and os.fstat(descriptor).st_nlink == 0
            if shard != newest and (gone or len(self._open) > _OPEN_FILES):
                os.close(self._open.pop(shard))


_CHANGED = (
    "has changed since its index was made. Start again to make a new one (a stopped run can "
    "only continue with the original shards)"
)


def open_held(file: ShardFile) -> int:
    """Return a descriptor of the shard's copy on this machine; fetch it if necessary. Raises
    ``DataError``."""
    if file.path is not None and not is_copied(file):
        try:
            descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise DataError(f"{file.name}: cannot be read: {error.strerror}") from error
        status = os.fstat(descriptor)
        if (status.st_size, f"{status.st_mtime_ns} {status.st_ctime_ns}") != (file.size, file.seen):
            os.close(descriptor)
            raise DataError(f"{file.name}: {_CHANGED}")
        return descriptor
    return _from_cache(file)


def _from_cache(file: ShardFile) -> int:
    place = bytes_place(file)
    try:
        make_folder(place.parent)
        while True:
            try:
                descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                os.utime(place)
                return descriptor
            except FileNotFoundError:
                # The processes of one training need the same shards.
                with alone(place.with_suffix(".lock")):
                    if not place.exists():
                        _make(file, place)
    except OSError as error:
        raise DataError(
            f"{shelf()}: shards cannot be stored there: {error.strerror}. Free some disk space, "
            f"lower {ROOM}, or set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def _make(file: ShardFile, place: Path) -> None:
    with workplace(place.parent, file.key) as work:
        part = work / "bytes"
        if file.kind == PARQUET:
            source = file.path
            if source is None:
                _copy(file, source := work / "parquet")
            keep_index(index_place(file), index_parquet(file, source, part))
        else:
            _copy(file, part)
        _make_room(place.parent, part.stat().st_size)
        put_in_place(part, place)


def index_of(file: ShardFile) -> ShardIndex:
    """Return the index of a shard from the cache, or build and cache it. Raises ``DataError``, and
    ``OSError`` if it cannot be cached."""
    place = index_place(file)
    if (index := read_index(place)) is not None:
        return index
    make_folder(place.parent)
    if file.kind != PARQUET:
        with os.fdopen(open_held(file), "rb") as opened_file:
            index = index_tar(opened_file, file.name)
    elif file.path is not None:
        index = index_parquet(file, file.path)
    else:  # fetched once, for its images too
        _make(file, bytes_place(file))
        index = read_index(place)
        assert index is not None, "it was written a moment ago"
        return index
    keep_index(place, index)
    return index


def index_place(file: ShardFile) -> Path:
    """Return where the shard's index is cached."""
    return shelf() / f"{file.key}.index"


def bytes_place(file: ShardFile) -> Path:
    """Return where its images are cached, if they are copied."""
    return shelf() / f"{file.key}.bytes"


def _copy(file: ShardFile, out: Path) -> None:
    fs, path = opened(file.name)
    try:
        with fs.open(path, "rb") as source, out.open("wb") as target:
            while block := source.read(_BLOCK):
                target.write(block)
    except OSError as error:
        if error.filename == str(out) or error.errno == 28:
            raise
        raise unreachable(file.name, error) from error
    except Exception as error:  # each store has errors of its own
        raise unreachable(file.name, error) from error
    if out.stat().st_size != file.size:
        raise DataError(
            f"{file.name}: {out.stat().st_size:,} of {file.size:,} bytes arrived. Start again"
        )


def _make_room(folder: Path, wanted: int) -> None:
    """Remove copies, least recently used first, until ``wanted`` bytes fit."""
    there = []
    for one in folder.glob("*.bytes"):
        try:
            status = one.stat()
        except OSError:
            continue
        there.append((status.st_mtime_ns, status.st_size, one))
    left = room() - wanted - sum(size for _, size, _ in there)
    for _, size, one in sorted(there):
        if left >= 0:
            return
        one.unlink(missing_ok=True)  # processes that have it open can still read it
        left += size
