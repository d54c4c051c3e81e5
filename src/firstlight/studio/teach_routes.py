"""The routes of the view "Teach": pictures that are collected in the page."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from firstlight.errors import UserError
from firstlight.serve.answers import json_response, whole_body
from firstlight.serve.limits import RefusedError
from firstlight.studio.collected import MOST_PICTURES, Collected
from firstlight.studio.fix_list import FixList
from firstlight.studio.studio import Studio, refused, values_of

SetName = Annotated[str, Query(alias="set", description="A set.")]
ClassName = Annotated[str, Query(alias="class", description="A class.")]
PictureName = Annotated[str, Query(description="A picture.")]
BODY = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string"}}}}}
KEPT = {"Cache-Control": "private, max-age=3600"}
"""A picture's name changes with its bytes."""


def routes(studio: Studio) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/api/studio/collected", tags=["studio"])
    page = _Teach(studio, Collected(studio.workshop.pictures, studio.bounds))
    for method, path, answer, summary in (
        ("GET", "", page.sets, "The sets that are collected in the page"),
        ("GET", "/set", page.one, "The classes and pictures of a set"),
        ("GET", "/small", page.small, "A small copy of a picture"),
        ("POST", "/class", page.add_class, "Add a class, and its set if there is none"),
        ("POST", "/rename", page.rename, "Rename a class"),
        ("POST", "/remove", page.remove, "Remove a picture, or a class with its pictures"),
    ):
        router.add_api_route(path, answer, methods=[method], summary=summary)
    router.add_api_route(
        "/picture", page.add, methods=["POST"], summary="Add a picture", openapi_extra=BODY
    )
    return router


class _Teach:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, studio: Studio, collected: Collected) -> None:
        self._service, self._collected = studio.service, collected
        self._workshop = studio.workshop

    async def sets(self) -> Response:
        """`most` is how many pictures a set may have."""
        names = await self._service.aside(self._collected.sets)
        return json_response({"sets": names, "most": MOST_PICTURES})

    async def one(self, name: SetName) -> Response:
        """The latest pictures come first. A set that does not exist has no classes."""
        return json_response(await self._service.aside(lambda: self._collected.described(name)))

    async def small(self, name: SetName, label: ClassName, picture: PictureName) -> Response:
        """A JPEG of at most 160 pixels a side."""
        try:
            blob = await self._service.aside(lambda: self._collected.small(name, label, picture))
        except UserError as error:
            raise RefusedError(status=404, message="this picture cannot be read") from error
        return Response(blob, media_type="image/jpeg", headers=KEPT)

    async def add_class(self, request: Request) -> Response:
        """`set` and `class` are names for folders, so some signs are refused."""
        name, label = await _texts(request, "set", "class")
        return await self._changed(lambda: {"class": self._collected.add_class(name, label)})

    async def rename(self, request: Request) -> Response:
        """`to` is the new name of the class `class` of `set`."""
        name, label, to = await _texts(request, "set", "class", "to")

        def rename() -> dict[str, str]:
            written = self._collected.rename_class(name, label, to)
            FixList(self._workshop, f"pictures/{name}").rename_class(label, written)
            return {"class": written}

        return await self._changed(rename)

    async def remove(self, request: Request) -> Response:
        """Without `picture` the whole class is removed."""
        values = await values_of(request)
        name, label = _of(values, "set"), _of(values, "class")
        if "picture" not in values:
            return await self._changed(lambda: self._collected.remove_class(name, label))
        picture = _of(values, "picture")
        return await self._changed(lambda: self._collected.remove(name, label, picture))

    async def add(self, request: Request, name: SetName, label: ClassName) -> Response:
        """The body is the picture. `new` is false if the class has the same one already."""
        content = await whole_body(request)

        def add() -> dict[str, Any]:
            picture, new = self._collected.add(name, label, content)
            return {"picture": picture, "new": new}

        return await self._changed(add)

    async def _changed(self, change: Any) -> Response:
        try:
            return json_response(await self._service.aside(change))
        except UserError as error:
            raise refused(error) from error


async def _texts(request: Request, *keys: str) -> list[str]:
    values = await values_of(request)
    return [_of(values, key) for key in keys]


def _of(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise RefusedError(status=422, message=f"{key}: wanted a text")
    return value
