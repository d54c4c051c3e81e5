"""Find the files of a set of shards: a folder, a file or a pattern, local or at an fsspec
address."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from firstlight.data.formats import is_picture_file
from firstlight.data.hub.sets import hub_set, is_here
from firstlight.data.packed_tar import is_packed_tar
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.hub.word import is_hub
from firstlight.packages import imported

TAR, PARQUET = "tar", "parquet"
ENDINGS = {".tar": TAR, ".parquet": PARQUET}
PACKED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".tar.zst")
NAMES_FILES = ("classes.txt", "classes.json")
"""Files next to the shards with the class names in order."""
MOST_FILES = 100_000
MOST_NAMES_BYTES = 16 << 20
WANTED = "a folder with shards (.tar or .parquet), one of them, or a pattern such as "
WANTED += "images-{000000..000099}.tar"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://?")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{([^{}]*)\}")
# What stores report about a file that changes with its content.
_SIGNS: tuple[str, ...] = (
    *("ETag", "etag", "Content-MD5", "LastModified", "last_modified", "mtime", "modified"),
    *("md5Hash", "checksum", "blob_id", "generation", "created"),
)


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """One shard, not opened yet."""

    name: str
    """Its path or address, for messages."""
    kind: str
    """``tar`` or ``parquet``."""
    size: int
    """Bytes."""
    seen: str
    """What else identifies its content without opening it."""
    path: Path | None = None
    """Its path on this machine; None for an address."""
    part: str = ""
    """The part of its images, if known; otherwise its name may say it."""
    features: str = ""
    """The features of a Parquet file's columns, as JSON, if the file does not have them."""

    @property
    def short(self) -> str:
        """The last part of its name."""
        return PurePosixPath(urlsplit(self.name).path if is_address(self.name) else self.name).name

    @property
    def key(self) -> str:
        """40 hex digits that identify the shard's current content."""
        place = self.name if self.path is None else str(self.path)
        about = [self.features] if self.features else []
        text = json.dumps([place, self.size, self.seen, *about])
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=20).hexdigest()


@dataclass(frozen=True, kw_only=True)
class ShardFiles:
    """All shards of a set."""

    word: str
    """The user's name for them."""
    files: tuple[ShardFile, ...]
    """At least one, in the order of their names."""
    names_file: str = ""
    """The path or address of a file with the class names, if there is one."""
    notes: tuple[str, ...] = ()
    """Messages: what was left out."""
    origin: str = ""
    """Where they came from, if that should be shown."""


def is_address(word: str | Path) -> bool:
    """Return whether a word names something other than a path on this machine."""
    found = _ADDRESS.match(str(word))
    return is_hub(word) or (found is not None and found[1].lower() not in ("file", "local"))


def word_of(path: str | Path) -> str:
    """Return what the user wrote, also if a ``Path`` dropped a slash of an address."""
    word = str(path)
    if is_hub(word):
        return word.replace("\\", "/")
    if found := re.match(r"(?:file|local)://", word):
        return word[found.end() :]
    found = _ADDRESS.match(word)
    return word if found is None else f"{found[1]}://{word[found.end() :]}"


def names_shards(path: str | Path) -> bool:
    """Return whether a word names shards: an address, a pattern, a shard, or a folder of shards
    that is not a folder of classes."""
    word = word_of(path)
    if is_address(word):
        return True
    where = Path(word)
    try:
        if where.is_dir():
            return _is_shard_folder(where)
        if os.path.lexists(where):
            return where.is_file() and _is_shard_name(word) and not is_packed_tar(where)
    except OSError:
        return False
    return _is_shard_name(word) and any(sign in word for sign in "{*?[")


def is_there(word: str | Path) -> bool:
    """Return whether a path exists or a word names shards. Addresses are not contacted."""
    return os.path.lexists(word) or (names_shards(word) and _any_there(word_of(word)))


def _any_there(word: str) -> bool:
    if is_address(word):
        return True
    try:
        return any(os.path.lexists(one) or _matching(one, word) for one in expanded(word)[:1])
    except (DataError, UserError, OSError):
        return False


def whole_place(word: str | Path) -> str:
    """Return a path or pattern as an absolute one, and a data set of the hub with its commit, if
    that is on this machine. Other addresses are unchanged."""
    text = word_of(word)
    if is_hub(text) and is_here(text):
        return str(hub_set(text, connect=False).word)
    if is_address(text):
        return text
    return str(Path(text).resolve())


def find_shards(path: str | Path) -> ShardFiles:
    """Find the shards that a word names. Raises ``DataError`` if one is missing or there are none,
    ``UnreachableError`` for an address that does not respond, and ``UserError`` if the address
    needs a package that is not installed."""
    word = word_of(path)
    if is_hub(word):
        return _checked(_of_hub(word))
    return _checked(_remote(word) if is_address(word) else _local(word))


