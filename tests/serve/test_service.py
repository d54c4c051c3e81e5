"""The service over real connections: answers, limits, and access."""

import base64
import io
import shutil
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.serve.running import Running, running

import firstlight as fl
from firstlight.runs.folder import open_run_folder
from firstlight.serve.limits import Limits
from firstlight.serve.service import predictors


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


def png(image_HWC: npt.NDArray[np.uint8], size: int | None = None) -> bytes:
    picture = Image.fromarray(image_HWC[..., 0])
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_gets_the_probabilities_that_predict_gives(
    served: Running, digits_run: fl.Run
) -> None:
    images = fl.load("digits").test.images_NHWC[:5]
    wanted = digits_run.predict(images)

    with served.client() as client:
        for image, expected in zip(images, wanted, strict=True):
            for size in (None, 80):  # at once, and in a thread; eight times as large, the same
                (got,) = client.post("/api/predict", content=png(image, size)).json()["predictions"]
                if size is None:
                    assert got["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
                assert got["answer"] == expected.answer


def test_several_files_are_answered_in_their_order_and_one_that_is_no_picture_in_its_place(
    served: Running, digits_run: fl.Run
) -> None:
    images = fl.load("digits").test.images_NHWC[:2]
    files = [
        ("a", ("first.png", png(images[0]))),
        ("a", ("notes.txt", b"no picture")),
        ("b", ("second.png", png(images[1]))),
    ]
    with served.client() as client:
        first, none, second = client.post("/api/predict", files=files).json()["predictions"]

    expected = digits_run.predict(images)
    assert [first["answer"], second["answer"]] == [e.answer for e in expected]
    assert [first["name"], second["name"]] == ["first.png", "second.png"]
    assert none["answer"] is None
    assert "notes.txt: not a picture" in none["error"]


def test_the_page_can_ask_what_the_network_was_shown(served: Running) -> None:
    image = fl.load("digits").test.images_NHWC[3]
    with served.client() as client:
        (got,) = client.post("/api/predict?seen=true", content=png(image)).json()["predictions"]
    head, _, content = got["seen"].partition(",")
    assert head == "data:image/png;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    np.testing.assert_array_equal(np.asarray(shown), image[..., 0])


def test_what_is_asked_wrongly_of_predict_is_told(served: Running) -> None:
    image = png(fl.load("digits").test.images_NHWC[3])
    with served.client() as client:
        refused = client.post("/api/predict?seen=perhaps", content=image)
        assert (refused.status_code, refused.json()["error"]) == (
            422,
            "query.seen: wanted true or false",
        )
        assert client.post("/api/predict?run=nobody", content=image).status_code == 404


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 422, "empty; send a"),
        (b"not a picture", 422, "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, 422, "damaged or truncated"),
    ],
)
def test_what_is_no_picture_is_told_so(
    served: Running, content: bytes, status: int, says: str
) -> None:
    with served.client() as client:
        answer = client.post("/api/predict", content=content)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(served: Running) -> None:
    # The header declares 30,000 × 30,000 pixels; if any were decoded, the file would be truncated.
    head = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head
    content += struct.pack(">I", zlib.crc32(head)) + struct.pack(">I", 9) + b"IDAT" + b"\0" * 13
    with served.client() as client:
        answer = client.post("/api/predict", content=content)
    assert answer.status_code == 422
    assert "megapixels" in answer.json()["error"]


def test_unknown_routes_methods_and_runs_are_errors_as_json(served: Running) -> None:
    with served.client() as client:
        answers = [
            client.get("/api/nothing"),
            client.put("/api/predict"),
            client.post("/api/predict?run=other", content=b"x"),
            client.get("/v2/models/other"),
            client.get("/../../etc/passwd"),
            client.get("/%2e%2e/%2e%2e/etc/passwd"),
        ]
    assert [a.status_code for a in answers] == [404, 405, 404, 404, 404, 404]
    assert all(a.json()["error"] for a in answers)


