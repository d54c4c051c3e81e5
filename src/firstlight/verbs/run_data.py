"""The data of a run: requested by name, described in ``data.json``, and found again later."""

import difflib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from firstlight.data.archive import is_archive
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset, TrainTest
from firstlight.data.decoded import OF_NETWORK
from firstlight.data.fixes import NO_FIXES, Fixes
from firstlight.data.levels import Range, stated
from firstlight.data.load import load, load_test
from firstlight.data.own import Form, load_own
from firstlight.data.shards.files import (
    is_address,
    is_there,
    names_shards,
    whole_place,
    word_of,
)
from firstlight.data.split import limit
from firstlight.errors import DataError, OtherDataError, UserError
from firstlight.evaluate.label_metrics import SEVERAL
from firstlight.pixels import Preprocess
from firstlight.progress import CountingBar, DecodingBar, DownloadBar
from firstlight.runs.folder import RunFolder
from firstlight.untrusted import shell_word
from firstlight.verbs.far_data import exact_place, have_here


@dataclass(frozen=True, kw_only=True, eq=False)
class DataRequest:
    """Which data to load, and how much of it."""

    name: str
    """The name of a data set; a folder, CSV or ``.npz`` of pictures; or any name if ``data`` is
    given."""
    data: TrainTest | None = None
    """The data itself, if it is not a named data set."""
    data_dir: Path | None = None
    """The folder to search first."""
    limit: int | None = None
    """Most images of each part."""
    size: int | None = None
    """Side of the images in pixels, for the user's own pictures."""
    shape: tuple[int, int, int] | None = None
    """Height, width and channels for the user's own pictures, in place of ``size``."""
    shape_why: str = OF_NETWORK
    """The reason for ``shape``, for a note."""
    range: Range | None = None
    """The values of black and white, for the user's own arrays."""
    fixes: Fixes = NO_FIXES
    """Which of the user's own pictures to leave out, and which have another class."""
    allow_outside: bool = False
    """Whether a CSV may name files outside its folder."""
    download: bool = True
    """Whether a missing data set may be downloaded."""
    quiet: bool = False
    """Whether to hide progress of downloading and decoding."""

    @property
    def own(self) -> Path | None:
        """The folder or file of the user's own pictures."""
        return None if self.data is not None or self.name in CATALOG else Path(self.name)

    def check_name(self) -> None:
        """Raise ``UserError`` if this is neither data, nor a known data set, nor an existing path,
        or if it has settings that have no effect on it."""
        named = self.own is None and self.data is None
        if named and (self.size is not None or self.fixes):
            raise UserError(
                f"--size and --fixes are for your own pictures, not for the data set {self.name}"
            )
        if named and self.range is not None:
            raise UserError(
                f"--range is for your own images in arrays; leave it out for {self.name}"
            )
        if self.allow_outside and self.data is None and (named or holds_files(self.name)):
            raise UserError(f"--allow-outside is for a CSV of paths; {self.name} is not one")
        if self.own is not None and not os.path.lexists(self.own) and not names_shards(self.name):
            close = difflib.get_close_matches(self.name, CATALOG, n=1)
            raise UserError(
                f"unknown data set {self.name!r}, and there is no such folder or file; "
                f"{f'did you mean {close[0]}? ' if close else ''}"
                f"the data sets are {', '.join(CATALOG)}"
            )

    def load(self) -> TrainTest:
        """Return the data, loaded once. Raises ``DataError`` if it is missing or damaged."""
        return self._loaded

    def load_test(self) -> Dataset:
        """Return only the test images of a named data set, without downloading."""
        self._check()
        return self._limited(load_test(self.name, self.data_dir))

    def _check(self) -> None:
        if self.limit is not None and self.limit < 2:
            raise UserError(f"--limit: wanted at least 2 images, got {self.limit}")
        self.check_name()

    def _limited(self, part: Dataset) -> Dataset:
        return part if self.limit is None else limit(part, self.limit)

    @cached_property
    def _loaded(self) -> TrainTest:
        self._check()
        with DownloadBar(quiet=self.quiet) as bar:
            if self.data is not None:
                whole = self.data
            elif self.own is not None:
                have_here(self.name, named=self.download, quiet=self.quiet)
                with (
                    CountingBar("indexing", "shards", quiet=self.quiet) as indexing,
                    DecodingBar(quiet=self.quiet) as decoding,
                ):
                    whole = load_own(
                        self.name if is_address(self.name) else self.own,
                        Form(size=self.size, shape=self.shape, range=self.range),
                        fixes=self.fixes,
                        allow_outside=self.allow_outside,
                        progress=decoding,
                        indexing=indexing,
                    )
            else:
                whole = load(self.name, self.data_dir, download=self.download, report=bar)
                whole = self._told_of_namesake(whole)
        _check_halves(whole)
        return TrainTest(*(self._limited(self._reasoned(part)) for part in whole))

    def _told_of_namesake(self, data: TrainTest) -> TrainTest:
        """Add a note if a folder or file here has the data set's name."""
        if not os.path.lexists(self.name):
            return data
        note = (
            f"{self.name} means the data set of that name. For the file or folder of the same "
            f"name here, write {os.path.join('.', self.name)}"  # noqa: PTH118 (a Path drops the dot)
        )
        return TrainTest(replace(data.train, notes=(*data.train.notes, note)), data.test)

    def _reasoned(self, part: Dataset) -> Dataset:
        """Return a copy of the part with the reason for its shape; cached parts are shared by all
        callers."""
        notes = tuple(note.replace(OF_NETWORK, self.shape_why) for note in part.notes)
        return part if notes == part.notes else replace(part, notes=notes)

    @classmethod
    def from_json(
        cls, values: dict[str, Any], data_dir: Path | None = None, data: TrainTest | None = None
    ) -> "DataRequest":
        """Return the request that a run was started with, from its ``data.json``."""
        try:
            fixes, size = _fixes(values), values.get("size")
            shape = None
            if values.get("shape") is not None:
                height, width, channels = map(int, values["shape"])
                shape = height, width, channels
            if not isinstance(values["name"], str):
                raise TypeError(f"name is {values['name']!r}")
            if not isinstance(values.get("path"), str | None):
                raise TypeError(f"path is {values['path']!r}")
            if not all(isinstance(n, int | None) for n in (values["limit"], size)):
                raise TypeError(f"limit is {values['limit']!r}, size {size!r}")
            return cls(
                name=values["path"] if data is None and values.get("path") else values["name"],
                limit=values["limit"],
                size=size,
                shape=shape,
                range=None if values.get("range") is None else stated(values["range"], "data.json"),
                fixes=fixes,
                allow_outside=values.get("allow_outside") is True,
                data_dir=data_dir,
                data=data,
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"data.json: damaged: {error!r}") from error


