"""The service as one ASGI application: routes, guard, the page's files."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from firstlight import __version__
from firstlight.serve import answers, protocol, results
from firstlight.serve.guard import Access, Guard
from firstlight.serve.limits import RefusedError
from firstlight.serve.service import Service

STATIC = Path(__file__).with_name("static")


def create_app(service: Service, access: Access) -> Any:
    """Everything that is served, behind the guard."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="firstlight",
        version=__version__,
        description="Answers of trained image classifiers.",
        lifespan=running,
        docs_url=None,  # its page would be loaded from elsewhere; /api.html is ours
        redoc_url=None,
    )
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)
    for part in (answers, results, protocol):
        app.include_router(part.routes(service))
    if find_spec("torch") is not None:  # exported files are also served without it
        from firstlight.serve import inside

        app.include_router(inside.routes(service))

    @app.get("/metrics", summary="Counters for Prometheus", tags=["operation"])
    async def metrics() -> Response:
        """Requests, their seconds, images, the queue."""
        return Response(service.counters.text(), media_type=service.counters.content_type)

    app.mount("/", StaticFiles(directory=STATIC, html=True), name="page")
    return Guard(app, access=access, limits=service.limits, counters=service.counters)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _error(error.status, error.message, error.headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail), dict(error.headers or {}))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _error(422, f"{where}: {first['msg']}")


async def _fault(_: Request, error: Exception) -> Response:
    return _error(500, "a fault of the service; its log says more")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status_code=status, headers=headers, media_type="application/json")
