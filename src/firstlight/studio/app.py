"""The studio's application: the service of the runs in a folder, and its own routes and views."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter

from firstlight.data.decode import Bounds
from firstlight.runs.box import boxed_names
from firstlight.serve.access import Access
from firstlight.serve.app import More, create_app
from firstlight.serve.aside import Memory
from firstlight.serve.exported import open_served
from firstlight.serve.limits import Limits
from firstlight.serve.service import Service, predictors
from firstlight.studio import data_routes, network_routes, routes, teach_routes
from firstlight.studio.shelf import Shelf
from firstlight.studio.studio import Studio
from firstlight.studio.workshop import Workshop
from firstlight.threads import usable_threads
from firstlight.verbs.run_data import test_images_here

STATIC = Path(__file__).with_name("static")


def create_studio(
    folder: Path, access: Access, limits: Limits, data_dir: Path | None = None
) -> Any:
    """Return the ASGI application for a working folder. Raises ``UserError``."""
    workshop = Workshop(folder.resolve())
    boxed = predictors(open_served([Path(name) for name in boxed_names()], []), limits)
    bounds = Bounds(pixels=limits.pixels, memory=Memory(limits.decoding_bytes).take)
    shelf = Shelf(workshop, boxed, bounds)

    service = Service(
        shelf.current({}),
        limits=limits,
        threads=max(1, usable_threads() - 1),
        find=lambda one: test_images_here(one.described, str(one.path), data_dir),
        current=shelf.current,
    )
    studio = Studio(workshop=workshop, service=service, bounds=bounds, data_dir=data_dir)
    studio.work()
    added = APIRouter()
    for part in (routes, data_routes, network_routes, teach_routes):
        added.include_router(part.routes(studio))
    more = More(routes=added, static=STATIC, name="studio", script="studio.js")
    return create_app(service, access, more)
