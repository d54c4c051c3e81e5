"""The page in a notebook: served by a thread of its process, and shown in a frame in a cell."""

import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from html import escape
from pathlib import Path
from typing import Any

from firstlight.data.dataset import Dataset
from firstlight.runs.folder import RunFolder
from firstlight.serve.access import Access
from firstlight.serve.app import create_app
from firstlight.serve.limits import Limits
from firstlight.serve.server import Server, listeners
from firstlight.serve.service import Service, predictors
from firstlight.threads import usable_threads

HOST = "127.0.0.1"
HEIGHT = 720
"""Height of the frame in CSS pixels."""


class LivePage:
    """The page of a run: a canvas to draw on, the answer, and the output of every layer.

    A notebook shows it in the cell. Only this machine can reach it, and only with the token in its
    address. It is served until ``close`` or the end of the process.
    """

    def __init__(self, service: Service, name: str) -> None:
        """``name`` is the run's display name."""
        self._name, self._token = name, secrets.token_urlsafe(24)
        self._open = ExitStack()
        sockets = self._open.enter_context(listeners(HOST, 0))
        self._port = int(sockets[0].getsockname()[1])
        # The frame is in a page with another address. Without the token, no other page's frame
        # works.
        app = create_app(service, Access(token=self._token, framed=True))
        self._server = Server(app, limits=service.limits, listening=lambda _: None)
        self._thread = threading.Thread(
            target=self._server.run, args=(sockets,), name="firstlight page", daemon=True
        )
        self._thread.start()  # an early browser waits at the socket

    def __repr__(self) -> str:
        return f"LivePage({self._name!r}, {self.address if self.is_open else 'closed'})"

    @property
    def address(self) -> str:
        """Address for a browser on this machine; anyone who has it may use the page."""
        return f"http://{HOST}:{self._port}/{self._fragment}"

    @property
    def is_open(self) -> bool:
        """Whether the page is being served."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop serving after current requests are answered."""
        self._server.should_exit = True
        self._thread.join()
        self._open.close()

    @property
    def _fragment(self) -> str:
        return f"#token={self._token}"

    def _repr_html_(self) -> str:
        if not self.is_open:
            return "<p>This page is closed. run.draw() opens it again.</p>"
        return (
            f'<iframe src="{escape(self.address)}" title="Draw for {escape(self._name)}" '
            f'style="width: 100%; height: {HEIGHT}px; border: 0" allow="camera"></iframe>'
        )

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if self.is_open and "google.colab" in sys.modules:
            _show_in_colab(self._port, f"/{self._fragment}")
            return
        display({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)


_OPEN: dict[Path, LivePage] = {}
"""The page of each run folder, so that rerunning a cell does not leave a second one behind."""


def live_page(folder: RunFolder, find: Callable[[], Dataset | None]) -> LivePage:
    """Return the page of a run, and open it if necessary; ``find`` returns its test images.

    Raises ``UserError`` if the run cannot be read.
    """
    place = folder.path.resolve()
    if (page := _OPEN.get(place)) is None or not page.is_open:
        limits = Limits()
        service = Service(
            predictors([folder], limits),
            limits=limits,
            threads=max(1, usable_threads() - 1),
            find=lambda _: find(),
        )
        page = _OPEN[place] = LivePage(service, folder.name)
    return page


def _show_in_colab(port: int, path: str) -> None:
    """Show the frame through Colab's proxy from the browser to its machine."""
    from google.colab import output

    show: Any = output.serve_kernel_port_as_iframe
    show(port, path=path, height=str(HEIGHT))
