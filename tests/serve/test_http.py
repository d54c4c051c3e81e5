"""General HTTP: targets, methods, compressed bodies."""

import gzip
import json
import zlib
from collections.abc import Iterator

import httpx
import pytest
from tests.serve.raw import raw
from tests.serve.running import Running, running
from tests.serve.test_service import png

import firstlight as fl
from firstlight.serve.limits import Limits

HEAD_BYTES = 32 * 1024
"""As documented."""


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


@pytest.fixture
def client(served: Running) -> Iterator[httpx.Client]:
    with served.client() as client:
        yield client


def status_of(served: Running, target: str, *fields: str, method: str = "GET") -> int | None:
    """Return the status of one request, whose headers are sent as given."""
    lines = [f"{method} {target} HTTP/1.1", *(fields or ("Host: localhost",)), "", ""]
    with raw(served.port) as client:
        client.send("\r\n".join(lines).encode())
        return client.status()


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("where", ["path", "query", "absolute", "name", "value", "many"])
def test_a_head_of_32_kib_is_taken_and_one_byte_more_is_not(
    served: Running, where: str, over: int
) -> None:
    fill = {
        "path": ("GET /v2/models/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        "query": ("GET /v2?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        "absolute": ("GET http://localhost/v2?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        "name": ("GET /v2 HTTP/1.1\r\nHost: localhost\r\n{}: a\r\n\r\n", 200),
        "value": ("GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", 200),
        "many": (
            "GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n" + "a: b\r\n" * 2000 + "\r\n",
            200,
        ),
    }
    pattern, status = fill[where]
    # The empty line at the end does not count.
    head = pattern.replace("{}", "x" * (HEAD_BYTES + over + 2 - len(pattern) + 2))
    with raw(served.port) as client:
        client.send(head.encode())
        assert client.status() == (431 if over else status)


def test_head_is_answered_as_get_without_the_body(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    fixed = [p for p, of in document["paths"].items() if "get" in of and "{" not in p]
    model = "/v2/models/digits-1"
    assert len(fixed) >= 6
    for path in (
        *(*fixed, "/", "/app.js", model, f"{model}/ready", f"{model}/versions/1"),
        *("/api/runs/digits-1/results", "/api/runs/digits-1/test/0.png", "/openapi.json"),
        *("/v2/models/nobody", "/api/nothing", "/nothing"),
    ):
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        same = ("content-type", "content-security-policy", "allow")
        assert [head.headers.get(k) for k in same] == [got.headers.get(k) for k in same], path
        if path != "/metrics":  # it counts the request before it
            assert head.headers["content-length"] == str(len(got.content)), path


def test_a_connection_goes_on_after_head(served: Running) -> None:
    with raw(served.port) as client:
        for _ in range(3):
            client.send(b"HEAD /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = client._until(b"\r\n\r\n")
            assert head is not None
            assert head.startswith(b"HTTP/1.1 200")
        client.send(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = client.answer()
        assert answer is not None
        assert json.loads(answer[2])["name"] == "firstlight"


def test_each_address_says_which_methods_it_takes(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    values = {"model": "digits-1", "version": "1", "run": "digits-1", "index": "0"}
    assert len(document["paths"]) > 15
    for path, of in document["paths"].items():
        wanted = {name.upper() for name in of} | {"OPTIONS"}
        wanted |= {"HEAD"} if "GET" in wanted else set()
        address = path.format(**values)
        for method in ("OPTIONS", "DELETE", "PATCH", "TRACE", *({"GET", "HEAD"} - wanted)):
            answer = client.request(method, address)
            assert answer.status_code == (204 if method == "OPTIONS" else 405), (method, path)
            assert set(answer.headers["allow"].split(", ")) == wanted, (method, path)


def test_what_is_nowhere_is_404_by_every_method(client: httpx.Client) -> None:
    for path in ("/api/nothing", "/v2/nothing", "/v2/models", "/metrics/", "/api"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            assert client.request(method, path).status_code == 404, (method, path)


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("http://localhost/v2", ["Host: localhost"], 200),
        ("HTTP://LOCALHOST:80/v2?a=b", ["Host: localhost"], 200),
        ("http://127.0.0.1/v2", ["Host: localhost"], 200),
        ("http://[::1]:8000/v2", ["Host: localhost"], 200),
        ("http://localhost", ["Host: localhost"], 200),
        ("http://localhost?a=b", ["Host: localhost"], 200),
        ("http://evil.example/v2", ["Host: localhost"], 421),
        ("https://evil.example/v2", ["Host: localhost"], 421),
        ("http://localhost/v2", ["Host: evil.example"], 421),
        ("http://evil.example/v2", ["Host: evil.example"], 421),
        ("http://localhost@evil.example/v2", ["Host: localhost"], 421),
        ("http://evil.example@localhost/v2", ["Host: localhost"], 421),
        ("http://localhost:80@evil.example/v2", ["Host: localhost"], 421),
        ("http://localhost.evil.example/v2", ["Host: localhost"], 421),
        ("http:///v2", ["Host: localhost"], 400),
        ("ftp://localhost/v2", ["Host: localhost"], 400),
        ("//evil.example/v2", ["Host: localhost"], 404),
        ("/v2", ["Host: a@localhost"], 421),
        ("/v2", ["Host: localhost/evil.example"], 421),
        ("/v2", ["Host: localhost#evil.example"], 421),
        ("/v2", ["Host: localhost:port"], 421),
        ("/v2", ["Host: localhost:99999"], 421),
        ("/v2", ["Host:"], 421),
        ("/v2", ["X: no host at all"], 421),
    ],
)
def test_a_host_that_the_target_names_counts_as_host(
    served: Running, target: str, fields: list[str], status: int
) -> None:
    assert status_of(served, target, *fields) == status


def test_a_target_that_names_a_host_is_found_as_one_that_does_not(served: Running) -> None:
    with raw(served.port) as client:
        for target in ("http://localhost/v2", "/v2"):
            client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        first, second = client.answer(), client.answer()
    assert first is not None and second is not None
    assert first[2] == second[2]


def packed(content: bytes) -> dict[str, bytes]:
    """Return the same bytes in each coding."""
    return {
        "gzip": gzip.compress(content, mtime=0),
        "x-gzip": gzip.compress(content, mtime=0),
        "deflate": zlib.compress(content),
        "GZIP": gzip.compress(content[:9], mtime=0) + gzip.compress(content[9:], mtime=0),
        "identity": content,
    }


def test_a_compressed_body_gets_the_answer_of_the_same_body_as_it_is(
    client: httpx.Client, digits_run: fl.Run
) -> None:
    image = fl.load("digits").test.images_NHWC[4]
    (expected,) = digits_run.predict(image[None])
    for coding, body in packed(png(image)).items():
        pieces = (body[at : at + 7] for at in range(0, len(body), 7))  # its length is not declared
        for content in (body, pieces):
            fields = {"content-encoding": coding}
            answer = client.post("/api/predict", content=content, headers=fields)
            assert answer.status_code == 200, (coding, answer.text)
            (got,) = answer.json()["predictions"]
            assert got["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_compressed_form_is_read(client: httpx.Client) -> None:
    image = png(fl.load("digits").test.images_NHWC[4])
    form = client.build_request("POST", "/api/predict", files=[("a", ("a.png", image))])
    fields = {"content-type": form.headers["content-type"], "content-encoding": "gzip"}
    answer = client.post(
        "/api/predict", content=gzip.compress(form.read(), mtime=0), headers=fields
    )
    assert answer.json()["predictions"][0]["name"] == "a.png"


@pytest.mark.parametrize(
    ("coding", "body", "status", "says"),
    [
        ("br", b"x", 415, "gzip"),
        ("zstd", b"x", 415, "gzip"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), 415, "gzip"),
        ("gzip", b"not compressed", 400, "cannot be unpacked"),
        ("gzip", zlib.compress(b"x"), 400, "cannot be unpacked"),
        ("deflate", gzip.compress(b"x", mtime=0), 400, "cannot be unpacked"),
        ("gzip", gzip.compress(b"x" * 1000, mtime=0)[:-5], 400, "truncated"),
        ("gzip", b"", 400, "truncated"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"more", 400, "cannot be unpacked"),
        ("deflate", zlib.compress(b"x") + b"more", 400, "data follows"),
        ("gzip", gzip.compress(b"", mtime=0) * 1000, 400, "data follows"),
        ("gzip", gzip.compress(b"", mtime=0)[:-4] + b"\0\0\0\1", 400, "cannot be unpacked"),
    ],
)
def test_a_body_that_is_not_what_its_coding_says_is_told_so(
    client: httpx.Client, coding: str, body: bytes, status: int, says: str
) -> None:
    answer = client.post("/api/predict", content=body, headers={"content-encoding": coding})
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert (answer.headers.get("accept-encoding") == "gzip, deflate") == (status == 415)


def test_what_is_unpacked_is_bounded_by_the_bounds_of_what_comes(digits_run: fl.Run) -> None:
    limits = Limits(body_bytes=300_000, all_bodies_bytes=200_000)
    with running([digits_run], limits=limits) as served, served.client() as client:

        def post(count: int, coding: str) -> httpx.Response:
            pack = zlib.compress if coding == "deflate" else gzip.compress
            body = pack(b"\0" * count)
            return client.post("/api/predict", content=body, headers={"content-encoding": coding})

        for coding in ("gzip", "deflate"):
            assert post(190_000, coding).status_code == 422
            busy = post(210_000, coding)  # of all bodies together
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            large = post(20_000_000, coding)
            assert (large.status_code, large.headers["connection"]) == (413, "close")
        assert post(190_000, "gzip").status_code == 422


def test_a_transfer_coding_besides_chunked_is_refused(served: Running) -> None:
    fields = ("Host: localhost", "Transfer-Encoding: gzip, chunked")
    assert status_of(served, "/api/predict", *fields, method="POST") == 400


def test_two_codings_are_refused(served: Running) -> None:
    fields = ("Host: localhost", "Content-Encoding: identity", "Content-Encoding: gzip")
    assert status_of(served, "/api/predict", *fields, "Content-Length: 0", method="POST") == 400
