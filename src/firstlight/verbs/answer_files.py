"""Files of answers: one row per picture, in CSV or Parquet, with the same columns.

Axes: N pictures, K classes.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.checked import BETWEEN
from firstlight.errors import DataError
from firstlight.evaluate.label_metrics import given_labels
from firstlight.packages import imported
from firstlight.untrusted import cell, csv_text

CSV, PARQUET = "csv", "parquet"
FORMATS = (CSV, PARQUET)
MOST_CLASSES = 100
"""With more classes, only the ``BEST`` most probable ones are written."""
BEST = 5

_ESCAPED = "backslashreplace"
Texts = Sequence[str | None]


@dataclass(frozen=True, kw_only=True)
class AnswerTable:
    """The columns of a model's answers, and their contents."""

    class_names: tuple[str, ...]
    threshold: float | None
    """Below this probability an answer is unknown; None if the model has no threshold."""
    labelled: bool
    """Whether the pictures have labels."""
    thresholds_K: npt.NDArray[np.float64] | None = None
    """From which probability on each label is given, where pictures may have several."""

    @property
    def columns(self) -> dict[str, str]:
        """Map names to types: ``string``, ``float`` or ``bool``."""
        kinds = {"image": "string"}
        if self.labelled:
            kinds["label"] = "string"
        if self.thresholds_K is not None:
            kinds["labels"] = "string"
        kinds |= {"best": "string", "confidence": "float"}
        if self.threshold is not None:
            kinds["unknown"] = "bool"
        if len(self.class_names) <= MOST_CLASSES:
            kinds |= {f"p_{name}": "float" for name in self.class_names}
        else:
            for place in range(2, BEST + 1):
                kinds |= {f"best_{place}": "string", f"confidence_{place}": "float"}
        kinds["error"] = "string"
        return kinds

    def of(
        self,
        names: Sequence[str],
        labels: Texts,
        probabilities_NK: npt.NDArray[np.float32],
        problems: dict[int, str],
    ) -> dict[str, Any]:
        """Return the columns of these pictures: lists of N texts, floats and booleans, with None
        for a picture that cannot be read."""
        count, read_N = len(names), np.ones(len(names), bool)
        read_N[list(problems)] = False
        order_NB = np.argsort(-probabilities_NK, axis=1, kind="stable")[:, :BEST]

        def given(values_N: npt.NDArray[Any]) -> list[Any]:
            both = zip(values_N.tolist(), read_N.tolist(), strict=True)
            return [one if read else None for one, read in both]

        def place(which: int) -> tuple[list[Any], list[Any]]:
            best_N = order_NB[:, which]
            shares_N = probabilities_NK[np.arange(count), best_N]
            found = [None if k is None else self.class_names[k] for k in given(best_N)]
            return found, given(shares_N)

        table: dict[str, Any] = {"image": names, "label": labels}
        if self.thresholds_K is not None:
            found_NK = given_labels(probabilities_NK, self.thresholds_K)
            joined = (BETWEEN.join(self._named(row_K)) for row_K in found_NK)
            table["labels"] = given(np.array([*joined], dtype=object))
        table["best"], table["confidence"] = place(0)
        if self.threshold is not None:
            table["unknown"] = given(probabilities_NK.max(axis=1) < self.threshold)
        if len(self.class_names) <= MOST_CLASSES:
            for k, name in enumerate(self.class_names):
                table[f"p_{name}"] = given(probabilities_NK[:, k])
        else:
            for which in range(1, BEST):
                table[f"best_{which + 1}"], table[f"confidence_{which + 1}"] = place(which)
        table["error"] = [problems.get(at) for at in range(count)]
        return {name: table[name] for name in self.columns}

    def _named(self, has_K: npt.NDArray[np.bool_]) -> list[str]:
        return [self.class_names[k] for k in np.flatnonzero(has_K).tolist()]


def encoded(table: dict[str, Any], kinds: dict[str, str], form: str) -> bytes:
    """Return the file of these columns, the same bytes every time."""
    return _as_csv(table, kinds) if form == CSV else _as_parquet(table, kinds)


def check_form(form: str, purpose: str) -> None:
    """Raise ``UserError`` if a package that the format needs is missing."""
    if form == PARQUET:
        imported("pyarrow.parquet", purpose, "'firstlight[parquet]'")


def _as_csv(table: dict[str, Any], kinds: dict[str, str]) -> bytes:
    columns = [[_text(one, kind) for one in table[name]] for name, kind in kinds.items()]
    rows = zip(*columns, strict=True)
    return (csv_text([[cell(name) for name in kinds]]) + csv_text(rows)).encode(errors=_ESCAPED)


def _text(value: Any, kind: str) -> str:
    if value is None:
        return ""
    if kind == "float":
        return f"{value:.9g}"  # restores the same float32
    return str(value).lower() if kind == "bool" else cell(value)


def _as_parquet(table: dict[str, Any], kinds: dict[str, str]) -> bytes:
    arrow = imported("pyarrow", "Parquet", "'firstlight[parquet]'")
    parquet = imported("pyarrow.parquet", "Parquet", "'firstlight[parquet]'")
    types = {"string": arrow.string(), "float": arrow.float32(), "bool": arrow.bool_()}
    schema = arrow.schema([(_utf8(name), types[kind]) for name, kind in kinds.items()])
    arrays = [
        arrow.array(
            [one if one is None or kind != "string" else _utf8(one) for one in table[name]],
            types[kind],
        )
        for name, kind in kinds.items()
    ]
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), out)
    return out.getvalue()


def _utf8(text: str) -> str:
    """Return the text as stored in a file: undecodable bytes of a name are escaped."""
    return text.encode(errors=_ESCAPED).decode()


def unread_in(path: Path, form: str) -> int:
    """Count the rows of a file of answers whose pictures could not be read. Raises ``DataError`` if
    the file cannot be read."""
    try:
        errors = (_csv_errors if form == CSV else _parquet_errors)(path)
    except Exception as error:  # pyarrow has its own exceptions
        raise DataError(f"{path}: these answers cannot be read: {error}") from error
    return sum(bool(one) for one in errors)


def _csv_errors(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row[-1] for row in csv.reader(file)][1:]


def _parquet_errors(path: Path) -> list[str | None]:
    parquet = imported("pyarrow.parquet", str(path), "'firstlight[parquet]'")
    with parquet.ParquetFile(path) as file:
        errors: list[str | None] = file.read(columns=["error"]).column(0).to_pylist()
        return errors
