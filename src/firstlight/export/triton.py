"""A trained network as a model repository for Triton Inference Server, with a manifest for KServe.

Triton's documentation describes its files under ``model_repository`` and ``model_configuration``;
KServe's describes its ``InferenceService``. Axes: N images, H height, W width, C channels, K
classes.
"""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from firstlight.checked import class_names
from firstlight.evaluate.task import task_in
from firstlight.export.graph import LABELS as GIVEN
from firstlight.export.graph import OUTPUTS
from firstlight.pixels import Preprocess

if TYPE_CHECKING:
    from onnx import ValueInfoProto

LABELS = "labels.txt"
TYPES = {
    "UINT8": "TYPE_UINT8",
    "INT64": "TYPE_INT64",
    "FLOAT": "TYPE_FP32",
    "BOOL": "TYPE_BOOL",
}
"""Maps ONNX's names of an export's types to Triton's."""
_SERVICE_LENGTH = 40
"""Most characters of the service's name: Kubernetes allows 63, and KServe appends its own words."""


def model_name(name: str) -> str:
    """Return the name under which Triton serves a run: the run's name in letters, digits, ``.``,
    ``_`` and ``-``.

    Triton takes a model's name literally from the request path, so escaped characters never match.
    A name that loses characters ends in digits of its SHA-256; otherwise two such runs could become
    one model.
    """
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"
    if kept == name:
        return kept
    return f"{kept}-{sha256(name.encode(errors='surrogatepass')).hexdigest()[:6]}"


def repository(name: str, content: bytes, card: dict[str, Any], batch: int) -> dict[str, bytes]:
    """Return the path of each file in the repository, with ``/``, and its content.

    ``name`` comes from ``model_name``, ``content`` is an ONNX file, ``card`` is that file's
    description, and ``batch`` is the largest batch size. Raises ``DataError`` if two class names
    become equal when each is written on one line.
    """
    texts = {
        f"{name}/config.pbtxt": _config(name, content, card, batch),
        f"{name}/{LABELS}": _labels(card["class_names"]),
        "README.md": _readme(name, card, batch),
        "kserve.yaml": _manifest(name),
    }
    encoded = {path: text.encode("utf-8", "replace") for path, text in texts.items()}
    return {f"{name}/1/model.onnx": content, **encoded}


def _config(name: str, content: bytes, card: dict[str, Any], batch: int) -> str:
    """Return Triton's ``ModelConfig`` in protobuf's text format, with the tensors of the graph."""
    import onnx

    graph = onnx.load_model_from_string(content).graph
    # Leave out ``seen``: Triton would send it with every answer.
    outputs = [value for value in graph.output if value.name in (*OUTPUTS, GIVEN)]
    blocks = [
        f'name: {_quoted(name)}\nbackend: "onnxruntime"\nmax_batch_size: {batch}',
        # Batch the requests that are waiting; none waits for others to arrive.
        "dynamic_batching { }",
        *(f"input {{{_tensor(value)}\n}}" for value in graph.input),
        *(f"output {{{_tensor(value)}\n}}" for value in outputs),
    ]
    # The thresholds of several labels are in the graph.
    if card["calibration"] is not None and not task_in(card).several:
        threshold = _quoted(str(card["calibration"]["threshold"]))
        blocks.append(
            f'parameters {{\n  key: "threshold"\n  value {{ string_value: {threshold} }}\n}}'
        )
    return "\n".join(blocks) + "\n"


def _tensor(value: "ValueInfoProto") -> str:
    """Return the fields of an input or output. The first axis of the graph is Triton's batch."""
    import onnx

    kind = value.type.tensor_type
    data_type = TYPES[onnx.TensorProto.DataType.Name(kind.elem_type)]
    dims = [dim.dim_value or -1 for dim in kind.shape.dim][1:]
    lines = [f"name: {_quoted(value.name)}", f"data_type: {data_type}"]
    # A tensor needs an axis besides the batch; Triton removes this one for the graph.
    lines += [f"dims: {dims}"] if dims else ["dims: [1]", "reshape { shape: [] }"]
    if value.name == OUTPUTS[0]:
        lines.append(f"label_filename: {_quoted(LABELS)}")
    return "".join(f"\n  {line}" for line in lines)


