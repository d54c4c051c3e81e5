"""Find a named data set on this machine, or fetch it, and make sure that it is the real one."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from firstlight.data import cifar, idx
from firstlight.data.catalog import CATALOG, CIFAR, Entry
from firstlight.data.dataset import Dataset, Int64Array, TrainTest, UInt8Array
from firstlight.data.download import Report, fetch, only_one
from firstlight.data.duplicates import Pairs, groups
from firstlight.errors import DataError, UnreachableError, UserError
from firstlight.files import cache_folder, make_folder, write_whole

Part = tuple[UInt8Array, Int64Array]
TRAIN, TEST = "train", "test"

DEBIAN = Path("/usr/share/datasets")
"""Where Debian's package ``dataset-fashion-mnist`` puts it."""
_PICKLED = (
    "cifar-10-batches-py",
    "cifar-10-batches-py-target/cifar-10-batches-py",  # Keras 3
    "cifar10/cifar-10-batches-py",
    "",
)
PUBLISHED = {"mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000}
"""Training images of the sets whose near copies are known."""
_NPZ_BYTES = 70_000 * (28 * 28 + 1) + 4096


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    report: Report | None = None,
) -> TrainTest:
    """A named data set, checked against its published checksums.

    Looked for in ``data_dir``, ``$FIRSTLIGHT_DATA``, the cache, what Keras, torchvision and Debian
    leave, and then, with ``download``, fetched from its mirrors into ``data_dir`` or the cache.
    Raises ``UserError`` for an unknown name, ``DataError`` for files that are damaged or not the
    published ones, and ``UnreachableError`` when the set is nowhere to be had.
    """
    return TrainTest(*_parts(entry_named(name), (TRAIN, TEST), data_dir, download, report))


