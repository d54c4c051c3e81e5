"""Whatever is sent to the studio's routes, they answer as documented and never with a 500, and they
write nothing outside the working folder."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.studio.conftest import Running

from firstlight.verbs.recipes import recipe_text

WORDS = [
    *("", ".", "..", "../..", "/etc/passwd", "a/b", "a\\b", "CON", "nul.txt", "a" * 300, "ä", "🙂"),
    *("digits", "pictures/x", "-x", " ", "\0", "a\nb", "0001", "99999", "%2e%2e", "train", "mine"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 3, 1e308, [], {}, [[]], [{}], {"a": {"b": []}}),
    *([{"conv": 8}, {"dense": "classes"}], [{"repeat": 10**9, "layers": [{"conv": 1}]}]),
    *(recipe_text("digits-tutorial"), "[[[", "name = 1"),
]
KEYS = ["data", "run", "recipe", "start", "budget", "fixes", "toml", "layers", "name", "label"]


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that happens to be valid waits."""
    monkeypatch.setattr("firstlight.studio.studio.start_worker", lambda *_: None)
    monkeypatch.setattr("firstlight.studio.studio.Studio.work", lambda _: None)


def body(draw: random.Random) -> bytes:
    if draw.random() < 0.1:
        return draw.choice([b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"a":' * 500, b"1e999"])
    values = {key: draw.choice([*WORDS, *VALUES]) for key in draw.sample(KEYS, draw.randint(0, 6))}
    return json.dumps(values).encode()


def test_no_request_to_the_studio_is_a_fault_or_leaves_its_folder(
    studio: Running, tmp_path: Path
) -> None:
    draw, seen = random.Random(0), set[int]()
    parent = {path.name for path in tmp_path.parent.iterdir()}
    with studio.client() as client:
        described = client.get("/openapi.json").json()["paths"]
        routes = [
            (method, path)
            for path, methods in described.items()
            for method in methods
            if path.startswith("/api/studio") and not path.endswith("/pace")  # a process each
        ]
        assert len(routes) > 10
        for method, path in routes * 25:
            place = path
            while "{" in place:
                before, _, rest = place.partition("{")
                word = draw.choice(WORDS).replace("\0", "%00").replace("\n", "%0A")
                place = before + word.replace("/", "%2F") + rest.partition("}")[2]
            content = None if method in ("get", "head") else body(draw)
            try:
                found = client.request(method, place, content=content)
            except ValueError:  # the client itself refuses such an address
                continue
            assert found.status_code < 500 or found.status_code == 503, (method, place, content)
            if found.status_code >= 400:
                assert found.json()["error"]
            seen.add(found.status_code)
        assert {200, 404, 422} <= seen
        assert client.get("/api/studio").status_code == 200
    assert {path.name for path in tmp_path.parent.iterdir()} == parent
