"""Check the content of an ONNX file before computing any of it. Needs neither onnx nor a runtime.

A graph is a program: it may loop forever or read other files. Only the operators that ``firstlight
export`` writes are accepted, and none of them loops. ONNX is protobuf, which numbers its fields:
the numbers below are from ``onnx.proto`` of the ONNX project.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

OPERATORS = {
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "Attention",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "DequantizeLinear",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "If",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Pad",
    "QuantizeLinear",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Round",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
}
"""Operators that an export contains, at any opset, in float32 and int8."""
MOST_NODES = 10_000
"""Most operators in total; the largest model in the box has 600."""
MOST_DEPTH = 4
"""Deepest nesting of graphs, such as the branches of an If."""

_Value = int | memoryview
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OUTPUT, _NODE_KIND, _NODE_ATTRIBUTE, _NODE_DOMAIN = 2, 4, 5, 7
_ATTRIBUTE_FLOAT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_FLOATS = 2, 5, 6, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = 10, 11, (22, 23)
_TENSOR_KIND, _TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_NAME = 2, 4, 5, 8
_TENSOR_RAW, _TENSOR_DOUBLES, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 9, 10, 13, 14
_FLOAT, _HALF, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16
_RAW = {_FLOAT: "<f4", _HALF: "<f2", _DOUBLE: "<f8"}
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5


@dataclass(kw_only=True)
class OnnxFile:
    """The content of a file."""

    metadata: dict[str, str] = field(default_factory=dict)
    nodes: int = 0
    graphs: list[memoryview] = field(default_factory=list)


def read_file(content: bytes) -> OnnxFile:
    """Read the metadata of a file. Raises ``ValueError`` if it is not an ONNX file."""
    found = OnnxFile()
    for number, value in _fields(memoryview(content)):
        if number == _MODEL_GRAPH:
            found.graphs.append(_message(value))
        elif number == _MODEL_METADATA:
            pair = {at: bytes(_message(text)) for at, text in _fields(_message(value))}
            found.metadata[pair.get(1, b"").decode()] = pair.get(2, b"").decode()
        elif number == _MODEL_FUNCTIONS:
            raise ValueError("it defines its own functions")
    if not found.graphs:
        raise ValueError("it holds no graph")
    return found


def check_graph(file: OnnxFile) -> None:
    """Raise ``ValueError`` for anything that an export does not contain: other operators, numbers
    that are not finite, and data in other files. The message names the tensor."""
    for graph in file.graphs:
        _check_graph(file, graph, 1)


def _check_graph(file: OnnxFile, graph: memoryview, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise ValueError(f"graphs nested more than {MOST_DEPTH} deep")
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            _check_node(file, _message(value), depth)
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value), "")
        elif number == _GRAPH_SPARSE:
            raise ValueError("it holds sparse tensors")


def _check_node(file: OnnxFile, node: memoryview, depth: int) -> None:
    file.nodes += 1
    if file.nodes > MOST_NODES:
        raise ValueError(f"it holds more than {MOST_NODES:,} operators")
    output, attributes = "", []
    for number, value in _fields(node):
        if number == _NODE_OUTPUT:
            output = output or _text(value)
        elif number == _NODE_KIND and _text(value) not in OPERATORS:
            raise ValueError(f"the operator {_text(value)[:60]!r} is not one that an export writes")
        elif number == _NODE_DOMAIN and _text(value) not in ("", "ai.onnx"):
            raise ValueError(f"operators of the domain {_text(value)[:60]!r} are not supported")
        elif number == _NODE_ATTRIBUTE:
            attributes.append(_message(value))
    for attribute in attributes:
        _check_attribute(file, attribute, output, depth)


def _check_attribute(file: OnnxFile, attribute: memoryview, output: str, depth: int) -> None:
    for number, value in _fields(attribute):
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            _check_graph(file, _message(value), depth + 1)
        elif number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_message(value), output)
        elif number in (_ATTRIBUTE_FLOAT, _ATTRIBUTE_FLOATS):
            _check_finite(np.frombuffer(_message(value), "<f4"), output)
        elif number in _ATTRIBUTE_SPARSE:
            raise ValueError("it holds sparse tensors")


def _check_tensor(tensor: memoryview, output: str) -> None:
    """Check a tensor; ``output`` identifies one without a name."""
    kind, name = 0, output
    numbers: list[tuple[int, _Value]] = []
    for number, value in _fields(tensor):
        if number == _TENSOR_KIND and isinstance(value, int):
            kind = value
        elif number == _TENSOR_NAME:
            name = _text(value) or output
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise ValueError(f"the tensor {name[:100]!r} is stored in another file")
        else:
            numbers.append((number, value))
    for number, value in numbers:
        if number == _TENSOR_FLOATS:
            _check_finite(np.frombuffer(_message(value), "<f4"), name)
        elif number == _TENSOR_DOUBLES:
            _check_finite(np.frombuffer(_message(value), "<f8"), name)
        elif number == _TENSOR_INT32S and kind in (_HALF, _BFLOAT16):
            raise ValueError(f"the tensor {name[:100]!r} is not stored as an export stores it")
        elif number == _TENSOR_RAW and kind in _RAW:
            _check_finite(np.frombuffer(_message(value), _RAW[kind]), name)
        elif number == _TENSOR_RAW and kind == _BFLOAT16:
            bits = np.frombuffer(_message(value), "<u2").astype(np.uint32) << 16
            _check_finite(bits.view(np.float32), name)


def _check_finite(numbers: npt.NDArray[np.floating], name: str) -> None:
    if not np.isfinite(numbers).all():
        raise ValueError(f"the tensor {name[:100]!r} holds numbers that are not finite")


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Yield number and value of each field of a protobuf message: an integer or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        length = {_EIGHT: 8, _FOUR: 4}.get(kind)
        if kind == _LENGTH:
            length, at = _varint(message, at)
        if length is None or at + length > len(message):
            raise ValueError("it is not a protobuf, or it is truncated")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Decode a variable-length integer, 7 bits per byte, and return it with its end."""
    value = 0
    for place in range(10):
        if at + place >= len(message):
            break
        byte = message[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("it is not a protobuf, or it is truncated")


def _message(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is not an ONNX file: a number where bytes are wanted")
    return value


def _text(value: _Value) -> str:
    return bytes(_message(value)).decode()
