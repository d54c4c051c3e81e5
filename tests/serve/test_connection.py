"""One connection, byte by byte: careless and hostile clients, and the answers they get."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest
from tests.serve.raw import post, raw
from tests.serve.running import Running, running

import firstlight as fl
from firstlight.serve.limits import Limits

GET = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
BEGUN = b"GET /v2 HTTP/1.1\r\nHost: local"


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run]) as service:
        yield service


def infer(value: int) -> bytes:
    """Return a request for one grey image of the digits' size."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [value] * 64}
    return post("/v2/models/digits-1/infer", json.dumps({"inputs": [tensor]}).encode())


@contextmanager
def held(served: Running) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold back answers inside the block; yields an event that one is being computed, and one to
    release it."""
    predictor = served.service.predictor(None)
    original, computing, release = predictor.probabilities, threading.Event(), threading.Event()

    def waits(images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        computing.set()
        assert release.wait(60)
        return original(images_NHWC)

    predictor.probabilities = waits  # type: ignore[method-assign]
    try:
        yield computing, release
    finally:
        release.set()
        predictor.probabilities = original  # type: ignore[method-assign]


def test_pipelined_requests_are_answered_in_their_order(served: Running) -> None:
    paths = ["/v2", "/v2/models/digits-1", "/v2/nothing", "/v2/health/live"]
    with raw(served.port) as client:
        client.send(
            b"".join(f"GET {p} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for p in paths)
        )
        answers = [client.answer() for _ in paths]
    keys = [set(json.loads(a[2])) for a in answers if a is not None]
    assert [a[0] for a in answers if a is not None] == [200, 200, 404, 200]
    assert "extensions" in keys[0] and "inputs" in keys[1] and keys[3] == {"live"}


def test_nonsense_behind_a_request_is_answered_after_it_and_not_instead_of_it(
    served: Running,
) -> None:
    with raw(served.port) as client, held(served) as (computing, release):
        client.send(infer(7))
        assert computing.wait(60)
        client.send(b"NONSENSE\r\n\r\n")
        # The service reads in order: it has seen the garbage once it has answered another request.
        with raw(served.port) as other:
            other.send(GET)
            assert other.status() == 200
        release.set()
        assert [client.status(), client.status(), client.status()] == [200, 400, None]


def test_more_requests_than_may_wait_on_one_connection_are_refused(served: Running) -> None:
    with raw(served.port) as client:
        client.send(GET * 1000)
        statuses = []
        while (status := client.status()) is not None:
            statuses.append(status)
    assert statuses[:-1] == [200] * (len(statuses) - 1)
    assert statuses[-1] == 400
    assert 10 < len(statuses) < 200


def test_a_client_that_sends_no_more_is_answered(served: Running) -> None:
    with raw(served.port) as client, held(served) as (computing, release):
        client.send(infer(3))
        client.no_more()
        assert computing.wait(60)
        with raw(served.port) as other:
            other.send(GET)
            assert other.status() == 200
        release.set()
        assert [client.status(), client.status()] == [200, None]


def test_a_client_that_sends_no_more_in_the_middle_of_a_request_is_let_go(
    served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    for begun in (b"", BEGUN, infer(1)[:-10]):
        with raw(served.port) as client:
            client.send(begun)
            client.no_more()
            assert client.status() is None
    assert not caplog.records, "nothing of this is a fault"


def test_a_client_that_breaks_off_is_no_fault(
    served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    for part in (infer(9)[:-10], infer(1)):
        with raw(served.port) as client:
            client.send(part)
            # Closing resets the connection instead of ending it.
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with raw(served.port) as client:
        client.send(infer(9))
        assert client.status() == 200
    assert not caplog.records


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000", 413),
        ("POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000", 405),
        ("POST /api/predict HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5000000", 421),
        ("NONSENSE", 400),
    ],
)
def test_a_client_refused_in_the_middle_of_its_upload_can_still_read_why(
    served: Running, head: str, status: int
) -> None:
    with raw(served.port) as client:
        client.send(head.encode() + b"\r\n\r\n")
        for _ in range(40):  # more than the system buffers for a connection that nobody reads
            client.send(b"x" * 100_000)
        answer = client.answer()
        assert answer is not None
        assert answer[0] == status
        assert json.loads(answer[2])["error"]
        assert client.answer() is None


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length : 3",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        " Content-Length: 3",
        "Content-Length: 3\r\n folded: yes",
        "X: a\nContent-Length: 3",
        "X: a\0b",
        "Host: localhost",
        "Content-Length: 3\r\nConnection: upgrade\r\nUpgrade: h2c",
    ],
)
def test_a_head_that_two_readers_could_take_for_two_different_ones_is_refused(
    served: Running, fields: str
) -> None:
    smuggled = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with raw(served.port) as client:
        client.send(f"POST /v2 HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n".encode() + smuggled)
        client.no_more()
        statuses = []
        while (status := client.status()) is not None:
            statuses.append(status)
    assert statuses[:1] == [400]
    assert 200 not in statuses


def test_fields_behind_a_body_count_for_nothing_and_cannot_be_without_end(served: Running) -> None:
    chunked = (
        b"POST /v2/models/digits-1/infer HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    )
    with raw(served.port) as client:
        client.send(chunked + b"Origin: http://evil.example\r\n\r\n")
        assert client.status() == 400  # not 403: only its wrong JSON was checked
        client.send(chunked)
        for number in range(50_000):
            client.send(b"x-%d: 1\r\n" % number)
        assert client.status() == 400


def test_slow_heads_bodies_and_idle_drips_end_while_others_are_answered(digits_run: fl.Run) -> None:
    limits = Limits(header_seconds=0.3, body_seconds=0.3)
    with (
        running([digits_run], limits=limits) as served,
        raw(served.port) as silent,
        raw(served.port) as slow,
        raw(served.port) as kept,
    ):
        slow.send(BEGUN)
        kept.send(GET)
        assert kept.status() == 200
        kept.send(b"\r\n")  # allowed between requests, and not a request
        with raw(served.port) as other:
            other.send(GET)
            assert other.status() == 200
        assert [silent.status(), slow.status(), kept.status()] == [None, None, None]


def test_a_client_that_takes_no_answer_is_dropped(digits_run: fl.Run) -> None:
    with running([digits_run], limits=Limits(stall_seconds=0.3)) as served:
        with raw(served.port) as client:
            client.socket.settimeout(60)
            try:
                while True:  # until the service stops reading, and then closes
                    client.send(GET * 60)
            except OSError:
                pass
        with raw(served.port) as other:
            other.send(GET)
            assert other.status() == 200


def test_of_answers_that_nobody_takes_no_more_is_kept_than_the_limit(digits_run: fl.Run) -> None:
    limits = Limits(unsent_bytes=1000, stall_seconds=1000)
    with running([digits_run], limits=limits) as served:
        with raw(served.port) as client:
            client.socket.settimeout(60)
            try:
                while True:  # until the service closes
                    client.send(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60)
            except OSError:
                pass
        with raw(served.port) as other:
            other.send(GET)
            assert other.status() == 200


def test_idle_connections_make_room_for_who_asks(digits_run: fl.Run) -> None:
    with running([digits_run], limits=Limits(connections=8, idle_seconds=0)) as served:
        idle = [socket.create_connection(("127.0.0.1", served.port), 30) for _ in range(30)]
        for connection in idle[::2]:
            connection.sendall(BEGUN)
        with raw(served.port) as client:
            client.send(GET)
            assert client.status() == 200
        for connection in idle:
            connection.close()


def test_where_all_connections_are_at_work_the_next_is_told_to_come_again(
    digits_run: fl.Run,
) -> None:
    with (
        running([digits_run], limits=Limits(connections=1)) as served,
        raw(served.port) as client,
        held(served) as (computing, release),
    ):
        client.send(infer(3))
        assert computing.wait(60)
        with raw(served.port) as other:
            other.send(GET)
            answer = other.answer()
            assert answer is not None
            assert answer[0] == 503
            assert answer[1]["retry-after"] == "1"
        release.set()
        assert client.status() == 200


def test_no_more_is_held_of_all_bodies_than_the_limit(digits_run: fl.Run) -> None:
    limits = Limits(all_bodies_bytes=300_000)
    with running([digits_run], limits=limits) as served:
        begun = post("/api/predict", b"x" * 250_000)[:-1]
        with raw(served.port) as first, raw(served.port) as second:
            first.send(begun)
            second.send(begun)
            # One of them fills the room; which one is refused depends on the order of reading.
            for client in (first, second):
                client.send(b"x")
            statuses = sorted(client.status() or 0 for client in (first, second))
        assert statuses == [422, 503]


def test_an_answer_that_takes_too_long_is_told_so_and_the_next_is_right(
    digits_run: fl.Run,
) -> None:
    with running([digits_run], limits=Limits(answer_seconds=0.3)) as served:
        with raw(served.port) as client, held(served) as (_, release):
            client.send(infer(3))
            assert client.status() == 504
            release.set()
        with raw(served.port) as client:
            client.send(infer(3))
            assert client.status() == 200
