"""``.keras`` files, against files and answers that Keras itself made (``keras/make.py``)."""

import io
import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from tests.kit import Command

import firstlight as fl
from firstlight.errors import DataError, UserError
from firstlight.export.from_keras import read_keras
from firstlight.export.to_keras import keras_file
from firstlight.runs.checkpoint import SavedModel, load_model
from firstlight.runs.folder import RunFolder, open_run_folder
from firstlight.verbs.import_keras import import_keras

HERE = Path(__file__).resolve().parent / "keras"
IMAGES = (np.arange(5 * 8 * 8).reshape(5, 8, 8, 1) * 37 % 256).astype(np.uint8)
ANSWERS = json.loads((HERE / "answers.json").read_text())
# Where benchmarks/tutorial_vs_keras.py has made Keras's own environment.
KERAS = Path(__file__).resolve().parents[2] / ".venv-keras" / "bin" / "python"


def softmax(logits: Any) -> np.ndarray[Any, Any]:
    powers = np.exp(np.asarray(logits) - np.max(logits, axis=1, keepdims=True))
    result: np.ndarray[Any, Any] = powers / powers.sum(axis=1, keepdims=True)
    return result


@pytest.mark.parametrize("name", ["sequential", "functional"])
def test_a_network_trained_in_keras_gives_its_answers_here(name: str, tmp_path: Path) -> None:
    folder = import_keras(HERE / f"{name}.keras", out=tmp_path / "run")

    answers = fl.open_run(folder.path).predict(IMAGES)

    expected = ANSWERS[name] if name == "sequential" else softmax(ANSWERS[name])
    got = [[answer.probabilities[str(k)] for k in range(10)] for answer in answers]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_an_imported_network_is_a_run_that_every_verb_takes(command: Command) -> None:
    made = command("import", HERE / "sequential.keras", "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["parameters"] == 3 * 3 * 4 + 4 + 36 * 6 + 6 + 6 * 10 + 10
    run = json.loads(made.out)["run"]
    assert run == "runs/digits-keras-1"

    for words in (("evaluate", run), ("explain", run, "test:0"), ("report", run), ("runs",)):
        done = command(*words)
        assert done.code == 0, done.err
    page = Path(run, "report.html").read_text(encoding="utf-8")
    assert "taken over from sequential.keras, of Keras 3." in page
    assert "Repeat it" not in page
    trained = command("train", "digits", "--from", run, "--epochs", "1", "--limit", "200")
    assert trained.code == 0, trained.err
    compared = command("report", run, "runs/digits-tutorial-1", "--out", "both.html")
    assert compared.code == 0, compared.err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("with_lambda", "layer 2 of 6, Lambda, runs code of its own"),
        ("with_batch_norm", "layer 3 of 6, BatchNormalization, is not of the tutorial's"),
    ],
)
def test_layers_that_are_not_known_are_refused_by_name(
    command: Command, name: str, says: str
) -> None:
    done = command("import", HERE / f"{name}.keras")
    assert done.code == 2
    assert says in done.err
    assert not Path("runs").exists()


def changed(
    tmp_path: Path,
    config: Callable[[dict[str, Any]], object] | None = None,
    weights: Callable[[h5py.File], object] | None = None,
) -> Path:
    """``sequential.keras`` with something else in it."""
    with zipfile.ZipFile(HERE / "sequential.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        values = json.loads(parts["config.json"])
        config(values)
        parts["config.json"] = json.dumps(values).encode()
    if weights is not None:
        stream = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(stream, "a") as file:
            weights(file)
        parts["model.weights.h5"] = stream.getvalue()
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def layer(values: dict[str, Any], number: int) -> dict[str, Any]:
    found: dict[str, Any] = values["config"]["layers"][number]
    return found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: layer(v, 1).update(module="my_module"), "somebody's own code"),
        (lambda v: layer(v, 1).update(registered_name="mine>Conv2D"), "somebody's own code"),
        (lambda v: v.update(class_name="MyModel"), "it is a MyModel"),
        (lambda v: layer(v, 1)["config"].update(padding="same"), "wanted padding = valid"),
        (lambda v: layer(v, 1)["config"].update(activation="gelu"), "wanted ReLU, got gelu"),
        (
            lambda v: layer(v, 1)["config"].update(activation={"class_name": "function"}),
            "wanted ReLU",
        ),
        (lambda v: layer(v, 2)["config"].update(pool_size=[3, 3]), "wanted 2×2 pools"),
        (lambda v: v["config"]["layers"].pop(0), "an Input layer"),
        (lambda v: v["config"]["layers"].pop(4), "wanted two dense layers"),
        (lambda v: v["config"]["layers"].pop(3), "dense layers behind Flatten"),
        (lambda v: layer(v, 6)["config"].update(activation="sigmoid"), "softmax or none"),
        (lambda v: layer(v, 0)["config"].update(batch_shape=[None, 8, 8, 4]), "1 or 3 channels"),
        (lambda v: layer(v, 0)["config"].update(batch_shape=[None, 2, 2, 1]), "as large as"),
    ],
)
def test_another_kind_of_network_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read_keras(changed(tmp_path, config=change))


def elsewhere(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.SoftLink("/layers/dense_1/vars/0")


def outside(file: h5py.File) -> None:
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (6,), "<f4", external=[("/etc/passwd", 0, 24)])


