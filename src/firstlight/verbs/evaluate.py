"""Evaluate a finished run, or an exported file, on its test set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from firstlight.data.dataset import Dataset
from firstlight.errors import DataError
from firstlight.evaluate.label_calibration import LabelCalibration
from firstlight.evaluate.task import AnyCalibration, AnyMetrics, metrics_from_json
from firstlight.model import Model, check_device, run_model
from firstlight.runs.box import MEASURED
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import label_predictions_csv, predictions_csv
from firstlight.runtime import open_onnx
from firstlight.verbs.run_data import Given, described_test_data, run_test_data


def evaluate(
    folder: RunFolder,
    *,
    device: str = "auto",
    data: Given = None,
) -> AnyMetrics:
    """Return test-set metrics; write ``predictions.csv`` and ``metrics.json``.

    Raises ``UserError`` for an unfinished run, and ``DataError`` if the data is not the run's.
    """
    folder.require_finished()
    test = run_test_data(folder, data=data)
    model = run_model(folder, device)
    metrics, probabilities_NK = measured(model, test)
    names = test.names or tuple(str(i) for i in range(len(test)))
    folder.write("predictions.csv", answers_csv(model, test, names, probabilities_NK))
    folder.write_json("metrics.json", metrics.to_json())
    return metrics


def shipped_metrics(folder: RunFolder) -> AnyMetrics | None:
    """Return the metrics that a model in the box had when it was made; None for other runs."""
    if not (folder.path / MEASURED).is_file():
        return None
    with folder.trusted():
        return metrics_from_json(folder.read_json(MEASURED))


def evaluate_file(
    path: Path, *, device: str = "auto", data_dir: Path | None = None, data: Given = None
) -> AnyMetrics:
    """Return test-set metrics of an exported ``.onnx``; write nothing.

    Raises ``DataError`` for a damaged file, and if the data is not its run's.
    """
    check_device(path, device)
    model = open_onnx(path)
    described = model.card.get("data")
    if not isinstance(described, dict):
        raise DataError(f"{path} does not say what it was trained on. Export it again")
    return measured(model, described_test_data(described, str(path), data_dir, data))[0]


def measured(model: Model, test: Dataset) -> tuple[AnyMetrics, npt.NDArray[np.float32]]:
    """Return the metrics of a model's answers, and the probabilities N×K.

    If images have several labels, K may be some of the model's labels; the others are not asked
    for.
    """
    probabilities_NK = model.probabilities(test.images_NHWC)
    if test.class_names != model.class_names:
        probabilities_NK = probabilities_NK[:, _numbers(model, test)]
    metrics = model.task.measure(
        test.each_label, probabilities_NK, test.class_names, _calibration(model, test)
    )
    return metrics, probabilities_NK


def _numbers(model: Model, test: Dataset) -> list[int]:
    """The model's number of each label."""
    return [model.class_names.index(one) for one in test.class_names]


def _calibration(model: Model, test: Dataset) -> AnyCalibration | None:
    """The model's calibration of these labels."""
    found = model.calibration
    return found.of(_numbers(model, test)) if isinstance(found, LabelCalibration) else found


def answers_csv(
    model: Model, test: Dataset, names: Sequence[str], probabilities_NK: npt.NDArray[np.float32]
) -> str:
    """Return ``predictions.csv`` for a model's answers to labelled images with these names."""
    if test.labels_NK is None:
        return predictions_csv(names, test.labels_N, probabilities_NK, test.class_names)
    given_NK = model.task.answers(probabilities_NK, _calibration(model, test))
    return label_predictions_csv(
        names, test.labels_NK, probabilities_NK, test.class_names, given_NK
    )
