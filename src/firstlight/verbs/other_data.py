"""Evaluate a trained run on other labelled data, matched by class names.

Axes: N images, H height, W width, C channels.
"""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from firstlight.data.arrays import ArrayForm
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset, UInt8Array
from firstlight.data.encode import picture_of
from firstlight.data.levels import Range
from firstlight.data.listing import Listing, counted
from firstlight.data.load import load_test
from firstlight.data.own import is_arrays, read_arrays
from firstlight.data.pictures import PictureSource, prepare
from firstlight.data.shards.files import is_there, names_shards, whole_place
from firstlight.data.shards.images import ShardImages
from firstlight.data.shards.load import is_large, listed, shards_at
from firstlight.data.shards.set import ShardSet
from firstlight.data.split import TEST
from firstlight.data.table import list_pictures
from firstlight.errors import DataError, UserError
from firstlight.evaluate.label_metrics import SEVERAL
from firstlight.evaluate.task import AnyMetrics
from firstlight.model import Model
from firstlight.pixels import Preprocess
from firstlight.runs.folder import RunFolder
from firstlight.threads import usable_threads
from firstlight.verbs.evaluate import answers_csv, measured
from firstlight.verbs.run_data import data_of_run, holds_files

FEW = 10
"""Most names that a message lists."""


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Which of the other data was measured, and which was not."""

    name: str
    """The name as given."""
    path: str | None
    """None for a named data set."""
    part: str
    """``test`` if the data has a test part, which alone is measured; otherwise ``all``."""
    images: int
    """Number of measured images."""
    sha256: str
    """SHA-256 of these images, as given to the network, and their labels."""
    missing: tuple[str, ...]
    """Classes of the run without a picture in the data; labels of the run that it does not name."""
    surplus: dict[str, int]
    """Classes that the run lacks, with their numbers of pictures, which are left out. Pictures with
    labels that the run lacks are measured by their others."""
    unread: tuple[str, ...]
    """Pictures that could not be read, with the reason."""
    labels: str | None = None
    """``several`` if the run gives a picture several labels."""
    one_each: bool = False
    """Whether they do, but each of these pictures is of one class."""

    @property
    def told(self) -> list[str]:
        """Return the notes in lines for people."""
        lines = [f"{self.images:,} images of {self.name}"]
        if self.part == TEST:
            lines[0] += ", its test part"
        if self.one_each:
            lines.append("each is of one class, which is taken as its only label")
        if self.missing and self.labels:
            lines.append(f"not measured, because the data names no {_some(self.missing)}")
        elif self.missing:
            lines.append(f"no pictures of {_some(self.missing)}: not measured")
        if self.surplus and self.labels:
            lines.append(
                f"not measured, because the run has no such label: {_some(tuple(self.surplus))}"
            )
        elif self.surplus:
            count = sum(self.surplus.values())
            lines.append(
                f"left out, because the run has no such class: {_some(tuple(self.surplus))} "
                f"({count:,} picture{'' if count == 1 else 's'})"
            )
        return lines + [f"left out, because it cannot be read: {line}" for line in self.unread]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Labelled:
    """Pictures with the names of their classes, or of their labels."""

    sources: Sequence[PictureSource]
    labels: Sequence[tuple[str, ...]]
    """One of each picture, or any number if there may be several."""
    named: Sequence[str]
    """All classes or labels; a picture that has not one of them, surely lacks it."""
    part: str
    several: bool


def is_other(folder: RunFolder, other: "Other") -> bool:
    """Whether this differs from the run's own data, wherever that is now.

    Raises ``DataError`` if it is the run's own data but changed, because most of it was trained on;
    and ``UserError`` if it is the run's own with options for reading it.
    """
    name = other.name
    try:
        data_of_run(folder, other.data_dir, Path(name))
    except UserError:  # also if it cannot be read with the run's size or range
        own = folder.read_json("data.json").get("path")
        if own is not None and whole_place(name) == whole_place(own):
            raise
        return True
    if other.allow_outside or other.range is not None:
        raise UserError(
            f"{name} is the data of {folder} itself, which is read as it was for training; leave "
            "out --allow-outside and --range"
        )
    return False


@dataclass(frozen=True, kw_only=True)
class Other:
    """Other labelled data, and how to read it."""

    data: str | Dataset
    """The name of a data set, a path, or the images."""
    data_dir: Path | None = None
    allow_outside: bool = False
    """Whether a CSV may name files outside its folder."""
    range: Range | None = None
    """The values of black and white in arrays."""

    @property
    def name(self) -> str:
        """The name as given."""
        return self.data.name if isinstance(self.data, Dataset) else self.data

    @property
    def path(self) -> Path | None:
        """The path; None for a named data set and for images in memory."""
        given = isinstance(self.data, str) and self.data not in CATALOG
        return Path(self.name) if given else None


def evaluate_other(
    model: Model, other: Other, folder: RunFolder | None = None
) -> tuple[AnyMetrics, Matched, Path | None]:
    """Return metrics of a model's answers to other data; each picture is prepared as by
    ``predict``.

    Of a named data set, the test images are used; of a folder, a CSV or a file of arrays, the test
    part if there is one, otherwise everything. With ``folder``, the figures and answers are written
    into a separate folder inside the run's, whose path is returned; the run's own files are
    unchanged. Raises ``DataError`` if no class has a name of the run's.

    If the run gives several labels, those are measured that it and the data share, each as if the
    others were not there. Pictures of one class each have that label alone.
    """
    data, matched = _matched(model, other)
    metrics, probabilities_NK = measured(model, data)
    if folder is None:
        return metrics, matched, None
    stem = re.sub(r"[^\w.-]+", "-", Path(matched.path).stem if matched.path else other.name)[:60]
    place = f"evaluated-{stem}-{data.fingerprint[:8]}"
    names = data.names or ()
    text = answers_csv(model, data, names, probabilities_NK)
    folder.write(f"{place}/predictions.csv", text)
    folder.write_json(f"{place}/metrics.json", {"data": asdict(matched), **metrics.to_json()})
    return metrics, matched, folder.path / place


def _matched(model: Model, other: Other) -> tuple[Dataset, Matched]:
    known = model.class_names if model.task.several else ()
    if other.path is not None and names_shards(other.name):
        _refuse_unread(other)
        shards = shards_at(other.name)
        if is_large(shards):
            model.task.require_one("shards", "Measure on the pictures themselves")
            return _match_shards(shards, other.name, model)
        labelled = _of_listing(listed(shards))
    else:
        labelled = _labelled(other, known)
    if known:
        return _match_labels(labelled, other, model)
    return _match(labelled, other, model)


def _match_shards(shards: ShardSet, name: str, model: Model) -> tuple[Dataset, Matched]:
    """Match images that are decoded only when the network needs them."""
    index = {one: at for at, one in enumerate(model.class_names)}
    part_N = np.array(shards.parts())[shards.shard_N]
    has_test = bool((part_N == TEST).any())
    rows_N = np.flatnonzero(shards.pictures_N & ((part_N == TEST) | (not has_test)))
    labels_K = np.array([index.get(one, -1) for one in shards.class_names])
    counts_K = np.bincount(shards.labels_N[rows_N], minlength=len(labels_K)).tolist()
    known_N = rows_N[labels_K[shards.labels_N[rows_N]] >= 0]
    pairs = list(zip(shards.class_names, labels_K.tolist(), counts_K, strict=True))
    surplus = {one: count for one, label, count in pairs if label < 0 and count}
    if not len(known_N):
        raise _no_class_shared(name, tuple(surplus), model.class_names)
    images = ShardImages(shards, model.preprocess, known_N)
    data = Dataset(
        name=name,
        images_NHWC=images,  # type: ignore[arg-type]
        labels_N=labels_K[shards.labels_N[known_N]],
        class_names=tuple(model.class_names),
        names=tuple(images.names()),
    )
    there = {one for one, _, count in pairs if count}
    return data, Matched(
        name=name,
        path=whole_place(name),
        part=TEST if has_test else "all",
        images=len(data),
        sha256=data.fingerprint,
        missing=tuple(one for one in model.class_names if one not in there),
        surplus=surplus,
        unread=tuple(f"{one}: not a picture" for one in _unread(shards)),
    )


def _unread(shards: ShardSet) -> list[str]:
    return shards.names(np.flatnonzero(~shards.pictures_N)[:FEW])


def _no_class_shared(
    name: str, theirs: Sequence[str], ours: Sequence[str], kind: str = "class"
) -> DataError:
    return DataError(
        f"{name}: its {kind} names are {_some(theirs)}, but those of the run are {_some(ours)}. "
        "Rename the folders or labels to match the run"
    )


def _labelled(other: Other, known: Sequence[str]) -> _Labelled:
    """Return other data. ``known`` are the labels of a run that gives a picture several of them,
    empty for another run."""
    name, path = other.name, other.path
    if isinstance(other.data, Dataset):
        _refuse_several(name, other.data.several and not known)
        return _of_images(other.data, "all")
    if path is None:
        _refuse_unread(other)
        return _of_images(load_test(name, other.data_dir), TEST)
    if not is_there(name):
        raise UserError(
            f"unknown data set {name!r}, and there is no such folder or file; the data sets are "
            f"{', '.join(CATALOG)}"
        )
    _refuse_unread(other)
    form = ArrayForm(range=other.range, known=known)
    if (arrays := read_arrays(path, form)) is not None:
        data, part_of = arrays
        _refuse_several(name, data.several and not known)
        chosen_N = np.flatnonzero(np.array([part == TEST for part in part_of], dtype=bool))
        return _of_images(data.take(chosen_N), TEST) if len(chosen_N) else _of_images(data, "all")
    listing = list_pictures(path, allow_outside=other.allow_outside, least=1, known=known)
    _refuse_several(name, listing.several and not known)
    return _of_listing(listing)


def _of_listing(listing: Listing) -> _Labelled:
    has_test = any(picture.part == TEST for picture in listing.pictures)
    pairs = [
        (source, tuple(listing.class_names[label] for label in picture.classes))
        for source, picture in zip(listing.sources(), listing.pictures, strict=True)
        if not has_test or picture.part == TEST
    ]
    return _Labelled(
        sources=[source for source, _ in pairs],
        labels=[labels for _, labels in pairs],
        named=listing.class_names,
        part=TEST if has_test else "all",
        several=listing.several,
    )


def _refuse_unread(other: Other) -> None:
    """Raise ``UserError`` for options that have no effect on this data."""
    path = other.path
    if other.allow_outside and (path is None or holds_files(path) or is_arrays(path)):
        raise UserError(f"--allow-outside is for a CSV of paths; {other.name} is not one")
    if other.range is not None and (path is None or not is_arrays(path)):
        raise UserError(f"--range is for images in arrays; {other.name} does not hold arrays")


def _refuse_several(name: str, several: bool) -> None:
    if several:
        raise UserError(
            f"{name}: its pictures have several labels, but the run answers with one class for "
            "each. Give one class for each picture"
        )


def _of_images(data: Dataset, part: str) -> _Labelled:
    names = data.names or [str(at) for at in range(len(data))]
    pictures = [picture_of(image_HWC) for image_HWC in data.images_NHWC]
    labels: list[tuple[str, ...]] = [(data.class_names[label],) for label in data.labels_N]
    if data.labels_NK is not None:
        labels = [
            tuple(data.class_names[label] for label in np.flatnonzero(row_K))
            for row_K in data.labels_NK
        ]
    return _Labelled(
        sources=[
            PictureSource(name=name, content=picture)
            for name, picture in zip(names, pictures, strict=True)
        ],
        labels=labels,
        named=data.class_names,
        part=part,
        several=data.several,
    )


def _match(labelled: _Labelled, other: Other, model: Model) -> tuple[Dataset, Matched]:
    """Return the pictures whose class the run has, prepared for its network."""
    name, class_names = other.name, model.class_names
    index = {one: at for at, one in enumerate(class_names)}
    classes = [one for (one,) in labelled.labels]
    surplus = Counter(one for one in sorted(classes) if one not in index)
    known = [at for at, one in enumerate(classes) if one in index]
    if not known:
        raise _no_class_shared(name, tuple(surplus), class_names)
    read, images_NHWC, unread = _prepared(labelled.sources, known, name, model.preprocess)
    data = Dataset(
        name=name,
        images_NHWC=images_NHWC,
        labels_N=np.array([index[classes[at]] for at in read], dtype=np.int64),
        class_names=class_names,
        names=tuple(labelled.sources[at].name for at in read),
    )
    there = {classes[at] for at in read}
    return data, Matched(
        name=name,
        path=None if other.path is None else whole_place(name),
        part=labelled.part,
        images=len(data),
        sha256=data.fingerprint,
        missing=tuple(one for one in class_names if one not in there),
        surplus=dict(surplus),
        unread=unread,
    )


def _match_labels(labelled: _Labelled, other: Other, model: Model) -> tuple[Dataset, Matched]:
    """Return all pictures, prepared for the network, with those of their labels that the run has.
    The labels are those that the run and the data share."""
    name, named = other.name, set(labelled.named)
    shared = tuple(one for one in model.class_names if one in named)
    if not shared:
        raise _no_class_shared(name, tuple(labelled.named), model.class_names, "label")
    every = range(len(labelled.sources))
    read, images_NHWC, unread = _prepared(labelled.sources, every, name, model.preprocess)
    labels_NK = np.array([[one in labelled.labels[at] for one in shared] for at in read])
    if not labels_NK.any():
        raise DataError(
            f"{name}: none of its {counted(len(read), 'picture')} has a label of the run, so there "
            f"is nothing to find. Give pictures with {_some(shared)}"
        )
    data = Dataset(
        name=name,
        images_NHWC=images_NHWC,
        labels_NK=labels_NK,
        class_names=shared,
        names=tuple(labelled.sources[at].name for at in read),
    )
    counts = Counter(one for labels in labelled.labels for one in sorted(labels))
    return data, Matched(
        name=name,
        path=None if other.path is None else whole_place(name),
        part=labelled.part,
        images=len(data),
        sha256=data.fingerprint,
        missing=tuple(one for one in model.class_names if one not in named),
        surplus={one: counts[one] for one in labelled.named if one not in shared},
        unread=unread,
        labels=SEVERAL,
        one_each=not labelled.several,
    )


def _prepared(
    sources: Sequence[PictureSource], chosen: Sequence[int], name: str, preprocess: Preprocess
) -> tuple[list[int], UInt8Array, tuple[str, ...]]:
    """Prepare the chosen pictures for a network. Return the numbers of those that can be read,
    their images, and why the others cannot. Raises ``DataError`` if none can."""

    def one(at: int) -> np.ndarray | str:
        try:
            return prepare(sources[at], preprocess).image_HWC
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(usable_threads()) as pool:
        prepared = list(pool.map(one, chosen))
    read = [at for at, got in zip(chosen, prepared, strict=True) if not isinstance(got, str)]
    unread = tuple(got for got in prepared if isinstance(got, str))
    if not read:
        raise DataError(f"{name}: none of its pictures can be read; the first is {unread[0]}")
    return read, np.stack([got for got in prepared if not isinstance(got, str)]), unread


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:FEW])) + (" …" if len(names) > FEW else "")
