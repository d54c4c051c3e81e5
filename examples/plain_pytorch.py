"""A tutorial network exported with ``--format safetensors``, used in plain PyTorch.

    firstlight export RUN --format safetensors --out model.safetensors
    python plain_pytorch.py model.safetensors IMAGES.npy

It needs torch, numpy and safetensors, and nothing of firstlight. IMAGES.npy holds uint8 images
N×H×W×C of the model's size; the most probable class and its probability are printed for each.
"""

import json
import sys

import numpy as np
import torch
from safetensors import safe_open
from torch.nn.functional import conv2d, linear, max_pool2d

with safe_open(sys.argv[1], framework="pt") as file:
    card = json.loads(file.metadata()["firstlight"])
    weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

images = torch.from_numpy(np.load(sys.argv[2]))
choice, preprocess = card["architecture"]["choice"], card["preprocess"]
assert choice["name"] == "tutorial", choice["name"]
pixels = (images / 255 - torch.tensor(preprocess["mean"])) / torch.tensor(preprocess["std"])

maps = pixels.permute(0, 3, 1, 2)
layers = len(choice["widths"])
for i in range(layers):
    kernel, bias = weights[f"convolutions.{i}.weight"], weights[f"convolutions.{i}.bias"]
    maps = conv2d(maps, kernel, bias).relu()
    if i < layers - 1 or choice["pool_last"]:
        maps = max_pool2d(maps, 2)
features = maps.permute(0, 2, 3, 1).flatten(1)
hidden = linear(features, weights["hidden.weight"], weights["hidden.bias"]).relu()
logits = linear(hidden, weights["logits.weight"], weights["logits.bias"])
temperature = (card["calibration"] or {"temperature": 1})["temperature"]
confidences, classes = (logits / temperature).softmax(1).max(1)
for confidence, number in zip(confidences.tolist(), classes.tolist(), strict=True):
    print(card["class_names"][number], f"{confidence:.6f}")
