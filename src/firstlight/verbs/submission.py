"""Answers as two columns, a key and a class for each picture, as competitions require."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from firstlight.checked import BETWEEN
from firstlight.data.pictures import PictureSource
from firstlight.errors import UserError
from firstlight.evaluate.prediction import Prediction
from firstlight.untrusted import cell, csv_text


def headings_of(words: str) -> tuple[str, str]:
    """Parse ``ImageId,Label`` as two headings. Raises ``UserError`` for anything else."""
    names = [name.strip() for name in words.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise UserError(
            "--columns: wanted two headings, for the picture and for its class, such as "
            f"ImageId,Label; got {words!r}"
        )
    return names[0], names[1]


def submission(
    headings: tuple[str, str], sources: Sequence[PictureSource], answers: Sequence[Prediction]
) -> str:
    """Return a CSV of two columns: the key of a table's row, or the name of a picture file; and the
    most probable class, even if the answer is unknown, or all labels, joined with ``;``.

    Raises ``UserError`` if two pictures have the same key.
    """
    keys = [source.key or PurePath(source.name).name for source in sources]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise UserError(
            f"two pictures would be called {twice[0]!r} in the column {headings[0]}. Predict one "
            "table or one folder at a time, and name the column that tells them apart"
        )
    rows = [(key, _answered(answer)) for key, answer in zip(keys, answers, strict=True)]
    return csv_text([headings, *([_safe(key), _safe(best)] for key, best in rows)])


def _answered(answer: Prediction) -> str:
    """Return the class; of several labels, all predicted ones, empty if there is none."""
    return (answer.best or "") if answer.labels is None else BETWEEN.join(answer.labels)


def _safe(text: str) -> str:
    """Make a cell that no spreadsheet runs; numbers are unchanged."""
    try:
        float(text)
    except ValueError:
        return cell(text)
    return text
