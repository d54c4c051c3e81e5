"""The exported ONNX file: its content, and its results in other programs."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from PIL import Image
from tests.kit import Command, Outcome, whitened_net

import firstlight as fl
from firstlight.errors import DataError, ThresholdError
from firstlight.evaluate.paired import Paired, paired
from firstlight.export import graph
from firstlight.export.parity import compare, require_equal
from firstlight.layers.network import Network
from firstlight.layers.networks import tutorial
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import RunFolder
from firstlight.runtime import open_onnx
from firstlight.verbs import export as verb

WEB = Path(__file__).parent / "web"
RUNTIME = Path(sys.prefix) / "web" / "node_modules" / "onnxruntime-web"


def rows(run: fl.Run, images: np.ndarray) -> np.ndarray:
    names = [str(digit) for digit in range(10)]
    return np.array([[a.probabilities[n] for n in names] for a in run.predict(images)])


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


SHAPES = [(1, 8, 8, 1), (3, 8, 8, 1), (5, 8, 8, 3), (2, 30, 17, 1), (1, 5, 40, 3), (2, 8, 8, 1)]


def test_the_whole_test_set_gets_the_probabilities_that_predict_gives(
    digits_run: fl.Run, digits_onnx: Path
) -> None:
    images = fl.load("digits").test.images_NHWC
    session = onnxruntime.InferenceSession(digits_onnx)

    probabilities, label, seen = session.run(None, {"images": images})

    expected = rows(digits_run, images)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(label, expected.argmax(axis=1))
    np.testing.assert_array_equal(seen, images)


def test_the_file_is_one_valid_graph_without_training_in_it(digits_onnx: Path) -> None:
    model = onnx.load(digits_onnx, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)

    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Dropout", "RandomUniformLike", "Bernoulli"}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    (images,) = model.graph.input
    assert [d.dim_param for d in images.type.tensor_type.shape.dim] == ["N", "H", "W", "C"]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_the_metadata_say_what_the_model_is(digits_run: fl.Run, digits_onnx: Path) -> None:
    model = onnx.load(digits_onnx)
    card = {entry.key: json.loads(entry.value) for entry in model.metadata_props}

    described = json.loads((digits_run.path / "data.json").read_text())
    assert card["class_names"] == [str(digit) for digit in range(10)]
    assert card["preprocess"]["height"] == 8
    assert card["data"]["test"] == described["test"]
    assert card["metrics"]["accuracy"] == digits_run.evaluate().accuracy
    assert "BSD" in card["licence"]["data"] or card["licence"]["data"]
    assert str(digits_run.path.parent) not in json.dumps(card)


def test_openvino_gives_the_same_also_for_the_first_images_of_each_size(digits_onnx: Path) -> None:
    session = onnxruntime.InferenceSession(digits_onnx)
    compiled = openvino.Core().compile_model(
        digits_onnx, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for shape in SHAPES:
        images = pictures(shape)
        expected, label, seen = session.run(None, {"images": images})
        got = compiled(images)
        np.testing.assert_allclose(got[0], expected, atol=1e-5)
        np.testing.assert_array_equal(got[1], label)
        np.testing.assert_array_equal(got[2], seen)


def in_a_browsers_onnxruntime(
    model: Path, images: np.ndarray, folder: Path
) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None or not RUNTIME.is_dir():
        pytest.skip("no node, or no onnxruntime-web: make test fetches it where there is npm")
    images.tofile(folder / "images.bin")
    return subprocess.run(
        [node, WEB / "answer.mjs", RUNTIME, model, folder / "images.bin", *map(str, images.shape)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_browsers_onnxruntime_gives_the_same(digits_onnx: Path, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(digits_onnx)
    for shape in SHAPES[1:4]:
        images = pictures(shape)
        done = in_a_browsers_onnxruntime(digits_onnx, images, tmp_path)
        assert done.returncode == 0, done.stderr
        got = json.loads(done.stdout.splitlines()[-1])
        expected, label, _ = session.run(None, {"images": images})
        np.testing.assert_allclose(got["probabilities"], expected.ravel(), atol=1e-5)
        assert got["labels"] == label.tolist()


# Channels first; a number of channels that is neither 1 nor 3; also no pixels.
WRONG_SHAPES = [(2, 1, 8, 8), (2, 3, 8, 8), (2, 1, 28, 28), (1, 3, 20, 30)]
WRONG_SHAPES += [(2, 8, 8, channels) for channels in (0, 2, 4, 5)] + [(2, 0, 8, 1), (2, 8, 0, 3)]
REFUSED = "images_must_be_NxHxWxC_with_C_1_or_3"


@pytest.mark.parametrize("shape", WRONG_SHAPES)
def test_the_graph_itself_refuses_any_other_layout(
    digits_onnx: Path, digits_pt2: Path, shape: tuple[int, ...]
) -> None:
    images = np.zeros(shape, dtype=np.uint8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match=REFUSED):
        onnxruntime.InferenceSession(digits_onnx, options).run(None, {"images": images})
    with pytest.raises(RuntimeError, match=REFUSED):
        openvino.Core().compile_model(digits_onnx, "CPU")(images)
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.export.load(digits_pt2).module()(torch.from_numpy(images))


def test_a_browsers_onnxruntime_refuses_channels_first(digits_onnx: Path, tmp_path: Path) -> None:
    done = in_a_browsers_onnxruntime(digits_onnx, np.zeros((2, 1, 8, 8), np.uint8), tmp_path)
    assert done.returncode != 0
    assert "Input shape:{2,1,8,8}, requested shape:{2,1,8,1}" in done.stderr


def test_a_colour_models_graph_refuses_the_same(tmp_path: Path) -> None:
    preprocess = Preprocess(height=8, width=9, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    network = Network(layers=tutorial((4,)))
    architecture = Architecture(network=network, image_shape=(8, 9, 3), classes=2)
    saved = SavedModel(
        model=architecture.build(torch.Generator()),
        architecture=architecture,
        preprocess=preprocess,
        class_names=("a", "b"),
        calibration=None,
    )
    whole = graph.with_any_size(graph.network(saved), saved)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options)
    for shape in [(2, 8, 9, 3), (2, 8, 9, 1), (1, 30, 20, 1)]:
        assert session.run(None, {"images": pictures(shape)})[0].shape == (shape[0], 2)
    for shape in [(2, 3, 8, 9), (2, 8, 9, 4), (2, 8, 9, 2), (2, 9, 8, 9)]:
        with pytest.raises(Exception, match=REFUSED):
            session.run(None, {"images": pictures(shape)})


@pytest.mark.parametrize("pool_last", ["true", "false"])
def test_what_a_run_of_photographs_with_views_answers_is_in_the_graph(
    tmp_path: Path, pool_last: str
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 12, 14, 3), dtype=np.uint8)
    images[::2, :, :7] //= 3
    part = fl.Dataset(
        name="halves/train",
        images_NHWC=images,
        labels_N=np.arange(60, dtype=np.int64) % 2,
        class_names=("dark", "light"),
    )
    data = fl.TrainTest(part, replace(part, name="halves/test"))
    settings = [
        *("train.epochs=2", "train.batch_size=20", "train.validation=none"),
        *whitened_net(8, filters=24, pool_last=pool_last),
        *("network.views=mirror-and-shift", "augment=[{ flip = 'alternate' }]"),
        "train.small_share=0",
    ]
    run = fl.train(data, "cifar10-quick", settings=settings, out=tmp_path / "run", quiet=True)

    done = run.export(out=tmp_path / "halves.onnx", opset=21)

    assert done.parity.other_classes == 0
    assert done.parity.largest_difference <= 1e-5
    assert onnx.load(done.path).opset_import[0].version == 21


def test_the_file_answers_many_pictures_as_the_run_does_each(
    command: Command, digits_run: fl.Run, digits_onnx: Path, tmp_path: Path
) -> None:
    images = pictures((5, 30, 17))
    (tmp_path / "many").mkdir()
    for number, image_HW in enumerate(images):
        Image.fromarray(image_HW).save(tmp_path / "many" / f"{number}.png")
    assert command("predict", digits_onnx, "many", "--out", "answers").code == 0
    with (tmp_path / "answers" / "part-00000.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    for alone, row in zip(digits_run.predict(tmp_path / "many"), found, strict=True):
        assert row["best"] == alone.best
        for name, share in alone.probabilities.items():
            assert float(row[f"p_{name}"]) == pytest.approx(share, abs=1e-5)


def test_a_file_that_answers_otherwise_is_refused_and_not_left(
    digits_run: fl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def probabilities(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 10), 0.1, dtype=np.float32)

    monkeypatch.setattr(verb, "_onnx", lambda *_: b"")
    monkeypatch.setattr(verb, "from_bytes", lambda *_: Wrong())

    with pytest.raises(ThresholdError, match=r"different class than the run\. No file"):
        digits_run.export(out=tmp_path / "it.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [2e-5, float("nan")])
def test_probabilities_further_off_than_a_hundred_thousandth_are_refused(wrong: float) -> None:
    run = np.array([[0.9, 0.1]], dtype=np.float32)
    file = run + np.array([[wrong, 0]], dtype=np.float32)

    require_equal(compare(run, run + np.float32(5e-6)), "it")
    with pytest.raises(ThresholdError, match="differ from the run's"):
        require_equal(compare(run, file), "it")


def test_int8_says_what_it_costs_and_is_refused_where_that_is_too_much(
    digits_run: fl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr(verb, "LARGEST_LOSS", -1.0)
    monkeypatch.setattr(verb, "LEAST_LOST", -1000)
    refused = command("export", digits_run.path, "--int8", "--out", tmp_path / "it.onnx")
    assert refused.code == 4
    assert "--accept-loss" in refused.err
    assert list(tmp_path.iterdir()) == []

    words = ["--int8", "--accept-loss", "--out", tmp_path / "it.onnx", "--json"]
    done = command("export", digits_run.path, *words)

    assert done.code == 0, done.err
    told = json.loads(done.out)
    test = fl.load("digits").test
    got = open_onnx(tmp_path / "it.onnx").probabilities(test.images_NHWC).argmax(axis=1)
    right = rows(digits_run, test.images_NHWC).argmax(axis=1) == test.labels_N
    lost = right.mean() - (got == test.labels_N).mean()
    assert told["loss"]["accuracy"] == pytest.approx(lost)
    assert told["loss"]["interval"][0] < lost < told["loss"]["interval"][1]
    stored = {i.data_type for i in onnx.load(tmp_path / "it.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in stored


@pytest.mark.parametrize(
    ("images", "lost", "gained", "too_much"),
    [
        (40, 1, 0, False),  # a single image means nothing, though it is 2.5 points
        (40, 3, 2, False),
        (40, 2, 0, True),  # 0.7 % of tests of a loss of 0.3 points give that
        (40, 0, 3, False),
        (333, 1, 0, False),
        (333, 2, 0, True),
        (10_000, 30, 0, False),  # 0.3 points are allowed
        (10_000, 31, 0, True),
        (10_000, 131, 100, True),
    ],
)
def test_int8_is_refused_for_more_than_one_lost_image_and_more_than_may_be(
    images: int, lost: int, gained: int, too_much: bool
) -> None:
    pair = Paired(only_first=lost, only_second=gained, p=1.0, images=images)
    loss = verb.AccuracyLoss.of(pair, images)
    assert loss.too_much is too_much
    assert loss.few is (images < 334)
    assert (
        f"of {images:,} test images, {lost} became wrong and {gained} became right" in loss.words()
    )


def test_few_test_images_do_not_refuse_int8_for_one_of_them(
    digits_run: fl.Run, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [1]

    def with_lost(first_N: Any, second_N: Any) -> Paired:
        return replace(paired(first_N, second_N), only_first=lost[0], only_second=0)

    monkeypatch.setattr(verb, "paired", with_lost)
    monkeypatch.setattr(verb, "LARGEST_LOSS", 0.0027)  # one of 360 images is more
    words = ("export", digits_run.path, "--int8", "--out", tmp_path / "it.onnx")
    done = command(*words)
    assert done.code == 0, done.err
    assert "of 360 test images, 1 became wrong and 0 became right" in done.out
    assert "few test images" in done.out

    lost[0] = 2
    refused = command(*words)
    assert refused.code == 4 and "of 360 test images, 2 became wrong" in refused.err


def test_predict_and_evaluate_take_the_file_in_place_of_the_run(
    command: Command, digits_run: fl.Run, digits_onnx: Path, tmp_path: Path
) -> None:
    image = fl.load("digits").test.images_NHWC[0]
    Image.fromarray(image[..., 0]).save(tmp_path / "digit.png")
    Image.fromarray(np.kron(image[..., 0], np.ones((9, 9), np.uint8))).save(tmp_path / "large.png")

    for name in ("digit.png", "large.png"):
        (by_run,) = json.loads(command("predict", digits_run.path, tmp_path / name, "--json").out)
        (by_file,) = json.loads(command("predict", digits_onnx, tmp_path / name, "--json").out)
        assert by_file["probabilities"] == pytest.approx(by_run["probabilities"], abs=1e-5)
        assert by_file["notes"] == by_run["notes"]
        assert by_file["answer"] == by_run["answer"]

    done = command("evaluate", digits_onnx, "--json", "--require", "accuracy>=0.5")
    assert done.code == 0, done.err
    assert json.loads(done.out)["accuracy"] == digits_run.evaluate().accuracy
    assert command("evaluate", digits_onnx, "--require", "accuracy>=1").code == 4


def without(missing: list[str], words: list[str | Path], folder: Path) -> Outcome:
    """Run a command as if some packages were not installed."""
    program = (
        "import sys\n"
        f"for name in {missing!r}: sys.modules[name] = None\n"  # importing it fails
        f"sys.argv = ['firstlight', *{[str(word) for word in words]!r}]\n"
        "from firstlight.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_an_answer_needs_neither_pytorch_nor_scikit_learn(
    digits_onnx: Path, tmp_path: Path
) -> None:
    image = fl.load("digits").test.images_NHWC[0]
    Image.fromarray(image[..., 0]).save(tmp_path / "digit.png")
    missing = ["torch", "sklearn", "scipy", "matplotlib", "safetensors", "onnx", "platformdirs"]

    done = without(missing, ["predict", digits_onnx, "digit.png", "--csv"], tmp_path)

    assert done.code == 0, done.err
    assert done.out.splitlines()[1].startswith("digit.png,")


def test_what_else_a_command_needs_is_named(digits_onnx: Path, tmp_path: Path) -> None:
    done = without(["torch", "fastapi"], ["serve", digits_onnx], tmp_path)
    assert done.code == 2
    assert "this needs fastapi, which is not installed: pip install fastapi" in done.err


def test_without_onnxruntime_the_way_to_it_is_told(digits_onnx: Path, tmp_path: Path) -> None:
    done = without(["onnxruntime"], ["predict", digits_onnx, "digit.png"], tmp_path)
    assert done.code == 2
    assert "pip install onnxruntime" in done.err


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", r"the file is empty \(0 bytes\)"), (b"no graph at all", "not an ONNX file, or damaged")],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "it.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        open_onnx(path)


def test_a_file_that_is_not_there_is_a_mistake_like_a_run_that_is_not(
    command: Command, digits_onnx: Path
) -> None:
    for missing in ("missing.onnx", "missing"):
        done = command("predict", missing, digits_onnx)
        assert done.code == 2
        assert f"{missing}: no such" in done.err


def test_a_graph_of_another_maker_is_refused(digits_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(digits_onnx)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "it.onnx")
    with pytest.raises(DataError, match="was not exported by firstlight"):
        open_onnx(tmp_path / "it.onnx")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--format", "tflite"], 2, "torch-export, keras, litert, triton"),
        (["--opset", "3"], 2, "wanted 18 to 23"),
        (["--format", "keras", "--int8"], 2, "is for --format onnx, triton, litert"),
        (["--out", "it.pb"], 2, "ends in .onnx"),
        (["--out", "no/such/folder/it.onnx"], 2, "no such folder"),
        (["--out", "a_folder.onnx"], 2, "cannot be written"),
    ],
)
def test_a_wrong_request_is_told_before_anything_is_computed(
    command: Command, digits_run: fl.Run, words: list[str], code: int, says: str
) -> None:
    Path("a_folder.onnx").mkdir()
    done = command("export", digits_run.path, *words)
    assert done.code == code
    assert says in done.err


def test_a_calibrated_run_is_exported_with_its_temperature(
    digits_run: fl.Run, digits_onnx: Path
) -> None:
    saved = load_model(RunFolder(digits_run.path))
    assert saved.calibration is not None
    assert saved.temperature != 1
    assert open_onnx(digits_onnx).threshold == saved.threshold
