"""A graceful stop: the first Ctrl-C requests it, the second forces it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """In its block, Ctrl-C (or SIGTERM) sets ``wanted`` instead of raising; a second one raises.

    Python handles signals only in the main thread. In other threads this changes nothing.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
