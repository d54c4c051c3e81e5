"""POST /api/predict: pictures in, answers out."""

import base64
import json
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import Query, Request, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.routing import Route

from firstlight.data.encode import png
from firstlight.data.pictures import Picture
from firstlight.serve.instances import SCHEMA, hint, pictures_in
from firstlight.serve.limits import RefusedError
from firstlight.serve.predictor import Predictor
from firstlight.serve.service import Service

RUN = "The run that answers; by default the first."
RunName = Annotated[str | None, Query(description=RUN)]

PICTURES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One picture as the body, files of a form (any names), or base64 in JSON.",
        "content": {
            **{
                f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                for kind in ("png", "jpeg", "webp", "bmp", "gif", "tiff")
            },
            "application/json": {"schema": SCHEMA},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
        },
    }
}
"""Responses of a route that takes pictures, for the OpenAPI document."""


PATH = "/api/predict"
OPERATION: dict[str, Any] = {
    "operationId": "predict",
    "tags": ["answers"],
    "summary": "Classify pictures",
    "description": """Answers for one picture (the body itself) or several (multipart, JSON).

They stand in the order of the pictures. Each has the most probable class (`best`), the `answer`
(the same, or `unknown` if the model is less sure than for ordinary pictures), the `reason` of an
unknown one, its `confidence`, every class's calibrated probability, and `notes` on what was done to
the picture. A picture that cannot be read has an `error`; if none can, the status is 422.""",
    "parameters": [
        {"name": "run", "in": "query", "description": RUN, "schema": {"type": "string"}},
        {
            "name": "seen",
            "in": "query",
            "description": "Also give what the network was shown, as a PNG.",
            "schema": {"type": "boolean", "default": False},
        },
    ],
    **PICTURES,
}
"""The route for the OpenAPI document, without its responses."""


def route(service: Service) -> Route:
    """Return the route. It uses Starlette directly because it carries the most load: through
    FastAPI, a small picture takes a fifth longer, not counting the network."""

    async def predict(request: Request) -> Response:
        request.scope["route"] = found  # the route under which it is counted
        run, seen = _asked(request)
        predictor = service.predictor(run)
        contents = await pictures_of(request, service.limits.images)
        predictions = await classified(service, predictor, contents, seen)
        return json_response({"run": predictor.name, "predictions": predictions})

    found = Route(PATH, predict, methods=["POST"])
    return found


def _asked(request: Request) -> tuple[str | None, bool]:
    """Return which run answers, and whether to include the network's input. Raises
    ``RefusedError``."""
    query = request.query_params
    seen = query.get("seen", "false").lower()
    if seen not in ("true", "1", "false", "0"):
        raise RefusedError(status=422, message="query.seen: wanted true or false")
    return query.get("run"), seen in ("true", "1")


async def classified(
    service: Service, predictor: Predictor, contents: list[tuple[str, bytes]], seen: bool = False
) -> list[dict[str, Any]]:
    """Return an answer for each picture, as values for JSON; with ``seen``, include the network's
    input.

    Raises ``RefusedError`` if no picture can be read.
    """
    places: list[Picture | RefusedError] = []
    for name, content in contents:
        try:
            places.append(await service.prepare(predictor, name, content))
        except RefusedError as refused:
            if refused.status != 422 or len(contents) == 1:
                raise
            places.append(refused)
    return await _answers(service, predictor, places, seen)


async def _answers(
    service: Service, predictor: Predictor, places: list[Picture | RefusedError], seen: bool
) -> list[dict[str, Any]]:
    pictures = [place for place in places if isinstance(place, Picture)]
    if not pictures:
        first = next(place for place in places if isinstance(place, RefusedError))
        raise RefusedError(status=422, message=f"no picture can be read; {first.message}")
    answered = iter(await service.predictions(predictor, pictures))
    rows: list[dict[str, Any]] = []
    for place in places:
        if isinstance(place, RefusedError):
            rows.append({"answer": None, "error": place.message})
            continue
        prediction = next(answered)
        row = prediction.to_json()
        if seen:
            row["seen"] = data_url(place.image_HWC)
        rows.append(row)
    return rows


async def pictures_of(request: Request, most: int) -> list[tuple[str, bytes]]:
    """Return name and bytes of each picture in a request's body. Raises ``RefusedError``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        body = await whole_body(request)
        # No picture starts with a brace. By default curl labels JSON as a form.
        if kind == "application/json" or body[:1] == b"{":
            return pictures_in(body, most)
        if text := hint(body):
            raise RefusedError(status=422, message=text)
        return [("the picture", body)]
    found: list[tuple[str, bytes]] = []
    parser = _InMemory(request.headers, request.stream(), max_files=most, max_fields=most)
    try:
        for _, part in (await parser.parse()).multi_items():
            if isinstance(part, UploadFile):
                name = part.filename or f"picture {len(found) + 1}"
                found.append((name[:200], await part.read()))
    except MultiPartException as error:
        raise RefusedError(status=400, message=f"multipart: {error.message}") from error
    except (ValueError, LookupError) as error:
        raise RefusedError(status=400, message="multipart: cannot be parsed") from error
    finally:
        parser.close()
    if not found:
        raise RefusedError(status=422, message="multipart: contains no file; send a picture")
    return found


async def whole_body(request: Request) -> bytes:
    """Return a request's body without storing it in the request."""
    return b"".join([piece async for piece in request.stream()])


class _InMemory(MultiPartParser):
    """Starlette's parser without temporary files on disk; the guard limits the size."""

    spool_max_size = 2**40

    def close(self) -> None:
        """Release all files, also those of a malformed form."""
        for file in self._files_to_close_on_error:
            file.close()


async def only_picture(request: Request, service: Service, predictor: Predictor) -> Picture:
    """Return the only picture in a request's body. Raises ``RefusedError``."""
    (name, content), *more = await pictures_of(request, service.limits.images)
    if more:
        raise RefusedError(status=422, message="wanted one picture, got several")
    return await service.prepare(predictor, name, content)


def json_response(values: Any) -> Response:
    """Return values as JSON. NaN and infinity become null, because JSON cannot express them."""
    try:
        text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(values), ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), media_type="application/json")


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    if isinstance(values, float) and not np.isfinite(values):
        return None
    return values


def data_url(image_HWC: npt.NDArray[np.uint8]) -> str:
    """Return the image as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png(image_HWC)).decode()
