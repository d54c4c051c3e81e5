"""Sets that are looked through in the page. They are opened aside and kept, so that a page of a
large one comes at once."""

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps

from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import TrainTest
from firstlight.data.decode import Bounds
from firstlight.data.encode import png
from firstlight.data.folder import list_folder
from firstlight.data.listing import Listing
from firstlight.data.load import load
from firstlight.errors import DataError
from firstlight.studio.collected import small_picture
from firstlight.studio.sets import Stamp, stamp_of
from firstlight.studio.workshop import Workshop

MOST_KEPT = 3
PATIENCE = 0.5
"""Seconds that a request waits for a set to open."""
IN_STRIP, STRIP_SIDE = 8, 64
"""Pictures in a set's strip, and most pixels a side of each."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A set with the name and the class of each picture."""

    word: str
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    """``train/7`` in a named set, and ``cat/1.jpg`` in a folder."""
    labels: tuple[int, ...]
    notes: tuple[str, ...]
    listing: Listing | None = None
    """Of a folder."""
    data: TrainTest | None = None
    """Of a named set."""
    stamp: Stamp = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    """The place of each name."""

    @property
    def is_fresh(self) -> bool:
        """Whether no picture was added or removed since."""
        return self.listing is None or self.stamp == stamp_of(self.listing.root)

    def image(self, name: str, bounds: Bounds) -> tuple[bytes, str]:
        """Return a picture as a file, and its media type. Raises ``DataError`` if it cannot be
        read, and ``KeyError`` if there is none."""
        number = self.numbers[name]
        if self.data is None:
            assert self.listing is not None
            return small_picture(self.listing.root / name, bounds), "image/jpeg"
        train, test = self.data
        part, at = (train, number) if number < len(train) else (test, number - len(train))
        return png(part.images_NHWC[at]), "image/png"

    def strip(self, bounds: Bounds) -> bytes:
        """Return a PNG of up to eight pictures side by side, of as many classes as possible.

        Raises ``DataError`` if none can be read.
        """
        tiles = list[Image.Image]()
        for name in self._spread():
            try:
                blob, _ = self.image(name, bounds)
            except DataError:
                continue
            tiles.append(Image.open(io.BytesIO(blob)).convert("RGB"))
            if len(tiles) == IN_STRIP:
                break
        if not tiles:
            raise DataError(f"{self.word}: no picture can be read")
        side = STRIP_SIDE if self.data is None else min(STRIP_SIDE, *tiles[0].size)
        sheet = Image.new("RGB", (IN_STRIP * side, side))
        for at, one in enumerate(tiles):
            sheet.paste(ImageOps.fit(one, (side, side)), (at * side, 0))
        return png(np.asarray(sheet))

    def _spread(self) -> Iterator[str]:
        """The first picture of each class, or of classes that lie evenly, then the second ones."""
        labels_N, classes = np.asarray(self.labels), len(self.class_names)
        some = np.unique(np.linspace(0, classes - 1, min(classes, IN_STRIP)).round().astype(int))
        of_class = [np.flatnonzero(labels_N == label) for label in some]
        for turn in range(IN_STRIP):
            for places in of_class:
                if turn < len(places):
                    yield self.names[places[turn]]


class OpenedSets:
    """The sets that were opened last."""

    def __init__(self, workshop: Workshop, data_dir: Path | None) -> None:
        self._workshop, self._data_dir = workshop, data_dir
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="opening")
        self._kept = OrderedDict[str, Future[Opened]]()
        self._strips = dict[str, tuple[Stamp, Future[bytes]]]()
        self._changing = Lock()

    def find(self, word: str) -> Opened | None:
        """Return a set, or None while it is being opened. Raises ``UserError`` if it cannot be."""
        with self._changing:
            kept = self._kept.get(word)
            if kept is None or (kept.done() and not _is_usable(kept)):
                kept = self._pool.submit(self._open, word)
                self._kept[word] = kept
            self._kept.move_to_end(word)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        try:
            return kept.result(PATIENCE)
        except NotYet:
            return None

    def strip(self, word: str, bounds: Bounds) -> bytes | None:
        """Return a PNG of some pictures of a set, or None while it is being made. The set is not
        kept open. Raises ``UserError`` if it cannot be opened."""
        stamp = self._stamp(word)
        with self._changing:
            known, made = self._strips.get(word, (None, None))
            if made is None or known != stamp or (made.done() and made.exception()):
                made = self._pool.submit(lambda: self._now(word).strip(bounds))
                self._strips[word] = stamp, made
        try:
            return made.result(PATIENCE)
        except NotYet:
            return None

    def _now(self, word: str) -> Opened:
        """Return a set that is open already, or open it for this once."""
        with self._changing:
            kept = self._kept.get(word)
        return kept.result() if kept and kept.done() and _is_usable(kept) else self._open(word)

    def _stamp(self, word: str) -> Stamp:
        return () if word in CATALOG else stamp_of(self._workshop.root / word)

    def _open(self, word: str) -> Opened:
        if word in CATALOG:
            return _named(word, self._data_dir)
        stamp = self._stamp(word)  # before, so that no change is missed
        listing = list_folder(self._workshop.root / word, least=1)
        names = tuple(one.name for one in listing.pictures)
        return Opened(
            word=word,
            class_names=listing.class_names,
            names=names,
            labels=tuple(one.label for one in listing.pictures),
            notes=listing.notes,
            listing=listing,
            stamp=stamp,
            numbers={name: at for at, name in enumerate(names)},
        )


def _is_usable(opened: Future[Opened]) -> bool:
    return not opened.exception() and opened.result().is_fresh


def _named(word: str, data_dir: Path | None) -> Opened:
    data = load(word, data_dir, download=False)
    if data.train.several:
        raise DataError(f"{word}: pictures with several labels cannot be looked through here")
    names = (
        *(f"train/{at}" for at in range(len(data.train))),
        *(f"test/{at}" for at in range(len(data.test))),
    )
    return Opened(
        word=word,
        class_names=data.train.class_names,
        names=names,
        labels=(*data.train.labels_N.tolist(), *data.test.labels_N.tolist()),
        notes=data.train.notes,
        data=data,
        numbers={name: at for at, name in enumerate(names)},
    )
