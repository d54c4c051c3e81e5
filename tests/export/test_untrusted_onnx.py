"""An ONNX file from any source: anything but an export is refused when opened, in limited work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.kit import Command

from firstlight import runtime
from firstlight.errors import DataError
from firstlight.onnx_file import OPERATORS
from firstlight.runtime import open_onnx

Change = Callable[[Any], None]


def changed(source: Path, folder: Path, change: Change) -> Path:
    model = onnx.load(source)
    change(model)
    (folder / "it.onnx").write_bytes(model.SerializeToString())
    return folder / "it.onnx"


def metadata(key: str, change: Callable[[Any], Any]) -> Change:
    def apply(model: Any) -> None:
        (entry,) = [e for e in model.metadata_props if e.key == key]
        new = change(json.loads(entry.value))
        entry.value = new if isinstance(new, str) else json.dumps(new)

    return apply


def constant(name: str, values: Any, kind: int = TensorProto.INT64) -> Any:
    tensor = helper.make_tensor(name, kind, np.shape(values), np.ravel(values).tolist())
    return helper.make_node("Constant", [], [name], value=tensor)


def before_the_answer(*nodes: Any) -> Change:
    """Add nodes that compute ``extra``, on which the answer then depends."""

    def apply(model: Any) -> None:
        graph = model.graph
        (softmax,) = [n for n in graph.node if "probabilities" in n.output]
        softmax.output[0] = "before"
        for node in graph.node:
            node.input[:] = ["before" if name == "probabilities" else name for name in node.input]
        graph.node.extend(
            [
                *nodes,
                constant("nought", 0.0, TensorProto.FLOAT),
                helper.make_node("ReduceMin", ["extra"], ["least"], keepdims=0),
                helper.make_node("Cast", ["least"], ["least_float"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["least_float", "nought"], ["none"]),
                helper.make_node("Add", ["before", "none"], ["probabilities"]),
            ]
        )

    return apply


def loop() -> Any:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    return helper.make_node("Loop", ["times", ""], [], body=body)


def vast_range(count: int) -> list[Any]:
    edges = [constant("from", 0), constant("to", count), constant("step", 1)]
    return [*edges, helper.make_node("Range", ["from", "to", "step"], ["extra"])]


def vast_sum(side: int) -> list[Any]:
    """Return a table of side × side numbers from two short rows of them."""
    first, *_, row = vast_range(side)
    row.output[0] = "row"
    return [
        *(first, *vast_range(side)[1:3], row, constant("axis", [1])),
        helper.make_node("Unsqueeze", ["row", "axis"], ["column"]),
        helper.make_node("Add", ["row", "column"], ["extra"]),
    ]


def weights_are(value: float) -> Change:
    def apply(model: Any) -> None:
        (tensor,) = [t for t in model.graph.initializer if t.name.endswith("dense1.weight")]
        array = numpy_helper.to_array(tensor).copy()
        array.flat[7] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return apply


def elsewhere(model: Any) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.endswith("dense1.weight"))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"


def softmax_gives(kind: str, *inputs: str) -> Change:
    """Replace the probabilities by other numbers, with one more operator."""

    def apply(model: Any) -> None:
        (softmax,) = [n for n in model.graph.node if "probabilities" in n.output]
        softmax.output[0] = "before"
        for node in model.graph.node:
            node.input[:] = ["before" if name == "probabilities" else name for name in node.input]
        model.graph.node.extend(
            [
                constant("two", 2.0, TensorProto.FLOAT),
                helper.make_node(kind, ["before", *inputs], ["probabilities"]),
            ]
        )

    return apply


def two_names_the_same(names: list[str]) -> list[str]:
    return [names[0], names[0], *names[2:]]


REFUSED: dict[str, tuple[Change, str]] = {
    "a loop without end": (
        before_the_answer(constant("times", 2**62), loop(), constant("extra", [1])),
        "the operator 'Loop' is not one that an export writes",
    ),
    "six gigabytes by their shape": (
        before_the_answer(
            constant("shape", [3 * 2**29]),
            helper.make_node("ConstantOfShape", ["shape"], ["extra"]),
        ),
        "the operator 'ConstantOfShape'",
    ),
    "a range of 24 gigabytes": (
        before_the_answer(*vast_range(3 * 10**9)),
        "its graph cannot be run",
    ),
    "a sum of 20 gigabytes": (before_the_answer(*vast_sum(50_000)), "its graph cannot be run"),
    "a node that fails": (
        before_the_answer(
            constant("row", [1]),
            constant("at", [10**6]),
            helper.make_node("Gather", ["row", "at"], ["extra"]),
        ),
        "its graph cannot be run",
    ),
    "an operator of its own": (
        before_the_answer(helper.make_node("Relu", ["before"], ["extra"], domain="mine")),
        "operators of the domain 'mine'",
    ),
    "a function of its own": (
        lambda model: model.functions.append(
            helper.make_function("mine", "F", ["x"], ["x"], [], [helper.make_opsetid("", 18)])
        ),
        "it defines its own functions",
    ),
    "a loop in a branch": (
        lambda model: (
            next(n for n in model.graph.node if n.op_type == "If")
            .attribute[0]
            .g.node.append(loop())
        ),
        "the operator 'Loop'",
    ),
    "weights in another file": (elsewhere, "dense1.weight' is stored in another file"),
    "a weight that is no number": (weights_are(float("nan")), "dense1.weight' holds numbers"),
    "an infinite weight": (weights_are(float("inf")), "dense1.weight' holds numbers"),
    "probabilities that sum to 2": (softmax_gives("Mul", "two"), "not probabilities|sum to 2"),
    "probabilities below 0": (softmax_gives("Sub", "two"), "not probabilities"),
    "probabilities that sum to 0": (softmax_gives("Floor"), "sum to 0, not to 1"),
    "two classes of one name": (
        metadata("class_names", two_names_the_same),
        "the class name '0' is used for more than one class",
    ),
    "class names that are a text": (
        metadata("class_names", lambda _: '"01"'),
        "class names must be a list",
    ),
    "images of 10⁵ × 10⁵ pixels": (
        metadata("preprocess", lambda p: {**p, "height": 10**5, "width": 10**5}),
        "images of 100000×100000 pixels; at most 4096 per side",
    ),
    "a mean that is no number": (
        metadata("preprocess", lambda p: {**p, "mean": [float("nan")]}),
        "NaN is not a number",
    ),
    "a mean beyond all numbers": (
        metadata("preprocess", lambda p: json.dumps({**p, "mean": [0.0]}).replace("0.0", "1e999")),
        "too large",
    ),
    "a deviation of nought": (metadata("preprocess", lambda p: {**p, "std": [0]}), "std must be"),
    "a temperature of nought": (
        metadata("calibration", lambda c: {**c, "temperature": 0}),
        "wanted a temperature above 0, got 0",
    ),
    "a threshold of 2": (metadata("calibration", lambda c: {**c, "threshold": 2}), "from 0 to 1"),
    "metadata nested without end": (metadata("recipe", lambda _: "[" * 100_000), "nested"),
    "a number of 10,000 digits": (metadata("recipe", lambda _: "9" * 10_000), "10,000 digits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_export_holds_is_refused_when_opened(
    digits_onnx: Path, tmp_path: Path, name: str
) -> None:
    change, says = REFUSED[name]
    path = changed(digits_onnx, tmp_path, change)
    with pytest.raises(DataError, match=says) as told:
        open_onnx(path)
    assert str(told.value).startswith(str(path))


def test_answers_that_are_no_numbers_never_reach_json(
    digits_onnx: Path, tmp_path: Path, command: Command
) -> None:
    def apply(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name.endswith(("dense1.weight", "dense2.weight")):
                array = np.full_like(numpy_helper.to_array(tensor), 3e38)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    path = changed(digits_onnx, tmp_path, apply)
    done = command("predict", path, digits_onnx, "--json")
    assert done.code == 3, done.out
    assert "not probabilities" in done.err or "its graph cannot be run" in done.err
    assert "NaN" not in done.out
    assert len(done.err.splitlines()) == 1


def test_a_graph_that_takes_too_long_is_stopped(
    digits_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = vast_range(2000)
    edges[-1].output[0] = "row"
    nodes = [*edges, constant("axis", [1]), helper.make_node("Unsqueeze", ["row", "axis"], ["c"])]
    nodes += [
        helper.make_node("Add", ["row", "c"], ["table"]),
        helper.make_node("Cast", ["table"], ["m0"], to=TensorProto.FLOAT),
    ]
    for i in range(400):  # 16 billion multiplications each
        nodes.append(helper.make_node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]))
    nodes.append(helper.make_node("Identity", ["m400"], ["extra"]))
    path = changed(digits_onnx, tmp_path, before_the_answer(*nodes))
    monkeypatch.setattr(runtime, "MOST_SECONDS", 0.2)

    with pytest.raises(DataError, match=r"takes more than 0\.2 s for one image"):
        open_onnx(path)


def test_a_file_cut_short_anywhere_is_refused(digits_onnx: Path, tmp_path: Path) -> None:
    content = digits_onnx.read_bytes()
    for share in (0.0, 0.001, 0.3, 0.9, 0.999):
        (tmp_path / "it.onnx").write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError):
            open_onnx(tmp_path / "it.onnx")
    scrambled = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in scrambled.integers(0, len(content), 40):
            damaged[place] = scrambled.integers(0, 256)
        (tmp_path / "it.onnx").write_bytes(damaged)
        try:
            found = open_onnx(tmp_path / "it.onnx").probabilities(np.zeros((1, 8, 8, 1), np.uint8))
        except DataError:
            continue
        assert found.sum() == pytest.approx(1, abs=1e-2)


def test_every_operator_that_is_taken_is_one_of_onnx(digits_onnx: Path) -> None:
    assert {op for op in OPERATORS if not onnx.defs.has(op)} == set()
    assert {node.op_type for node in onnx.load(digits_onnx).graph.node} <= OPERATORS


def test_names_that_are_no_text_are_refused_and_nothing_else_is_printed(
    digits_onnx: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = digits_onnx.read_bytes()
    place = content.rindex(b"probabilities")  # the name of the graph's output
    path = tmp_path / "names.onnx"
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    with pytest.raises(DataError, match="not an ONNX file, or damaged"):
        open_onnx(path)
    assert capfd.readouterr() == ("", "")
