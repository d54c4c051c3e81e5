"""The studio's routes for writing a network."""

import asyncio
import json
from functools import cache
from typing import Any

from fastapi import APIRouter, Request, Response

from firstlight.data.catalog import CATALOG
from firstlight.errors import UserError
from firstlight.recipe import load_recipe, recipe_names
from firstlight.serve.answers import json_response
from firstlight.serve.limits import RefusedError
from firstlight.studio.kinds import layer_kinds
from firstlight.studio.routes import data_word
from firstlight.studio.sets import Stamp, stamp_of
from firstlight.studio.studio import Studio, refused, values_of
from firstlight.studio.worker import started
from firstlight.studio.written import Inputs, written
from firstlight.verbs.recipes import recipe_text
from firstlight.verbs.run_data import DataRequest

MOST_SECONDS = 60.0
"""Seconds that measuring may take."""
WAIT = 5.0
"""Seconds that a request waits for it."""


def routes(studio: Studio) -> APIRouter:
    """The routes."""
    router, page = APIRouter(prefix="/api/studio", tags=["studio"]), _Writing(studio)
    for method, path, answer, summary in (
        ("GET", "/layers", page.layers, "The kinds of layers, with their settings"),
        ("GET", "/recipes", page.recipes, "The named recipes, to start from"),
        ("GET", "/recipes/{name}", page.recipe, "A named recipe as TOML"),
        ("POST", "/written", page.written, "A recipe as TOML and as layers, with shapes"),
        ("POST", "/pace", page.pace, "Seconds of an epoch on this machine"),
    ):
        router.add_api_route(path, answer, methods=[method], summary=summary)
    return router


@cache
def _recipes() -> list[dict[str, str]]:
    found = [load_recipe(name) for name in recipe_names()]
    return [{"name": one.name, "description": one.description} for one in found]


class _Writing:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._inputs: dict[str, tuple[Stamp, Inputs]] = {}
        self._measuring: tuple[tuple[str, str], asyncio.Task[dict[str, Any]]] | None = None

    async def layers(self) -> Response:
        """For each: what it does, and its settings with their defaults and ranges."""
        return json_response(await self._studio.service.aside(layer_kinds))

    async def recipes(self) -> Response:
        """Names and descriptions."""
        return json_response(await self._studio.service.aside(_recipes))

    async def recipe(self, name: str) -> Response:
        """With its comments."""
        if name not in recipe_names():
            raise RefusedError(status=404, message="no such recipe")
        return json_response({"toml": recipe_text(name)})

    async def written(self, request: Request) -> Response:
        """`toml` is a recipe, `layers` a list that replaces its layers, if given, and `data` the
        set whose images it is for. If something is wrong, `error` says what and `at` names the
        layer."""
        values = await values_of(request)
        toml, layers = values.get("toml"), values.get("layers")
        if not isinstance(toml, str):
            raise RefusedError(status=422, message="toml: wanted a recipe as text")
        word = data_word(self._studio, str(values.get("data")))

        def check() -> dict[str, Any]:
            return written(toml, layers, self._inputs_of(word))

        try:
            return json_response(await self._studio.service.aside(check))
        except UserError as error:
            raise refused(error) from error

    async def pace(self, request: Request) -> Response:
        """Measured in a process of its own, which takes some seconds. If `working` is true, ask
        again. `seconds` is null while something trains, because both would be slower."""
        values = await values_of(request)
        word, toml = data_word(self._studio, str(values.get("data"))), values.get("toml")
        if not isinstance(toml, str):
            raise RefusedError(status=422, message="toml: wanted a recipe as text")
        if self._measuring is None or self._measuring[0] != (word, toml):
            busy = any(one.state == "training" for one in self._studio.queue.all())
            if busy or (self._measuring is not None and not self._measuring[1].done()):
                return json_response({"seconds": None, "working": False})
            self._measuring = (word, toml), asyncio.create_task(self._measured(word, toml))
        task = self._measuring[1]
        await asyncio.wait([task], timeout=WAIT)
        if not task.done():
            return json_response({"seconds": None, "working": True})
        return json_response({"working": False, **task.result()})

    async def _measured(self, word: str, toml: str) -> dict[str, Any]:
        studio = self._studio
        process = started(
            "firstlight.studio.pace", word, studio.workshop, studio.data_dir, piped=True
        )
        work = asyncio.get_running_loop().run_in_executor(
            None, lambda: process.communicate(toml.encode(), timeout=MOST_SECONDS)
        )
        try:
            out, _ = await work
            found: dict[str, Any] = json.loads(out)
        except Exception:
            return {"seconds": None, "error": "measuring did not work"}
        finally:
            process.kill()
        return found

    def _inputs_of(self, word: str) -> Inputs:
        """Return the images that a network for this set gets. Raises ``UserError``."""
        if word in CATALOG:
            return CATALOG[word].image_shape, len(CATALOG[word].class_names)
        place = self._studio.workshop.root / word
        stamp = stamp_of(place)
        if word not in self._inputs or self._inputs[word][0] != stamp:
            train = DataRequest(name=str(place), quiet=True).load().train
            self._inputs[word] = stamp, (train.image_shape, len(train.class_names))
        return self._inputs[word][1]
