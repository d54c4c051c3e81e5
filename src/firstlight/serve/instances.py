"""Pictures as base64 in JSON, and the routes of TensorFlow Serving and KServe's version 1.

The format is ``{"instances": [{"b64": "iVBORw0..."}]}``. An instance may also contain this object
under the name of its input, as in ``{"image": {"b64": "..."}}``.
"""

import base64
import binascii
import json
import re
from typing import Any

from firstlight.serve.limits import RefusedError

WANTED = (
    'wanted {"instances": [{"b64": "..."}]}, each picture file as base64; or send one file '
    "as the body, or several as a form"
)
MOST_VALUES = 4096
"""Most objects, lists and entries in a text; a valid one has few besides its pictures. Each costs
memory, so they are counted before parsing."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["b64"],
                "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
            },
        }
    },
}
"""The request body, for the OpenAPI document."""
BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}}
}
_ALLOWED = {"instances", "signature_name"}
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")
_STANDARD = str.maketrans("-_", "+/", " \t\r\n")


def pictures_in(body: bytes, most: int) -> list[tuple[str, bytes]]:
    """Return name and bytes of each picture in a JSON text. Raises ``RefusedError`` 400 with the
    expected format."""
    if sum(body.count(sign) for sign in (b"[", b"{", b",")) > MOST_VALUES:
        raise _wrong(f"the JSON holds too many values: {WANTED}")
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"the body is not JSON: {WANTED}") from error
    instances = values.get("instances") if isinstance(values, dict) else None
    if not isinstance(instances, list) or not instances or not values.keys() <= _ALLOWED:
        raise _wrong(f"the JSON must hold instances and nothing else: {WANTED}")
    if len(instances) > most:
        raise _wrong(f"at most {most} instances in one request")
    return [(f"instances[{i}]", _picture(f"instances[{i}]", v)) for i, v in enumerate(instances)]


def _picture(name: str, instance: Any) -> bytes:
    if isinstance(instance, dict) and len(instance) == 1 and "b64" not in instance:
        (instance,) = instance.values()  # under the name of its input
    text = instance.get("b64") if isinstance(instance, dict) and len(instance) == 1 else None
    if not isinstance(text, str):
        raise _wrong(f"{name} is not a picture: {WANTED}")
    if (start := _DATA_URL.match(text)) is not None:
        text = text[start.end() :]
    try:
        return base64.b64decode(text.translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"{name}: b64 is not base64, or is truncated") from error


def hint(content: bytes) -> str:
    """Say what to send instead if a body is a picture's base64 text; otherwise return an empty
    string."""
    start = content[:64].lstrip()
    if re.match(rb"data:[^,]*;base64|iVBORw0|/9j/|R0lGOD|UklGR|Qk[0-9A-Za-z+/]|SUkq|TU0A", start):
        return f"this is base64 text, not a picture: {WANTED}"
    if re.match(rb"[\w%.\[\]-]{1,60}=", start):
        return f"this is a form of text fields, not a picture: {WANTED}"
    return ""


def _wrong(message: str) -> RefusedError:
    return RefusedError(status=400, message=message)
