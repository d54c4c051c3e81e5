"""The routes of the view "Data": look through a set, check it, and correct its labels."""

import subprocess
from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from firstlight.data.catalog import CATALOG
from firstlight.errors import UserError
from firstlight.serve.answers import json_response
from firstlight.serve.limits import RefusedError
from firstlight.studio.checking import Check, mark
from firstlight.studio.fix_list import MOST_REASON, FixList, Row
from firstlight.studio.opened import Opened, OpenedSets
from firstlight.studio.routes import data_word
from firstlight.studio.studio import Studio, refused, values_of

MOST_AT_ONCE = 10_000
"""Pictures that are corrected in one request."""
Word = Annotated[str, Query(alias="set", description="A set, by its `word`.")]
KEPT = {"Cache-Control": "private, max-age=600"}


def routes(studio: Studio) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/api/studio/data", tags=["studio"])
    page = _Data(studio)
    for method, path, answer, summary in (
        ("GET", "", page.one, "The classes of a set, its corrections and its check"),
        ("GET", "/strip", page.strip, "Some pictures of a set side by side, as a PNG"),
        ("GET", "/pictures", page.pictures, "Some pictures of a set"),
        ("GET", "/picture", page.picture, "One picture, small"),
        ("POST", "/fix", page.fix, "Correct pictures, or take corrections back"),
        ("POST", "/check", page.check, "Check a folder of pictures"),
    ):
        router.add_api_route(path, answer, methods=[method], summary=summary)
    return router


def being_opened() -> RefusedError:
    """Return the answer to a request that comes while a set is read."""
    return RefusedError(status=503, message="the set is being opened", headers={"Retry-After": "1"})


