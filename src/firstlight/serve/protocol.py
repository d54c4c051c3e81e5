"""The Open Inference Protocol, version 2, over HTTP, with its binary tensor extension.

The input is ``image``: uint8 N×H×W×C of the model's size. The outputs are ``probabilities``,
float32 N×K, and ``label``, N names. See https://github.com/kserve/open-inference-protocol.
"""

import itertools
import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Path, Request, Response

from firstlight import __version__
from firstlight.checked import BETWEEN
from firstlight.serve.answers import json_response
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor
from firstlight.serve.service import Service

UInt8Array = npt.NDArray[np.uint8]
LENGTH = "inference-header-content-length"
NUMBER_BYTES, HEAD_BYTES = 6, 64 * 1024
"""Most bytes of one number in JSON, such as ``255, ``, and of the text around the numbers."""
INPUT, PROBABILITIES, LABEL = "image", "probabilities", "label"
READ = {"binary_data", "binary_data_size"}
_FLOATS = "multiply floats of 0 to 1 by 255 and round them first"
VERSION = "1"
"""The version of every model: a run is never retrained under its name."""
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "shape", "datatype", "data"],
                                "properties": {
                                    "name": {"const": INPUT},
                                    "shape": {"type": "array", "items": {"type": "integer"}},
                                    "datatype": {"const": "UINT8"},
                                    "data": {"type": "array"},
                                },
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
}


def routes(service: Service) -> APIRouter:
    """The routes of the protocol."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("/health/live", summary="Is the service up?")
    async def live() -> Response:
        """Answers 200 while the service runs."""
        return json_response({"live": True})

    @router.get("/health/ready", summary="Can every run answer?")
    async def ready() -> Response:
        """Answers 200, or 503 while a run is still training."""
        return _ready("service", all(p.ready for p in service.predictors.values()))

    @router.get("", summary="About this server")
    async def server() -> Response:
        """Returns the service's name, version and extensions."""
        return json_response(
            {
                "name": "firstlight",
                "version": __version__,
                "extensions": ["binary_tensor_data"],
            }
        )

    every, one = "/models/{model}", "/models/{model}/versions/{version}"
    router.include_router(_of_a_model(service), prefix=every)
    router.include_router(_of_a_model(service), prefix=one, dependencies=[Depends(_version)])
    return router


def _of_a_model(service: Service) -> APIRouter:
    """The routes of one model, or of one version of it."""
    router = APIRouter()

    @router.get("", summary="Inputs and outputs of a run")
    async def metadata(model: str) -> Response:
        """Describes the inputs and outputs; -1 means any number."""
        return json_response(_metadata(service.predictor(model)))

    @router.get("/ready", summary="Can this run answer?")
    async def model_ready(model: str) -> Response:
        """Answers 200, or 503 while the run is still training."""
        return _ready(model, service.run(model).ready)

    @router.post("/infer", openapi_extra=BODY, responses=ANSWER, summary="Classify images")
    async def infer(model: str, request: Request) -> Response:
        """Returns probabilities and labels of uint8 images of the model's size."""
        predictor = service.predictor(model)
        most = service.limits.images
        body = await request.body()
        # Parsing blocks every request, so accept no more than the largest valid request needs.
        if len(body) > NUMBER_BYTES * math.prod(predictor.image_shape) * most + HEAD_BYTES:
            raise RefusedError(status=413, message=f"longer than {most} images of this model")
        asked = _asked(body, request.headers.get(LENGTH), predictor, most)
        rows_NK = await service.probabilities(predictor, asked.images_NHWC)
        return _response(predictor, asked, rows_NK)

    return router


async def _version(version: Annotated[str, Path(description="1 is the only one.")]) -> None:
    if version != VERSION:
        raise RefusedError(status=404, message=f"no such version; the only one is {VERSION}")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    id: str | None
    images_NHWC: UInt8Array
    outputs: dict[str, bool]
    """Maps the name to whether it is wanted as raw bytes."""


