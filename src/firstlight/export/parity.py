"""Compare an exported file's answers with the run's. Axes: N images, K classes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firstlight.errors import ThresholdError
from firstlight.evaluate.task import ONE_LABEL, AnyCalibration, Task, same_answers

LARGEST_DIFFERENCE = 1e-5
"""Largest allowed difference of two probabilities; reordered float32 sums differ by less."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The difference between the answers of run and file for the same images."""

    images: int
    other_classes: int
    """Images to which the file gives another class, or other labels."""
    largest_difference: float
    """Largest difference between the two probabilities of any class and image."""


def compare(
    run_NK: npt.NDArray[np.float32],
    file_NK: npt.NDArray[np.float32],
    task: Task = ONE_LABEL,
    calibration: AnyCalibration | None = None,
) -> Parity:
    """Probabilities of the run and of the file for the same N ≥ 1 images."""
    answers = [task.answers(rows_NK, calibration) for rows_NK in (run_NK, file_NK)]
    return Parity(
        images=len(run_NK),
        other_classes=int((~same_answers(*answers)).sum()),
        largest_difference=float(np.abs(run_NK.astype(np.float64) - file_NK).max()),
    )


def require_equal(parity: Parity, what: str, task: Task = ONE_LABEL) -> None:
    """Raise ``ThresholdError`` unless every answer is the same and every probability within float32
    accuracy."""
    if parity.other_classes:
        raise ThresholdError(
            f"{what} gives {parity.other_classes} of {parity.images:,} test images "
            f"{_other(task)} than the run. No file was written"
        )
    # Written so that NaN is refused too.
    if not parity.largest_difference <= LARGEST_DIFFERENCE:
        raise ThresholdError(
            f"{what} gives probabilities that differ from the run's by up to "
            f"{parity.largest_difference:.2g}, more than {LARGEST_DIFFERENCE:g}. No file was "
            "written"
        )


def _other(task: Task) -> str:
    return f"different {task.answer}" if task.several else f"a different {task.answer}"