def test_a_name_of_another_site_that_points_here_is_refused(served: Running) -> None:
    with served.client() as client:
        for host, status in [
            ("127.0.0.1:1234", 200),
            ("localhost", 200),
            ("[::1]:8000", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("localhost.evil.example", 421),
            ("", 421),
        ]:
            assert client.get("/v2", headers={"host": host}).status_code == status, host


def test_a_page_of_another_site_cannot_post(served: Running) -> None:
    content = png(fl.load("digits").test.images_NHWC[0])
    with served.client() as client:
        for origin, status in [
            (served.address, 200),
            ("http://evil.example", 403),
            (f"http://127.0.0.1:{served.port + 1}", 403),
            ("null", 403),
        ]:
            answer = client.post("/api/predict", content=content, headers={"origin": origin})
            assert answer.status_code == status, origin


def test_every_answer_forbids_the_page_to_load_from_elsewhere(served: Running) -> None:
    with served.client() as client:
        for path in ("/v2", "/nothing", "/metrics"):
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "http" not in policy


def test_with_a_token_only_who_has_it_is_answered(digits_run: fl.Run) -> None:
    token = "a-long-enough-token"
    with running([digits_run], token=token) as served:
        with served.client() as client:
            for path in ("/v2", "/metrics", "/openapi.json", "/api/predict", "/v2/models/x"):
                assert client.get(path).status_code == 401, path
            wrong = {"authorization": "Bearer a-long-enough-tokeN"}
            assert client.get("/v2", headers=wrong).status_code == 401
            assert client.get("/v2/health/live").status_code == 200
        with served.client(authorization=f"Bearer {token}") as client:
            assert client.get("/v2").status_code == 200


def test_too_large_a_body_is_refused_whether_its_length_is_told_or_not(
    digits_run: fl.Run,
) -> None:
    limits = Limits(body_bytes=1000)

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 500

    with running([digits_run], limits=limits) as served, served.client() as client:
        for body in (b"x" * 1001, pieces()):
            refused = client.post("/api/predict", content=body)
            assert refused.status_code == 413
            assert refused.headers["connection"] == "close"  # or a client would continue
        assert client.post("/api/predict", content=b"x" * 1000).status_code == 422


def test_a_head_that_does_not_come_ends_its_connection_and_a_body_is_answered_408(
    digits_run: fl.Run,
) -> None:
    limits = Limits(header_seconds=0.2, body_seconds=0.2)
    with running([digits_run], limits=limits) as served:
        for begun in (b"", b"GET /v2 HTTP/1.1\r\nHost: local"):
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as slow:
                slow.sendall(begun)
                assert slow.recv(100) == b""
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as slow:
            head = b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n"
            slow.sendall(head + b"only ten b")
            assert b" 408 " in slow.recv(100)


@pytest.mark.parametrize(
    "head",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\0" * 100,
    ],
)
def test_a_malformed_request_is_answered_400_and_the_next_one_as_ever(
    served: Running, head: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        raw.sendall(head)
        assert b" 400 " in raw.recv(1000)
    with served.client() as client:
        assert client.get("/v2").status_code == 200


def test_an_endless_head_is_answered_400_and_of_the_rest_nothing_is_kept(served: Running) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n")
        for number in range(50_000):
            raw.sendall(b"x-%d: 1\r\n" % number)
        assert b" 400 " in raw.recv(1000)


def test_beyond_its_room_the_service_answers_503_and_what_it_took_is_right(
    digits_run: fl.Run,
) -> None:
    images = fl.load("digits").test.images_NHWC[:40]
    expected = [p.answer for p in digits_run.predict(images)]
    got: dict[int, httpx.Response] = {}
    with running([digits_run], limits=Limits(waiting=3, answer_seconds=60)) as served:
        answered = threading.Semaphore(0)

        def ask(number: int) -> None:
            with served.client() as client:
                got[number] = client.post("/api/predict", content=png(images[number]))
            answered.release()

        hold, computing = threading.Event(), threading.Event()
        predictor = served.service.predictor(None)
        original = predictor.probabilities

        def held(images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            computing.set()
            assert hold.wait(60)
            return original(images_NHWC)

        predictor.probabilities = held  # type: ignore[method-assign]
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(images))]
        threads[0].start()
        assert computing.wait(60)
        for thread in threads[1:]:
            thread.start()
        for _ in range(len(images) - 4):  # one is computed, three wait, the others are refused
            assert answered.acquire(timeout=60)
        hold.set()
        for thread in threads:
            thread.join(60)

    statuses = [got[n].status_code for n in range(len(images))]
    assert sorted(set(statuses)) == [200, 503]
    assert statuses.count(200) == 4
    for number, response in got.items():
        if response.status_code == 200:
            assert response.json()["predictions"][0]["answer"] == expected[number]
        else:
            assert response.headers["retry-after"] == "1"


def release_once_refused(port: int, hold: threading.Event) -> None:
    """Release the answer only when the service accepts no more connections."""
    try:
        while True:
            socket.create_connection(("127.0.0.1", port), timeout=20).close()
    except OSError:
        hold.set()


def test_what_was_taken_is_answered_when_the_service_is_told_to_stop(digits_run: fl.Run) -> None:
    images = fl.load("digits").test.images_NHWC[:1]
    got: list[httpx.Response] = []
    with running([digits_run]) as served:
        predictor = served.service.predictor(None)
        original, computing, hold = predictor.probabilities, threading.Event(), threading.Event()

        def held(images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            computing.set()
            assert hold.wait(60)
            return original(images_NHWC)

        predictor.probabilities = held  # type: ignore[method-assign]

        def ask() -> None:
            with served.client() as client:
                got.append(client.post("/api/predict", content=png(images[0])))

        asking = threading.Thread(target=ask)
        asking.start()
        assert computing.wait(60)
        stopping = threading.Thread(target=release_once_refused, args=(served.port, hold))
        stopping.start()
    stopping.join(60)
    asking.join(60)
    assert got[0].status_code == 200


def test_requests_are_counted_for_prometheus(served: Running) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    def count() -> float:
        with served.client() as client:
            families = {
                f.name: f for f in text_string_to_metric_families(client.get("/metrics").text)
            }
        return sum(
            s.value
            for s in families["firstlight_requests"].samples
            if s.name.endswith("_total") and s.labels["route"] == "/api/predict"
        )

    before = count()
    with served.client() as client:
        for _ in range(3):
            client.post("/api/predict", content=png(fl.load("digits").test.images_NHWC[0]))
    assert count() == before + 3


def test_a_run_that_is_given_twice_is_served_once_and_another_of_its_name_is_numbered(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    other = tmp_path / digits_run.path.name
    shutil.copytree(digits_run.path, other)
    folders = [open_run_folder(path) for path in (digits_run.path, other, digits_run.path)]
    assert list(predictors(folders, Limits())) == ["digits-1", "digits-1-(2)"]
