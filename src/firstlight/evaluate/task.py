"""What a network says about an image: its one class, or which labels it has.

The data decides which. Everything that differs between the two, given the scores, is here. What
differs in training is in ``training/loss.py``. Axes: N images, K classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from firstlight.errors import UserError
from firstlight.evaluate.calibrate import Calibration, calibrate, calibrated_losses, log_losses
from firstlight.evaluate.label_calibration import (
    USUAL,
    LabelCalibration,
    calibrate_labels,
    calibrated_label_losses,
    label_losses,
)
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
    """One of the two, as a value. Labels are int64 N, or bool N×K if there are several."""

    several: ClassVar[bool]
    """Whether an image may have several labels, or none."""
    answer: ClassVar[str]
    """What an image gets, in a word."""
    accuracy: ClassVar[str]
    """What the share of right answers is called."""

    @abstractmethod
    def probabilities(self, scores_NK: "Tensor") -> "Tensor":
        """Return the probabilities for logits that were divided by the temperature."""

    @abstractmethod
    def check(self, probabilities_NK: Float32Array, source: str) -> Float32Array:
        """Return the probabilities after checking them. Raises ``DataError``, whose message begins
        with ``source``, what answered."""

    @abstractmethod
    def calibrate(self, logits_NK: Float32Array, labels: npt.NDArray[Any]) -> AnyCalibration | None:
        """Calibrate on held-out images; return None if they are too few."""

    @abstractmethod
    def losses(
        self, scores_NK: npt.NDArray[np.float64], labels: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """N: the log loss of each image."""

    @abstractmethod
    def calibrated_losses(
        self, logits_NK: Float32Array, labels: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """The same, after calibration on the same images."""

    @abstractmethod
    def calibration_of(self, values: dict[str, Any] | None) -> AnyCalibration | None:
        """Read the metadata of a file. Raises ``TypeError`` or ``ValueError`` for anything else."""

    @abstractmethod
    def measure(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        class_names: tuple[str, ...],
        calibration: AnyCalibration | None,
    ) -> AnyMetrics:
        """Return all metrics of N ≥ 1 answers."""

    @abstractmethod
    def answers(
        self, probabilities_NK: Float32Array, calibration: AnyCalibration | None
    ) -> npt.NDArray[Any]:
        """Return the answers in the form of the labels; right answers are equal to them."""

    def right(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        calibration: AnyCalibration | None,
    ) -> npt.NDArray[np.bool_]:
        """Return which images are answered correctly, bool N."""
        return same_answers(self.answers(probabilities_NK, calibration), labels)

    @abstractmethod
    def prediction(
        self,
        picture: Shown,
        probabilities_K: Float32Array,
        class_names: Sequence[str],
        calibration: AnyCalibration | None,
    ) -> Prediction:
        """Return the answer for these probabilities."""

    def require_one(self, what: str, instead: str = "") -> None:
        """Raise ``UserError`` if images may have several labels. ``what`` does not work with them,
        in the plural; ``instead`` says what to do."""
        if self.several:
            raise UserError(
                f"{what} do not work yet with several labels for each picture"
                + (f". {instead}" if instead else "")
            )


class OneLabel(Task):
    """Each image is of one class: softmax, and the most probable class is the answer."""

    several: ClassVar[bool] = False
    answer: ClassVar[str] = "class"
    accuracy: ClassVar[str] = "accuracy"

    def probabilities(self, scores_NK: "Tensor") -> "Tensor":
        """Return probabilities that sum to 1 for each image."""
        return scores_NK.softmax(dim=1)

    def check(self, probabilities_NK: Float32Array, source: str) -> Float32Array:
        """Check that each is from 0 to 1 and each row sums to 1."""
        return check_probabilities(probabilities_NK, source)

    def calibrate(self, logits_NK: Float32Array, labels: npt.NDArray[Any]) -> AnyCalibration | None:
        """Fit the temperature and the threshold of "unknown"."""
        return calibrate(logits_NK, labels)

    def losses(
        self, scores_NK: npt.NDArray[np.float64], labels: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """The negative logarithm of the probability of each image's class."""
        return log_losses(scores_NK, labels)

    def calibrated_losses(
        self, logits_NK: Float32Array, labels: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """The same, with the temperature that fits these images."""
        return calibrated_losses(logits_NK, labels)

    def calibration_of(self, values: dict[str, Any] | None) -> AnyCalibration | None:
        """Return a ``Calibration``."""
        return None if values is None else Calibration(**values)

    def measure(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        class_names: tuple[str, ...],
        calibration: AnyCalibration | None,
    ) -> AnyMetrics:
        """Return ``Metrics``."""
        threshold = calibration.threshold if isinstance(calibration, Calibration) else None
        return measure(labels, probabilities_NK, class_names, threshold)

    def answers(
        self, probabilities_NK: Float32Array, calibration: AnyCalibration | None
    ) -> npt.NDArray[Any]:
        """Return the number of the most probable class of each image, N."""
        answers_N: npt.NDArray[np.int64] = probabilities_NK.argmax(axis=1)
        return answers_N

    def prediction(
        self,
        picture: Shown,
        probabilities_K: Float32Array,
        class_names: Sequence[str],
        calibration: AnyCalibration | None,
    ) -> Prediction:
        """Return the answer, unknown if no class reaches the threshold."""
        assert not isinstance(calibration, LabelCalibration), "one label each"
        return prediction(picture, probabilities_K, class_names, calibration)


class SeveralLabels(Task):
    """Each image may have any of the labels. Each has a sigmoid, and is given from its threshold
    upwards."""

    several: ClassVar[bool] = True
    answer: ClassVar[str] = "labels"
    accuracy: ClassVar[str] = "exact match"

    def probabilities(self, scores_NK: "Tensor") -> "Tensor":
        """Return the probability of each label, independent of the others."""
        return scores_NK.sigmoid()

    def check(self, probabilities_NK: Float32Array, source: str) -> Float32Array:
        """Check that each is from 0 to 1."""
        return check_each(probabilities_NK, source)

    def calibrate(self, logits_NK: Float32Array, labels: npt.NDArray[Any]) -> AnyCalibration | None:
        """Fit the temperature and the threshold of each label."""
        return calibrate_labels(logits_NK, labels)

    def losses(
        self, scores_NK: npt.NDArray[np.float64], labels: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """The binary cross-entropies, summed over the labels."""
        return label_losses(scores_NK, labels)

    def calibrated_losses(
        self, logits_NK: Float32Array, labels: npt.NDArray[Any]
    ) -> npt.NDArray[np.float64]:
        """The same, with the temperature that fits these images."""
        return calibrated_label_losses(logits_NK, labels)

    def calibration_of(self, values: dict[str, Any] | None) -> AnyCalibration | None:
        """Return a ``LabelCalibration``."""
        return None if values is None else LabelCalibration(**values)

    def measure(
        self,
        labels: npt.NDArray[Any],
        probabilities_NK: Float32Array,
        class_names: tuple[str, ...],
        calibration: AnyCalibration | None,
    ) -> AnyMetrics:
        """Return ``LabelMetrics``."""
        thresholds_K = thresholds_of(calibration, len(class_names))
        return measure_labels(labels, probabilities_NK, class_names, thresholds_K)

    def answers(
        self, probabilities_NK: Float32Array, calibration: AnyCalibration | None
    ) -> npt.NDArray[Any]:
        """Return which labels are given, bool N×K."""
        thresholds_K = thresholds_of(calibration, probabilities_NK.shape[1])
        return given_labels(probabilities_NK, thresholds_K)

    def prediction(
        self,
        picture: Shown,
        probabilities_K: Float32Array,
        class_names: Sequence[str],
        calibration: AnyCalibration | None,
    ) -> Prediction:
        """Return the labels that reach their thresholds."""
        given_K = probabilities_K >= thresholds_of(calibration, len(class_names))
        calibrated = calibration is not None
        return label_prediction(
            picture, probabilities_K, class_names, given_K, calibrated=calibrated
        )


ONE_LABEL, SEVERAL_LABELS = OneLabel(), SeveralLabels()


def task_of(several: bool) -> Task:
    """Return the task of a data set, or of a network trained on it."""
    return SEVERAL_LABELS if several else ONE_LABEL


def task_in(values: dict[str, Any]) -> Task:
    """Return the task that a file's values name. Raises ``ValueError`` for an unknown one."""
    found = values.get("labels")
    if found not in (None, SEVERAL):
        raise ValueError(f"labels {found!r:.60}; this firstlight knows {SEVERAL!r}")
    return task_of(found == SEVERAL)


def metrics_from_json(values: dict[str, Any]) -> AnyMetrics:
    """Read what ``to_json`` of either kind returned. Raises ``TypeError``, ``ValueError`` or
    ``LookupError`` for anything else."""
    return (LabelMetrics if task_in(values).several else Metrics).from_json(values)


def same_answers(some: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return for which images two answers, or an answer and the labels, are equal, bool N."""
    same = np.asarray(some == others, dtype=bool)
    return same if same.ndim == 1 else np.asarray(same.all(axis=1))


def thresholds_of(calibration: AnyCalibration | None, classes: int) -> npt.NDArray[np.float64]:
    """Return the probability from which each label is given, K."""
    if isinstance(calibration, LabelCalibration):
        return np.array(calibration.thresholds)
    return np.full(classes, USUAL)
