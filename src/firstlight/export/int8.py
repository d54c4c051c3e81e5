"""Quantization: convolutions and dense layers that compute with 8-bit integers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from firstlight.export.graph import SEEN

if TYPE_CHECKING:
    from onnx import ModelProto

IMAGES = 1000
"""Number of training images that calibrate the ranges."""
_BATCH = 100


def quantized(network: "ModelProto", images_NHWC: npt.NDArray[np.uint8]) -> "ModelProto":
    """Return the network in int8: each filter has its own scale, and activations have the ranges
    seen with ``images_NHWC``, uint8 of the model's shape (Jacob et al. 2018)."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[npt.NDArray[np.uint8]] = iter(
                images_NHWC[start : start + _BATCH] for start in range(0, len(images_NHWC), _BATCH)
            )

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {SEEN: batch}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        # First infer shapes and fold batch norms into the convolutions.
        source = Path(folder, "source.onnx")
        onnx.save(network, source)
        quantization.quant_pre_process(str(source), str(before), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(before),
            str(after),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        )
        written: ModelProto = onnx.load(after)
    del written.graph.value_info[:]
    return written
