"""Read a Parquet file as Hugging Face's ``datasets`` writes it: a column of encoded images, and one
of labels with their names in the schema's metadata."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from firstlight.data.features import PictureColumns, picture_columns
from firstlight.data.several_labels import ONE_EACH
from firstlight.data.shards.files import ShardFile
from firstlight.data.shards.index import IndexMaker, ShardIndex
from firstlight.data.shards.tar import MOST_OF_ONE, as_label
from firstlight.errors import DataError
from firstlight.packages import imported

MOST_OF_GROUP = 4 << 30
"""The largest unpacked row group in bytes."""
_ROWS = 64
"""Rows that are in memory at the same time."""


def index_parquet(file: ShardFile, source: Path, out: Path | None = None) -> ShardIndex:
    """Index the images and labels of a Parquet file, which is stored at ``source``. If ``out`` is
    given, the images' files are written there one after another, and offsets refer to it.

    Raises ``DataError``, whose message begins with the file's name, and ``UserError`` without
    pyarrow.
    """
    pyarrow = imported("pyarrow", file.name, "'firstlight[parquet]'")
    parquet = imported("pyarrow.parquet", file.name, "'firstlight[parquet]'")
    maker, offset = IndexMaker(), 0
    with ExitStack() as closed:
        try:
            table = closed.enter_context(parquet.ParquetFile(source, pre_buffer=False))
            schema = table.schema_arrow
            columns = picture_columns(schema.names, _features(schema, file), file.name)
            target = None if out is None else closed.enter_context(out.open("wb"))
            for key, content, label in _rows(table, columns, file.name):
                maker.add(key, offset, content, label)
                offset += len(content)
                if target is not None:
                    target.write(content)
        except (pyarrow.ArrowException, ValueError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # from the disk
                raise
            raise DataError(
                f"{file.name}: not a complete Parquet file ({_first_line(error)}). Get a new copy"
            ) from error
    return maker.made(columns.class_names)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _features(schema: Any, file: ShardFile) -> dict[str, Any]:
    """Return what the file says about its columns, or else what is known from elsewhere."""
    return _inside(schema) or (json.loads(file.features) if file.features else {})


def _inside(schema: Any) -> dict[str, Any]:
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = told["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _rows(
    table: Any, columns: PictureColumns, name: str
) -> Iterator[tuple[str, bytes, int | str | None]]:
    """Yield the number, file and label of each row."""
    for number in range(table.num_row_groups):
        if table.metadata.row_group(number).total_byte_size > MOST_OF_GROUP:
            raise DataError(f"{name}: its row group {number} unpacks to more than 4 GiB")
    wanted = [columns.image, *([columns.label] if columns.label else [])]
    row = 0
    for batch in table.iter_batches(batch_size=_ROWS, columns=wanted):
        images = batch.column(columns.image).to_pylist()
        labels = batch.column(columns.label).to_pylist() if columns.label else [None] * len(images)
        for image, label in zip(images, labels, strict=True):
            where = f"{name}, row {row}"
            yield f"{row:06d}", _content(image, where), _label(label, columns, where)
            row += 1


def _content(image: Any, where: str) -> bytes:
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes):
        raise DataError(
            f"{where}: holds no image data. If the data set names files elsewhere, embed them: "
            "datasets does so in push_to_hub, or with embed_external_files=True"
        )
    if len(content) > MOST_OF_ONE:
        raise DataError(f"{where}: {len(content):,} bytes are too many for an image")
    return content


def _label(label: Any, columns: PictureColumns, where: str) -> int | str | None:
    if label is None or (label == -1 and columns.class_names):  # datasets writes -1 for no label
        return None
    if isinstance(label, list):
        raise DataError(f"{where}: column {columns.label} holds lists. {ONE_EACH}")
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise DataError(
            f"{where}: column {columns.label} holds {type(label).__name__}; wanted numbers or names"
        )
    return as_label(str(label), where)
