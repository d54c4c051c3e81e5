"""Endless damaged pictures and malformed requests, reproducible by seed, and a service's responses
to them."""

import io
import json
import re
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]
Rng = np.random.Generator

PATIENCE = 30.0
"""After this many seconds without an answer, it counts as a hang."""
OF_THE_MACHINE = re.compile(rb"/(home|root|usr|tmp|var|opt)/|site-packages|\.py\b|0x[0-9a-f]{6}")
"""What no answer may contain."""


@dataclass
class Tally:
    """A service's responses."""

    sent: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """5xx other than 503, answers that reveal facts about the machine, hangs, wrong answers."""


# Pictures


def mutated_pictures(seed: int) -> Iterator[bytes]:
    """Yield files of all six formats, with one to eight damages each."""
    rng = np.random.default_rng(seed)
    whole = whole_pictures(rng)
    while True:
        content = whole[rng.integers(len(whole))]
        for _ in range(rng.integers(1, 9)):
            content = damaged(content, rng, whole)
        if content.startswith(b"\x89PNG") and rng.random() < 0.5:
            content = with_right_checksums(content)  # to test more than the checksum
        yield content


def whole_pictures(rng: Rng) -> list[bytes]:
    """Return small files of many kinds."""
    noise_HWC = rng.integers(0, 256, (31, 37, 4), dtype=np.uint8)
    rgba = Image.fromarray(noise_HWC)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    deep = Image.fromarray(rng.integers(0, 65536, (20, 20), dtype=np.uint16))
    frames: dict[str, Any] = {"save_all": True, "append_images": [grey, grey.rotate(90)]}
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *[(image, "PNG", {}) for image in (rgba, rgb, grey, deep, rgb.convert("P"))],
        (grey.convert("1"), "PNG", {}),
        (grey, "PNG", frames),
        (rgb, "JPEG", {}),
        (rgb, "JPEG", {"progressive": True, "quality": 30}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (grey, "GIF", {}),
        (grey, "GIF", frames),
        (rgba, "WEBP", {}),
        (rgb, "WEBP", {"lossless": True}),
        *[(image, "BMP", {}) for image in (rgba, rgb, grey, grey.convert("1"))],
        (rgb, "TIFF", {}),
        (grey, "TIFF", frames),
        *[(rgb, "TIFF", {"compression": kind}) for kind in ("tiff_lzw", "tiff_deflate", "jpeg")],
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
    ]
    return [encoded(image, kind, settings) for image, kind, settings in kinds]


def encoded(image: Image.Image, kind: str, settings: dict[str, Any]) -> bytes:
    """Return a file's bytes."""
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def damaged(content: bytes, rng: Rng, others: list[bytes]) -> bytes:
    """Apply one damage, usually near the start, where the headers are."""
    near = min(len(content), 64) if rng.random() < 0.5 else len(content)
    at = int(rng.integers(near + 1)) if near else 0
    far = at + int(rng.integers(1, 40))
    edges = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x01")
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: content[:at] + bytes([rng.integers(256)]) + content[at + 1 :],
        lambda: content[:at] + edges[rng.integers(4)] + content[at + 4 :],
        lambda: content[:at],
        lambda: content[:at] + content[far:],
        lambda: content[:at] + content[at:far] * 3 + content[far:],
        lambda: content[:at] + rng.bytes(20) + content[at:],
        lambda: content[:at] + others[rng.integers(len(others))][at:],
    )
    return kinds[rng.integers(len(kinds))]()


def with_right_checksums(content: bytes) -> bytes:
    """Return a PNG with correct checksums, as far as it has chunks."""
    parts, at = [content[:8]], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if at + 12 + length > len(content):
            break
        body = content[at + 4 : at + 8 + length]
        parts.append(content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join([*parts, content[at:]])


# Requests


def malformed_requests(seed: int, model: str) -> Iterator[list[bytes]]:
    """Yield requests with damage in header and body, in one piece or several."""
    rng = np.random.default_rng(seed)
    whole = whole_requests(rng, model)
    while True:
        content = whole[rng.integers(len(whole))]
        for _ in range(rng.integers(1, 6)):
            content = garbled(content, rng, whole)
        cuts = sorted(rng.integers(0, len(content) + 1, rng.integers(0, 4)).tolist())
        edges = [0, *cuts, len(content)]
        yield [content[a:b] for a, b in pairwise(edges)]


def whole_requests(rng: Rng, model: str) -> list[bytes]:
    """Return requests of every kind that the service answers."""
    picture = encoded(Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)), "PNG", {})
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
    infer = json.dumps({"id": "1", "inputs": [tensor], "outputs": [{"name": "label"}]}).encode()
    parts = (
        b'--b\r\nContent-Disposition: form-data; name="a"; filename="x.png"\r\n\r\n'
        + picture
        + b"\r\n--b--\r\n"
    )
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (picture[:20], picture[20:], b""))
    host = b" HTTP/1.1\r\nHost: localhost\r\n"
    length = b"Content-Length: %d\r\n"
    multipart = b"Content-Type: multipart/form-data; boundary=b\r\n"
    path = f"/v2/models/{model}".encode()
    return [
        b"GET /v2" + host + b"\r\n",
        b"GET /api/runs" + host + b"Connection: close\r\n\r\n",
        b"HEAD /metrics" + host + b"Accept: */*\r\n\r\n",
        b"GET " + path + host + b"X-A: b\r\nCookie: a=b; c=d\r\n\r\n",
        b"POST /api/predict?run="
        + model.encode()
        + host
        + length % len(picture)
        + b"\r\n"
        + picture,
        b"POST /api/without?layer=0&channel=1&run="
        + model.encode()
        + host
        + length % len(picture)
        + b"\r\n"
        + picture,
        *(
            b"GET /api/runs/" + model.encode() + rest + host + b"\r\n"
            for rest in (b"/exciting?layer=0&channel=1", b"/activity", b"/plane?way=pca")
        ),
        b"POST /api/predict" + host + multipart + length % len(parts) + b"\r\n" + parts,
        b"POST /api/predict" + host + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        b"POST " + path + b"/infer" + host + length % len(infer) + b"\r\n" + infer,
        b"POST "
        + path
        + b"/infer"
        + host
        + b"Inference-Header-Content-Length: %d\r\n" % len(infer)
        + length % len(infer)
        + b"\r\n"
        + infer,
    ]


TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"\xff",
        b"\xb2",
        b"%00",
        b"%2e%2e/",
    ),
    *(
        b"\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"GET /",
        b"CONNECT a:1",
        b"*",
        b"//",
        b"?",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Host: evil.example\r\n", b"Origin: http://evil.example\r\n", b"Upgrade: h2c\r\n"),
    *(b"Connection: upgrade\r\n", b"Content-Type: multipart/form-data\r\n", b"Range: bytes=0-\r\n"),
    *(b"Content-Type: multipart/form-data; boundary=\r\n", b"Content-Encoding: gzip\r\n"),
    *(
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b'{"a":',
        b"9" * 5000,
        b"a" * 70_000,
        b"X: " + b"y" * 5000,
    ),
    *(
        b"Inference-Header-Content-Length: \xb2\r\n",
        b"1e999",
        b"NaN",
        b"-1",
        b"18446744073709551616",
    ),
)


def garbled(content: bytes, rng: Rng, others: list[bytes]) -> bytes:
    """Apply one damage."""
    near = min(len(content), 120) if rng.random() < 0.7 else len(content)
    at = int(rng.integers(near + 1)) if near else 0
    far = at + int(rng.integers(1, 30))
    token = TOKENS[rng.integers(len(TOKENS))]
    line = content.find(b"\r\n", at) + 2
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: content[:at] + token + content[at:],
        lambda: content[:line] + token + content[line:],
        lambda: content[:at] + token + content[far:],
        lambda: content[:at] + bytes([rng.integers(256)]) + content[at + 1 :],
        lambda: content[:at] + content[far:],
        lambda: content[:at],
        lambda: content[:at] + content[at:far] * int(rng.integers(2, 200)) + content[far:],
        lambda: content + others[rng.integers(len(others))],
        lambda: content[:at] + others[rng.integers(len(others))][at:],
        lambda: rng.bytes(int(rng.integers(1, 200))) + content[at:],
    )
    return kinds[rng.integers(len(kinds))]()


# Sending


def send_pictures(
    port: int, contents: Iterator[bytes], count: int, answers: Callable[[], bool]
) -> Tally:
    """Send each as a request; after every hundredth, ``answers`` says whether the service works."""
    tally = Tally()
    for number, content in enumerate(islice(contents, count)):
        head = (
            f"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
        )
        _note(
            tally, exchange(port, [head.encode() + b"Connection: close\r\n\r\n", content]), content
        )
        _check(tally, number, answers)
    _check(tally, 0, answers)
    return tally


def send_requests(
    port: int, requests: Iterator[list[bytes]], count: int, answers: Callable[[], bool]
) -> Tally:
    """Send each over its own connection; after every hundredth, ``answers`` as above."""
    tally = Tally()
    for number, pieces in enumerate(islice(requests, count)):
        _note(tally, exchange(port, pieces), b"".join(pieces))
        _check(tally, number, answers)
    _check(tally, 0, answers)
    return tally


def exchange(port: int, pieces: list[bytes]) -> bytes | None:
    """Return everything received until the service closes; None if it does not close in time."""
    read = []
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                read.append(piece)
        except TimeoutError:
            return None
        except OSError:  # it closed while data was still in transit
            pass
    return b"".join(read)


def _note(tally: Tally, answer: bytes | None, content: bytes) -> None:
    tally.sent += 1
    if answer is None:
        tally.faults.append(f"no end within {PATIENCE:g} s: {content[:300]!r}")
        return
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    tally.statuses.update(s.decode() for s in statuses or [b"none"])
    if any(s.startswith(b"5") and s != b"503" for s in statuses):
        tally.faults.append(f"{statuses}: {content[:300]!r}")
    # The body may repeat a name from the request; this looks for the machine's own.
    if OF_THE_MACHINE.search(answer) and not OF_THE_MACHINE.search(content):
        tally.faults.append(f"tells of the machine: {answer[:500]!r}")


def _check(tally: Tally, number: int, answers: Callable[[], bool]) -> None:
    if number % 100 == 0 and not answers():
        tally.faults.append(f"wrong or no answer to a right request after {number}")
