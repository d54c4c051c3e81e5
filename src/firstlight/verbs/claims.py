"""Work that processes share by files beside their output, which they hold locked.

The system lets go of a lock when its process ends, however it ends. So a claim never outlives who
made it.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from firstlight.files import unwritable
from firstlight.locks import held

_LOOK = 0.1
"""Seconds between two tries."""


@contextmanager
def claimed(claim: Path, out: Path) -> Iterator[bool]:
    """Whether this process does a piece of the work for ``out``; others leave it as long as this
    one lives. ``claim`` is a file of the piece's own, which is gone afterwards.

    Who is given a claim looks once more whether the piece is done. Raises ``DataError`` or
    ``UserError`` where no file can be made there.
    """
    with _held(claim, out) as ours:
        yield ours
        if ours:
            with suppress(OSError):  # Windows keeps an open file
                claim.unlink()


@contextmanager
def alone(lock: Path, out: Path) -> Iterator[None]:
    """Within, no other process is within the same. Raises as ``claimed`` does."""
    while True:
        with _held(lock, out) as ours:
            if ours:
                yield
                return
        time.sleep(_LOOK)


@contextmanager
def _held(lock: Path, out: Path) -> Iterator[bool]:
    with ExitStack() as stack:
        try:
            ours = stack.enter_context(held(lock))
        except OSError as error:
            raise unwritable(out, error) from error
        yield ours
