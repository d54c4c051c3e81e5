"""``train https://HOST/NAME.tgz`` with a server on this machine: downloaded once, identified by its
SHA-256, and never replaced by anything else."""

import hashlib
import json
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command

import firstlight as fl
from firstlight.data.archive_address import archive_address, is_archive_address
from firstlight.data.download import fetch_any
from firstlight.errors import DataError, UnreachableError, UserError

pytestmark = pytest.mark.filterwarnings("ignore:pets/train:UserWarning")
EPOCHS = ("--epochs", "0.1", "--quiet")


class Server:
    """Files by path, the number of requests for each, and where answers are cut off."""

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.sent_from: list[int] = []
        self.cut: int | None = None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start a server, with an empty cache and an empty current folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            state.asked.append((path, self.headers["Range"]))
            if path not in state.files:
                self.send_error(404)
                return
            content = state.files[path]
            etag = f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"'
            first = 0
            if self.headers["Range"] and self.headers["If-Range"] == etag:
                first = int(self.headers["Range"][6:-1])
            state.sent_from.append(first)
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.send_header("ETag", etag)
            self.end_headers()
            self.wfile.write(content[first:][: state.cut])

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for at in range(60):
        place = tmp_path / "pets" / ("cat", "dog")[at % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(place / f"{at}.png")
    return tmp_path / "pets"


def tgz(folder: Path) -> bytes:
    with tarfile.open("made.tgz", "w:gz") as out:
        out.add(folder, folder.name)
    return Path("made.tgz").read_bytes()


def test_an_archive_is_fetched_once_and_taken_like_the_folder(
    server: Server, folder: Path, command: Command
) -> None:
    server.files["/pets.tgz"] = blob = tgz(folder)
    address = f"{server.address}/pets.tgz"
    assert command("train", address, *EPOCHS, "--out", "run").code == 0
    told = json.loads(Path("run/data.json").read_text())
    sha256 = hashlib.sha256(blob).hexdigest()
    assert (told["name"], told["path"]) == (address, f"{address}#sha256={sha256}")
    assert told["notes"][0].startswith(f"from {address}, fetched on 20")
    plain = fl.load(folder)
    found = fl.load(address)
    assert (found.train, found.test, found.train.name) == (plain.train, plain.test, "pets/train")
    assert command("evaluate", "run").code == 0
    assert command("evaluate", "run", address).code == 0
    assert "60 pictures in 2 classes" in command("data", "check", address).out
    assert server.asked == [("/pets.tgz", None)]
    assert not list(Path("cache").rglob("*.tgz")), "its pictures are kept, and nothing twice"


def test_another_file_at_the_address_is_not_taken_for_it(
    server: Server, folder: Path, command: Command
) -> None:
    server.files["/pets.tgz"] = blob = tgz(folder)
    address = f"{server.address}/pets.tgz"
    assert command("train", address, *EPOCHS, "--out", "run").code == 0
    (folder / "cat" / "0.png").unlink()
    server.files["/pets.tgz"] = tgz(folder)
    assert command("evaluate", "run").code == 0
    assert command("cache", "clear").code == 0
    changed = command("evaluate", "run", f"{address}#sha256={hashlib.sha256(blob).hexdigest()}")
    assert (changed.code, "sent a different file: wanted" in changed.err) == (3, True)
    assert len(fl.load(address).train) + len(fl.load(address).test) == 59
    with pytest.raises(DataError, match=f"{address}: sent a different file.* md5 {'0' * 32}, got"):
        fl.load(f"{address}#md5={'0' * 32}")
    md5 = hashlib.md5(server.files["/pets.tgz"], usedforsecurity=False).hexdigest()
    assert len(fl.load(f"{address}#md5={md5}").test) > 0


def test_a_run_of_others_opens_no_connection(
    server: Server, folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/pets.tgz"] = tgz(folder)
    assert command("train", f"{server.address}/pets.tgz", *EPOCHS, "--out", "run").code == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("another").resolve()))
    server.asked.clear()
    refused = command("evaluate", "run")
    assert (refused.code, "does not connect" in refused.err) == (3, True), refused.err
    assert server.asked == []
    assert command("evaluate", "run", f"{server.address}/pets.tgz").code == 0


def test_what_was_interrupted_goes_on(server: Server, folder: Path) -> None:
    server.files["/pets.tgz"] = blob = tgz(folder)
    address = f"{server.address}/pets.tgz"
    server.cut = len(blob) // 2
    with pytest.raises(UnreachableError, match=r"stopped after .* run the same again to continue"):
        fl.load(address)
    server.cut = None
    assert len(fl.load(address).test) > 0
    assert server.sent_from == [0, len(blob) // 2]
    # A file that changed meanwhile is downloaded from the start.
    server.files["/a"], server.cut = bytes(100_000), 50_000
    with pytest.raises(UnreachableError):
        fetch_any(f"{server.address}/a", Path("a"), name="a", schemes=("http",))
    server.files["/a"], server.cut = b"x" * 70_000, None
    fetch_any(f"{server.address}/a", Path("a"), name="a", schemes=("http",))
    assert Path("a").read_bytes() == b"x" * 70_000


def test_what_is_no_archive_is_told(server: Server, folder: Path, command: Command) -> None:
    server.files["/page.zip"] = b"<!doctype html><title>log in</title>"
    server.files["/half.tgz"] = tgz(folder)[:3000]
    with zipfile.ZipFile("evil.zip", "w") as out:
        out.writestr("../evil.png", b"x")
    server.files["/evil.zip"] = Path("evil.zip").read_bytes()
    for name, message in (
        ("page.zip", "did not send an archive; the data begins with b'<!doctype html"),
        ("half.tgz", "/half.tgz: the archive is damaged"),
        ("evil.zip", "/evil.zip: '../evil.png' points outside the archive"),
        ("gone.tgz", "answered 404"),
    ):
        done = command("train", f"{server.address}/{name}", *EPOCHS)
        assert (done.code, message in done.err) == (3, True), (name, done.err)
        assert str(Path("cache")) not in done.err
    assert [p for p in Path("cache/firstlight/archives").iterdir() if p.suffix != ".lock"] == []
    shutil.rmtree("cache")
    wrong = command("train", f"{server.address}/page.zip#sha256=12", *EPOCHS)
    assert (wrong.code, "wanted #sha256= with 64 hex digits" in wrong.err) == (2, True)
    lost = command("train", "http://127.0.0.1:9/pets.tgz", *EPOCHS)
    assert (lost.code, "could not be fetched" in lost.err) == (3, True)


def test_addresses_of_archives_are_told_from_shards() -> None:
    for word in (
        "https://a.b/c.tgz",
        "http://a.b/c.tar.gz?x=1",
        "https://a.b/c.ZIP#md5=" + 32 * "0",
    ):
        assert is_archive_address(word)
        assert is_archive_address(Path(word)), "a Path loses a slash"
        assert str(archive_address(str(PureWindowsPath(word)))) == word
    for word in ("https://a.b/c.tar", "https://a.b/c/", "s3://a/c.tgz", "c.tgz", "hf:a/b"):
        assert not is_archive_address(word)
    assert archive_address("https://a.b/some%20pets.tar.gz?x=1").name == "some pets"
    with pytest.raises(UserError):
        archive_address("https://a.b/c.tgz#latest")
