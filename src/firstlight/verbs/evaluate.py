"""Measure a finished run on its test set, and keep the numbers."""

from firstlight.data.dataset import TrainTest
from firstlight.evaluate.metrics import Metrics, measure
from firstlight.evaluate.predict import probabilities
from firstlight.runs.box import MEASURED
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import predictions_csv
from firstlight.threads import usable_threads
from firstlight.training.devices import choose_device, repeatable
from firstlight.verbs.run_data import data_of_run


def evaluate(
    folder: RunFolder,
    *,
    device: str = "auto",
    data: TrainTest | None = None,
) -> Metrics:
    """Test-set metrics; writes ``predictions.csv`` and ``metrics.json``.

    Raises ``UserError`` for an unfinished run and ``DataError`` when the data is not the run's.
    """
    folder.require_finished()
    where = choose_device(device)
    test = data_of_run(folder, data=data).test
    saved = load_model(folder, where)
    with repeatable(usable_threads(), where):
        probabilities_NK = probabilities(
            saved.model, saved.preprocess, test.images_NHWC, where, saved.temperature
        )
    threshold = None if saved.calibration is None else saved.calibration.threshold
    metrics = measure(test.labels_N, probabilities_NK, saved.class_names, threshold)
    names = test.names or [str(i) for i in range(len(test))]
    folder.write(
        "predictions.csv",
        predictions_csv(names, test.labels_N, probabilities_NK, saved.class_names),
    )
    folder.write_json("metrics.json", metrics.to_json())
    return metrics


def measured(folder: RunFolder) -> Metrics | None:
    """What a model in the box was measured to reach when it was made; None for other runs."""
    if not (folder.path / MEASURED).is_file():
        return None
    with folder.trusted():
        return Metrics.from_json(folder.read_json(MEASURED))
