"""A stand-in for the hub's HTTP interface as used by its library: the content of a commit of a data
set or model, its files, and a push with large files. Repositories are folders."""

import base64
import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class StandIn:
    """Its content, and the requests it received. Models and data sets have separate names: those of
    data sets begin with ``datasets/``."""

    root: Path
    """The folder for pushed files."""
    address: str = ""
    commits: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)
    """Maps (repository, branch) to its commit and the folder with its files."""
    private: dict[str, bool] = field(default_factory=dict)
    """Visibility of repositories created by a push."""
    gated: set[str] = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)
    """Maps a token to the name under which it may write."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files by their SHA-256."""
    asked: list[str] = field(default_factory=list)
    broken: str = ""
    """Paths with this ending get a server error."""

    def put(self, repository: str, folder: Path, branch: str = "main") -> str:
        """Publish a folder as a data set; returns the commit, which depends on its files."""
        return self._put(f"datasets/{repository}", folder, branch)

    def put_model(self, repository: str, folder: Path, branch: str = "main") -> str:
        """Publish a folder as a model."""
        return self._put(repository, folder, branch)

    def _put(self, repository: str, folder: Path, branch: str) -> str:
        digest = hashlib.sha1(repository.encode(), usedforsecurity=False)
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
        self.commits[repository, branch] = digest.hexdigest(), folder
        return digest.hexdigest()

    def find(self, repository: str, revision: str) -> tuple[str, Path] | None:
        """Return the commit of a branch or of a commit."""
        if (found := self.commits.get((repository, revision))) is not None:
            return found
        those = [one for (name, _), one in self.commits.items() if name == repository]
        return next((one for one in those if one[0] == revision), None)

    def files(self, repository: str) -> dict[str, bytes]:
        """Return the content of the main branch."""
        _, folder = self.commits[repository, "main"]
        return {one.name: one.read_bytes() for one in folder.iterdir()}

    def changed(self, repository: str, lines: list[dict[str, Any]]) -> str:
        """Create a commit from the lines of a push: all of them, or none."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        if (before := self.find(repository, "main")) is not None:
            shutil.copytree(before[1], folder, dirs_exist_ok=True)
        for line in lines[1:]:
            value = line["value"]
            path = folder / value["path"]
            if line["key"] == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                path.write_bytes(self.blobs[value["oid"]])
            else:
                assert line["key"] == "deletedFile", line
                path.unlink()
        return self._put(repository, folder, "main")


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._read(with_body=False)

    def do_GET(self) -> None:
        self._read(with_body=True)

    def do_PUT(self) -> None:
        content = self._content()
        if self._is_broken():
            return
        self.hub.blobs[self.path.rpartition("/")[2]] = content
        self._send(200)

    def do_POST(self) -> None:
        path, content = self._noted(), self._content()
        if self._is_broken():
            return None
        if path == "/api/validate-yaml":
            assert json.loads(content)["content"].startswith("---\n")
            return self._told({"errors": [], "warnings": []})
        owner = self._owner()
        if owner is None:
            return self._send(401, {"X-Error-Message": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(owner, json.loads(content))
        place, _, what = path.removeprefix("/api/models/").rpartition("/")
        repository = path[1:].partition(".git/")[0] if ".git/" in path else place.rpartition("/")[0]
        if not repository.startswith(f"{owner}/"):
            return self._send(403, {"X-Error-Message": "Forbidden"})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(content))
        if place.endswith("/preupload") and what == "main":
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(content)["files"]
            ]
            return self._told({"files": modes})
        assert place.endswith("/commit") and what == "main", path
        found = self.hub.changed(repository, [json.loads(one) for one in content.splitlines()])
        address = f"{self.hub.address}/{repository}/commit/{found}"
        self._told({"success": True, "commitUrl": address, "commitOid": found})
        return None

    def _create(self, owner: str, told: dict[str, Any]) -> None:
        organization = told.get("organization") or owner
        if organization != owner:
            return self._send(403, {"X-Error-Message": "You have no rights there"})
        repository = f"{organization}/{told['name']}"
        address = f"{self.hub.address}/{repository}"
        if (repository, "main") in self.hub.commits:
            content = json.dumps({"url": address}).encode()
            return self._send(409, {"X-Error-Message": "You already created this"}, content)
        visibility = told.get("visibility", told.get("private"))
        self.hub.private[repository] = visibility in ("private", True)
        folder = Path(tempfile.mkdtemp(dir=self.hub.root))
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
        self.hub.put_model(repository, folder)
        self._told({"url": address})
        return None

    def _batch(self, told: dict[str, Any]) -> None:
        assert "basic" in told["transfers"], told
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/blobs/{one['oid']}"}}}
            for one in told["objects"]
        ]
        self._told({"transfer": "basic", "objects": objects})

    def _read(self, *, with_body: bool) -> None:
        path = self._noted()
        if path.startswith("/api/"):
            what = "/tree/" if "/tree/" in path else "/revision/"
            repository, _, revision = path[len("/api/") :].partition(what)
            repository, file = repository.removeprefix("models/"), ""
        else:
            repository, _, rest = path[1:].partition("/resolve/")
            revision, _, file = rest.partition("/")
        hidden = self.hub.private.get(repository, False) and self._owner() is None
        if hidden or not any(name == repository for name, _ in self.hub.commits):
            return self._send(401, {"X-Error-Code": "RepoNotFound"})
        found = self.hub.find(repository, revision or "main")
        if found is None:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        commit, folder = found
        if not file:
            about = _tree(folder) if what == "/tree/" else _info(repository, commit)
            return self._told(about)
        if repository.removeprefix("datasets/") in self.hub.gated:
            return self._send(403, {"X-Error-Code": "GatedRepo"})
        content = (folder / file).read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        self._send(200, headers, content, with_body=with_body)
        return None

    def _owner(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.hub.owners.get(token)

    def _noted(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        return path

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _is_broken(self) -> bool:
        broken = bool(self.hub.broken) and self.hub.broken in self.path
        if broken:
            self._send(400, {"X-Error-Message": "no more room"})
        return broken

    def _told(self, values: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(values).encode())

    def _send(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        content: bytes = b"",
        *,
        with_body: bool = True,
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)


@contextmanager
def serving() -> Iterator[StandIn]:
    """Yield a stand-in at an address on this machine."""
    with tempfile.TemporaryDirectory() as root:
        hub = StandIn(root=Path(root))
        handler = type("Handler", (_Handler,), {"hub": hub})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
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
    name = repository.removeprefix("datasets/")
    return {"id": name, "sha": commit, "private": False, "tags": [], "siblings": []}


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