def _fixes(values: dict[str, Any]) -> Fixes:
    """Return the corrections in a ``data.json``. Raises ``TypeError`` if it is damaged."""
    left_out, relabelled = values.get("excluded", ()), values.get("relabelled", {})
    texts = (*left_out, *relabelled, *relabelled.values())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"excluded is {left_out!r}, relabelled {relabelled!r}")
    return Fixes(left_out=tuple(left_out), relabelled=dict(relabelled))


def holds_files(name: str | Path) -> bool:
    """Whether a path is a folder, an archive or shards, and not a list of files elsewhere."""
    path = Path(name)
    return names_shards(name) or path.is_dir() or (path.is_file() and is_archive(path))


def _check_halves(data: TrainTest) -> None:
    """Raise ``UserError`` unless training and test images fit the same network."""
    train, test = data
    for part in data:
        if len(part) == 0:
            raise UserError(f"{part.name} has no images")
    if train.image_shape != test.image_shape:
        raise UserError(
            f"training images are {train.image_shape}, test images {test.image_shape} (height, "
            "width, channels). Give them the same shape first"
        )
    if train.several != test.several:
        raise UserError(
            "training and test images do not match: those of one part have several labels each. "
            "Give both parts labels of one kind"
        )
    if train.class_names != test.class_names:
        raise UserError(
            "training and test images have different classes, or the same classes in another "
            f"order: {', '.join(train.class_names[:5])}… and {', '.join(test.class_names[:5])}…"
        )


