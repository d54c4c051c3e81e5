"""A stand-in for the hub's HTTP interface, as its own library asks it: what a data set's commit
holds, and its files. Repositories are folders."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class StandIn:
    """What it holds, and what it was asked for."""

    address: str = ""
    commits: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)
    """(repository, branch) to its commit and the folder with its files."""
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def put(self, repository: str, folder: Path, branch: str = "main") -> str:
        """Publish a folder; returns the commit, which its files decide."""
        digest = hashlib.sha1(repository.encode(), usedforsecurity=False)
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
        self.commits[repository, branch] = digest.hexdigest(), folder
        return digest.hexdigest()

    def find(self, repository: str, revision: str) -> tuple[str, Path] | None:
        """The commit of a branch, or of itself."""
        if (found := self.commits.get((repository, revision))) is not None:
            return found
        those = [one for (name, _), one in self.commits.items() if name == repository]
        return next((one for one in those if one[0] == revision), None)


@contextmanager
def serving() -> Iterator[StandIn]:
    """A stand-in at an address of this machine."""
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if path.startswith("/api/datasets/"):
                what = "/tree/" if "/tree/" in path else "/revision/"
                repository, _, revision = path[len("/api/datasets/") :].partition(what)
                file = ""
            else:
                repository, _, rest = path[len("/datasets/") :].partition("/resolve/")
                revision, _, file = rest.partition("/")
            if not any(name == repository for name, _ in hub.commits):
                return self._send(401, {"X-Error-Code": "RepoNotFound"})
            found = hub.find(repository, revision or "main")
            if found is None:
                return self._send(404, {"X-Error-Code": "RevisionNotFound"})
            commit, folder = found
            if not file:
                about = _tree(folder) if what == "/tree/" else _info(repository, commit)
                return self._send(200, {}, json.dumps(about).encode())
            if repository in hub.gated:
                return self._send(403, {"X-Error-Code": "GatedRepo"})
            content = (folder / file).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
            return self._send(200, headers, content, with_body=with_body)

        def _send(
            self,
            status: int,
            headers: dict[str, str],
            content: bytes = b"",
            *,
            with_body: bool = True,
        ) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _info(repository: str, commit: str) -> dict[str, object]:
    return {"id": repository, "sha": commit, "private": False, "tags": [], "siblings": []}


def _tree(folder: Path) -> list[dict[str, object]]:
    return [
        {
            "type": "file" if one.is_file() else "directory",
            "oid": "0" * 40,
            "size": one.stat().st_size if one.is_file() else 0,
            "path": one.relative_to(folder).as_posix(),
        }
        for one in sorted(folder.rglob("*"))
    ]
