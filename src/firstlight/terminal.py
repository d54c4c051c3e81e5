"""Safe output: a terminal shows names from untrusted sources without obeying their control
characters."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from firstlight.untrusted import printable

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """A text stream that makes everything written to it ``printable``.

    It has no ``buffer``, so nothing can bypass it. Characters that the stream's encoding lacks are
    also escaped.
    """

    def __init__(self, stream: TextIO) -> None:
        self.plain = stream

    def write(self, text: str) -> int:
        """Write the text; return the number of given characters."""
        encoding = self.plain.encoding or "utf-8"
        safe = printable(text).encode(encoding, "backslashreplace").decode(encoding)
        self.plain.write(safe)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.plain, name)


@contextmanager
def screened() -> Iterator[None]:
    """Make standard output and standard error a ``Screen`` inside the block."""
    screens = {name: Screen(getattr(sys, name)) for name in ("stdout", "stderr")}
    for name, screen in screens.items():
        setattr(sys, name, screen)
    try:
        yield
    finally:
        for name, screen in screens.items():
            if getattr(sys, name) is screen:  # otherwise someone replaced it on purpose
                setattr(sys, name, screen.plain)


def plain(stream: TextIO) -> TextIO:
    """Return the raw stream, for colours, cursor movements and exact data."""
    return stream.plain if isinstance(stream, Screen) else stream


def console(*, stderr: bool = False) -> "Console":
    """Return a console for bars and tables. It obeys escapes, so make untrusted text ``printable``
    first. Square brackets are not styles."""
    from rich.console import Console

    return Console(file=plain(sys.stderr if stderr else sys.stdout), markup=False, emoji=False)
