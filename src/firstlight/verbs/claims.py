"""Claims on pieces of work that processes share: locked files beside their output.

The system releases a lock when its process ends, for whatever reason. So a claim never outlives its
owner.
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
    """Yield whether this process may do a piece of the work for ``out``; while it lives, others
    leave that piece alone. ``claim`` is the piece's own file, which is removed afterwards.

    With a claim, check again whether the piece is done. Raises ``DataError`` or ``UserError`` if no
    file can be created there.
    """
    with _taken(locks.held(claim, passing=True), out) as ours:
        yield ours


@contextmanager
def alone(lock: Path, out: Path) -> Iterator[None]:
    """Exclude other processes from the same block. Raises as ``claimed`` does."""
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
