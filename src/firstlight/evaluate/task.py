"""What a network answers of an image: the one class that it is of, or which labels it has.

The data decides which. All that differs between the two, once there are scores, is here; what
differs in training is in ``training/loss.py``. Axes: N images, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from firstlight.errors import UserError
from firstlight.evaluate.calibrate import Calibration, calibrate
from firstlight.evaluate.label_calibration import USUAL, LabelCalibration, calibrate_labels
from firstlight.evaluate.label_metrics import SEVERAL, LabelMetrics, given_labels, measure_labels
from firstlight.evaluate.metrics import Metrics, measure
from firstlight.evaluate.prediction import (
    Prediction,
    Shown,
    check_each,
    check_probabilities,
    label_prediction,
    prediction,
)

if TYPE_CHECKING:
    from torch import Tensor

Float32Array = npt.NDArray[np.float32]
AnyCalibration = Calibration | LabelCalibration
AnyMetrics = Metrics | LabelMetrics


class Task(ABC):
    """One of the two, as a value. Labels are int64 N, or bool N×K where there are several."""

    several: ClassVar[bool]
    """Whether an image may have several labels, or none."""

    @abstractmethod
    def probabilities(self, scores_NK: "Tensor") -> "Tensor":
        """Of logits that were divided by the temperature."""

    @abstractmethod
    def check(self, probabilities_NK: Float32Array, source: str) -> Float32Array:
        """The same, where they are probabilities. Raises ``DataError``, which opens with
        ``source``: what answered."""

    @abstractmethod
    def calibrate(self, logits_NK: Float32Array, labels: npt.NDArray[Any]) -> AnyCalibration | None:
        """What held-out images tell; None for too few of them."""

    @abstractmethod
    def calibration_of(self, values: dict[str, Any] | None) -> AnyCalibration | None:
        """From the metadata of a file. Raises ``TypeError`` or ``ValueError`` for others'."""

    @abstractmethod
    def measure(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        class_names: tuple[str, ...],
        calibration: AnyCalibration | None,
    ) -> AnyMetrics:
        """All metrics of N ≥ 1 answers."""

    @abstractmethod
    def answers(
        self, probabilities_NK: Float32Array, calibration: AnyCalibration | None
    ) -> npt.NDArray[Any]:
        """What is answered, in the form of the labels: equal to them where it is right."""

    def right(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        calibration: AnyCalibration | None,
    ) -> npt.NDArray[np.bool_]:
        """N: which images are answered rightly."""
        return same_answers(self.answers(probabilities_NK, calibration), labels)

    @abstractmethod
    def prediction(
        self,
        picture: Shown,
        probabilities_K: Float32Array,
        class_names: Sequence[str],
        calibration: AnyCalibration | None,
    ) -> Prediction:
        """The answer that the probabilities give."""

    def require_one(self, what: str, instead: str = "") -> None:
        """Raise ``UserError`` where images may have several labels. ``what`` is what does not work
        with them, in the plural; ``instead`` what to do."""
        if self.several:
            raise UserError(
                f"{what} do not work yet with several labels for each picture"
                + (f". {instead}" if instead else "")
            )


class OneLabel(Task):
    """Each image is of one class: softmax, and the most probable class is the answer."""

    several: ClassVar[bool] = False

    def probabilities(self, scores_NK: "Tensor") -> "Tensor":
        """They sum to 1 for each image."""
        return scores_NK.softmax(dim=1)

    def check(self, probabilities_NK: Float32Array, source: str) -> Float32Array:
        """Each from 0 to 1, and each row sums to 1."""
        return check_probabilities(probabilities_NK, source)

    def calibrate(self, logits_NK: Float32Array, labels: npt.NDArray[Any]) -> AnyCalibration | None:
        """Temperature, and the threshold of "unknown"."""
        return calibrate(logits_NK, labels)

    def calibration_of(self, values: dict[str, Any] | None) -> AnyCalibration | None:
        """A ``Calibration``."""
        return None if values is None else Calibration(**values)

    def measure(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        class_names: tuple[str, ...],
        calibration: AnyCalibration | None,
    ) -> AnyMetrics:
        """``Metrics``."""
        threshold = calibration.threshold if isinstance(calibration, Calibration) else None
        return measure(labels, probabilities_NK, class_names, threshold)

    def answers(
        self, probabilities_NK: Float32Array, calibration: AnyCalibration | None
    ) -> npt.NDArray[Any]:
        """N: numbers of the most probable classes."""
        answers_N: npt.NDArray[np.int64] = probabilities_NK.argmax(axis=1)
        return answers_N

    def prediction(
        self,
        picture: Shown,
        probabilities_K: Float32Array,
        class_names: Sequence[str],
        calibration: AnyCalibration | None,
    ) -> Prediction:
        """Unknown where no class reaches the threshold."""
        assert not isinstance(calibration, LabelCalibration), "one label each"
        return prediction(picture, probabilities_K, class_names, calibration)


