"""The studio as a service: what its routes share."""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Request

from firstlight.data.decode import Bounds
from firstlight.errors import UserError
from firstlight.plain import read_json
from firstlight.serve.limits import RefusedError
from firstlight.serve.service import Service
from firstlight.studio.trainings import Queue, Training
from firstlight.studio.worker import is_working, start_worker
from firstlight.studio.workshop import Workshop

PAUSE = 30.0
"""Seconds before another worker is started after one that failed."""


@dataclass(kw_only=True)
class Studio:
    """A working folder, and the service that shows it."""

    workshop: Workshop
    service: Service
    bounds: Bounds
    """What a picture may cost to decode."""
    data_dir: Path | None = None
    """The folder to search first for named data sets."""
    _next: float = 0.0
    _workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def queue(self) -> Queue:
        """The trainings."""
        return Queue(self.workshop)

    def training(self, number: str) -> Training:
        """Return a training. Raises ``RefusedError`` 404 if there is none."""
        found = self.queue.find(number)
        if found is None:
            raise RefusedError(status=404, message="no such training")
        return found

    def work(self) -> None:
        """See to it that what waits is trained. After a worker that failed, such as on a full disk,
        wait a moment before the next one."""
        if any(one.poll() not in (None, 0) for one in self._workers):
            self._next = time.monotonic() + PAUSE
        self._workers = [one for one in self._workers if one.poll() is None]
        if time.monotonic() < self._next:
            return
        if self.queue.next() is not None and not is_working(self.workshop):
            self._workers.append(start_worker(self.workshop, self.data_dir))


def refused(error: UserError) -> RefusedError:
    """Return a user's error as an answer."""
    return RefusedError(status=422, message=str(error))


async def values_of(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises ``RefusedError`` for anything else."""
    try:
        values = read_json(await request.body())
    except ValueError as error:
        raise RefusedError(status=400, message=f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise RefusedError(status=422, message="wanted a JSON object")
    return values
