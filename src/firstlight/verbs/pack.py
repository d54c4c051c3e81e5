"""Pack a data set of any kind into shards."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firstlight.data.arrays import ArrayForm
from firstlight.data.catalog import CATALOG
from firstlight.data.dataset import Dataset
from firstlight.data.decode import open_picture
from firstlight.data.decoded import file_digests
from firstlight.data.encode import png
from firstlight.data.formats import START, is_picture
from firstlight.data.listing import Listing
from firstlight.data.load import load
from firstlight.data.own import read_arrays
from firstlight.data.shards.files import names_shards
from firstlight.data.shards.load import shards_at
from firstlight.data.shards.set import ShardSet
from firstlight.data.shards.write import Labelled, Written, write_shards
from firstlight.data.split import TEST, TRAIN
from firstlight.data.table import list_pictures
from firstlight.errors import DataError
from firstlight.evaluate.task import task_of
from firstlight.progress import CountingBar
from firstlight.verbs.run_data import DataRequest


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The result of packing, with its warnings."""

    written: Written
    notes: tuple[str, ...]


def pack(request: DataRequest, to: Path) -> Packed:
    """Write the images of a named set, a folder, a ZIP, a CSV, arrays or shards as shards into
    ``to``: files unchanged, arrays as PNG.

    Raises ``UserError`` and ``DataError``; then nothing is written.
    """
    request.check_name()
    images, notes = _labelled(request)
    with CountingBar("packing", quiet=request.quiet) as bar:
        written = write_shards(images, to, bar)
    if written.left_out:
        notes.append(f"{written.left_out:,} files left out: not pictures")
    return Packed(written=written, notes=tuple(notes))


def _labelled(request: DataRequest) -> tuple[Labelled, list[str]]:
    name = request.name
    if name in CATALOG:
        train, test = load(name, request.data_dir, download=request.download)
        whole = Dataset(
            name=name,
            images_NHWC=np.concatenate([train.images_NHWC, test.images_NHWC]),
            labels_N=np.concatenate([train.labels_N, test.labels_N]),
            class_names=train.class_names,
        )
        return _of_arrays(whole, [TRAIN] * len(train) + [TEST] * len(test)), []
    if names_shards(name):
        return _of_shards(shards_at(name)), []
    path = Path(name)
    if (arrays := read_arrays(path, ArrayForm(range=request.range))) is not None:
        data, parts = arrays
        task_of(data.several).require_one("shards", "Train on the arrays themselves")
        return _of_arrays(data, parts), [*data.notes, *_of_groups(data.groups_N is not None)]
    listing = list_pictures(path, allow_outside=request.allow_outside)
    task_of(listing.several).require_one("shards", "Train on the CSV itself")
    grouped = any(one.group for one in listing.pictures)
    return _of_files(listing), [*listing.notes, *_of_groups(grouped)]


def _of_groups(grouped: bool) -> list[str]:
    if not grouped:
        return []
    return [
        (
            "shards do not keep groups. If groups matter, assign each picture to a part (train, "
            "test) first"
        )
    ]


def _of_files(listing: Listing) -> Labelled:
    pictures, root = listing.pictures, listing.root

    def read(at: int) -> bytes:
        try:
            with open_picture(pictures[at].name, root / pictures[at].name) as stream:
                content = stream.read()
        except (DataError, OSError):
            return b""
        return content if is_picture(content[:START]) else b""

    return Labelled(
        class_names=listing.class_names,
        labels=[one.label for one in pictures],
        parts=[one.part for one in pictures],
        digests=file_digests(root, [one.name for one in pictures]),
        read=read,
    )


def _of_arrays(data: Dataset, parts: list[str]) -> Labelled:
    order_N = data.content_order
    places_N = np.empty_like(order_N)
    places_N[order_N] = np.arange(len(order_N))

    def read(at: int) -> bytes:
        return png(data.images_NHWC[at])

    return Labelled(
        class_names=data.class_names,
        labels=data.labels_N.tolist(),
        parts=parts,
        digests=[place.to_bytes(8) for place in places_N.tolist()],
        read=read,
    )


def _of_shards(shards: ShardSet) -> Labelled:
    parts = shards.parts()
    digests = shards.digests_N2.astype(">u8").tobytes()
    return Labelled(
        class_names=shards.class_names,
        labels=shards.labels_N.tolist(),
        parts=[parts[shard] for shard in shards.shard_N.tolist()],
        digests=[digests[at : at + 16] for at in range(0, len(digests), 16)],
        read=lambda at: shards.image(at).read_bytes(),
    )
