"""Keras files: those that real Keras wrote (``keras/make.py``), and those written for it."""

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.kit import Command, striped, whitened_net

import firstlight as fl
from firstlight import layers
from firstlight.data.dataset import Dataset
from firstlight.errors import DataError, UserError
from firstlight.export import keras_file
from firstlight.export.keras_import import read_keras
from firstlight.verbs.import_keras import import_keras

FILES = Path(__file__).parent / "keras"
ROOT = Path(__file__).resolve().parents[2]
CHECK = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
with np.load(sys.argv[2]) as file:
    got = model.predict(file["images"].astype("float32"), verbose=0)
    np.testing.assert_allclose(got, file["probabilities"], atol=1e-5)
print("equal", model.count_params())
"""


def probabilities(run: fl.Run, images: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return np.array([[a.probabilities[n] for n in names] for a in run.predict(images)])


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def test_a_tutorial_model_trained_in_keras_answers_as_it_does_there(
    command: Command, tmp_path: Path
) -> None:
    done = command("import", FILES / "digits.keras", "--out", tmp_path / "run", "--json")

    assert done.code == 0, done.err
    assert json.loads(done.out)["parameters"] == 872
    run = fl.open_run(tmp_path / "run")
    with np.load(FILES / "digits-answers.npz") as file:
        names = tuple(str(digit) for digit in range(10))
        got = probabilities(run, file["images"], names)
        np.testing.assert_allclose(got, file["probabilities"], atol=1e-5)
    assert layers.Dropout(0.25) in run.recipe.network.layers
    assert run.evaluate().accuracy > 0.5
    assert "imported" in run.report().read_text()
    assert command("runs", tmp_path).code == 0


def test_colour_scaling_inside_and_names_of_ones_own_are_read(tmp_path: Path) -> None:
    with np.load(FILES / "colour-answers.npz") as file:
        images, expected = file["images"], file["probabilities"]
    part = Dataset(
        name="mine/train",
        images_NHWC=images,
        labels_N=np.arange(20, dtype=np.int64) % 3,
        class_names=("a", "b", "c"),
    )
    folder = import_keras(
        FILES / "colour.keras", data=fl.TrainTest(part, part), out=tmp_path / "run"
    )

    got = probabilities(fl.Run(folder), images, ("a", "b", "c"))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_what_is_written_for_keras_is_read_back_the_same(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    done = digits_run.export("keras", tmp_path / "it.keras")

    assert done.parity.other_classes == 0
    assert done.parity.largest_difference <= 1e-5
    read = read_keras(done.path)
    assert read.scales
    assert read.network == digits_run.recipe.network


def test_real_keras_opens_the_file_with_the_same_answers(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    python = ROOT / ".venv-keras" / "bin" / "python"
    if not python.exists():
        pytest.skip("no Keras here; benchmarks/tutorial_vs_keras.py makes its environment")
    digits_run.export("keras", tmp_path / "it.keras")
    images = fl.load("digits").test.images_NHWC
    names = tuple(str(digit) for digit in range(10))
    np.savez(
        tmp_path / "it.npz",
        images=images,
        probabilities=probabilities(digits_run, images, names),
    )
    done = subprocess.run(
        [python, "-c", CHECK, tmp_path / "it.keras", tmp_path / "it.npz"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["equal", str(digits_run.summary["parameters"])]


def test_a_network_whose_answers_are_averaged_over_views_is_not_written_for_keras(
    tmp_path: Path,
) -> None:
    settings = ["train.epochs=1", "train.validation=none", *whitened_net(8)]
    settings.append("network.views=mirror")
    run = fl.train(striped(), "mnist-quick", settings=settings, out=tmp_path / "run", quiet=True)

    with pytest.raises(UserError, match=r'views = "one".*\(mirror\).*Use --format onnx'):
        run.export("keras", tmp_path / "it.keras")
    assert not (tmp_path / "it.keras").exists()


def test_a_layer_that_would_execute_something_is_refused_by_its_name() -> None:
    with pytest.raises(UserError, match=r"layer 'doubled' is a Lambda, which is not supported"):
        read_keras(FILES / "with-lambda.keras")


def changed_config(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    parts = members(FILES / "digits.keras")
    config = json.loads(parts["config.json"])
    change(config)
    return written(tmp_path / "it.keras", {**parts, "config.json": json.dumps(config).encode()})


def layer(config: dict[str, Any], number: int) -> dict[str, Any]:
    values: dict[str, Any] = config["config"]["layers"][number]
    return values


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(registered_name="mine>Net"), "wanted a Sequential or functional model"),
        (
            lambda c: layer(c, 1)["config"].update(activation="mish"),
            "activation=mish is not supported",
        ),
        (lambda c: layer(c, 1)["config"].update(strides=[1, 2]), "the same strides for height and"),
        (lambda c: layer(c, 1)["config"].update(kernel_size=[3, 5]), "the same kernel_size for"),
        (lambda c: layer(c, 1)["config"].update(kernel_size=[9, 9]), "'conv2d': its window of 9×9"),
        (lambda c: layer(c, 1)["config"].update(padding="causal"), "wanted padding=valid or same"),
        (lambda c: layer(c, 1)["config"].update(activation="softmax"), "softmax is only supported"),
        (lambda c: layer(c, 1)["config"].update(data_format="channels_first"), "channels_last"),
        (lambda c: layer(c, 1)["config"].update(fn="x"), "unknown setting fn=x"),
        (lambda c: layer(c, 1).update(registered_name="mine>Conv2D"), "is a Conv2D, which is not"),
        (lambda c: layer(c, 1).update(module="os"), r"is a os\.Conv2D, which is not"),
        (lambda c: layer(c, 1)["config"].update(dtype="float16"), "computes in float16"),
        (lambda c: layer(c, 1)["config"].update(filters=-6), "wanted a whole number as filters"),
        (lambda c: layer(c, 6)["config"].update(rate="x"), "'dropout': share must be a number"),
        (lambda c: c["config"]["layers"].pop(0), "wanted one Input first"),
        (lambda c: layer(c, 7)["config"].update(activation="tanh"), "softmax at the end, or sco"),
        (lambda c: layer(c, 0)["config"].update(batch_shape=[None, None, None, 1]), "of one size"),
        (lambda c: layer(c, 0)["config"].update(batch_shape=[None, 8, 8, 4]), "1 or 3 channels"),
        (lambda c: layer(c, 0)["config"].update(batch_shape=[None, 64]), "an Input with 1 axes"),
    ],
)
def test_what_has_no_layer_here_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read_keras(changed_config(tmp_path, change))


def hdf5(parts: dict[str, bytes], change: Callable[[h5py.File], None]) -> bytes:
    stream = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(stream, "r+") as file:
        change(file)
    return stream.getvalue()


KERNEL = "layers/conv2d/vars/0"


def replaced(file: h5py.File, value: Any) -> None:
    del file[KERNEL]
    file[KERNEL] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda f: replaced(f, h5py.ExternalLink("/etc/hostname", "/x")),
        lambda f: replaced(f, h5py.SoftLink("/layers/conv2d_1/vars/0")),
        lambda f: replaced(f, np.zeros((3, 3, 1, 7), np.float32)),
        lambda f: replaced(f, np.zeros((3, 3, 1, 6), np.float64)),
        lambda f: replaced(f, np.full((3, 3, 1, 6), np.nan, np.float32)),
        lambda f: f.__delitem__("layers/dense_1"),
        lambda f: f.__delitem__(KERNEL),
    ],
)
def test_weights_that_lie_elsewhere_or_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[h5py.File], None]
) -> None:
    parts = members(FILES / "digits.keras")
    parts["model.weights.h5"] = hdf5(parts, change)
    with pytest.raises(DataError, match=r"model\.weights\.h5 is damaged"):
        read_keras(written(tmp_path / "it.keras", parts))


def test_an_array_kept_in_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4 * 54))

    def elsewhere(file: h5py.File) -> None:
        del file[KERNEL]
        where = [(str(tmp_path / "secret"), 0, 4 * 54)]
        file.create_dataset(KERNEL, (3, 3, 1, 6), np.float32, external=where)

    parts = members(FILES / "digits.keras")
    parts["model.weights.h5"] = hdf5(parts, elsewhere)
    with pytest.raises(DataError, match="is not an array of this file"):
        read_keras(written(tmp_path / "it.keras", parts))


def test_a_zip_bomb_is_read_to_its_bound_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = members(FILES / "digits.keras")
    bomb = written(tmp_path / "it.keras", {**parts, "config.json": b" " * (5 << 20)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"config\.json is larger than 2,097,152 bytes"):
        read_keras(bomb)
    monkeypatch.setitem(keras_file.MOST_BYTES, "model.weights.h5", 1000)
    with pytest.raises(DataError, match=r"model\.weights\.h5 is larger than 1,000 bytes"):
        read_keras(FILES / "digits.keras")


def test_what_is_no_keras_file_is_named(tmp_path: Path) -> None:
    other = tmp_path / "it.keras"
    other.write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"not a \.keras file"):
        read_keras(other)
    parts = members(FILES / "digits.keras")
    with pytest.raises(DataError, match=r"got config\.json"):
        read_keras(written(other, {"config.json": b"{}"}))
    with pytest.raises(DataError, match="is not JSON"):
        read_keras(written(other, {**parts, "config.json": b"[" * 100_000}))
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        read_keras(written(other, {**parts, "config.json": b"{}"}))
    shutil.copy(FILES / "digits.keras", other)
    other.write_bytes(other.read_bytes()[:20_000])
    with pytest.raises(DataError, match="or a damaged one"):
        read_keras(other)
    with pytest.raises(UserError, match="no such file"):
        read_keras(tmp_path / "missing.keras")


def test_the_data_must_have_the_shape_and_classes_of_the_model(
    command: Command, tmp_path: Path
) -> None:
    done = command("import", FILES / "colour.keras", "--out", tmp_path / "run")
    assert done.code == 2
    assert "Name the data it was trained on with --data" in done.err
    done = command("import", FILES / "colour.keras", "--data", "digits", "--out", tmp_path / "run")
    assert done.code == 2
    assert "takes images of 14×12×3 and has 3 classes, but digits has 8×8×1 and 10" in done.err
    assert not (tmp_path / "run").exists()
