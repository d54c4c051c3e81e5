"""A trained network as one ONNX graph, from uint8 images of any size to probabilities.

Axes: N images, H height, W width, C channels, K classes.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from firstlight.evaluate.task import thresholds_of
from firstlight.export.fit import fitted
from firstlight.pixels import Preprocess
from firstlight.runs.checkpoint import SavedModel

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

OPSETS = range(18, 24)
"""ONNX opset versions that can be written; onnxruntime reads the last one since version 1.23."""
OPSET = 18
"""The default opset, which most programs can read."""
INPUT, OUTPUTS, SEEN = "images", ("probabilities", "label"), "seen"
LABELS = "labels"
"""The second output where images may have several: whether each is given."""
REFUSAL = "images_must_be_NxHxWxC_with_C_1_or_3"
"""The node that fails on any other layout. onnxruntime and OpenVINO show its name in their
errors."""
_PREFIX = "fit/"


class Fit(nn.Module):
    """Converts images of any size, grey or colour, to uint8 images of the model's shape."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess

    def forward(self, images_NHWC: Tensor) -> Tensor:
        """uint8 N×H×W×C in and out."""
        return fitted(images_NHWC, self.preprocess)


class Classifier(nn.Module):
    """uint8 images of the model's shape to calibrated probabilities, and classes or labels."""

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        self.model = saved.model.eval()
        self.preprocess, self.temperature = saved.preprocess, saved.temperature
        self.task = saved.task
        if self.task.several:
            thresholds_K = thresholds_of(saved.calibration, len(saved.class_names))
            self.thresholds_K = nn.Buffer(torch.from_numpy(thresholds_K).float())
        # Its constants are made at the first call, which must not be a tracer's.
        self.preprocess(torch.zeros((1, *saved.preprocess.image_shape), dtype=torch.uint8))

    def forward(self, images_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """float32 N×K, and int64 N or, with several labels, bool N×K."""
        logits_NK = self.model(self.preprocess(images_NHWC)) / self.temperature
        probabilities_NK = self.task.probabilities(logits_NK)
        if self.task.several:
            return probabilities_NK, probabilities_NK >= self.thresholds_K
        return probabilities_NK, probabilities_NK.argmax(dim=1)


class Layout(nn.Module):
    """Passes images on unchanged; fails if they are not N×H×W×1 or N×H×W×3, or have no pixels."""

    def forward(self, images_NHWC: Tensor) -> Tensor:
        height, width, channels = (
            torch.full((), side, dtype=torch.int64) for side in images_NHWC.shape[1:]
        )
        right = (height > 0) & (width > 0) & ((channels == 1) | (channels == 3))
        torch._assert_async(right, REFUSAL)
        return images_NHWC


def program(saved: SavedModel) -> ExportedProgram:
    """Return PyTorch's own export, for any number of images of any size."""
    whole = nn.Sequential(Layout(), Fit(saved.preprocess), Classifier(saved))
    return _traced(whole, _any_images(saved.preprocess))


def network(saved: SavedModel, opset: int = OPSET) -> "ModelProto":
    """The network alone as ONNX: ``seen``, uint8 images of the model's shape, to the outputs."""
    return _onnx(Classifier(saved), _own_images(saved), opset, [SEEN], _outputs(saved))


def _outputs(saved: SavedModel) -> list[str]:
    return [OUTPUTS[0], LABELS if saved.task.several else OUTPUTS[1]]


def fit(preprocess: Preprocess, opset: int = OPSET) -> "ModelProto":
    """What brings images of any size to the model's shape, alone: ``images`` to ``seen``."""
    return _onnx(Fit(preprocess), _any_images(preprocess), opset, [INPUT], [SEEN])


def with_any_size(network: "ModelProto", saved: SavedModel, opset: int = OPSET) -> "ModelProto":
    """Put nodes that accept images of any size, grey or colour, before the network.

    Images that already have the model's shape go straight to the network.
    """
    import onnx
    from onnx import compose, helper

    change = compose.add_prefix(fit(saved.preprocess, opset), _PREFIX)
    shape: list[str | int] = ["N", *saved.preprocess.image_shape]
    classes = saved.architecture.classes
    values = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*_either(change.graph, shape), *network.graph.node],
        "firstlight",
        [values(INPUT, onnx.TensorProto.UINT8, ["N", "H", "W", "C"])],
        [
            values(OUTPUTS[0], onnx.TensorProto.FLOAT, ["N", classes]),
            values(LABELS, onnx.TensorProto.BOOL, ["N", classes])
            if saved.task.several
            else values(OUTPUTS[1], onnx.TensorProto.INT64, ["N"]),
            # Useful to look at; and OpenVINO 2026.4 gives wrong answers at the first images of a
            # size where the network reads what the If gives and nothing else does.
            values(SEEN, onnx.TensorProto.UINT8, shape),
        ],
        [*network.graph.initializer, _shape_tensor(saved.preprocess.image_shape)],
    )
    model = helper.make_model(graph, producer_name="firstlight", opset_imports=network.opset_import)
    model.ir_version = network.ir_version
    onnx.checker.check_model(model, full_check=True)
    return model


