"""The routes of TensorFlow Serving and of KServe's version 1: pictures as base64 in JSON."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response

from firstlight.serve.answers import classified, json_response, whole_body
from firstlight.serve.instances import BODY, pictures_in
from firstlight.serve.limits import RefusedError
from firstlight.serve.service import Service

VERSION, ASKING = "1", ":predict"
Model = Annotated[str, Path(description="A run.")]
Version = Annotated[str, Path(description="1 is the only one.")]


def routes(service: Service) -> APIRouter:
    """The routes of version 1."""
    router = APIRouter(prefix="/v1", tags=["TensorFlow Serving and KServe version 1"])

    @router.get("/models", summary="The models")
    async def models() -> Response:
        """Lists the names of the models."""
        return json_response({"models": list(service.predictors)})

    versioned = "/models/{model}/versions/{version}"

    @router.post(f"{versioned}:predict", openapi_extra=BODY, summary="Classify pictures")
    async def predict_version(model: Model, version: Version, request: Request) -> Response:
        """Does the same for a version of the model."""
        _check(version)
        return await _predicted(model, request)

    @router.post("/models/{model}:predict", openapi_extra=BODY, summary="Classify pictures")
    async def predict(model: Model, request: Request) -> Response:
        """Returns `predictions` in the order of the instances, each as in `/api/predict`."""
        return await _predicted(model, request)

    @router.get(versioned, summary="Can this version answer?")
    async def version_ready(model: Model, version: Version) -> Response:
        """Does the same for a version of the model."""
        _check(version)
        return json_response(_state(service, model))

    @router.get("/models/{model}", summary="Can this run answer?")
    async def ready(model: Model) -> Response:
        """Returns KServe's `ready`, and TensorFlow Serving's `model_version_status`."""
        return json_response(_state(service, model))

    async def _predicted(model: str, request: Request) -> Response:
        predictor = service.predictor(model)
        contents = pictures_in(await whole_body(request), service.limits.images)
        return json_response({"predictions": await classified(service, predictor, contents)})

    return router


def _state(service: Service, model: str) -> dict[str, Any]:
    if model.endswith(ASKING) and model not in service.predictors:
        raise HTTPException(405, headers={"Allow": "POST"})
    is_ready = service.run(model).ready
    status = {"error_code": "OK", "error_message": ""}
    state = {"version": VERSION, "state": "AVAILABLE" if is_ready else "LOADING", "status": status}
    return {"name": model, "ready": is_ready, "model_version_status": [state]}


def _check(version: str) -> None:
    if version == f"{VERSION}{ASKING}":
        raise HTTPException(405, headers={"Allow": "POST"})
    if version != VERSION:
        raise RefusedError(status=404, message=f"no such version; the only one is {VERSION}")
