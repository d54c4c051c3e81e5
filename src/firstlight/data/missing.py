"""What counts as a missing label, the same for a CSV, an array and the estimator."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firstlight.errors import DataError

# As spreadsheets, databases and pandas write it, in upper or lower case.
_WORDS = {"", "nan", "-nan", "none", "null", "na", "n/a", "#n/a", "#na", "<na>", "nat"}
_SHOWN = 5


def is_missing(label: object) -> bool:
    """Return whether a label is missing: ``None``, NaN, or one of these words."""
    if label is None:
        return True
    if isinstance(label, bytes):
        label = label.decode(errors="replace")
    if isinstance(label, str):
        return label.strip().lower() in _WORDS
    if type(label).__name__ in ("NAType", "NaTType"):  # from pandas; they equal nothing
        return True
    with contextlib.suppress(TypeError, ValueError):
        return bool(label != label)  # only NaN differs from itself
    return False


def refuse_missing(
    name: str,
    labels: Sequence[object] | npt.NDArray[Any],
    unit: str = "label",
    numbers: Sequence[int] = (),
    advice: str = "",
) -> None:
    """Raise ``DataError`` if labels are missing, with the numbers of the first.

    The message begins with ``name``. ``unit`` is what the numbers count, such as ``line``.
    ``numbers`` has the number of each label; by default they count from 0. ``advice`` ends
    the message.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biu":
        return  # whole numbers cannot be missing
    at = [i for i, label in enumerate(labels) if is_missing(label)]
    if not at:
        return
    first = [str(numbers[i] if numbers else i) for i in at[:_SHOWN]]
    listed = ", ".join(first) + (", …" if len(at) > _SHOWN else "")
    written = ", ".join(sorted({repr(str(labels[i])) for i in at})[:3])
    raise DataError(
        f"{name}: {len(at):,} of {len(labels):,} labels {'is' if len(at) == 1 else 'are'} "
        f"missing (written {written}): {unit}{'' if len(at) == 1 else 's'} {listed}. Give each "
        "image its class, or leave it out. If a class really has this name, rename it"
        + (f". {advice}" if advice else "")
    )