def describe(
    request: DataRequest,
    data: TrainTest,
    trained_on: int,
    validation: Dataset | None,
    folder: Path,
) -> dict[str, Any]:
    """Return the content of ``data.json`` for a run's folder."""
    return {
        "name": request.name,
        "path": None if request.own is None else exact_place(request.name),
        "relative": None if request.own is None else _relative(request.name, folder),
        "limit": request.limit,
        "size": request.size,
        "shape": request.shape,
        "range": request.range,
        "excluded": request.fixes.left_out,
        "relabelled": dict(request.fixes.relabelled),
        "allow_outside": request.allow_outside,
        "notes": data.train.notes,
        "class_names": data.train.class_names,
        **({"labels": SEVERAL} if data.train.several else {}),
        "image_shape": data.train.image_shape,
        "train": {"images": len(data.train), "sha256": data.train.fingerprint},
        "test": {"images": len(data.test), "sha256": data.test.fingerprint},
        "trained_on": trained_on,
        "validated_on": None
        if validation is None
        else {"name": validation.name, "images": len(validation)},
    }


Given = TrainTest | Path | None
"""The data itself, or its new location (also the name of a data set)."""


def data_of_run(folder: RunFolder, data_dir: Path | None = None, data: Given = None) -> TrainTest:
    """Return the images that the run was trained with. Raises ``DataError`` if they differ.

    Opens no connection: a data set that is not on this machine is an error.
    """
    values = folder.read_json("data.json")
    return _whole(_described(values, folder.path, data_dir, data), values, str(folder))


def data_to_resume(
    folder: RunFolder, data_dir: Path | None = None, data: Given = None
) -> TrainTest:
    """Like ``data_of_run``, but download a missing named data set, as for a new run."""
    return request_of_run(folder, data_dir, data).load()


def request_of_run(
    folder: RunFolder, data_dir: Path | None = None, data: Given = None
) -> DataRequest:
    """Return the loaded request of ``data_to_resume``."""
    values = folder.read_json("data.json")
    requests = _described(values, folder.path, data_dir, data)
    return _found([replace(one, download=True) for one in requests], values, str(folder))


def keep_new_place(folder: RunFolder, data: Path) -> None:
    """Record the new location of the run's data in ``data.json``, so that it need not be named
    again."""
    values = folder.read_json("data.json")
    name = word_of(data)
    own = None if name in CATALOG else name
    values["name"] = name
    values["path"] = None if own is None else exact_place(own)
    values["relative"] = None if own is None else _relative(own, folder.path)
    folder.write_json("data.json", values)


def run_test_data(folder: RunFolder, data_dir: Path | None = None, data: Given = None) -> Dataset:
    """Like ``data_of_run``, but return only the test images. Of a named data set, other files are
    not read."""
    values = folder.read_json("data.json")
    return _test(_described(values, folder.path, data_dir, data), values, str(folder))


def described_test_data(
    values: dict[str, Any], owner: str, data_dir: Path | None = None, data: Given = None
) -> Dataset:
    """Return the test images for an exported file's card; ``owner`` names the file in messages."""
    return _test(_described(values, Path(owner), data_dir, data), values, owner)


def test_images_here(
    values: dict[str, Any], owner: str, data_dir: Path | None = None
) -> Dataset | None:
    """Return the test images that a run's or an exported file's facts describe; None if they are
    not on this machine."""
    try:
        return described_test_data(values, owner, data_dir)
    except UserError:
        return None


def _whole(requests: list[DataRequest], values: dict[str, Any], owner: str) -> TrainTest:
    return _found(requests, values, owner).load()


def _found(requests: list[DataRequest], values: dict[str, Any], owner: str) -> DataRequest:
    """Return the first of the requests that gives the run's images, loaded."""
    *others, last = requests
    for request in others:
        try:
            _check_same(values, owner, request.load()._asdict())
        except DataError:
            continue
        return request
    _check_same(values, owner, last.load()._asdict())
    return last


def _test(requests: list[DataRequest], values: dict[str, Any], owner: str) -> Dataset:
    request = requests[0]
    if request.data is None and request.own is None:
        test = request.load_test()
        _check_same(values, owner, {"test": test})
        return test
    return _whole(requests, values, owner).test