def _own_images(saved: SavedModel) -> tuple[Tensor, dict[int, Dim]]:
    shape = saved.preprocess.image_shape
    return torch.zeros((2, *shape), dtype=torch.uint8), {0: Dim.DYNAMIC}


def _any_images(preprocess: Preprocess) -> tuple[Tensor, dict[int, Dim]]:
    height, width, _ = preprocess.image_shape
    example = torch.zeros((2, height + 3, width + 5, 3), dtype=torch.uint8)
    return example, dict.fromkeys(range(4), Dim.DYNAMIC)


def _traced(module: nn.Module, images: tuple[Tensor, dict[int, Dim]]) -> ExportedProgram:
    example, sizes = images
    with quiet():
        return torch.export.export(module.eval(), (example,), dynamic_shapes=(sizes,))


def _onnx(
    module: nn.Module,
    images: tuple[Tensor, dict[int, Dim]],
    opset: int,
    inputs: list[str],
    outputs: list[str],
) -> "ModelProto":
    import onnx_ir
    from onnx_ir.passes import common

    traced = _traced(module, images)
    with quiet():
        written = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=opset,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    assert written is not None
    # The trace's notes are three times as long as the graph.
    for clean in (common.RemoveUnusedNodesPass(), common.ClearMetadataAndDocStringPass()):
        clean(written.model)
    proto: ModelProto = onnx_ir.to_proto(written.model)
    del proto.graph.value_info[:]
    return proto


def _shape_tensor(shape: tuple[int, int, int]) -> "TensorProto":
    import numpy as np
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(shape, dtype=np.int64), "fit/shape")


def _either(change: "GraphProto", shape: Sequence[str | int]) -> list["NodeProto"]:
    """Return nodes that output images of the model's shape: unchanged or converted."""
    from onnx import TensorProto, helper

    (came,), (changed,) = change.input, change.output
    checks, checked = _layout()
    for node in change.node:
        node.input[:] = [checked if name == came.name else name for name in node.input]
    as_it_is = helper.make_node("Identity", [INPUT], ["fit/as_it_is"])
    branches = {}
    for name, nodes, end, initializers in (
        ("as_they_are", [as_it_is], "fit/as_it_is", []),
        ("changed", [*checks, *change.node], changed.name, change.initializer),
    ):
        value = helper.make_tensor_value_info(end, TensorProto.UINT8, shape)
        branches[name] = helper.make_graph(nodes, name, [], [value], initializers)
    return [
        helper.make_node("Shape", [INPUT], ["fit/came"], start=1),
        helper.make_node("Equal", ["fit/came", "fit/shape"], ["fit/same"]),
        helper.make_node("Cast", ["fit/same"], ["fit/same_int"], to=TensorProto.INT32),
        helper.make_node("ReduceMin", ["fit/same_int"], ["fit/all_int"], keepdims=0),
        helper.make_node("Cast", ["fit/all_int"], ["fit/all_same"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["fit/all_same"],
            [SEEN],
            then_branch=branches["as_they_are"],
            else_branch=branches["changed"],
        ),
    ]


def _layout() -> tuple[list["NodeProto"], str]:
    """Return nodes that check and pass on the images, and the name of their output.

    ONNX has no assertion. A Reshape fails in every runtime if the numbers of pixels differ. So the
    images are reshaped to the shape they should have: 3 channels if they came with 3, otherwise 1,
    and at least one pixel in each direction.
    """
    from onnx import TensorProto, helper

    def whole(name: str, *values: int) -> "NodeProto":
        tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return helper.make_node("Constant", [], [name], value=tensor)

    nodes = [
        whole("fit/one", 1),
        whole("fit/three", 3),
        helper.make_node("Shape", [INPUT], ["fit/count"], end=1),
        helper.make_node("Shape", [INPUT], ["fit/sides"], start=1, end=3),
        helper.make_node("Shape", [INPUT], ["fit/channels"], start=3),
        helper.make_node("Max", ["fit/sides", "fit/one"], ["fit/some_sides"]),
        helper.make_node("Equal", ["fit/channels", "fit/three"], ["fit/is_colour"]),
        helper.make_node("Where", ["fit/is_colour", "fit/three", "fit/one"], ["fit/one_or_three"]),
        helper.make_node(
            "Concat", ["fit/count", "fit/some_sides", "fit/one_or_three"], ["fit/wanted"], axis=0
        ),
        helper.make_node("Reshape", [INPUT, "fit/wanted"], ["fit/images"], name=REFUSAL),
    ]
    return nodes, "fit/images"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the messages of PyTorch's exporter."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
            yield
    finally:
        log.setLevel(before)
