"""LiteRT, formerly TensorFlow Lite: a file for phones and small devices. Extra ``litert``.

The graph takes one image of the model's own size. Nothing in it depends on a size that is known
only when it runs, so that small runtimes can plan its memory beforehand. Axes: N images, H height,
W width, C channels, K classes.
"""

import io
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from firstlight.errors import UserError
from firstlight.evaluate.predict import Images
from firstlight.evaluate.task import Task
from firstlight.export.graph import Classifier
from firstlight.models.modules import Resize
from firstlight.packages import imported
from firstlight.plain import write_json
from firstlight.runs.checkpoint import SavedModel
from firstlight.threads import usable_threads
from firstlight.untrusted import one_line

EXTRA = "'firstlight[litert]'"
INPUT, OUTPUT = "images", "probabilities"
IMAGES = 200
"""Training images that the ranges of int8 are taken from, one after another."""
LABELS, CARD = "labels.txt", "firstlight.json"
"""Files in the ZIP archive at the end of the file, where tools of LiteRT look for labels."""
_SIGNATURE = "serving_default"


class _OneImage(nn.Module):
    """A uint8 image 1×H×W×C to probabilities 1×K, float32."""

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        # A conversion changes the module that it is given.
        self.classifier = Classifier(replace(saved, model=deepcopy(saved.model)))
        # litert-torch 0.10 reads weights in channels-last memory wrongly, with varying results.
        for tensor in (*self.classifier.parameters(), *self.classifier.buffers()):
            tensor.data = tensor.data.contiguous(memory_format=torch.contiguous_format)
        resizes = [one for one in self.classifier.modules() if isinstance(one, Resize)]
        hooks = [one.register_forward_pre_hook(_fix) for one in resizes]
        self(example(saved))
        for hook in hooks:
            hook.remove()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {OUTPUT: self.classifier(images)[0]}


def _fix(resize: nn.Module, inputs: tuple[Tensor]) -> None:
    assert isinstance(resize, Resize)
    resize.fix(*inputs)


def example(saved: SavedModel) -> Tensor:
    """A black image, uint8 1×H×W×C."""
    return torch.zeros((1, *saved.preprocess.image_shape), dtype=torch.uint8)


def need_converter(purpose: str) -> Any:
    """Return litert_torch. Raises ``UserError``, whose message begins with ``purpose``, if it is
    missing."""
    with _silent():
        return imported("litert_torch", purpose, EXTRA)


def litert_bytes(
    saved: SavedModel, card: Mapping[str, Any], some_NHWC: npt.NDArray[np.uint8] | None
) -> bytes:
    """A ``.tflite`` file: uint8 1×H×W×C to float32 1×K, with class names and card in a ZIP archive
    at its end. With ``some_NHWC``, training images, it computes in eight bits.

    Raises ``UserError`` where litert-torch is not installed, or cannot convert the network.
    """
    tool = need_converter("--format litert")
    with _silent():
        written = tool.convert(_OneImage(saved).eval(), sample_kwargs={INPUT: example(saved)})
        content = bytes(written.model_content())
        if some_NHWC is not None:
            content = _checked(content, some_NHWC, saved.task)
    stream = io.BytesIO(content)
    names = "".join(f"{one_line(name)}\n" for name in saved.class_names)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in ((LABELS, names), (CARD, write_json(card))):
            # A fixed date: the same run gives the same file.
            archive.writestr(zipfile.ZipInfo(name), text)
    return stream.getvalue()


def _checked(content: bytes, some_NHWC: npt.NDArray[np.uint8], task: Task) -> bytes:
    """The file in eight bits. Raises ``UserError`` where its quantizer does not take the network,
    which is told only when the file is opened."""
    try:
        content = _eight_bits(content, some_NHWC, task)
        _interpreter(content)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"--int8: LiteRT's quantizer does not take this network ({reason}). Export it without "
            "--int8, or with --format onnx"
        ) from error
    return content


def _eight_bits(content: bytes, some_NHWC: npt.NDArray[np.uint8], task: Task) -> bytes:
    """Weights and what flows between layers as int8, by the ranges that the images give; what makes
    probabilities stays in float32, as 256 steps are too few for a threshold."""
    qtyping, quantizer, recipe_manager, calibrator, qsv_utils = (
        imported(f"ai_edge_quantizer.{name}", "--int8", EXTRA)
        for name in ("qtyping", "quantizer", "recipe_manager", "calibrator", "utils.qsv_utils")
    )
    operations = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    recipe.add_static_config(
        regex=".*",
        operation_name=operations.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    probabilities = operations.LOGISTIC if task.several else operations.SOFTMAX
    for kept in (probabilities, operations.OUTPUT):
        recipe.add_quantization_config(
            regex=".*",
            operation_name=kept,
            algorithm_key=recipe_manager.AlgorithmName.NO_QUANTIZE,
        )
    work = quantizer.Quantizer(content, recipe.get_quantization_recipe())
    images = [{INPUT: some_NHWC[at : at + 1]} for at in range(len(some_NHWC))]
    if task.several:
        # By default a range is the mean of the images' extremes. Labels that an image lacks have
        # low logits, so the mean would cut off the logits of the labels that it has.
        ranged = calibrator.Calibrator(content, qsv_update_func=qsv_utils.min_max_update)
        ranged.calibrate({_SIGNATURE: images}, recipe)
        ranges = ranged.get_model_qsvs()
    else:
        ranges = work.calibrate({_SIGNATURE: images})
    return bytes(work.quantize(ranges, enable_progress_report=False).quantized_model)


def litert_answers(content: bytes, images_NHWC: Images) -> npt.NDArray[np.float32]:
    """Probabilities N×K by LiteRT's own interpreter, one image after another as on a device."""
    with _silent():
        interpreter = _interpreter(content)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    parts = []
    for at in range(len(images_NHWC)):
        interpreter.set_tensor(taken["index"], np.ascontiguousarray(images_NHWC[at : at + 1]))
        interpreter.invoke()
        parts.append(interpreter.get_tensor(given["index"]))
    return np.concatenate(parts)


def _interpreter(content: bytes) -> Any:
    tool = imported("ai_edge_litert.interpreter", "--format litert", EXTRA)
    interpreter = tool.Interpreter(model_content=content, num_threads=usable_threads())
    interpreter.allocate_tensors()
    return interpreter


@contextmanager
def _silent() -> Iterator[None]:
    """Without what the converter's libraries write, in Python and in C++."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    kept = dict[int, int]()
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                for number in (1, 2):
                    with suppress(OSError):  # closed
                        kept[number] = os.dup(number)
                        os.dup2(sink.fileno(), number)
                yield
            finally:
                for number, copy in kept.items():
                    os.dup2(copy, number)
                    os.close(copy)