def _quoted(text: str) -> str:
    """Quote a string for protobuf's text format and for YAML; JSON's quoting suits both."""
    return json.dumps(text)


def _labels(names: Sequence[str]) -> str:
    """Write one name per line, as Triton counts lines: a line break in a name becomes a space."""
    lines = class_names([" ".join(name.splitlines()) for name in names], f"the names for {LABELS}")
    return "".join(f"{line}\n" for line in lines)


def _readme(name: str, card: dict[str, Any], batch: int) -> str:
    classes = len(card["class_names"])
    height, width, channels = Preprocess.from_json(card["preprocess"]).image_shape
    several = task_in(card).several
    what = f"with any of {classes} labels" if several else f"in {classes} classes"
    return f"""# {name}

A classifier of images {what}, for Triton Inference Server or KServe.
firstlight {card["firstlight"]} wrote this folder.

## What to send

The input `images`: UINT8, N×H×W×C.

- Values are 0 to 255, as in an image file. Do not scale or standardize them: the model does.
- C comes last. It is 1 for grey and 3 for RGB.
- H and W may be any size. The model brings each image to {height}×{width}×{channels} itself.
- Images should look like those of the training. A dark drawing on a light background stays dark.
- N is 1 to {batch}. All images of a request have one size, and Triton computes requests together
  if they have the same size.

## What comes back

{_label_outputs(name, classes) if several else _class_outputs(name, classes)}

{_SEVERAL if several else _unknown(card)}

## Serve it

With Triton:

    tritonserver --model-repository=.

With KServe: copy this folder to a place that the cluster can read. Write that place into
`kserve.yaml` at `storageUri`. Then:

    kubectl apply -f kserve.yaml

The metadata of `{name}/1/model.onnx` have the class names, licence, data and figures as JSON.
"""


_SEVERAL = """Each label is judged by itself: an image may get several of them, or none. `labels`
says which probabilities reach the label's threshold. The thresholds are in the metadata, under
`calibration`."""


def _class_outputs(name: str, classes: int) -> str:
    order = f"`{name}/{LABELS}`"
    return f"""- `probabilities`: FP32, N×{classes}. The classes are in the order of {order}.
- `label`: INT64, N×1. The number of the most probable class; the first line is 0.
- `probabilities` asked for with Triton's classification extension (`class_count`): the most
  probable classes with their names."""


def _label_outputs(name: str, labels: int) -> str:
    return f"""- `probabilities`: FP32, N×{labels}, each from 0 to 1. The labels are in the order of
  `{name}/{LABELS}`.
- `labels`: BOOL, N×{labels}. Whether the image is given each label.
- `probabilities` asked for with Triton's classification extension (`class_count`): the most
  probable labels with their names, also those that are not given."""


def _unknown(card: dict[str, Any]) -> str:
    if card["calibration"] is None:
        return "This model has no threshold: it calls no answer unknown."
    threshold = f"{card['calibration']['threshold']:.4f}"
    return f"""firstlight calls an answer unknown if its largest probability is below {threshold}.
Triton does not, so your program has to. `config.pbtxt` has the exact number as the parameter
`threshold`, and Triton gives it back with the model's configuration."""


def _manifest(name: str) -> str:
    """Return KServe's ``InferenceService``, with names that KServe accepts."""
    service = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    service = service if service[:1].isalpha() else f"model-{service}"
    service = service[:_SERVICE_LENGTH].strip("-")
    return f"""# Copy the folder that holds {name}/ to a place that the cluster can read.
# Write that place at storageUri. Then: kubectl apply -f kserve.yaml
# CPU and memory are what KServe gives Triton by default. They were not measured for this model.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {_quoted(service)}
spec:
  predictor:
    model:
      modelFormat:
        name: triton
      protocolVersion: v2
      storageUri: s3://FILL-IN-BUCKET/FILL-IN-PATH
      resources:
        requests:
          cpu: "1"
          memory: 2Gi
        limits:
          cpu: "1"
          memory: 2Gi
"""
