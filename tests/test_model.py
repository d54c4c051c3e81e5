"""A run and its exported file have the same interface, and give the same answers."""

from pathlib import Path

import numpy as np
import pytest

import firstlight as fl
from firstlight.errors import UserError
from firstlight.evaluate.calibrate import Calibration
from firstlight.model import Model, open_model, run_model
from firstlight.runs.folder import open_run_folder


@pytest.fixture(scope="module")
def kinds(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """Return the run's model, and its exported file's."""
    exported = digits_run.export(out=tmp_path_factory.mktemp("exported") / "digits.onnx")
    return open_model(digits_run.path), open_model(exported.path)


def test_both_kinds_of_model_say_the_same(kinds: tuple[Model, Model]) -> None:
    run, file = kinds
    assert run.class_names == file.class_names == tuple("0123456789")
    assert run.preprocess == file.preprocess
    assert run.calibration == file.calibration
    assert isinstance(run.calibration, Calibration)
    assert run.threshold == file.threshold == run.calibration.threshold


def test_both_kinds_of_model_answer_alike(kinds: tuple[Model, Model]) -> None:
    test = fl.load("digits").test
    run_NK, file_NK = (model.probabilities(test.images_NHWC) for model in kinds)
    assert run_NK.dtype == file_NK.dtype == np.float32
    assert run_NK.shape == file_NK.shape == (len(test), 10)
    assert np.abs(run_NK - file_NK).max() < 1e-5
    assert (run_NK.argmax(axis=1) == test.labels_N).mean() > 0.8


def test_only_a_run_can_be_looked_into(kinds: tuple[Model, Model]) -> None:
    run, file = kinds
    assert run.saved is not None
    assert run.saved.architecture.classes == 10
    assert file.saved is None


def test_threads_change_no_answer_of_a_run(digits_run: fl.Run) -> None:
    """The service computes with the threads that it set; ``predict`` with as many as suit."""
    from dataclasses import replace

    model, images = run_model(open_run_folder(digits_run.path)), fl.load("digits").test.images_NHWC
    assert np.allclose(
        replace(model, threads=None).probabilities(images), model.probabilities(images), atol=1e-6
    )


def test_an_exported_file_takes_no_device_but_the_cpu(digits_run: fl.Run) -> None:
    with pytest.raises(UserError, match="runs on the CPU, not with --device cuda"):
        open_model(Path("it.onnx"), "cuda")
