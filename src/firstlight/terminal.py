"""What is printed passes here: a terminal shows names that others chose, and obeys none of them."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from firstlight.untrusted import printable

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """A text stream that makes everything written to it ``printable``.

    It has no ``buffer``, so that nothing passes it by. What the stream's encoding lacks stands as
    an escape too.
    """

    def __init__(self, stream: TextIO) -> None:
        self.plain = stream

    def write(self, text: str) -> int:
        """Write it; returns the number of characters that were given."""
        encoding = self.plain.encoding or "utf-8"
        safe = printable(text).encode(encoding, "backslashreplace").decode(encoding)
        self.plain.write(safe)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Each through ``write``."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.plain, name)


@contextmanager
def screened() -> Iterator[None]:
    """Standard output and standard error are a ``Screen`` inside."""
    screens = {name: Screen(getattr(sys, name)) for name in ("stdout", "stderr")}
    for name, screen in screens.items():
        setattr(sys, name, screen)
    try:
        yield
    finally:
        for name, screen in screens.items():
            if getattr(sys, name) is screen:  # else somebody had a reason to put another there
                setattr(sys, name, screen.plain)


def plain(stream: TextIO) -> TextIO:
    """The stream itself, for what colours or moves the cursor, and for data that is exact."""
    return stream.plain if isinstance(stream, Screen) else stream


def console(*, stderr: bool = False) -> "Console":
    """For bars and tables. It obeys escapes, so text of others is made ``printable`` first; it
    takes no square brackets for styles."""
    from rich.console import Console

    return Console(file=plain(sys.stderr if stderr else sys.stdout), markup=False, emoji=False)
