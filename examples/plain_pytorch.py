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
layers, preprocess = card["architecture"]["network"]["layers"], card["preprocess"]
pixels = (images / 255 - torch.tensor(preprocess["mean"])) / torch.tensor(preprocess["std"])
values, counts = pixels.permute(0, 3, 1, 2), {"conv": 0, "dense": 0}
for layer in layers:
    kind = next(iter(layer))  # conv, max-pool, flatten, dense; dropout does nothing here
    if kind in counts:
        counts[kind] += 1
        name, compute = f"{kind}{counts[kind]}", conv2d if kind == "conv" else linear
        values = compute(values, weights[f"{name}.weight"], weights[f"{name}.bias"])
        values = values.relu() if "activation" in layer else values
    elif kind == "max-pool":
        values = max_pool2d(values, layer[kind])
    elif kind == "flatten":
        values = values.permute(0, 2, 3, 1).flatten(1)
temperature = (card["calibration"] or {"temperature": 1})["temperature"]
confidences, classes = (values / temperature).softmax(1).max(1)
for confidence, number in zip(confidences.tolist(), classes.tolist(), strict=True):
    print(card["class_names"][number], f"{confidence:.6f}")
