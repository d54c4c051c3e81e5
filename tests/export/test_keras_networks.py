"""Networks with other structures than the tutorial's, from Keras and for Keras.

The files in ``keras/`` and their answers come from real Keras (``keras/make_networks.py``).
"""

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.export.test_keras import members, written
from torch import Generator

import firstlight as fl
from firstlight.data.dataset import Dataset
from firstlight.errors import DataError, UserError
from firstlight.evaluate.calibrate import Calibration
from firstlight.evaluate.predict import probabilities
from firstlight.export.keras import keras_bytes
from firstlight.export.keras_import import KerasNetwork, read_keras
from firstlight.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Branches,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    Repeat,
    Rescale,
    Residual,
    SpatialDropout,
    Whiten,
)
from firstlight.layers.network import Network
from firstlight.layers.networks import whitened
from firstlight.models.catalog import Architecture
from firstlight.pixels import Preprocess
from firstlight.runs.checkpoint import SavedModel
from firstlight.verbs.import_keras import import_keras

FILES = Path(__file__).parent / "keras"
KERAS = Path(__file__).resolve().parents[2] / ".venv-keras" / "bin" / "python"
FROM_KERAS = ("residual", "separable", "branches", "plain", "dense-blocks")
CHECK = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
for name in sys.argv[1:]:
    model = keras.models.load_model(name + ".keras")
    with np.load(name + ".npz") as file:
        got = model.predict(file["images"].astype("float32"), verbose=0)
        print(name.rpartition("/")[2], abs(got - file["probabilities"]).max())
