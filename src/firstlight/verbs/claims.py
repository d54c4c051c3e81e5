"""Work that processes share by files beside their output, which they hold locked.

The system lets go of a lock when its process ends, however it ends. So a claim never outlives who
made it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from firstlight import locks
from firstlight.files import unwritable

Given = TypeVar("Given")


@contextmanager
def claimed(claim: Path, out: Path) -> Iterator[bool]:
    """Whether this process does a piece of the work for ``out``; others leave it as long as this
    one lives. ``claim`` is a file of the piece's own, which is gone afterwards.

    Who is given a claim looks once more whether the piece is done. Raises ``DataError`` or
    ``UserError`` where no file can be made there.
    """
    with _taken(locks.held(claim, passing=True), out) as ours:
        yield ours


@contextmanager
def alone(lock: Path, out: Path) -> Iterator[None]:
    """Within, no other process is within the same. Raises as ``claimed`` does."""
    with _taken(locks.alone(lock), out):
        yield


@contextmanager
def _taken(lock: AbstractContextManager[Given], out: Path) -> Iterator[Given]:
    with ExitStack() as stack:
        try:
            ours = stack.enter_context(lock)
        except OSError as error:
            raise unwritable(out, error) from error
        yield ours
