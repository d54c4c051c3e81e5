"""Downloads from a real server on this machine that fails in the ways servers fail."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from firstlight.data.download import fetch
from firstlight.data.entry import RemoteFile
from firstlight.errors import DataError, UnreachableError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HALF = len(CONTENT) // 2

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path as the test asks, and records the Range header of each request."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, Answer] = {}  # noqa: RUF012
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012
    released = threading.Event()

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Range"]))
        self.close_connection = True
        self.answers[self.path](self)

    def log_message(self, *_: Any) -> None:
        return None

    def head(self, code: int, length: int, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    @property
    def first(self) -> int:
        """The first requested byte."""
        return int((self.headers["Range"] or "bytes=0-")[6:-1])


def whole(handler: Handler) -> None:
    """Send the whole file, ignoring ranges."""
    handler.head(200, len(CONTENT))
    handler.wfile.write(CONTENT)


def ranged(handler: Handler) -> None:
    rest = CONTENT[handler.first :]
    handler.head(206 if handler.headers["Range"] else 200, len(rest))
    handler.wfile.write(rest)


def truncated(handler: Handler) -> None:
    rest = CONTENT[handler.first :]
    handler.head(206 if handler.headers["Range"] else 200, len(rest))
    handler.wfile.write(rest[:HALF])


def stalled(handler: Handler) -> None:
    handler.head(200, len(CONTENT))
    handler.wfile.write(CONTENT[:HALF])
    handler.wfile.flush()
    handler.released.wait(60)


def silent(handler: Handler) -> None:
    handler.released.wait(60)


def wrong(handler: Handler) -> None:
    handler.head(200, len(CONTENT))
    handler.wfile.write(CONTENT[::-1])


def longer(handler: Handler) -> None:
    handler.head(200, len(CONTENT) + 5)
    handler.wfile.write(CONTENT + b"extra")


def status(code: int) -> Answer:
    def answer(handler: Handler) -> None:
        handler.head(code, 4)
        handler.wfile.write(b"none")

    return answer


@pytest.fixture
def server() -> Iterator[str]:
    """Yield the server's address; ``Handler.answers`` controls it."""
    Handler.answers, Handler.asked = {}, []
    Handler.released = threading.Event()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    Handler.released.set()
    running.shutdown()
    running.server_close()
    thread.join()


def remote(server: str, *answers: Answer) -> RemoteFile:
    """Return a file with one address per answer."""
    urls = []
    for number, answer in enumerate(answers):
        Handler.answers[f"/{number}/file.bin"] = answer
        urls.append(f"{server}/{number}/file.bin")
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    return RemoteFile(name="file.bin", md5=md5, size=len(CONTENT), urls=tuple(urls))


def get(file: RemoteFile, folder: Path, **options: Any) -> Path:
    return fetch(file, folder, timeout=5, schemes=("http",), **options)


def left(folder: Path) -> set[str]:
    """Return the files in the folder, except locks."""
    return {p.name for p in folder.iterdir() if not p.name.endswith(".lock")}


def test_a_file_arrives_whole_and_alone(server: str, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []

    path = get(remote(server, whole), tmp_path / "new", report=lambda *a: seen.append(a))

    assert path.read_bytes() == CONTENT
    assert left(path.parent) == {"file.bin"}
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), "answered 404 Not Found"),
        (status(500), "answered 500 Internal Server Error"),
        (status(503), "answered 503"),
        (truncated, f"stopped after {HALF:,} of {len(CONTENT):,} bytes"),
        (wrong, "sent different data: wanted md5"),
        (longer, "sent more than the"),
    ],
)
def test_a_failing_mirror_is_passed_over_and_alone_it_is_named_with_its_reason(
    server: str, tmp_path: Path, answer: Answer, reason: str
) -> None:
    path = get(remote(server, answer, ranged), tmp_path / "two")
    assert path.read_bytes() == CONTENT

    with pytest.raises(UnreachableError) as error:
        get(remote(server, answer), tmp_path / "one")
    assert f"{server}/0/file.bin: {reason}" in str(error.value)
    assert "file.bin" not in left(tmp_path / "one")