def endless(file: h5py.File) -> None:
    """A few bytes that say they are 4 TB."""
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (10**6, 10**6), "<f4", chunks=(1000, 1000))


def not_finite(file: h5py.File) -> None:
    file["layers/dense/vars/1"][0] = np.nan


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (elsewhere, "lies elsewhere"),
        (soft, "lies elsewhere"),
        (outside, "no array of its own"),
        (endless, "of shape"),
        (not_finite, "not finite"),
        (lambda f: f.__delitem__("layers/conv2d"), "is missing"),
    ],
)
def test_weights_that_are_not_simply_in_the_file_are_bad_data(
    tmp_path: Path, change: Callable[[h5py.File], object], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        read_keras(changed(tmp_path, weights=change))


def test_a_config_of_nonsense_is_bad_data(tmp_path: Path) -> None:
    for nonsense in (
        lambda v: v.clear(),
        lambda v: v.update(config=None),
        lambda v: layer(v, 1).update(config=[]),
        lambda v: layer(v, 1)["config"].update(filters="many"),
        lambda v: layer(v, 1)["config"].update(filters=10**12),
    ):
        with pytest.raises(UserError):
            read_keras(changed(tmp_path, config=nonsense))


def test_files_that_are_no_whole_keras_file_are_told_from_one_another(tmp_path: Path) -> None:
    whole = (HERE / "sequential.keras").read_bytes()
    for content, says in (
        (b"", "not a whole .keras file"),
        (b"hello", "not a whole .keras file"),
        (whole[: len(whole) // 2], "not a whole .keras file"),
        (b"\x89HDF\r\n\x1a\n....", "older HDF5 format"),
    ):
        path = tmp_path / "a.keras"
        path.write_bytes(content)
        with pytest.raises(UserError, match=says):
            read_keras(path)
    with pytest.raises(DataError, match="no such file"):
        read_keras(tmp_path / "none.keras")


def test_a_file_that_unpacks_to_gigabytes_is_left_packed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3"}')
        archive.writestr("config.json", b" " * (9 * 1024**2))
        archive.writestr("model.weights.h5", b"")
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="larger than 8 MiB"):
        read_keras(path)


def test_data_that_do_not_fit_the_network_are_refused(command: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", images=np.zeros((40, 9, 9), np.uint8), labels=[0, 1] * 20)
    done = command("import", HERE / "sequential.keras", tmp_path / "own.npz")
    assert done.code == 2
    assert "takes images of 8×8×1 in 10 classes" in done.err


def calibrated(saved: SavedModel, temperature: float) -> SavedModel:
    from dataclasses import replace

    from firstlight.evaluate.calibrate import Calibration

    return replace(
        saved,
        calibration=Calibration(temperature=temperature, threshold=0.5, coverage=0.9, images=99),
    )


def test_a_file_written_here_is_laid_out_as_keras_lays_out_its_own(tmp_path: Path) -> None:
    run = import_keras(HERE / "sequential.keras", out=tmp_path / "run")

    content = keras_file(load_model(run))

    assert content == keras_file(load_model(run))
    layouts = []
    for source in (io.BytesIO(content), HERE / "sequential.keras"):
        with zipfile.ZipFile(source) as archive:
            layers = json.loads(archive.read("config.json"))["config"]["layers"]
            file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        found: dict[str, Any] = {}
        file.visititems(
            lambda name, at, found=found: found.update(
                {name: np.asarray(at) if isinstance(at, h5py.Dataset) else None}
            )
        )
        kinds = [one["class_name"] for one in layers]
        layouts.append((kinds, {k: v for k, v in found.items() if "optimizer" not in k}))
    (kinds, arrays), (their_kinds, their_arrays) = layouts
    assert [k for k in kinds if k != "Rescaling"] == their_kinds
    arrays = {k: v for k, v in arrays.items() if "rescaling" not in k}
    assert set(arrays) == set(their_arrays)
    for name, values in their_arrays.items():
        np.testing.assert_array_equal(arrays[name], values)


def test_keras_gives_the_answers_of_a_file_written_here(tmp_path: Path, digits_run: fl.Run) -> None:
    if not KERAS.exists():
        pytest.skip("Keras is not here; benchmarks/tutorial_vs_keras.py makes its environment")
    saved = calibrated(load_model(RunFolder(digits_run.path)), 1.7)
    path = tmp_path / "digits.keras"
    path.write_bytes(keras_file(saved))

    done = subprocess.run(
        [KERAS, HERE / "make.py", path],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        logits_NK = saved.model(saved.preprocess(torch.from_numpy(IMAGES)))
    expected = (logits_NK / 1.7).softmax(1).numpy()
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-5)


def test_a_file_written_here_comes_back_as_the_same_network(tmp_path: Path) -> None:
    first = import_keras(HERE / "functional.keras", out=tmp_path / "one")
    path = tmp_path / "again.keras"
    path.write_bytes(keras_file(load_model(first)))
    second = import_keras(path, out=tmp_path / "two")
    one, two = (open_run_folder(f.path) for f in (first, second))
    for name, tensor in load_model(one).model.state_dict().items():
        assert torch.equal(load_model(two).model.state_dict()[name], tensor)
    assert load_model(two).preprocess == load_model(one).preprocess