"""


def norm() -> BatchNorm:
    return BatchNorm(momentum=0.2)


RESIDUAL = Network(
    layers=(
        Conv(6, padding="same", bias=False),
        norm(),
        Activation("relu"),
        Residual((Conv(6, padding="same"), norm(), Activation("silu"), Conv(6, padding="same"))),
        Residual(
            (Conv(8, stride=2, padding="same", bias=False, activation="relu"), norm()),
            activation="leaky-relu",
        ),
        Repeat(
            2,
            (
                Residual(
                    (Conv(10, stride=2, padding="same"), Activation("leaky-relu", slope=0.3)),
                    activation="none",
                ),
                Activation("gelu"),
            ),
        ),
        GlobalAveragePool(),
        Dense("classes"),
    ),
    pixels="standardize",
)
BRANCHES = Network(
    layers=(
        Conv(4, kernel=5, stride=2, padding="same", activation="leaky-relu"),
        Branches(
            (
                (Conv(4, kernel=1),),
                (),
                (AveragePool(3, stride=1, padding="same"), Conv(2, kernel=1)),
                (
                    MaxPool(3, stride=1, padding="same"),
                    Branches(((Conv(4, padding="same", activation="elu"),), ()), join="add"),
                    Residual((Conv(4, padding="same", groups=2),)),
                ),
            )
        ),
        GroupNorm(7),
        Branches(((GlobalMaxPool(),), (GlobalAveragePool(), Dense(5, activation="tanh")))),
        Dense("classes"),
    )
)
SEPARABLE = Network(
    layers=(
        Conv(6, stride=2, padding="half", activation="hard-swish"),
        Conv(6, kernel=2, padding="half", activation="relu6"),
        Activation("hard-swish"),
        Conv(12, depthwise=True, padding="same", bias=False),
        norm(),
        Conv(9, kernel=1, activation="gelu"),
        LayerNorm(),
        SpatialDropout(0.2),
        Conv(18, depthwise=True, dilation=2, padding="same", activation="leaky-relu"),
        AveragePool(3, stride=2, padding="same"),
        Flatten(),
        Dense(8, bias=False),
        BatchNorm(scale=False),
        Activation("sigmoid"),
        Dropout(0.5),
        LayerNorm(),
        Dense("classes"),
        Rescale(3.0, offset=0.5),
    )
)
WHITENED = Network(
    layers=whitened((8, 12), stem=Whiten(8, kernel=2, bias=True), scale=0.3), pixels="standardize"
)
LOGISTIC = Network(layers=(Flatten(), Dense("classes")), pixels="standardize")
FOR_KERAS: dict[str, tuple[Network, tuple[int, int, int], float]] = {
    "residual": (RESIDUAL, (13, 10, 3), 1.7),
    "branches": (BRANCHES, (15, 14, 1), 1.0),
    "separable": (SEPARABLE, (17, 12, 3), 2.5),
    "whitened": (WHITENED, (16, 16, 1), 0.6),
    "logistic": (LOGISTIC, (8, 8, 1), 0.8),
}


def saved(network: Network, shape: tuple[int, int, int], temperature: float = 1.0) -> SavedModel:
    """Return a network for five classes with random weights and statistics."""
    rng = Generator().manual_seed(1)
    architecture = Architecture(network=network, image_shape=shape, classes=5)
    model = architecture.build(rng)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dtype == torch.float32 and tensor.requires_grad | ("running" in name):
            low = 0.0 if "var" in name else -0.3
            if tensor.ndim == 1:
                tensor.data += low + 0.6 * torch.rand(tensor.shape, generator=rng)
        elif "whiten" in name:
            tensor.data += 0.5 * torch.randn(tensor.shape, generator=rng)
    some = (0.4, 0.5, 0.6)[: shape[2]] if network.pixels == "standardize" else (0.0,) * shape[2]
    return SavedModel(
        model=model.eval(),
        architecture=architecture,
        preprocess=Preprocess(
            height=shape[0],
            width=shape[1],
            channels=shape[2],
            mean=some,
            std=tuple(one / 2 for one in some) if any(some) else (1.0,) * shape[2],
        ),
        class_names=tuple("abcde"),
        calibration=Calibration(temperature=temperature, threshold=0.1, coverage=0.9, images=9),
    )


def pictures(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)


def answers(read: KerasNetwork, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    height, width, channels = read.image_shape
    architecture = Architecture(
        network=read.network, image_shape=read.image_shape, classes=read.classes
    )
    model = architecture.build(Generator())
    model.load_state_dict({name: torch.from_numpy(one) for name, one in read.weights.items()})
    sees = Preprocess(height=height, width=width, channels=channels, mean=read.mean, std=read.std)
    return probabilities(model, sees, images)


@pytest.mark.parametrize("name", [*FROM_KERAS, "two-classes", "without-dense"])
def test_a_network_from_keras_answers_as_it_does_there(name: str) -> None:
    with np.load(FILES / f"{name}-answers.npz") as file:
        images, expected = file["images"], file["probabilities"]

    np.testing.assert_allclose(
        answers(read_keras(FILES / f"{name}.keras"), images), expected, atol=1e-6
    )


@pytest.mark.parametrize("name", FOR_KERAS)
def test_a_file_for_keras_read_back_answers_the_same(name: str) -> None:
    network, shape, temperature = FOR_KERAS[name]
    model = saved(network, shape, temperature)
    images = pictures(shape)
    expected = probabilities(model.model, model.preprocess, images, temperature=temperature)

    read = read_keras(io.BytesIO(keras_bytes(model, {})))

    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(answers(read, images), expected, atol=1e-6)


@pytest.mark.parametrize("name", FROM_KERAS)
def test_a_network_from_keras_and_back_has_the_same_layers(name: str) -> None:
    read = read_keras(FILES / f"{name}.keras")
    again = read_keras(io.BytesIO(keras_bytes(imported(read), {})))

    assert again.network == read.network
    for tensor, array in read.weights.items():
        np.testing.assert_array_equal(again.weights[tensor], array)


@pytest.mark.parametrize("name", ["residual", "branches", "dense-blocks"])
def test_weights_lie_where_keras_itself_puts_them(name: str) -> None:
    def arrays(content: bytes) -> dict[str, npt.NDArray[np.float32]]:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            stream = io.BytesIO(archive.read("model.weights.h5"))
        found = {}
        with h5py.File(stream) as file:
            file.visititems(
                lambda at, one: found.update({at: one[...]} if hasattr(one, "shape") else {})
            )
        return found

    content = (FILES / f"{name}.keras").read_bytes()
    expected = arrays(content)
    got = arrays(keras_bytes(imported(read_keras(io.BytesIO(content))), {}))

    assert set(got) == set(expected)
    for at, array in expected.items():
        np.testing.assert_array_equal(got[at], array, err_msg=at)


def imported(read: KerasNetwork) -> SavedModel:
    model = saved(LOGISTIC, read.image_shape)
    architecture = Architecture(
        network=read.network, image_shape=read.image_shape, classes=read.classes
    )
    network = architecture.build(Generator())
    network.load_state_dict({name: torch.from_numpy(one) for name, one in read.weights.items()})
    return replace(
        model,
        model=network.eval(),
        architecture=architecture,
        preprocess=replace(model.preprocess, mean=read.mean, std=read.std),
        calibration=None,
    )


def test_real_keras_opens_networks_of_every_form_with_the_same_answers(tmp_path: Path) -> None:
    if not KERAS.exists():
        pytest.skip("no Keras here; benchmarks/tutorial_vs_keras.py makes its environment")
    models = {name: saved(*values) for name, values in FOR_KERAS.items()}
    for name in (*FROM_KERAS, "two-classes", "without-dense"):
        models[f"again-{name}"] = imported(read_keras(FILES / f"{name}.keras"))
    for name, model in models.items():
        images = pictures(model.architecture.image_shape)
        expected = probabilities(
            model.model, model.preprocess, images, temperature=model.temperature
        )
        (tmp_path / f"{name}.keras").write_bytes(keras_bytes(model, {}))
        np.savez(tmp_path / f"{name}.npz", images=images, probabilities=expected)
    done = subprocess.run(
        [KERAS, "-c", CHECK, *(tmp_path / name for name in models)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    differences = {
        name: float(difference) for name, difference in map(str.split, done.stdout.splitlines())
    }
    assert set(differences) == set(models)
    assert max(differences.values()) <= 1e-5, differences


def test_what_stands_between_the_last_dense_layer_and_softmax_is_kept(tmp_path: Path) -> None:
    def softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    parts = members(FILES / "plain.keras")
    config = json.loads(parts["config.json"])
    layers = config["config"]["layers"]
    layers[-1]["config"]["activation"] = "tanh"
    drop = {"module": "keras.layers", "class_name": "Dropout", "config": {"rate": 0.5}}
    last = {"module": "keras.layers", "class_name": "Softmax", "config": {"axis": -1}}
    layers += [drop, last]
    file = written(tmp_path / "it.keras", {**parts, "config.json": json.dumps(config).encode()})
    with np.load(FILES / "plain-answers.npz") as known:
        images, scores = known["images"], np.log(known["probabilities"])
    # tanh changes if scores are shifted, and Keras's scores are shifted by their own amount.
    read = read_keras(FILES / "plain.keras")
    model = imported(read).model
    sees = Preprocess(height=15, width=14, channels=1, mean=(0.0,), std=(1.0,))
    with torch.inference_mode():
        raw = model(sees(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(raw - raw[:, :1], scores - scores[:, :1], atol=1e-5)

    np.testing.assert_allclose(answers(read_keras(file), images), softmax(np.tanh(raw)), atol=1e-6)


def test_forms_that_have_a_layer_here_become_it() -> None:
    residual = read_keras(FILES / "residual.keras").network.layers
    assert [type(one) for one in residual[1:4]] == [Residual, Residual, Branches]
    assert Residual((Conv(5, padding="same", activation="relu"),), activation="none") in (
        read_keras(FILES / "dense-blocks.keras").network.layers
    )
    separable = read_keras(FILES / "separable.keras").network.layers
    assert separable[1:3] == (
        Conv(8, padding="same", depthwise=True, bias=False),
        Conv(6, kernel=1, activation="relu"),
    )
    # Keras's momentum of 0.99 is our 0.01.
    assert BatchNorm(momentum=0.01, epsilon=1e-3) in (
        read_keras(FILES / "plain.keras").network.layers
    )


def test_how_pixels_are_scaled_inside_is_read() -> None:
    read = read_keras(FILES / "branches.keras")  # Rescaling(1 / 127.5, offset=-1)
    assert (read.mean, read.std, read.network.pixels) == ((0.5,), (0.5,), "standardize")
    read = read_keras(FILES / "residual.keras")  # Rescaling(1 / 255)
    assert (read.mean, read.std, read.network.pixels) == ((0.0,) * 3, (1.0,) * 3, "scale")
    assert read.scales
    assert not read_keras(FILES / "plain.keras").scales
    # After a pool it is still the scale of the pixels.
    assert read_keras(FILES / "two-classes.keras").scales


def test_an_imported_residual_network_is_a_run_that_exports_again(tmp_path: Path) -> None:
    with np.load(FILES / "residual-answers.npz") as file:
        images, expected = file["images"], file["probabilities"]
    part = Dataset(
        name="mine/train",
        images_NHWC=images,
        labels_N=np.arange(len(images), dtype=np.int64) % 5,
        class_names=tuple("abcde"),
    )
    data = fl.TrainTest(part, part)
    import_keras(FILES / "residual.keras", data=data, out=tmp_path / "run")
    run = fl.open_run(tmp_path / "run", data=data)

    got = np.array([[a.probabilities[n] for n in "abcde"] for a in run.predict(images)])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    done = run.export("keras", tmp_path / "it.keras")
    assert done.parity.largest_difference <= 1e-6


def functional(tmp_path: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Return a real Keras file with modified layers, by name."""
    parts = members(FILES / f"{name}.keras")
    config = json.loads(parts["config.json"])
    change({one["name"]: one for one in config["config"]["layers"]} | {"": config})
    return written(tmp_path / "it.keras", {**parts, "config.json": json.dumps(config).encode()})