@pytest.mark.parametrize("answer", [stalled, silent])
def test_a_server_that_stops_sending_is_given_up(
    server: str, tmp_path: Path, answer: Answer
) -> None:
    with pytest.raises(UnreachableError, match=r"no response for 0\.2 s"):
        fetch(remote(server, answer), tmp_path, timeout=0.2, schemes=("http",))
    assert "file.bin" not in left(tmp_path)


def test_what_came_before_a_failure_is_not_asked_for_again(server: str, tmp_path: Path) -> None:
    path = get(remote(server, truncated, ranged), tmp_path)

    assert path.read_bytes() == CONTENT
    assert Handler.asked == [("/0/file.bin", None), ("/1/file.bin", f"bytes={HALF}-")]


def test_a_server_without_ranges_starts_over(server: str, tmp_path: Path) -> None:
    path = get(remote(server, truncated, whole), tmp_path)

    assert path.read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(server: str, tmp_path: Path) -> None:
    file = remote(server, ranged)
    for part in (b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 7)):
        (tmp_path / ".file.bin.part").write_bytes(part)

        path = get(file, tmp_path)

        assert path.read_bytes() == CONTENT
        assert left(tmp_path) == {"file.bin"}
        path.unlink()


def test_a_part_that_the_server_refuses_to_go_on_from_is_thrown_away(
    server: str, tmp_path: Path
) -> None:
    (tmp_path / ".file.bin.part").write_bytes(CONTENT[:1000])

    path = get(remote(server, status(416), whole), tmp_path)

    assert path.read_bytes() == CONTENT
    assert Handler.asked[1] == ("/1/file.bin", None)


def test_a_complete_file_is_not_fetched_again_and_a_damaged_one_is(
    server: str, tmp_path: Path
) -> None:
    file = remote(server, whole)
    get(file, tmp_path)
    get(file, tmp_path)
    assert len(Handler.asked) == 1

    (tmp_path / "file.bin").write_bytes(CONTENT[:99])
    assert get(file, tmp_path).read_bytes() == CONTENT
    assert len(Handler.asked) == 2


def test_only_https_is_opened_also_after_a_redirect(server: str, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="only https is allowed"):
        fetch(remote(server, whole), tmp_path)
    assert Handler.asked == []

    def elsewhere(handler: Handler) -> None:
        handler.head(302, 0, Location="ftp://127.0.0.1/file.bin")

    with pytest.raises(UnreachableError, match="redirects to ftp://127"):
        get(remote(server, elsewhere), tmp_path)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = RemoteFile(name="f", md5="0" * 32, size=1, urls=("http://127.0.0.1:9/f",))

    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9/f: .*refused"):
        get(file, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DataError, match=r"cannot be written: .*Free some disk space, or choose"):
        get(remote(server, whole), tmp_path / "file" / "sub")
    assert Handler.asked == []


def test_two_processes_at_once_fetch_one_file_once(server: str, tmp_path: Path) -> None:
    file = remote(server, ranged)
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=get, args=(file, tmp_path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()

    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(Handler.asked) == 1


def test_a_killed_download_leaves_no_half_file_and_is_resumed(server: str, tmp_path: Path) -> None:
    file = remote(server, stalled)
    program = (
        "from pathlib import Path; from firstlight.data.entry import RemoteFile\n"
        "from firstlight.data.download import fetch\n"
        f"fetch({file!r}, Path({str(tmp_path)!r}), lambda *a: print(*a, flush=True), "
        "timeout=60, schemes=('http',))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split()[1]) == HALF:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left(tmp_path) == {".file.bin.part"}
    assert os.path.getsize(tmp_path / ".file.bin.part") == HALF  # noqa: PTH202

    path = get(remote(server, ranged), tmp_path)

    assert path.read_bytes() == CONTENT
    assert Handler.asked[-1] == ("/0/file.bin", f"bytes={HALF}-")
    assert left(tmp_path) == {"file.bin"}
