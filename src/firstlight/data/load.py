"""Find a named data set on this machine, or fetch it, and check that it is the published one."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.download import Report, fetch, md5_of, only_one
from firstlight.data.duplicates import Pairs, groups
from firstlight.data.entry import TEST, TRAIN, Arrays, Content, Entry, FileFormat, Source
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.files import cache_folder

DEBIAN = Path("/usr/share/datasets")
"""Where Debian's package ``dataset-fashion-mnist`` installs it."""
PUBLISHED = {"mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000}
"""The number of training images of the sets whose near copies are known."""


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    report: Report | None = None,
) -> TrainTest:
    """Load a named data set, and check it against its published checksums.

    Looks in ``data_dir``, ``$FIRSTLIGHT_DATA``, the cache, and the folders of Keras, torchvision
    and Debian. With ``download``, a set that is not found is fetched from its mirrors into
    ``data_dir`` or the cache. Raises ``UserError`` for an unknown name, ``DataError`` for files
    that are damaged or not the published ones, and ``UnreachableError`` if the set cannot be found
    or fetched.
    """
    return TrainTest(*_parts(entry_named(name), (TRAIN, TEST), data_dir, download, report))


def load_test(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Load the test part alone, as ``load`` does. Other files need not be there; nothing is
    fetched."""
    (test,) = _parts(entry_named(name), (TEST,), data_dir)
    return test


def _parts(
    entry: Entry,
    wanted: Sequence[str],
    data_dir: str | Path | None,
    download: bool = False,
    report: Report | None = None,
) -> list[Dataset]:
    """The parts, read, checked and named."""
    if not isinstance(entry.reader, FileFormat):
        assert entry.content is not None, "an entry with a function has it"
        whole = entry.reader()
        for part in wanted:
            _verify(entry, entry.content, part, whole[part], None)
        return [_dataset(entry, part, whole[part]) for part in wanted]
    data_dir = _expanded(data_dir)
    if data_dir is not None and not _is_folder(data_dir):
        raise DataError(
            f"{data_dir}: no such folder. Correct --data-dir, or create it with: firstlight data "
            f"fetch {entry.name} --data-dir {data_dir}"
        )
    found = _find(entry, wanted, data_dir)
    if found is None:
        if not download:
            raise UnreachableError(_not_here(entry, data_dir))
        fetch_files(entry, data_dir, report)
        found = _find(entry, wanted, data_dir)
        assert found is not None, "what was fetched is found"
    warnings = _warnings(entry, found)
    if entry.content is None:
        _verify_files(entry, found)
    parts = found.read()
    if entry.content is not None:
        for part in wanted:
            _verify(entry, entry.content, part, parts[part], found.where)
    return [_dataset(entry, part, parts[part], warnings) for part in wanted]


def entry_named(name: str) -> Entry:
    """The catalogue's entry. Raises ``UserError`` with the known names if there is none."""
    if name not in CATALOG:
        raise UserError(f"unknown data set {name!r}; choose from {', '.join(CATALOG)}")
    return CATALOG[name]


def is_complete(entry: Entry, data_dir: Path | None) -> bool:
    """Whether there is a copy of the set that can be checked against published checksums: in
    ``data_dir``, or without one in any of the places that ``load`` looks in."""
    chosen = _expanded(data_dir)
    sources = _sources(entry, places() if chosen is None else [chosen])
    return any(can_compare(entry, source) for source in sources)


def can_compare(entry: Entry, source: Source) -> bool:
    """Whether a copy can be checked against published checksums."""
    return entry.content is not None or bool(source.published)


def fetch_files(entry: Entry, data_dir: Path | None = None, report: Report | None = None) -> Path:
    """Fetch a set's files into ``data_dir`` or the cache, and return their folder.

    Raises ``UnreachableError`` naming every address tried, the folder and the files to put there.
    """
    folder = (_expanded(data_dir) or cache_folder()) / entry.shelf
    assert isinstance(entry.reader, FileFormat), "a function has no files"
    with only_one(folder, entry.name):
        if not entry.reader.is_unpacked(entry, folder):  # another process was faster
            _fetch_all(entry, folder, report)
            entry.reader.unpack(entry, folder)
    return folder


def _fetch_all(entry: Entry, folder: Path, report: Report | None) -> None:
    for file in entry.files:
        try:
            fetch(file, folder, report)
        except UnreachableError as error:
            names = "\n".join(f"  {f.name}  (md5 {f.md5})" for f in entry.files)
            raise UnreachableError(
                f"{error}\nOr download them with a browser and put these files into "
                f"{folder}:\n{names}\nor set FIRSTLIGHT_DATA to a folder that has them in "
                f"{entry.shelf}/"
            ) from error


def where_found(entry: Entry, data_dir: Path | None = None) -> Path | None:
    """The folder or file from which ``load`` would read the set; nothing is checked."""
    if not isinstance(entry.reader, FileFormat):
        return Path(entry.origin)
    return next((found.where for found in _sources(entry, places(data_dir))), None)


def places(data_dir: Path | None = None) -> list[Path]:
    """The folders to search, in order. Raises ``DataError`` if a chosen one does not exist."""
    chosen = []
    for label, value in (
        ("--data-dir", data_dir),
        ("FIRSTLIGHT_DATA", os.environ.get("FIRSTLIGHT_DATA")),
    ):
        path = _expanded(value)
        if path is not None:
            if not _is_folder(path):
                raise DataError(f"{label}={path}: no such folder. Correct it or unset it")
            chosen.append(path)
    keras = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"
    return [*chosen, cache_folder(), keras, Path("data"), DEBIAN]


def _find(entry: Entry, wanted: Sequence[str], data_dir: Path | None) -> Source | None:
    return next(_sources(entry, places(data_dir), wanted), None)


def _sources(
    entry: Entry, where: Iterable[Path], wanted: Sequence[str] = (TRAIN, TEST)
) -> Iterator[Source]:
    """Each copy with the wanted parts in these places, the preferred one first."""
    assert isinstance(entry.reader, FileFormat), "a function has no files"
    for place in where:
        yield from entry.reader.sources(entry, place, wanted)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _expanded(folder: str | Path | None) -> Path | None:
    """A path that the user gave, with ``~`` expanded; None if it is empty."""
    try:
        return Path(folder).expanduser() if folder else None
    except RuntimeError as error:
        raise DataError(f"{folder}: {error}") from error


def _verify_files(entry: Entry, found: Source) -> None:
    """Raise ``DataError`` if the files can be checked and are not the published ones."""
    for path, wanted in found.published:
        try:
            have = md5_of(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if have != wanted:
            raise DataError(_not_official(entry, path, "md5 of the file", wanted, have))


def _warnings(entry: Entry, found: Source) -> tuple[str, ...]:
    """Warnings about a copy that cannot be checked against anything published."""
    if can_compare(entry, found):
        return ()
    return (
        f"{found.where}: {entry.name} is unpacked here, and checksums exist only for the "
        "published files. Counts, shapes and labels are right, but the content could not be "
        f"checked. For a copy that can be checked: firstlight data fetch {entry.name} --data-dir "
        "FOLDER",
    )


def _verify(entry: Entry, content: Content, part: str, read: Arrays, where: Path | None) -> None:
    """Raise ``DataError`` unless pixels and labels are the published ones."""
    images, labels = read
    for what, array in (("images", images), ("labels", labels.astype(np.uint8))):
        wanted = getattr(content, f"{part}_{what}")
        have = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        if have != wanted:
            what = f"sha256 of the {part} {what}"
            if where is None:
                raise DataError(
                    f"{entry.name}: its reader and its catalogue entry disagree: {what} should "
                    f"be {wanted}, is {have}. Correct one of them"
                )
            raise DataError(_not_official(entry, where, what, wanted, have))


def _not_official(entry: Entry, where: Path, what: str, wanted: str, have: str) -> str:
    return (
        f"{where}: not the published {entry.name}: {what} should be {wanted[:16]}…, is "
        f"{have[:16]}…. Remove it and run: firstlight data fetch {entry.name}"
    )


def _not_here(entry: Entry, data_dir: Path | None) -> str:
    looked = "\n".join(f"  {place}" for place in places(data_dir))
    return (
        f"{entry.name} is in none of these folders:\n{looked}\nFetch it with: firstlight data "
        f"fetch {entry.name}"
    )


def _dataset(entry: Entry, name: str, part: Arrays, warnings: tuple[str, ...] = ()) -> Dataset:
    # The pairs belong to the published set, not to a shorter one.
    whole = name == TRAIN and len(part[1]) == PUBLISHED.get(entry.name)
    pairs = _near_copies(entry) if whole else None
    return Dataset(
        name=f"{entry.name}/{name}",
        images_NHWC=part[0],
        labels_N=part[1],
        class_names=entry.class_names,
        groups_N=None if pairs is None else groups(len(part[1]), pairs),
        notes=warnings,
        warnings=warnings,
    )


def _near_copies(entry: Entry) -> Pairs | None:
    """Near copies among the training images, found once. Like a folder's, they are held out
    together."""
    text = (resources.files("firstlight.data") / "near_copies.json").read_text()
    pairs = json.loads(text).get(entry.name)
    return None if pairs is None else [(i, j) for i, j in pairs]