def tensor(name: str) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}


def connect(one: dict[str, Any], *names: str) -> None:
    tensors: list[Any] = [tensor(name) for name in names]
    args = [tensors] if len(tensors) > 1 else tensors
    one["inbound_nodes"] = [{"args": args, "kwargs": {}}]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda n: n["add"].update(class_name="Multiply"), "'add' is a Multiply, which is not"),
        (lambda n: n["add"].update(class_name="Maximum"), "'add' is a Maximum, which is not"),
        (lambda n: n["re_lu"].update(class_name="Sequential"), "'re_lu' is itself a model"),
        (lambda n: n["re_lu"]["config"].update(max_value=4.0), "got 4"),
        (
            lambda n: n["conv2d"].update(inbound_nodes=n["conv2d"]["inbound_nodes"] * 2),
            "'conv2d' is used in 2 places with the same weights",
        ),
        (
            lambda n: n["batch_normalization"]["inbound_nodes"][0].update(
                kwargs={"training": True}
            ),
            "'batch_normalization' is called with training=True",
        ),
        (
            lambda n: n["batch_normalization"]["config"].update(axis=1),
            "'batch_normalization': wanted axis=-1",
        ),
        (
            lambda n: n[""]["config"].update(output_layers=[["dense", 0, 0], ["add", 0, 0]]),
            "one output, got 2",
        ),
        (
            lambda n: n[""]["config"].update(input_layers=[["a", 0, 0], ["b", 0, 0]]),
            "one input, got 2",
        ),
        (
            lambda n: connect(n["add_1"], "batch_normalization_3", "conv2d"),
            "'add_1': .*branch 1 gives maps of 7×5×6, branch 2 gives maps of 13×10×4",
        ),
    ],
)
def test_graphs_that_no_list_of_layers_has_are_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        read_keras(functional(tmp_path, "residual", change))


