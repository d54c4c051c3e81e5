"""The service as one ASGI application: routes, guard, the page's files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

from firstlight import __version__
from firstlight.serve import answers, protocol, results, version1
from firstlight.serve.access import Access, is_route
from firstlight.serve.guard import Guard, error_body
from firstlight.serve.limits import RefusedError
from firstlight.serve.service import Service

STATIC = Path(__file__).with_name("static")
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {"application/json": {"schema": ERROR}}}
    for status, meaning in {
        400: "The request cannot be parsed",
        401: "The token is missing or wrong",
        403: "The request came from a page of another site",
        404: "No such run, picture or address",
        408: "The request did not arrive in time",
        409: "The run is not finished, or not evaluated",
        405: "The address needs another method: see Allow",
        413: "Too many bytes",
        415: "The compression of the body is not supported",
        421: "The Host name is not that of the service",
        422: "A picture cannot be read, or a value is not allowed",
        431: "The request header is too long",
        503: "Too many requests at once, or the run is not ready: see Retry-After",
        504: "No answer in time",
    }.items()
}
"""Responses of any route, for the OpenAPI document."""


@dataclass(frozen=True, kw_only=True)
class More:
    """What another part adds to the service and its page."""

    routes: APIRouter
    static: Path
    """Files of the page, served below ``/NAME/``."""
    name: str
    script: str
    """The module among them that adds to the page."""


def create_app(service: Service, access: Access, more: More | None = None) -> Any:
    """Return the whole application, behind the guard."""

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = _App(
        title="firstlight",
        version=__version__,
        description="Answers of trained image classifiers.",
        lifespan=running,
        responses=ERRORS,
        docs_url=None,  # that page loads files from elsewhere; ours is /api.html
        redoc_url=None,
        redirect_slashes=False,  # a redirect would trust the client's Host header
    )
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _fault)
    app.router.routes.append(answers.route(service))
    for part in (results, protocol, version1):
        app.include_router(part.routes(service))
    if find_spec("torch") is not None:  # exported files can be served without it
        from firstlight.serve import inside, over_images

        app.include_router(inside.routes(service))
        app.include_router(over_images.routes(service))

    @app.get(
        "/metrics",
        summary="Counters for Prometheus",
        tags=["operation"],
        response_class=PlainTextResponse,
    )
    async def metrics() -> Response:
        """Requests, their seconds, images, the queue."""
        return Response(service.counters.text(), media_type=service.counters.content_type)

    files = StaticFiles(directory=STATIC, html=True)
    if more is not None:
        app.include_router(more.routes)
        app.mount(f"/{more.name}", StaticFiles(directory=more.static), name=more.name)
        index = _index(f"{more.name}/{more.script}")

    async def page(scope: Any, receive: Any, send: Any) -> None:
        if is_route(scope["path"]):
            raise HTTPException(404)
        if more is not None and scope["path"] in ("/", "/index.html"):
            await Response(index, media_type="text/html")(scope, receive, send)
            return
        await files(scope, receive, send)

    # If the files were mounted, they would also answer a route's path with an unsupported method.
    app.router.default = page
    return Guard(app, access=access, limits=service.limits, counters=service.counters)


def _index(module: str) -> str:
    """Return the page, which names one more module to load."""
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    return text.replace("</head>", f'<meta name="more" content="{module}">\n</head>', 1)


class _App(FastAPI):
    """A FastAPI application that also documents the route that uses Starlette directly."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()
        if answers.PATH not in document["paths"]:
            responses = {
                "200": {"description": "Answers", "content": {"application/json": {"schema": {}}}},
                **{str(status): response for status, response in ERRORS.items()},
            }
            predict = {answers.PATH: {"post": {**answers.OPERATION, "responses": responses}}}
            document["paths"] = predict | document["paths"]
        return document


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _error(error.status, error.message, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return _error(404, "nothing at this address; /openapi.json lists all addresses")
    if error.status_code != 405:
        return _error(error.status_code, str(error.detail), headers)
    named = headers.get("Allow", "GET").replace(" ", "").split(",")
    methods = {*named, "OPTIONS", *(["HEAD"] if "GET" in named else [])}
    allow = {"Allow": ", ".join(sorted(methods))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=allow)
    return _error(405, f"this address accepts {allow['Allow']}", allow)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _error(422, f"{where}: {first['msg']}")


async def _gone(_: Request, error: Exception) -> Response:
    return _error(400, "the request was cut off")  # no client is left to read it


async def _fault(_: Request, error: Exception) -> Response:
    return _error(500, "internal error of the service; see its log")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    refused = RefusedError(status=status, message=message)
    return Response(
        error_body(refused), status_code=status, headers=headers, media_type="application/json"
    )
