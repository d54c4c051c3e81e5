"""Read a tar file as WebDataset writes it. Members with the same key, the name up to its first dot,
are one sample, such as ``0001.jpg`` and ``0001.cls``.

Nothing is unpacked, and names are only displayed.
"""

import json
import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from firstlight.data.formats import SUFFIXES
from firstlight.data.listing import class_name
from firstlight.data.several_labels import ONE_EACH
from firstlight.data.shards.index import IndexMaker, ShardIndex
from firstlight.errors import DataError
from firstlight.untrusted import one_line

MOST_OF_ONE = 1 << 30
"""The largest image file in bytes."""
MOST_LABEL_BYTES = 1 << 20
LABEL_KEYS = ("label", "cls", "class")
"""The keys of the label in a sample's ``.json``."""
_IMAGES = (*SUFFIXES, ".avif", ".heic", ".heif")
_LABELS = ("cls", "json")


class _Member(NamedTuple):
    key: str
    ending: str
    offset: int
    size: int


def index_tar(file: BinaryIO, name: str) -> ShardIndex:
    """Index the images and labels of an open tar file. Raises ``DataError``, whose message begins
    with ``name``."""
    maker, kinds, seen = IndexMaker(), dict[type, str](), set[str]()
    size = os.fstat(file.fileno()).st_size
    for sample in _samples(_members(file, name, size)):
        key = sample[0].key
        if key in seen:
            raise DataError(
                f"{name}: the key {one_line(key)} is in it twice. Write the shard again"
            )
        seen.add(key)
        image = _image(sample, name)
        if image is None:
            continue
        content = _content(file, image, name)
        label = _label(file, sample, name)
        if label is not None:
            kinds.setdefault(type(label), key)
        if len(kinds) > 1:
            raise DataError(
                f"{name}: the label of {one_line(kinds[int])} is a number, that of "
                f"{one_line(kinds[str])} a name; wanted one kind"
            )
        maker.add(key, image.offset, content, label)
    return maker.made()


def _members(file: BinaryIO, name: str, size: int) -> Iterator[_Member]:
    """Yield the regular files. Raises ``DataError`` if the file is not a complete tar."""
    last_key = ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (one := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]
                if one.isdir():
                    continue
                if not one.isreg() or one.issparse():
                    raise DataError(
                        f"{name}: {one_line(one.name)} is a link or not a regular file. Pack the "
                        "files themselves"
                    )
                if one.offset_data + one.size > size:
                    raise DataError(
                        f"{name}: truncated at {one_line(one.name)}, after {size:,} bytes. Get a "
                        "new copy"
                    )
                folder, _, last = one.name.rpartition("/")
                if last.startswith("."):
                    continue
                stem, _, ending = last.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                last_key = key.removeprefix("./")
                yield _Member(last_key, ending.lower(), one.offset_data, one.size)
            # tarfile treats a damaged or missing header as the end.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(
                    f"{name}: damaged or truncated after {one_line(last_key) or 'its start'}. "
                    "Get a new copy"
                )
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DataError(f"{name}: not a complete tar file ({error}). Get a new copy") from error


def _samples(members: Iterator[_Member]) -> Iterator[list[_Member]]:
    """Yield consecutive members with the same key."""
    sample: list[_Member] = []
    for one in members:
        if sample and one.key != sample[0].key:
            yield sample
            sample = []
        sample.append(one)
    if sample:
        yield sample


def _image(sample: list[_Member], name: str) -> _Member | None:
    images = [one for one in sample if f".{one.ending}" in _IMAGES]
    if len(images) > 1:
        endings = " and ".join(f".{one.ending}" for one in images[:3])
        raise DataError(
            f"{name}, {one_line(sample[0].key)}: wanted one image per key, got {endings}"
        )
    return images[0] if images else None


def _content(file: BinaryIO, member: _Member, name: str) -> bytes:
    if member.size > MOST_OF_ONE:
        raise DataError(
            f"{name}, {one_line(member.key)}: {member.size:,} bytes are too many for an image"
        )
    place = file.tell()
    file.seek(member.offset)
    content = file.read(member.size)
    file.seek(place)
    return content


def _label(file: BinaryIO, sample: list[_Member], name: str) -> int | str | None:
    """Return the label in the sample's ``.cls`` or ``.json``, if it has one."""
    by_ending = {one.ending: one for one in sample}
    for ending in _LABELS:
        member = by_ending.get(ending)
        if member is None:
            continue
        where = f"{name}, {one_line(member.key)}.{ending}"
        if member.size > MOST_LABEL_BYTES:
            raise DataError(f"{where}: {member.size:,} bytes are too many for a label")
        try:
            text = _content(file, member, name).decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not text; wanted a number or a name") from error
        if ending == "cls":
            return as_label(text, where)
        label = _of_json(text, where)
        if label is not None:
            return label
    return None


def _of_json(text: str, where: str) -> int | str | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(values, dict):
        return None
    for key in LABEL_KEYS:
        if (value := values.get(key)) is not None:
            if isinstance(value, list):
                raise DataError(f"{where}: {key} is a list of {len(value)}. {ONE_EACH}")
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise DataError(f"{where}: {key} is {type(value).__name__}; wanted int or str")
            return as_label(str(value), where)
    return None


def as_label(text: str, where: str) -> int | str:
    """Parse a number from 0, or a name. Raises ``DataError`` for an empty text."""
    if text.isdecimal() and text.isascii() and len(text) <= 9:
        return int(text)
    if text.removeprefix("-").isdecimal():
        raise DataError(f"{where}: the label is {text[:40]}; numbers go from 0 to 999,999,999")
    name = class_name(text.strip())
    if not name:
        raise DataError(f"{where}: the label is empty; wanted a number or a name")
    return name