def _asked(body: bytes, head_length: str | None, predictor: Predictor, most: int) -> _Asked:
    """Check and return the request. Raises ``RefusedError`` 400."""
    head, raw = body, b""
    if head_length is not None:
        # A body's length has at most nine digits, and int() refuses thousands of them.
        at = int(head_length) if re.fullmatch("[0-9]{1,9}", head_length) else len(body) + 1
        if at > len(body):
            raise _wrong(f"{LENGTH} is not a length within the body")
        head, raw = body[:at], body[at:]
    try:
        values = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise _wrong("the body is not JSON") from error
    inputs = values.get("inputs") if isinstance(values, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong(f"wanted an object with one of inputs, named {INPUT}")
    given, name = inputs[0], values.get("id")
    if name is not None and not isinstance(name, str):
        raise _wrong("id must be text")
    return _Asked(
        id=name, images_NHWC=_images(given, raw, predictor, most), outputs=_outputs(values)
    )


def _images(given: dict[str, Any], raw: bytes, predictor: Predictor, most: int) -> UInt8Array:
    """Check and return the only input."""
    shape, wanted = given.get("shape"), predictor.image_shape
    if given.get("name") != INPUT or given.get("datatype") != "UINT8":
        raise _wrong(f"wanted the input {INPUT} of datatype UINT8; {_FLOATS}")
    if (
        not isinstance(shape, list)
        or not all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
        or tuple(shape[1:]) != wanted
        or shape[0] < 1
    ):
        raise _wrong(f"wanted the shape [N, {', '.join(map(str, wanted))}] with N of at least 1")
    if shape[0] > most:
        raise _wrong(f"at most {most} images in one request")
    count = math.prod(shape)
    parameters = given.get("parameters")
    _refuse_unread(parameters)
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None:
        if size != count or len(raw) != count:
            raise _wrong(f"wanted {count} bytes of data after the JSON, one for each number")
        return _levels(raw, shape)
    data = _flat(given.get("data"), shape)
    if data is None:
        raise _wrong(
            f"wanted {count} whole numbers from 0 to 255 in data, in one list or nested as the "
            f"shape; {_FLOATS}"
        )
    return _levels(data, shape)


def _levels(data: bytes, shape: Sequence[int]) -> UInt8Array:
    """Return the images. Raises ``RefusedError`` if all values are 0 or 1: they are truncated
    floats in [0, 1], or flags, and the answer would be wrong in silence."""
    images_NHWC = np.frombuffer(data, dtype=np.uint8).reshape(shape)
    if images_NHWC.max() == 1:
        raise _wrong(f"wanted levels from 0 to 255, got only 0 and 1; {_FLOATS}")
    return images_NHWC


def _flat(data: Any, shape: Sequence[int]) -> bytes | None:
    """Return numbers from one list, or from lists nested like the shape; None for anything else.

    NumPy is not used: an array of texts takes as much memory per text as the longest one.
    """
    if not isinstance(data, list):
        return None
    if data and isinstance(data[0], list):
        for length in shape[1:]:
            if not all(isinstance(row, list) and len(row) == length for row in data):
                return None
            data = list(itertools.chain.from_iterable(data))
    if len(data) != math.prod(shape) or not set(map(type, data)) <= {int}:  # a bool is no int
        return None
    try:
        return bytes(data)
    except ValueError:
        return None


def _refuse_unread(parameters: Any) -> None:
    """Raise ``RefusedError`` for a tensor parameter that would change the meaning of its bytes."""
    if isinstance(parameters, dict) and not parameters.keys() <= READ:
        unread = ", ".join(sorted(parameters.keys() - READ))[:200]
        raise _wrong(f"a tensor may have the parameters {' and '.join(sorted(READ))}, not {unread}")


def _outputs(values: dict[str, Any]) -> dict[str, bool]:
    """Return the wanted outputs, and whether each is wanted as raw bytes."""
    parameters = values.get("parameters")
    every = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    wanted = values.get("outputs")
    if wanted is None:
        return {PROBABILITIES: every, LABEL: every}
    if not isinstance(wanted, list) or not all(isinstance(w, dict) for w in wanted):
        raise _wrong("outputs must be a list of objects")
    found: dict[str, bool] = {}
    for output in wanted:
        name, own = output.get("name"), output.get("parameters")
        _refuse_unread(own)
        if name not in (PROBABILITIES, LABEL):
            raise _wrong(f"the outputs are {PROBABILITIES} and {LABEL}")
        found[name] = own.get("binary_data", every) is True if isinstance(own, dict) else every
    return found


def _response(predictor: Predictor, asked: _Asked, rows_NK: npt.NDArray[np.float32]) -> Response:
    names = predictor.class_names
    model = predictor.model
    answers = model.task.answers(rows_NK, model.calibration)
    if model.task.several:
        labels = [BETWEEN.join(names[k] for k in np.flatnonzero(row_K)) for row_K in answers]
    else:
        labels = [names[at] for at in answers]
    tensors: dict[str, tuple[str, list[int], Callable[[], Any], Callable[[], bytes]]] = {
        PROBABILITIES: (
            "FP32",
            list(rows_NK.shape),
            lambda: [float(p) for p in rows_NK.ravel()],
            lambda: rows_NK.astype("<f4").tobytes(),
        ),
        LABEL: ("BYTES", [len(labels)], lambda: labels, lambda: _prefixed(labels)),
    }
    outputs, raw = [], b""
    for name, is_raw in asked.outputs.items():
        datatype, shape, values, as_bytes = tensors[name]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if is_raw:
            content = as_bytes()
            output["parameters"] = {"binary_data_size": len(content)}
            raw += content
        else:
            output["data"] = values()
        outputs.append(output)
    answer: dict[str, Any] = {
        "model_name": predictor.name,
        "model_version": VERSION,
        "outputs": outputs,
    }
    if asked.id is not None:
        answer["id"] = asked.id
    plain = json_response(answer)
    if not raw:
        return plain
    head = bytes(plain.body)
    return Response(
        head + raw,
        media_type="application/octet-stream",
        headers={LENGTH: str(len(head))},
    )


def _prefixed(labels: Sequence[str]) -> bytes:
    """Encode texts as in the extension: each after its length, four bytes, little-endian."""
    encoded = [label.encode("utf-8", "replace") for label in labels]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def _metadata(predictor: Predictor) -> dict[str, Any]:
    classes = len(predictor.class_names)
    return {
        "name": predictor.name,
        "versions": [VERSION],
        "platform": predictor.platform,
        "inputs": [
            {
                "name": INPUT,
                "datatype": "UINT8",
                "shape": [-1, *predictor.image_shape],
            }
        ],
        "outputs": [
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]},
            {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
        ],
    }


def _ready(name: str, is_ready: bool) -> Response:
    if not is_ready:
        raise RefusedError(status=503, message=f"{name} is not ready", headers={"Retry-After": "5"})
    return json_response({"name": name, "ready": True})


def _wrong(message: str) -> RefusedError:
    return RefusedError(status=400, message=message)