def load_test(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The test part alone, of whose files none else need be there; nothing is fetched. Otherwise
    as ``load``."""
    (test,) = _parts(entry_named(name), (TEST,), data_dir)
    return test


def _parts(
    entry: Entry,
    wanted: Sequence[str],
    data_dir: str | Path | None,
    download: bool = False,
    report: Report | None = None,
) -> list[Dataset]:
    """Read, checked, and named."""
    if not isinstance(entry.reader, str):
        whole = entry.reader()
        for part in wanted:
            _verify(entry, part, whole[part], None)
        return [_dataset(entry, part, whole[part]) for part in wanted]
    data_dir = _expanded(data_dir)
    if data_dir is not None and not _is_folder(data_dir):
        raise DataError(
            f"{data_dir}: no such folder; correct --data-dir, or fill it with: "
            f"firstlight data fetch {entry.name} --data-dir {data_dir}"
        )
    found = _find(entry, wanted, data_dir)
    if found is None:
        if not download:
            raise UnreachableError(_not_here(entry, data_dir))
        fetch_files(entry, data_dir, report)
        found = _find(entry, wanted, data_dir)
        assert found is not None, "what was fetched is found"
    parts, where = found
    for part in wanted:
        _verify(entry, part, parts[part], where)
    return [_dataset(entry, part, parts[part]) for part in wanted]


def entry_named(name: str) -> Entry:
    """The catalogue's entry, or ``UserError`` with the names there are."""
    if name not in CATALOG:
        raise UserError(f"no data set is called {name!r}; there are {', '.join(CATALOG)}")
    return CATALOG[name]


def is_complete(entry: Entry, data_dir: Path | None) -> bool:
    """Whether a copy of the set is in ``data_dir``, or without one anywhere that is looked into."""
    chosen = _expanded(data_dir)
    return next(_sources(entry, places() if chosen is None else [chosen]), None) is not None


def fetch_files(entry: Entry, data_dir: Path | None = None, report: Report | None = None) -> Path:
    """Fetch a set's files into ``data_dir`` or the cache; returns the folder that has them.

    Raises ``UnreachableError`` naming every address tried, the folder and the files to put there.
    """
    folder = (_expanded(data_dir) or cache_folder()) / entry.name
    if entry.reader != CIFAR:
        _fetch_all(entry, folder, report)
        return folder
    with only_one(folder, entry.name):
        unpacked = folder / "cifar-10-batches-bin"
        if not all(_is_file(unpacked / f"{b}.bin") for b in _batches()):  # another was faster
            _fetch_all(entry, folder, report)
            archive = folder / entry.files[0].name
            _unpack(archive, unpacked)
            archive.unlink()  # the unpacked batches load faster and hold the same
    return folder


def _fetch_all(entry: Entry, folder: Path, report: Report | None) -> None:
    for file in entry.files:
        try:
            fetch(file, folder, report)
        except UnreachableError as error:
            names = "\n".join(f"  {f.name}  (md5 {f.md5})" for f in entry.files)
            raise UnreachableError(
                f"{error}\nWith a browser elsewhere, put these files into {folder}:\n{names}\n"
                f"or point FIRSTLIGHT_DATA to a folder that has them in {entry.name}/"
            ) from error


def where_found(entry: Entry, data_dir: Path | None = None) -> Path | None:
    """The folder or file that ``load`` would take the set from; nothing is checked."""
    if not isinstance(entry.reader, str):
        return Path(entry.origin)
    return next((where for where, _ in _sources(entry, places(data_dir))), None)


def places(data_dir: Path | None = None) -> list[Path]:
    """The folders that are looked into, in order. A chosen one that is not there is an error."""
    chosen = []
    for label, value in (
        ("--data-dir", data_dir),
        ("FIRSTLIGHT_DATA", os.environ.get("FIRSTLIGHT_DATA")),
    ):
        path = _expanded(value)
        if path is not None:
            if not _is_folder(path):
                raise DataError(f"{label}={path}: no such folder; correct or unset it")
            chosen.append(path)
    keras = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"
    return [*chosen, cache_folder(), keras, Path("data"), DEBIAN]


def _find(
    entry: Entry, wanted: Sequence[str], data_dir: Path | None
) -> tuple[dict[str, Part], Path] | None:
    """The wanted parts, and where they were."""
    for where, kind in _sources(entry, places(data_dir), wanted):
        match kind:
            case "idx":
                return _read_idx(entry, where, wanted), where
            case "npz":
                return _read_npz(where, wanted), where
            case "binary":
                read = {b: cifar.read_binary(where / f"{b}.bin") for b in _batches(wanted)}
                return _joined(read, wanted), where
            case "archive":
                return _joined(cifar.read_archive(where), wanted), where
            case "pickled":
                md5s = cifar.PICKLE_MD5
                read = {b: cifar.read_pickled(where / b, md5s[b]) for b in _batches(wanted)}
                return _joined(read, wanted), where
    return None


def _sources(
    entry: Entry, where: Iterable[Path], wanted: Sequence[str] = (TRAIN, TEST)
) -> Iterator[tuple[Path, str]]:
    """(path, kind) of each copy with the wanted parts in these places, in the order of
    preference."""
    for place in where:
        for folder in (place / sub for sub in entry.subfolders or (entry.name,)):
            if entry.reader == CIFAR:
                if all(_is_file(folder / f"{b}.bin") for b in _batches(wanted)):
                    yield folder, "binary"
                elif _is_file(folder / entry.files[0].name):
                    yield folder / entry.files[0].name, "archive"
            elif all(_idx_path(folder, name) for part in wanted for name in _idx(entry, part)):
                yield folder, "idx"
        if entry.keras and _is_file(place / entry.keras):
            yield place / entry.keras, "npz"
        if entry.reader == CIFAR:
            for folder in (place / sub for sub in _PICKLED):
                if all(_is_file(folder / b) for b in _batches(wanted)):
                    yield folder, "pickled"


def _is_file(path: Path) -> bool:
    """False also where the folder may not be searched; that is as good as no file."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _expanded(folder: str | Path | None) -> Path | None:
    """A path from a person: ``~`` is their home; an empty one is none."""
    try:
        return Path(folder).expanduser() if folder else None
    except RuntimeError as error:
        raise DataError(f"{folder}: {error}") from error


def _batches(wanted: Sequence[str] = (TRAIN, TEST)) -> list[str]:
    of_part = {TRAIN: cifar.BATCHES, TEST: (cifar.TEST_BATCH,)}
    return [batch for part in wanted for batch in of_part[part]]


def _idx(entry: Entry, part: str) -> tuple[str, str]:
    """Names of the files with the images and the labels of a part."""
    at = 0 if part == TRAIN else 2
    return entry.files[at].name, entry.files[at + 1].name


def _idx_path(folder: Path, name: str) -> Path | None:
    """The file under one of the names it goes by: packed or not, a dot or a dash."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    for candidate in (name, f"{dotted}.gz", plain, dotted):
        if _is_file(folder / candidate):
            return folder / candidate
    return None


def _read_idx(entry: Entry, folder: Path, wanted: Sequence[str]) -> dict[str, Part]:
    counts = {TRAIN: entry.train_count, TEST: entry.test_count}
    read = {}
    for part in wanted:
        images, labels = (_idx_path(folder, name) for name in _idx(entry, part))
        assert images is not None and labels is not None, "the source was complete"
        height, width, _ = entry.image_shape
        read[part] = (
            idx.read_images(images, (height, width), counts[part]),
            idx.read_labels(labels, len(entry.class_names), counts[part]),
        )
    return read


def _read_npz(path: Path, wanted: Sequence[str]) -> dict[str, Part]:
    """Keras's ``mnist.npz``; no pickle inside it is accepted."""
    from firstlight.data.packed import arrays_of_npz

    try:
        keys = [key for part in wanted for key in (f"x_{part}", f"y_{part}")]
        arrays = arrays_of_npz(path, keys, _NPZ_BYTES)
    except DataError as error:
        raise DataError(
            f"{error}. It is not Keras's mnist.npz; remove it, or fetch the set beside it with: "
            "firstlight data fetch mnist"
        ) from error
    for key, array in arrays.items():
        shape = (28, 28) if key.startswith("x") else ()
        if array.dtype != np.uint8 or array.ndim == 0 or array.shape[1:] != shape:
            raise DataError(
                f"{path}: wanted uint8 images N×28×28 and labels N, got {array.dtype} of shape "
                f"{array.shape}"
            )
    return {p: (arrays[f"x_{p}"][..., None], arrays[f"y_{p}"].astype(np.int64)) for p in wanted}


def _joined(batches: dict[str, cifar.Batch], wanted: Sequence[str]) -> dict[str, Part]:
    """Each wanted part of its batches."""
    read = {}
    for part in wanted:
        of_part = [batches[b] for b in _batches([part])]
        images, labels = [images for images, _ in of_part], [labels for _, labels in of_part]
        read[part] = np.concatenate(images), np.concatenate(labels)
    return read


def _unpack(archive: Path, folder: Path) -> None:
    """The six batches as files, each through a temporary name."""
    try:
        make_folder(folder)
        for stem, blob in cifar.archive_members(archive):
            write_whole(folder / f"{stem}.bin", blob)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}; make room") from error