class SeveralLabels(Task):
    """Each image may have any of the labels: a sigmoid for each, and a label is given from its
    threshold on."""

    several: ClassVar[bool] = True

    def probabilities(self, scores_NK: "Tensor") -> "Tensor":
        """Of each label by itself."""
        return scores_NK.sigmoid()

    def check(self, probabilities_NK: Float32Array, source: str) -> Float32Array:
        """Each from 0 to 1."""
        return check_each(probabilities_NK, source)

    def calibrate(self, logits_NK: Float32Array, labels: npt.NDArray[Any]) -> AnyCalibration | None:
        """Temperature, and the threshold of each label."""
        return calibrate_labels(logits_NK, labels)

    def calibration_of(self, values: dict[str, Any] | None) -> AnyCalibration | None:
        """A ``LabelCalibration``."""
        return None if values is None else LabelCalibration(**values)

    def measure(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        class_names: tuple[str, ...],
        calibration: AnyCalibration | None,
    ) -> AnyMetrics:
        """``LabelMetrics``."""
        thresholds_K = thresholds_of(calibration, len(class_names))
        return measure_labels(labels, probabilities_NK, class_names, thresholds_K)

    def answers(
        self, probabilities_NK: Float32Array, calibration: AnyCalibration | None
    ) -> npt.NDArray[Any]:
        """N×K: which labels are given."""
        thresholds_K = thresholds_of(calibration, probabilities_NK.shape[1])
        return given_labels(probabilities_NK, thresholds_K)

    def prediction(
        self,
        picture: Shown,
        probabilities_K: Float32Array,
        class_names: Sequence[str],
        calibration: AnyCalibration | None,
    ) -> Prediction:
        """The labels whose thresholds are reached."""
        given_K = probabilities_K >= thresholds_of(calibration, len(class_names))
        calibrated = calibration is not None
        return label_prediction(
            picture, probabilities_K, class_names, given_K, calibrated=calibrated
        )


ONE_LABEL, SEVERAL_LABELS = OneLabel(), SeveralLabels()


def task_of(several: bool) -> Task:
    """The task of data, or of a network that was trained on it."""
    return SEVERAL_LABELS if several else ONE_LABEL


def task_in(values: dict[str, Any]) -> Task:
    """The task that a file's values name. Raises ``ValueError`` for one that there is not."""
    found = values.get("labels")
    if found not in (None, SEVERAL):
        raise ValueError(f"labels {found!r:.60}; this firstlight knows {SEVERAL!r}")
    return task_of(found == SEVERAL)


def metrics_from_json(values: dict[str, Any]) -> AnyMetrics:
    """What ``to_json`` of either kind gave. Raises ``TypeError``, ``ValueError`` or ``LookupError``
    for anything else."""
    return (LabelMetrics if task_in(values).several else Metrics).from_json(values)


def same_answers(some: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """N: for which images two answers, or an answer and the labels, are the same."""
    same = np.asarray(some == others, dtype=bool)
    return same if same.ndim == 1 else np.asarray(same.all(axis=1))


def thresholds_of(calibration: AnyCalibration | None, classes: int) -> npt.NDArray[np.float64]:
    """K: from which probability on each label is given."""
    if isinstance(calibration, LabelCalibration):
        return np.array(calibration.thresholds)
    return np.full(classes, USUAL)
