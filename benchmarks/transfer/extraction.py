"""Measure how long a backbone's features take here, compared with bare onnxruntime.

    python benchmarks/transfer/extraction.py [BACKBONE] [ROUNDS]

One thread each, the sides in turn, processor time per image, medians of five rounds. firstlight's
side starts from uint8 pixels, and its set-up time is subtracted; onnxruntime is given float32
pixels, 1, 4 and 8 images at a time.
"""

import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnxruntime
import torch
from torch import nn

from firstlight import devices
from firstlight.evaluate.features import last_dense
from firstlight.export.graph import quiet
from firstlight.models.folded import folded
from firstlight.runs.checkpoint import SavedModel
from firstlight.training import extraction
from firstlight.verbs.start import open_start

IMAGES, FEW = 136, 8
AT_ONCE = (1, 4, 8)


def bare(saved: SavedModel, images_NHWC: np.ndarray, size: int) -> Callable[[], None]:
    """Return the folded network without its last layer, in onnxruntime."""
    model = copy.deepcopy(folded(saved.model, torch.float32, at_once=False))
    last = last_dense(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child is last:
                setattr(module, name, nn.Identity())
    pixels_NCHW = saved.preprocess(torch.from_numpy(images_NHWC)).contiguous()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder, quiet(), torch.no_grad():
        file = Path(folder) / "features.onnx"
        torch.onnx.export(
            model,
            (pixels_NCHW[:size],),
            file,
            dynamo=True,
            external_data=False,
            input_names=["pixels"],
            verbose=False,
        )
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    parts = [part.numpy() for part in pixels_NCHW.split(size)]

    def answer() -> None:
        for part in parts:
            session.run(None, {"pixels": part})

    return answer


def ours(saved: SavedModel, images_NHWC: np.ndarray, *, bfloat16: bool) -> Callable[[], None]:
    """Do the same as ``train``, with bfloat16 or without."""

    def answer() -> None:
        with mock.patch.object(extraction, "computes_in_bfloat16", lambda _: bfloat16):
            extraction.extract(saved.model, saved.preprocess, images_NHWC)

    return answer


def main(backbone: str = "efficientnet_lite0", rounds: str = "5") -> None:
    """Print one line per side."""
    torch.set_num_threads(1)
    saved = open_start(backbone)
    saved.model.eval()
    shape = (IMAGES, *saved.preprocess.image_shape)
    images_NHWC = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sides = {f"onnxruntime, {size} at once": bare(saved, images_NHWC, size) for size in AT_ONCE}
    rivals = list(sides)
    for bfloat16 in (False, True)[: 1 + devices.computes_in_bfloat16("cpu")]:
        name = f"firstlight, {'bfloat16' if bfloat16 else 'float32'}"
        sides[name] = ours(saved, images_NHWC, bfloat16=bfloat16)
        sides[f"{name}, to begin"] = ours(saved, images_NHWC[:FEW], bfloat16=bfloat16)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(int(rounds) + 1):
        for name, answer in sides.items():
            started = time.process_time()
            answer()
            seconds[name].append(time.process_time() - started)
    each = {name: np.array(found[1:]) / IMAGES for name, found in seconds.items()}
    for name in [name for name in each if f"{name}, to begin" in each]:
        begun = each.pop(f"{name}, to begin")
        each[name] = (each[name] - begun) * IMAGES / (IMAGES - FEW)
    for name, found in each.items():
        ratios = " ".join(f"{np.median(found / each[one]):.2f}" for one in rivals)
        print(f"{name:24} {1e3 * np.median(found):5.2f} ms an image, times those: {ratios}")


if __name__ == "__main__":
    main(*sys.argv[1:])