def _checked(found: ShardFiles) -> ShardFiles:
    word, count = found.word, len(found.files)
    if len({one.kind for one in found.files}) > 1:
        raise DataError(f"{word}: wanted shards of one kind, got both .tar and .parquet")
    if count > MOST_FILES:
        raise DataError(f"{word}: {count:,} shards; at most {MOST_FILES:,} are supported")
    return found


def find_all(words: Sequence[str]) -> ShardFiles:
    """Find the shards that several words name, word after word, each once. Raises what
    ``find_shards`` raises."""
    found = [find_shards(word) for word in words]
    each = {one.name: one for of_word in found for one in of_word.files}
    names = {one.names_file for one in found}
    if len(names) > 1:
        raise DataError(
            f"{' and '.join(sorted(one or 'no file' for one in names)[:2])} with class names for "
            "shards that belong together; wanted a single one for all of them"
        )
    return _checked(
        ShardFiles(word=" ".join(words), files=tuple(each.values()), names_file=names.pop())
    )


def expanded(word: str) -> list[str]:
    """Expand the braces in a word: ``{000..099}`` counts, ``{a,b}`` lists. Raises ``UserError`` for
    braces with too many results."""
    found = [word]
    while any(_BRACES.search(one) for one in found):
        longer = []
        for one in found:
            braces = _BRACES.search(one)
            if braces is None:
                longer.append(one)
                continue
            for inner in _alternatives(braces[1], word):
                longer.append(one[: braces.start()] + inner + one[braces.end() :])
                if len(longer) > MOST_FILES:
                    raise UserError(f"{word}: means more than {MOST_FILES:,} shards")
        found = longer
    return found


def _alternatives(inside: str, word: str) -> Iterator[str]:
    counted = _RANGE.fullmatch(inside)
    if counted is None:
        yield from inside.split(",")
        return
    first, last = counted[1], counted[2]
    if int(first) > int(last):
        raise UserError(f"{word}: {{{inside}}} counts down. Write the smaller number first")
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))  # as a shell does
    width = max(len(first), len(last)) if padded else 1
    for number in range(int(first), int(last) + 1):
        yield f"{number:0{width}d}"


def _kind(name: str) -> str:
    bare = urlsplit(name).path if is_address(name) else name
    return next((kind for ending, kind in ENDINGS.items() if bare.lower().endswith(ending)), "")


def _is_shard_name(name: str) -> bool:
    return bool(_kind(name)) or name.lower().endswith(PACKED_TARS)


# On this machine


