"""Export of weights only, and PyTorch's own export."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load, save

from firstlight.evaluate.predict import BATCH, Images, probabilities
from firstlight.export.graph import program, quiet
from firstlight.plain import write_json
from firstlight.runs.checkpoint import SavedModel, apart


def safetensors_bytes(saved: SavedModel, card: Mapping[str, Any]) -> bytes:
    """Return every tensor of the network by name, float32, with the card as JSON in the metadata
    under ``firstlight``."""
    return save(apart(saved.model.state_dict()), {"firstlight": write_json(card)})


def torch_export_bytes(saved: SavedModel, card: Mapping[str, Any]) -> bytes:
    """Return a file for ``torch.export.load`` (``.pt2``), from uint8 images of any size to
    probabilities and class indices; the card is JSON under ``firstlight.json``."""
    stream = io.BytesIO()
    text = write_json(card)
    with quiet():
        torch.export.save(program(saved), stream, extra_files={"firstlight.json": text})
    return stream.getvalue()


def safetensors_answers(
    content: bytes, saved: SavedModel, images_NHWC: Images
) -> npt.NDArray[np.float32]:
    """Return probabilities N×K of the run's architecture with the file's weights."""
    model = saved.architecture.build(torch.Generator())
    model.load_state_dict(load(content))
    return probabilities(
        model, saved.preprocess, images_NHWC, temperature=saved.temperature, task=saved.task
    )


@torch.inference_mode()
def torch_export_answers(content: bytes, images_NHWC: Images) -> npt.NDArray[np.float32]:
    """Return probabilities N×K of the program in the file."""
    module = torch.export.load(io.BytesIO(content)).module()
    parts = []
    for start in range(0, len(images_NHWC), BATCH):
        images = torch.from_numpy(np.ascontiguousarray(images_NHWC[start : start + BATCH]))
        parts.append(module(images)[0].numpy())
    return np.concatenate(parts)