def _verify(entry: Entry, part: str, read: Part, where: Path | None) -> None:
    """Raise ``DataError`` unless pixels and labels are the published ones."""
    images, labels = read
    for what, array in (("images", images), ("labels", labels.astype(np.uint8))):
        wanted = getattr(entry.content, f"{part}_{what}")
        have = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        if have != wanted:
            what = f"sha256 of the {part} {what}"
            if where is None:
                raise DataError(
                    f"{entry.name}: its reader gives other data than its entry in the catalogue "
                    f"says: {what} should be {wanted}, is {have}; correct one of them"
                )
            raise DataError(_not_official(entry, where, what, wanted, have))


def _not_official(entry: Entry, where: Path, what: str, wanted: str, have: str) -> str:
    return (
        f"{where}: not the published {entry.name}: {what} should be {wanted[:16]}…, "
        f"is {have[:16]}…; remove it and run: firstlight data fetch {entry.name}"
    )


def _not_here(entry: Entry, data_dir: Path | None) -> str:
    looked = "\n".join(f"  {place}" for place in places(data_dir))
    return (
        f"{entry.name} is in none of the folders looked into:\n{looked}\n"
        f"Fetch it with: firstlight data fetch {entry.name}"
    )


def _dataset(entry: Entry, name: str, part: Part) -> Dataset:
    # The pairs are those of the published set, which a shorter one is not.
    whole = name == TRAIN and len(part[1]) == PUBLISHED.get(entry.name)
    pairs = _near_copies(entry) if whole else None
    return Dataset(
        name=f"{entry.name}/{name}",
        images_NHWC=part[0],
        labels_N=part[1],
        class_names=entry.class_names,
        groups_N=None if pairs is None else groups(len(part[1]), pairs),
    )


def _near_copies(entry: Entry) -> Pairs | None:
    """Near copies among the training images, found once: held out together, as a folder's are."""
    text = (resources.files("firstlight.data") / "near_copies.json").read_text()
    pairs = json.loads(text).get(entry.name)
    return None if pairs is None else [(i, j) for i, j in pairs]