def _is_shard_folder(folder: Path) -> bool:
    """Return whether a folder, or folders in it that are named like parts, contain shards, and no
    folder contains pictures."""
    folders = [one for one in _entries(folder) if one.is_dir()]
    shards = any(_is_shard_name(one.name) and one.is_file() for one in _entries(folder))
    inner = any(
        _is_shard_name(two.name) and two.is_file() for one in folders for two in _entries(one)
    )
    if not shards and not inner:
        return False
    return not any(
        is_picture_file(str(two)) for one in folders for two in _entries(one) if two.is_file()
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except OSError:
        return []


def _local(word: str) -> ShardFiles:
    where = Path(word)
    if where.is_dir():
        folders = [where, *(one for one in _entries(where) if one.is_dir())]
        entries = [one for folder in folders for one in _entries(folder)]
        paths = [one for one in entries if _is_shard_name(one.name) and one.is_file()]
    elif os.path.lexists(where):
        folders, paths = [where.parent], [where]
    else:
        paths = [one for each in expanded(word) for one in _matching(each, word)]
        folders = list(dict.fromkeys(one.parent for one in paths))
    if not paths:
        raise DataError(f"{word}: no shards found; wanted {WANTED}")
    names = [folder / name for folder in folders for name in NAMES_FILES]
    there = next((str(one) for one in names if one.is_file()), "")
    return ShardFiles(word=word, files=tuple(map(_local_file, sorted(paths))), names_file=there)


def _matching(each: str, word: str) -> list[Path]:
    """Return the files of one alternative of a pattern. Raises ``DataError`` if it does not
    exist."""
    if os.path.lexists(each):
        return [Path(each)]
    if any(sign in each for sign in "*?["):
        pattern = Path(each)
        first = next(at for at, part in enumerate(pattern.parts) if re.search(r"[*?\[]", part))
        base = Path(*pattern.parts[:first])
        found = sorted(base.glob(str(Path(*pattern.parts[first:]))))
        return [one for one in found if _is_shard_name(one.name) and one.is_file()]
    more = "" if each == word else f", which {word} names"
    raise DataError(f"{each}: no such shard{more}. Add it, or name only the shards that exist")


def _local_file(path: Path) -> ShardFile:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: wanted a shard, got something that is not a regular file")
    return ShardFile(
        name=str(path),
        kind=_checked_kind(str(path)),
        size=status.st_size,
        seen=f"{status.st_mtime_ns} {status.st_ctime_ns}",
        path=path.resolve(),
    )


def _checked_kind(name: str) -> str:
    kind = _kind(name)
    if not kind:
        packed = name.lower().endswith(PACKED_TARS)
        raise DataError(
            f"{name} is compressed, so single images in it cannot be read. Unpack it to a .tar"
            if packed
            else f"{name} is not a shard; wanted {WANTED}"
        )
    return kind


# Of the hub


def _of_hub(word: str) -> ShardFiles:
    found = hub_set(word)
    if found.kind != PARQUET:
        raise DataError(f"{word}: its pictures are files in folders, not shards: {found.folder}")
    features = json.dumps(found.features) if found.features else ""
    files = tuple(
        replace(
            _local_file(one.path),
            name=f"hf:{found.word.repository}/{one.name}",
            part=one.part,
            features=features,
        )
        for one in found.files
    )
    return ShardFiles(word=str(found.word), files=files, notes=found.notes, origin=found.origin)


# At an address


def opened(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path in it. Raises ``UserError``."""
    scheme = address.partition("://")[0]
    if "::" in address:
        raise UserError(f"{address}: wanted one address, without ::")
    fsspec = imported("fsspec", address, "'firstlight[cloud]'")
    try:
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise UserError(
            f"{address}: addresses with {scheme}:// need a package that is not installed "
            f"({error}): pip install 'firstlight[cloud]'"
        ) from error
    except ValueError as error:
        raise UserError(f"{address}: {error}; wanted https://, s3://, gs:// or hf://") from error
    except Exception as error:  # each store has errors of its own
        raise unreachable(address, error) from error
    return fs, path


def unreachable(address: str, error: Exception) -> UnreachableError:
    """Return the error for an address that does not respond."""
    reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    if isinstance(error, FileNotFoundError):  # from some stores, only with a name
        reason = f"not found: {reason}"
    return UnreachableError(
        f"{address}: cannot be reached ({reason}). Check the address, the connection and the "
        "permissions; the part that was fetched is kept"
    )


def _remote(word: str) -> ShardFiles:
    fs, _ = opened(word)
    try:
        addresses = _addresses(fs, word)
        files = tuple(_remote_file(fs, one) for one in addresses)
        names_file = _names_file(fs, sorted({one.rpartition("/")[0] for one in addresses}))
    except (DataError, UserError):
        raise
    except Exception as error:  # each store has errors of its own
        raise unreachable(word, error) from error
    return ShardFiles(word=word, files=files, names_file=names_file)


def _addresses(fs: Any, word: str) -> list[str]:
    """Return the sorted addresses of all shards."""
    found = []
    for one in expanded(word):
        inner = fs._strip_protocol(one)
        if any(sign in inner for sign in "*["):
            base = re.split(r"[*\[]", inner, maxsplit=1)[0].rpartition("/")[0]
            names = [name for name in _listed(fs, base) if fnmatchcase(name, inner)]
            found += [fs.unstrip_protocol(name) for name in names if _is_shard_name(name)]
        elif _is_shard_name(one):
            found.append(one)
        else:
            names = [name for name in _listed(fs, inner) if _is_shard_name(name)]
            found += [fs.unstrip_protocol(name) for name in names]
    if not found:
        raise DataError(f"{word}: no shards found; wanted {WANTED}")
    return sorted(dict.fromkeys(found))


def _listed(fs: Any, folder: str) -> list[str]:
    """Return the files of a folder and of the folders in it."""
    names = []
    for one in fs.ls(folder, detail=True):
        if one["type"] == "directory" and one["name"].rstrip("/") != folder.rstrip("/"):
            names += [two["name"] for two in fs.ls(one["name"], detail=True)]
        else:
            names.append(one["name"])
    return names


def _remote_file(fs: Any, address: str) -> ShardFile:
    kind = _checked_kind(address)
    try:
        told = fs.info(fs._strip_protocol(address))
    except FileNotFoundError as error:
        why = error.__cause__  # fsspec raises this also if a server does not respond
        if isinstance(why, Exception) and getattr(why, "status", None) not in (404, 410):
            raise unreachable(address, why) from error
        raise DataError(
            f"{address}: no such shard. Add it, or name only the shards that exist"
        ) from error
    if not isinstance(told.get("size"), int):
        raise DataError(f"{address}: its server does not give its size")
    signs = {name: str(told[name]) for name in _SIGNS if told.get(name) is not None}
    return ShardFile(name=address, kind=kind, size=told["size"], seen=json.dumps(signs))


def _names_file(fs: Any, folders: list[str]) -> str:
    for folder in folders:
        for name in NAMES_FILES:
            address = f"{folder}/{name}"
            if fs.exists(fs._strip_protocol(address)):
                return address
    return ""
