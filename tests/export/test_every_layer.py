"""Every layer that a network can have is exported to each kind of file, and read back."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

import firstlight as fl
from firstlight.layers import (
    LAYERS,
    Attention,
    AveragePool,
    BatchNorm,
    Branches,
    ClassToken,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    LayerScale,
    MaxPool,
    Repeat,
    Rescale,
    Residual,
    Resize,
    SpatialDropout,
    SquareRoot,
    SqueezeExcite,
    Tokens,
    Whiten,
)
from firstlight.layers.activation import ACTIVATIONS, Activation
from firstlight.layers.sequence import written_out
from firstlight.onnx_file import OPERATORS
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import RunFolder

LAYERS_OF_ALL_KINDS: tuple[Layer, ...] = (
    Whiten(8),
    *(Conv(8, padding="same", activation=name) for name in ACTIVATIONS),
    Resize(9),
    MaxPool(3, padding="same", stride=2),
    MaxPool(2, padding="same", stride=1),
    AveragePool(2, stride=1),
    AveragePool(2, padding="same", stride=1),
    Activation("elu"),
    BatchNorm(),
    GroupNorm(2),
    LayerNorm(),
    SpatialDropout(0.1),
    Conv(16, depthwise=True, kernel=2, padding="same", dilation=2),
    Residual([Conv(8, padding="same", bias=False), BatchNorm()]),  # type: ignore[arg-type]
    SqueezeExcite(4, activation="hard-swish"),
    Conv(8, stride=2, padding="half"),
    Branches(
        [  # type: ignore[arg-type]
            [GlobalMaxPool()],
            [GlobalAveragePool()],
            [Flatten()],
            [
                Tokens(),
                Residual([LayerNorm(), Attention(2), LayerScale(0.5)], activation="none"),  # type: ignore[arg-type]
                Residual([Dense(16, activation="gelu"), Dense(8)], activation="none"),  # type: ignore[arg-type]
                ClassToken(),
            ],
        ]
    ),
    Branches([[Dense(8)], [Dense(8)]], join="add"),  # type: ignore[arg-type]
    Repeat(2, [Dense(8, activation="tanh")]),  # type: ignore[arg-type]
    LayerNorm(),
    SquareRoot(),
    Dropout(0.1),
    Dense("classes"),
    Rescale(0.5, offset=0.1),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    out = tmp_path_factory.mktemp("every-layer") / "run"
    layers = list(LAYERS_OF_ALL_KINDS)
    return fl.train("digits", network=layers, batch_size=256, epochs=1, out=out, quiet=True)


def test_no_layer_and_no_activation_is_forgotten_here() -> None:
    layers = list(written_out(LAYERS_OF_ALL_KINDS))
    assert {layer.kind for layer in layers} == set(LAYERS)
    used = {getattr(layer, "activation", "") for layer in layers}
    assert used >= set(ACTIVATIONS)


@pytest.mark.parametrize("choices", [{"opset": 23}, {"int8": True}], ids=str)
def test_onnx_takes_every_layer(run: fl.Run, tmp_path: Path, choices: dict[str, int]) -> None:
    out = tmp_path / "all.onnx"
    run.export(out=out, accept_loss=True, **choices)  # type: ignore[arg-type]
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    assert {"AveragePool", "LayerNormalization", "Tanh"} <= kinds <= OPERATORS


@pytest.mark.parametrize(
    ("format_", "suffix"), [("safetensors", ".safetensors"), ("torch-export", ".pt2")]
)
def test_other_formats_take_every_layer(
    run: fl.Run, tmp_path: Path, format_: str, suffix: str
) -> None:
    out = tmp_path / f"all{suffix}"
    run.export(format_, out)

    saved, images_NHWC = load_model(RunFolder(run.path)), fl.load("digits").test.images_NHWC[:50]
    if format_ == "safetensors":
        weights, wanted = load_file(out), saved.model.state_dict()
        assert weights.keys() == wanted.keys()
        assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
        return
    with torch.inference_mode():
        images = torch.from_numpy(np.asarray(images_NHWC))
        scores_NK = saved.model.eval()(saved.preprocess(images))
        wanted_NK = torch.softmax(scores_NK / saved.temperature, dim=1)
        got_NK = torch.export.load(out).module()(images)[0]
    torch.testing.assert_close(got_NK, wanted_NK, atol=1e-5, rtol=0)


def test_onnx_takes_grey_images_before_a_network_of_colour(tmp_path: Path) -> None:
    layers = [Resize(12, channels=3), Conv(4), GlobalAveragePool(), Dense("classes")]
    run = fl.train("digits", network=layers, epochs=1, out=tmp_path / "run", quiet=True)
    out = tmp_path / "grey.onnx"
    run.export(out=out)
    assert {node.op_type for node in onnx.load(out).graph.node} <= OPERATORS
