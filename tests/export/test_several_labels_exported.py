"""A run that gives several labels as files of other programs."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from tests.export.test_litert import interpreted, needs_it
from tests.export.test_triton import check_loads, config, schema
from tests.kit import Command
from tests.marks import NAMES, trained

import firstlight as fl
from firstlight.errors import UserError
from firstlight.export.keras_import import read_keras

__all__ = ["schema"]
"""A fixture."""


@pytest.fixture
def images(marks_run: fl.Run) -> np.ndarray:
    """uint8 40×28×28×1, of the set that it was trained on."""
    files = [marks_run.path.parent / "set" / f"{at}.png" for at in range(40)]
    return np.stack([np.asarray(Image.open(file)) for file in files])[..., None]


def test_a_file_for_keras_ends_in_sigmoids(
    marks_run: fl.Run, images: np.ndarray, tmp_path: Path
) -> None:
    """Of a linear network, whose answers are computed here from the file's own numbers."""
    network = [fl.layers.Flatten(), fl.layers.Dense("classes")]
    file = marks_run.path.parent / "set" / "columns.csv"
    run = trained(file, tmp_path / "linear", network=network, epochs=2)
    done = run.export("keras", tmp_path / "linear.keras")
    assert done.parity.largest_difference <= 1e-5 and done.several
    with zipfile.ZipFile(done.path) as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
        numbers = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    assert [layer["class_name"] for layer in layers][-3:] == ["Flatten", "Dense", "Activation"]
    assert layers[-1]["config"]["activation"] == "sigmoid"
    assert layers[-2]["config"]["activation"] == "linear"
    weight, bias = (numbers[f"layers/dense/vars/{at}"][:] for at in (0, 1))
    scaled = images.reshape(40, -1) / 255
    steps = {layer["class_name"]: layer["config"] for layer in layers}
    if "Normalization" in steps:
        mean, variance = (steps["Normalization"][key][0] for key in ("mean", "variance"))
        scaled = (scaled - mean) / np.sqrt(variance)
    wanted = 1 / (1 + np.exp(-(scaled @ weight + bias)))
    for row, answer in zip(wanted, run.predict(images), strict=True):
        assert row == pytest.approx([answer.probabilities[name] for name in NAMES], abs=1e-5)


def test_a_network_of_convolutions_goes_into_a_file_for_keras(
    marks_run: fl.Run, tmp_path: Path
) -> None:
    """``export`` itself compares every answer with the run's. To import it, a softmax is wanted."""
    done = marks_run.export("keras", tmp_path / "marks.keras")
    assert (done.parity.other_classes, done.accuracy) == (0, marks_run.evaluate().accuracy)
    with pytest.raises(UserError, match="wanted softmax at the end, or scores"):
        read_keras(done.path)


def test_triton_gives_the_labels(
    schema: object, marks_run: fl.Run, images: np.ndarray, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "models"
    done = command("export", marks_run.path, "--format", "triton", "--out", out)
    assert done.code == 0, done.err
    model = out / "run"
    check_loads(schema, model)
    found = config(schema, (model / "config.pbtxt").read_bytes())
    assert [(one.name, list(one.dims)) for one in found.output] == [
        ("probabilities", [3]),
        ("labels", [3]),
    ]
    assert not found.parameters
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    _, given = session.run([one.name for one in found.output], {"images": images})
    names = (model / "labels.txt").read_text().splitlines()
    for has, answer in zip(given, marks_run.predict(images), strict=True):
        assert tuple(np.array(names)[has]) == answer.labels
    told = (out / "README.md").read_text()
    assert "- `labels`: BOOL, N×3." in told and "unknown" not in told


@needs_it
@pytest.mark.parametrize("int8", [False, True])
def test_litert_gives_a_sigmoid_for_each_label(
    marks_run: fl.Run, images: np.ndarray, tmp_path: Path, int8: bool
) -> None:
    """``export`` itself compares every answer with the run's."""
    done = marks_run.export("litert", tmp_path / "a.tflite", int8=int8, accept_loss=True)
    _, _, answers_NK = interpreted(done.path.read_bytes(), images)
    for answer_K, prediction in zip(answers_NK, marks_run.predict(images), strict=True):
        wanted = [prediction.probabilities[name] for name in NAMES]
        assert np.abs(answer_K - wanted).max() < (0.2 if int8 else 1e-5)