def _described(
    values: dict[str, Any], folder: Path, data_dir: Path | None, data: Given
) -> list[DataRequest]:
    """Return at least one request, one for each possible location of the data."""
    request = DataRequest.from_json(values, data_dir, data if isinstance(data, TrainTest) else None)
    request = replace(request, download=False)
    if isinstance(data, Path):
        request = replace(request, name=word_of(data), download=True)
        request.check_name()
        return [replace(request, download=request.own is not None)]
    if request.own is None:
        return [request]
    there = [place for place in _places(values, folder) if is_there(place)]
    if not there:
        raise UserError(
            f"{folder} was trained on {request.name!r}, which was not found, neither at that "
            "path nor relative to the run. If it was moved, name it as DATA after the run: "
            f"firstlight evaluate {shell_word(folder)} DATA, or firstlight train DATA --resume "
            f"{shell_word(folder)}; from Python, give its data: fl.open_run(path, data=...)"
        )
    return [replace(request, name=place) for place in there]


def _places(values: dict[str, Any], folder: Path) -> list[str]:
    """Return possible locations of the user's own pictures: the original one, the same one relative
    to the run, and a relative name from each folder above the run."""
    here, name = folder.resolve(), values["name"]
    if is_address(values.get("path") or name):
        return [values.get("path") or name]
    places = [values.get("path") or name]
    if isinstance(values.get("relative"), str):
        places.append(os.path.normpath(here / values["relative"]))
    if not Path(name).is_absolute():
        places += [os.path.normpath(above / name) for above in here.parents]
    return list(dict.fromkeys(places))


def _relative(own: str, folder: Path) -> str | None:
    if is_address(own):
        return None
    try:
        return os.path.relpath(whole_place(own), folder.resolve())
    except ValueError:  # on another drive in Windows
        return None


def data_or_reason(
    folder: RunFolder, data_dir: Path | None = None, data: Given = None
) -> tuple[TrainTest | None, str]:
    """Return ``data_of_run``, or the reason why there is none, for callers that can do without. If
    a path is given, errors are raised."""
    try:
        return data_of_run(folder, data_dir, data), ""
    except UserError as error:
        if isinstance(data, Path):
            raise
        return None, str(error)


def _check_same(values: dict[str, Any], owner: str, parts: dict[str, Dataset]) -> None:
    for part, have in parts.items():
        try:
            wanted = str(values[part]["sha256"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{owner}/data.json: damaged: {error!r}") from error
        if wanted != have.fingerprint:
            raise OtherDataError(
                f"{owner}: the {part} images are not those that the run was trained with: wanted "
                f"sha256 {wanted[:12]}…, got {have.fingerprint[:12]}… ({len(have)} images). "
                f"{_remedy(values)}"
            )


def _remedy(values: dict[str, Any]) -> str:
    if values.get("path"):
        return (
            f"Restore the pictures of {values['path']}, name their new place as DATA after the "
            "run, or train again"
        )
    if values["name"] in CATALOG:
        return "Set --data-dir (in Python: data=) to the data that the run was trained with"
    return "Give the data that the run was trained with: fl.open_run(path, data=...)"


def preprocess_for(train: Dataset, *, standardize: bool) -> Preprocess:
    """Return the preprocessing: pixels / 255, and facts about the images' background and placement.

    With ``standardize``, each channel is shifted and scaled to mean 0 and deviation 1 over
    ``train``.
    """
    height, width, channels = train.image_shape
    entry = CATALOG.get(train.name.partition("/")[0])
    if entry is not None:
        light_on_dark, centred = entry.light_on_dark, entry.centred_strokes
    else:
        images_NHWC = train.some(1000)
        edge = np.concatenate([images_NHWC[:, 0].ravel(), images_NHWC[:, -1].ravel()])
        light_on_dark, centred = channels == 1 and float(np.median(edge)) < 64, False
    mean, std = _moments(train) if standardize else ((0.0,) * channels, (1.0,) * channels)
    return Preprocess(
        height=height,
        width=width,
        channels=channels,
        mean=mean,
        std=std,
        light_on_dark=light_on_dark,
        centred_strokes=centred,
    )


def _moments(train: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel's pixels / 255; 1 for a constant
    channel."""
    counts = train.level_counts
    levels, total = np.arange(256) / 255, counts[0].sum()
    mean_C = counts @ levels / total
    std_C = np.sqrt(np.maximum(0, counts @ levels**2 / total - mean_C**2))
    return tuple(map(float, mean_C)), tuple(float(s) if s > 1e-6 else 1.0 for s in std_C)