class _Data:
    """The routes' answers. The methods' docstrings appear in the OpenAPI document."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._sets = OpenedSets(studio.workshop, studio.data_dir)
        self._checking = dict[str, subprocess.Popen[bytes]]()

    async def one(self, word: Word) -> Response:
        """`opening` is true while a large set is being read: ask again. `check` and `fixes` are of
        folders."""
        word = data_word(self._studio, word)

        def described() -> dict[str, Any]:
            opened = self._sets.find(word)
            return {"opening": True} if opened is None else self._described(opened)

        return json_response(await self._aside(described))

    async def strip(self, word: Word) -> Response:
        """Eight square pictures, of as many classes as possible. Black where there are fewer."""
        word = data_word(self._studio, word)
        blob = await self._aside(lambda: self._sets.strip(word, self._studio.bounds))
        if blob is None:
            raise being_opened()
        return Response(blob, media_type="image/png", headers={"Cache-Control": "no-cache"})

    async def pictures(
        self,
        word: Word,
        label: Annotated[str | None, Query(alias="class", description="Of this class.")] = None,
        text: Annotated[str, Query(max_length=200, description="In the name.")] = "",
        only: Annotated[str, Query(description="`fixed`, or a kind of finding.")] = "",
        page: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 48,
    ) -> Response:
        """`total` of them pass the filters. `fix` is a picture's correction: a class, or an empty
        text if it is left out. `found` are the kinds of findings that it is in. `suggested` is the
        class that it looks like, if its own is doubtful."""
        word = data_word(self._studio, word)

        def some() -> dict[str, Any]:
            opened = self._ready(word)
            rows, found = self._fixes(opened), self._found(opened)
            kinds = {one["kind"]: set(one["names"]) for one in found.get("findings", [])}
            suggested = found.get("suggested", {})
            wanted = set(rows) if only == "fixed" else kinds.get(only, set())
            sought = text.casefold()
            chosen = [
                at
                for at, (name, number) in enumerate(zip(opened.names, opened.labels, strict=True))
                if (label is None or opened.class_names[number] == label)
                and (not sought or sought in name.casefold())
                and (not only or name in wanted)
            ]
            return {
                "total": len(chosen),
                "pictures": [
                    {
                        "name": (name := opened.names[at]),
                        "class": opened.class_names[opened.labels[at]],
                        "fix": rows[name].label if name in rows else None,
                        "found": [kind for kind, names in kinds.items() if name in names],
                        "suggested": suggested.get(name),
                    }
                    for at in chosen[page * count : (page + 1) * count]
                ],
            }

        return json_response(await self._aside(some))

    async def picture(
        self, word: Word, name: Annotated[str, Query(description="The picture's name.")]
    ) -> Response:
        """A PNG of a named set's image as it is, or a small JPEG of a file."""
        word = data_word(self._studio, word)

        def image() -> tuple[bytes, str]:
            opened = self._ready(word)
            if name not in opened.numbers:
                raise RefusedError(status=404, message="no such picture")
            return opened.image(name, self._studio.bounds)

        blob, kind = await self._aside(image)
        return Response(blob, media_type=kind, headers=KEPT)

    async def fix(self, request: Request) -> Response:
        """`pictures` are names, or `found` is a kind of finding, of which those are meant that
        `data check` would leave out. `label` is a class, an empty text leaves them out, and null
        takes the correction back. The files stay as they are."""
        values = await values_of(request)
        word = self._own(values)
        label, reason = values.get("label"), values.get("reason", "")
        if not isinstance(label, str | None) or not isinstance(reason, str):
            raise RefusedError(status=422, message="label, reason: wanted texts")
        row = None if label is None else Row(label, reason[:MOST_REASON])

        def change() -> dict[str, Any]:
            opened = self._ready(word)
            names = self._names(opened, values)
            listing = opened.listing
            assert listing is not None
            if row is not None and row.label not in ("", *listing.class_names):
                raise RefusedError(status=422, message=f"there is no class {row.label!r}")
            try:
                FixList(self._studio.workshop, word).change(listing, names, row)
            except UserError as error:
                raise RefusedError(status=422, message=str(error)) from error
            return self._described(opened)

        return json_response(await self._aside(change))

    async def check(self, request: Request) -> Response:
        """It goes on in a process of its own. `GET /api/studio/data` tells how far it is. With
        `labels`, it also looks for wrong labels."""
        values = await values_of(request)
        word, labels = self._own(values), values.get("labels", False)
        if not isinstance(labels, bool):
            raise RefusedError(status=422, message="labels: wanted true or false")
        if not self._is_checking(word):
            self._checking[word] = Check(self._studio.workshop, word).start(labels=labels)
        return json_response(None)

    def _own(self, values: dict[str, Any]) -> str:
        word = values.get("set")
        if not isinstance(word, str):
            raise RefusedError(status=422, message="set: wanted a text")
        word = data_word(self._studio, word)
        if word in CATALOG or not (self._studio.workshop.root / word).is_dir():
            raise RefusedError(status=422, message="only folders of pictures are checked here")
        return word

    def _ready(self, word: str) -> Opened:
        opened = self._sets.find(word)
        if opened is None:
            raise being_opened()
        return opened

    def _names(self, opened: Opened, values: dict[str, Any]) -> list[str]:
        names = values.get("pictures")
        if names is None:
            of = values.get("found")
            findings = self._found(opened).get("findings", [])
            names = [name for one in findings if one["kind"] == of for name in one["leave_out"]]
            names = [name for name in names if name in opened.numbers]
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not is_list or not 1 <= len(names) <= MOST_AT_ONCE:
            raise RefusedError(
                status=422, message=f"pictures: wanted 1 to {MOST_AT_ONCE:,} names of pictures"
            )
        return list(names)

    def _described(self, opened: Opened) -> dict[str, Any]:
        counts, rows = Counter(opened.labels), self._fixes(opened)
        return {
            "opening": False,
            "set": opened.word,
            "classes": [
                {"name": name, "images": counts[label]}
                for label, name in enumerate(opened.class_names)
            ],
            "notes": opened.notes,
            "own": opened.listing is not None,
            "fixes": {
                "file": FixList(self._studio.workshop, opened.word).word,
                "left_out": sum(not row.label for row in rows.values()),
                "moved": sum(bool(row.label) for row in rows.values()),
            },
            "check": self._checked(opened),
        }

    def _checked(self, opened: Opened) -> dict[str, Any] | None:
        if opened.listing is None:
            return None
        check, running = Check(self._studio.workshop, opened.word), self._is_checking(opened.word)
        found = check.found
        return {
            "running": running,
            "progress": check.progress if running else {},
            "failed": "" if running else check.failure,
            "done": bool(found),
            "labels": bool(found.get("labels")),
            "changed": bool(found) and found.get("mark") != mark(opened.listing),
            "shape": found.get("shape", ""),
            "findings": [
                {
                    **{key: one[key] for key in ("kind", "severe", "text")},
                    "pictures": len(one["names"]),
                    "leave_out": len(one["leave_out"]),
                }
                for one in found.get("findings", [])
            ],
        }

    def _is_checking(self, word: str) -> bool:
        started = self._checking.get(word)  # in its first second it has not taken its lock
        alive = started is not None and started.poll() is None
        return alive or Check(self._studio.workshop, word).is_running

    def _fixes(self, opened: Opened) -> dict[str, Row]:
        if opened.listing is None:
            return {}
        rows = FixList(self._studio.workshop, opened.word).rows
        return {name: row for name, row in rows.items() if name in opened.numbers}

    def _found(self, opened: Opened) -> dict[str, Any]:
        return {} if opened.listing is None else Check(self._studio.workshop, opened.word).found

    async def _aside(self, work: Any) -> Any:
        try:
            return await self._studio.service.aside(work)
        except UserError as error:
            raise refused(error) from error
