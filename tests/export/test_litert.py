"""Runs as files of LiteRT, read by LiteRT's own interpreter."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.test_every_layer import LAYERS_OF_ALL_KINDS
from tests.kit import Command, striped
from tests.verbs import own_nets

import firstlight as fl
from firstlight import layers as la
from firstlight.errors import UserError
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder

IS_HERE = importlib.util.find_spec("litert_torch") is not None
needs_it = pytest.mark.skipif(not IS_HERE, reason="no LiteRT here")


def interpreted(content: bytes, images_NHWC: np.ndarray) -> tuple[Any, Any, np.ndarray]:
    """What the file takes, what it gives, and its answers, as a program of a device has them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for image_HWC in images_NHWC:
        interpreter.set_tensor(taken["index"], image_HWC[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"])[0])
    return taken, given, np.stack(answers)


@pytest.fixture(scope="module")
def exported(digits_run: fl.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' run. Not to be changed."""
    return digits_run.export("litert", tmp_path_factory.mktemp("litert") / "digits.tflite").path


@needs_it
def test_the_file_takes_one_image_as_it_is_and_gives_the_runs_probabilities(
    digits_run: fl.Run, exported: Path
) -> None:
    images_NHWC = fl.load("digits").test.images_NHWC[:40]
    taken, given, answers_NK = interpreted(exported.read_bytes(), images_NHWC)
    assert (taken["dtype"], list(taken["shape_signature"])) == (np.uint8, [1, 8, 8, 1])
    assert (given["dtype"], list(given["shape_signature"])) == (np.float32, [1, 10])
    for answer_K, prediction in zip(answers_NK, digits_run.predict(images_NHWC), strict=True):
        wanted = [prediction.probabilities[str(k)] for k in range(10)]
        assert np.abs(answer_K - wanted).max() < 1e-5


@needs_it
def test_its_classes_and_its_card_are_in_the_archive_at_its_end(
    digits_run: fl.Run, exported: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(exported) as archive:
        assert archive.read("labels.txt").decode().splitlines() == [str(k) for k in range(10)]
        card = json.loads(archive.read("firstlight.json"))
    metrics = json.loads((digits_run.path / "metrics.json").read_text())
    assert card["metrics"]["accuracy"] == metrics["accuracy"]
    assert str(digits_run.path.parent) not in json.dumps(card)
    again = digits_run.export("litert", tmp_path / "again.tflite").path
    assert again.read_bytes() == exported.read_bytes()


@needs_it
def test_every_layer_goes_into_it(tmp_path: Path) -> None:
    """``export`` itself compares every answer with the run's."""
    layers = list(LAYERS_OF_ALL_KINDS)
    run = fl.train(
        "digits", network=layers, batch_size=256, epochs=1, out=tmp_path / "run", quiet=True
    )
    done = run.export("litert", tmp_path / "all.tflite")
    assert (done.parity.images, done.parity.other_classes) == (360, 0)
    assert done.parity.largest_difference < 1e-5


@needs_it
def test_views_standardized_pixels_and_code_go_into_it(tmp_path: Path) -> None:
    data = striped()
    run = fl.train(
        data,
        settings=["network.pixels=standardize", "network.views=mirror-and-shift"],
        epochs=1,
        out=tmp_path / "views",
        quiet=True,
    )
    assert run.export("litert", tmp_path / "views.tflite").parity.other_classes == 0
    own = fl.train(data, network=own_nets.make, epochs=1, out=tmp_path / "own", quiet=True)
    assert own.export("litert", tmp_path / "own.tflite").parity.other_classes == 0


@needs_it
def test_eight_bits_are_a_third_of_the_size_and_what_they_cost_is_measured(
    digits_run: fl.Run, exported: Path, tmp_path: Path
) -> None:
    done = digits_run.export("litert", tmp_path / "8.tflite", int8=True, accept_loss=True)
    assert done.loss is not None and done.loss.images == 360
    assert done.size < exported.stat().st_size / 2
    test = fl.load("digits").test
    taken, given, answers_NK = interpreted(done.path.read_bytes(), test.images_NHWC)
    assert (taken["dtype"], given["dtype"]) == (np.uint8, np.float32)
    assert (answers_NK.argmax(axis=1) == test.labels_N).mean() == done.accuracy > 0.8
    assert np.abs(answers_NK.sum(axis=1) - 1).max() < 1e-5


@needs_it
def test_a_network_that_the_quantizer_does_not_take_is_told(tmp_path: Path) -> None:
    layers = [la.Resize(9), la.Conv(8), la.GlobalAveragePool(), la.Dense("classes")]
    run = fl.train("digits", network=layers, epochs=1, out=tmp_path / "run", quiet=True)
    assert run.export("litert", tmp_path / "a.tflite").parity.other_classes == 0
    with pytest.raises(UserError, match=r"quantizer does not take this network \(.*without --int8"):
        run.export("litert", tmp_path / "8.tflite", int8=True, accept_loss=True)
    assert not (tmp_path / "8.tflite").exists()


@needs_it
def test_an_export_leaves_the_network_as_it_was(digits_run: fl.Run) -> None:
    from firstlight.evaluate.predict import probabilities
    from firstlight.export.litert import litert_bytes

    saved = load_model(RunFolder(digits_run.path))
    images_NHWC = fl.load("digits").test.images_NHWC[:20]
    before = probabilities(saved.model, saved.preprocess, images_NHWC)
    litert_bytes(saved, {}, None)
    assert np.array_equal(probabilities(saved.model, saved.preprocess, images_NHWC), before)


@needs_it
def test_the_command_prints_nothing_of_the_converters_own(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    words = ["export", digits_run.path, "--format", "litert", "--out", "d.tflite", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "firstlight", *map(str, words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["path"] == "d.tflite"
    assert done.stderr == ""


def test_without_its_packages_it_says_how_to_get_them(
    digits_run: fl.Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    done = command("export", digits_run.path, "--format", "litert")
    assert done.code == 2
    assert "needs litert-torch, which is not installed: pip install 'firstlight[litert]'" in (
        done.err.replace("litert_torch", "litert-torch")
    )


def test_what_it_does_not_take_is_refused(digits_run: fl.Run, tmp_path: Path) -> None:
    for words, message in (
        ({"format": "litert", "opset": 18}, "--opset is for --format onnx and triton"),
        ({"format": "keras", "int8": True}, "--int8 is for --format onnx, triton, litert"),
        ({"format": "coreml"}, "--format coreml: wanted one of onnx, .*litert"),
    ):
        with pytest.raises(UserError, match=message):
            digits_run.export(**words)
    if IS_HERE:
        with pytest.raises(UserError, match=r"wanted a name that ends in \.tflite"):
            digits_run.export("litert", tmp_path / "x.onnx")
