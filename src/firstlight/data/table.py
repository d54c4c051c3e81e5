"""Tables of pictures: a CSV that names picture files and their classes."""

import csv
from collections import Counter
from pathlib import Path

from firstlight.data.folder import list_folder
from firstlight.data.listing import Found, Listing, class_name, listing_of
from firstlight.data.split import PART_NAMES
from firstlight.errors import DataError
from firstlight.untrusted import from_cell


def list_pictures(path: Path) -> Listing:
    """``list_csv`` of a file, ``list_folder`` of a folder."""
    return list_csv(path) if path.is_file() else list_folder(path)


def list_csv(file: Path) -> Listing:
    """The pictures of a CSV with the columns ``path`` and ``label``, and perhaps ``part``.

    Paths are from the CSV's folder on. Raises ``DataError``, which names the line.
    """
    found: list[Found] = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            names = rows.fieldnames or []
            if not {"path", "label"} <= set(names):
                raise DataError(
                    f"{file}: wanted the columns path,label in the first line, "
                    f"got {','.join(names) or 'nothing'}"
                )
            for row in rows:
                at = f"{file}, line {rows.line_num}"
                path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
                word = (row.get("part") or row.get("split") or "").strip().lower()
                if not path or not label:
                    raise DataError(f"{at}: wanted a path and a label")
                if word and word not in PART_NAMES:
                    raise DataError(f"{at}: part {word!r}; there are train, validation, test")
                if not (file.parent / path).is_file():
                    raise DataError(f"{at}: there is no file {file.parent / path}")
                found.append(Found(PART_NAMES.get(word, ""), class_name(label), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV: {_why(error)}") from error
    if len({bool(part) for part, _, _, _ in found}) > 1:
        raise DataError(f"{file}: some pictures have a part and others none; give all one, or none")
    twice = [name for name, n in Counter(name for _, _, name, _ in found).items() if n > 1]
    if twice:
        raise DataError(f"{file}: {twice[0]} stands there more than once")
    return listing_of(file.parent, found, [])


def read_names(file: Path) -> tuple[str, ...]:
    """The column ``path`` of a CSV: pictures to leave out. Raises ``DataError``."""
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            rows = csv.DictReader(stream)
            if "path" not in (rows.fieldnames or []):
                raise DataError(f"{file}: wanted a column path in the first line")
            return tuple(from_cell(row["path"]) for row in rows if row["path"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV: {_why(error)}") from error


def _why(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
