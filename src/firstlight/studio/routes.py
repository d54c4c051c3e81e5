"""The studio's routes: what it is, and its trainings."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from firstlight.backbones import BACKBONES
from firstlight.data.catalog import CATALOG
from firstlight.errors import UserError
from firstlight.recipe import parse_recipe
from firstlight.serve.answers import json_response
from firstlight.serve.limits import RefusedError
from firstlight.studio.fix_list import fixes_of
from firstlight.studio.sets import available, own_word
from firstlight.studio.studio import Studio, refused, values_of
from firstlight.studio.trainings import Training, Wanted
from firstlight.threads import usable_threads
from firstlight.verbs.contest import NONE, backbone_here

Number = Annotated[str, Path(description="A training.", pattern=r"^\d{4,9}$")]


def routes(studio: Studio) -> APIRouter:
    """The routes."""
    router, page = APIRouter(prefix="/api/studio", tags=["studio"]), _Trainings(studio)
    one = "/trainings/{number}"
    for method, path, answer, summary in (
        ("GET", "", page.about, "The working folder, and what is on this machine"),
        ("GET", "/sets", page.sets, "The data that can be chosen"),
        ("GET", "/trainings", page.trainings, "All trainings, in order"),
        ("POST", "/trainings", page.add, "Add a training to the queue"),
        ("POST", f"{one}/stop", page.stop, "Stop a training, or take it out of the queue"),
        ("POST", f"{one}/resume", page.resume, "Continue a stopped training"),
        ("POST", f"{one}/remove", page.remove, "Forget a training; its run stays"),
        ("GET", f"{one}/forming", page.forming, "Answers and filters while it trains"),
        ("GET", f"{one}/images/{{index}}.png", page.image, "A held-out image of the answers"),
        ("GET", f"{one}/log", page.log, "What its process printed"),
    ):
        router.add_api_route(path, answer, methods=[method], summary=summary)
    return router


class _Trainings:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def about(self) -> Response:
        """`folder` is the only place it writes to. `backbone` is the pretrained network that is on
        this machine, or an empty text."""
        return json_response(
            {
                "folder": str(self._studio.workshop.root),
                "threads": usable_threads(),
                "backbone": backbone_here(),
                "backbones": list(BACKBONES),
            }
        )

    async def sets(self) -> Response:
        """Named sets, and pictures in the working folder. `here` is false if a named set is not on
        this machine."""
        studio = self._studio
        found = await studio.service.aside(lambda: available(studio.workshop, studio.data_dir))
        return json_response(found)

    async def trainings(self) -> Response:
        """`state` is `waiting`, `training`, `finished`, `stopped` or `failed`."""
        return json_response(await self._all())

    async def add(self, request: Request) -> Response:
        """`data` is a named data set, or a folder of pictures in the working folder. `recipe` is
        TOML, `start` a backbone or `none`, `budget` seconds; each may be left out. `run` names the
        run folder; by default it is made from the data's name. The corrections to the set that were
        made in the page are used."""
        values = await values_of(request)
        data = self._data(values.get("data"))
        given = {key: value for key, value in values.items() if value is not None}
        start = given.get("start", "")
        if start not in ("", NONE, *BACKBONES):
            raise RefusedError(
                status=422, message=f"start: wanted none or one of {', '.join(BACKBONES)}"
            )
        try:
            refuse_unknown(given)
            fixes = await self._studio.service.aside(lambda: fixes_of(self._studio.workshop, data))
            named = {"data": data, "run": values.get("run") or self._name(data), "fixes": fixes}
            wanted = Wanted(**{**given, **named})
            if wanted.recipe:
                parse_recipe(wanted.recipe, source="the recipe")
            added = self._studio.queue.add(wanted)
        except UserError as error:
            raise refused(error) from error
        self._studio.work()
        return json_response({"number": added.number, "run": wanted.run})

    async def stop(self, number: Number) -> Response:
        """Its state is saved, so it can be continued."""
        self._changed(self._studio.training(number).stop)
        return json_response(None)

    async def resume(self, number: Number) -> Response:
        """It continues from its last saved state, with the bits of a training that never
        stopped."""
        self._changed(self._studio.training(number).resume)
        self._studio.work()
        return json_response(None)

    async def remove(self, number: Number) -> Response:
        """A training that runs has to be stopped first."""
        self._changed(self._studio.training(number).remove)
        return json_response(None)

    async def forming(self, number: Number) -> Response:
        """`truth` has the labels of ten held-out images, `looks` the answers after each epoch, and
        `filters` the values of the first convolution."""
        return json_response(self._studio.training(number).forming)

    async def image(self, number: Number, index: Annotated[int, Path(ge=0, le=99)]) -> Response:
        """As the network sees it."""
        path = self._studio.training(number).folder / f"image-{index}.png"
        if not path.is_file():
            raise RefusedError(status=404, message="no such image")
        return Response(
            path.read_bytes(), media_type="image/png", headers={"Cache-Control": "no-store"}
        )

    async def log(self, number: Number) -> Response:
        """The last 20,000 characters."""
        return json_response({"text": self._studio.training(number).log})

    @staticmethod
    def _changed(change: Callable[[], None]) -> None:
        try:
            change()
        except UserError as error:
            raise RefusedError(status=409, message=str(error)) from error

    async def _all(self) -> list[dict[str, Any]]:
        self._studio.work()  # a worker that was killed, or a restarted machine
        return [_described(one) for one in self._studio.queue.all()]

    def _data(self, word: Any) -> str:
        """Check the name of data. Raises ``RefusedError`` for anything outside the folder."""
        if not isinstance(word, str) or not word:
            raise RefusedError(status=422, message="data: wanted the name of a data set")
        return data_word(self._studio, word)

    def _name(self, data: str) -> str:
        """Return a name for a run that is not taken."""
        stem = re.sub(r"[^\w.-]+", "-", FilePath(data).name).strip("-.")[:60] or "run"
        taken = {one.wanted.run for one in self._studio.queue.all()}
        number = 1
        while (name := f"{stem}-{number}") in taken or (self._studio.workshop.runs / name).exists():
            number += 1
        return name


def refuse_unknown(values: dict[str, Any]) -> None:
    """Raise ``UserError`` for a key that a training does not have."""
    known = [spec.name for spec in fields(Wanted)]
    for key in values:
        if key not in known:
            raise UserError(f"a training has no {key!r}; it has {', '.join(known)}")


def data_word(studio: Studio, word: str) -> str:
    """Return the word for a named set, or for pictures inside the working folder as a relative
    path. Raises ``RefusedError`` 404 for anything else."""
    if word in CATALOG:
        return word
    root = studio.workshop.root
    try:
        place = (root / word).resolve()
        there = place.exists()
    except (OSError, ValueError):
        there = False
    if not there or not place.is_relative_to(root) or place == root:
        raise RefusedError(
            status=404,
            message="no such data set, and no such pictures in the working folder",
        )
    return own_word(place, root)


def _described(training: Training) -> dict[str, Any]:
    try:
        wanted = training.wanted
    except UserError as error:
        return {"number": training.number, "state": "failed", "message": str(error)}
    state = training.state
    return {
        "number": training.number,
        "run": wanted.run,
        "data": wanted.data,
        "start": wanted.start,
        "budget": wanted.budget,
        "own_recipe": bool(wanted.recipe),
        "state": state,
        "stopping": state == "training" and training.stop_wanted,
        "progress": training.progress,
        "message": training.message,
        "has_run": (training.run.path / "recipe.toml").is_file(),
    }