def test_branches_that_meet_in_between_are_refused_by_name(tmp_path: Path) -> None:
    def change(layers: dict[str, Any]) -> None:
        # The sum of the first block is also used by another layer.
        connect(layers["concatenate_1"], "conv2d_1", "conv2d_2")

    with pytest.raises(UserError, match="layer 'conv2d_1' leads into several branches"):
        read_keras(functional(tmp_path, "dense-blocks", change))


@pytest.mark.parametrize(
    "change",
    [
        lambda n: connect(n["conv2d"], "dense"),  # a cycle
        lambda n: connect(n["conv2d"], "nobody"),
        lambda n: n["conv2d"].pop("inbound_nodes"),
        lambda n: n["conv2d"]["config"].pop("filters"),
        lambda n: n["conv2d"]["config"].update(kernel_size=[5, 5]),  # unlike the weights
        lambda n: n["add"]["inbound_nodes"][0].update(args=[3]),
        lambda n: n[""]["config"].update(layers=7),
        lambda n: n[""]["config"].update(output_layers=[]),
    ],
)
def test_a_damaged_graph_is_told(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises((DataError, UserError), match=r"it\.keras"):
        read_keras(functional(tmp_path, "residual", change))


def test_branches_without_end_are_refused_in_time(tmp_path: Path) -> None:
    parts = members(FILES / "dense-blocks.keras")
    config = json.loads(parts["config.json"])
    layers = config["config"]["layers"]
    add = next(one for one in layers if one["class_name"] == "Add")
    first = layers[0]["name"]
    names = [first]
    for number in range(1500):  # each added to the input: nested 1,500 deep
        one = json.loads(json.dumps({**add, "name": f"deep{number}"}))
        one["config"]["name"] = f"deep{number}"
        one.pop("build_config", None)
        connect(one, names[-1], first)
        names.append(one["name"])
        layers.append(one)
    config["config"]["output_layers"] = [names[-1], 0, 0]
    file = written(tmp_path / "it.keras", {**parts, "config.json": json.dumps(config).encode()})
    with pytest.raises(UserError, match="nested more than 20 deep"):
        read_keras(file)


@pytest.mark.parametrize(
    ("padding", "says"),
    [
        ([[2, 2], [2, 2]], r"puts \[\[2, 2\], \[2, 2\]\] zeros around maps of 12×12"),
        ([[0, 3], [0, 3]], "puts"),
    ],
)
def test_zeros_that_no_convolution_puts_are_refused(
    tmp_path: Path, padding: list[list[int]], says: str
) -> None:
    parts = members(FILES / "separable.keras")
    config = json.loads(parts["config.json"])
    config["config"]["layers"][2]["config"]["padding"] = padding
    file = written(tmp_path / "it.keras", {**parts, "config.json": json.dumps(config).encode()})
    with pytest.raises(UserError, match=f"layer 'zero_padding2d': {says}"):
        read_keras(file)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (
            Network(layers=(Conv(4, stride=2, dilation=2), Flatten(), Dense("classes"))),
            r"Conv\(4, stride=2, dilation=2\) has a stride and a dilation above 1",
        ),
        (replace(LOGISTIC, views="shift"), r'views = "one".*\(shift\)'),
    ],
)
def test_what_keras_has_no_layer_for_is_not_written(network: Network, says: str) -> None:
    with pytest.raises(UserError, match=f"{says}.*Use --format onnx"):
        keras_bytes(saved(network, (9, 9, 1)), {})
