"""What one request may ask for, and how it is told no."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every bound of the service."""

    body_bytes: int = 16 * 1024**2
    """Of one request, as it comes and as it is unpacked."""
    all_bodies_bytes: int = 256 * 1024**2
    """Of all requests in hand; beyond, requests are answered 503."""
    decoding_bytes: int = 512 * 1024**2
    """Memory for pictures while they are decoded; beyond, they wait."""
    unsent_bytes: int = 128 * 1024**2
    """Of answers that clients have not taken; beyond, those with most of it are dropped."""
    pixels: int = 24 * 1024**2
    """Width × height of one picture."""
    images: int = 64
    """In one request."""
    waiting: int = 256
    """Images in the queue; beyond, requests are answered 503."""
    connections: int = 512
    """Open at once; beyond, the one idle longest is closed, or else the new one gets 503."""
    idle_seconds: float = 1.0
    """From when on a connection counts as idle: under load, requests lie unread for a while."""
    header_bytes: int = 32 * 1024
    """Of one request's head."""
    header_seconds: float = 10.0
    """For a request's head to come in."""
    body_seconds: float = 30.0
    """For a request's head and body to come in; beyond, 408."""
    answer_seconds: float = 10.0
    """From a whole request to its answer; beyond, 504."""
    stall_seconds: float = 30.0
    """For a client to take some of its answer, and to stop sending what was refused."""


class RefusedError(Exception):
    """An answer that is an error; the message says nothing about the machine."""

    def __init__(self, *, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def busy() -> RefusedError:
    """The answer where no room is left."""
    return RefusedError(
        status=503, message="too many requests at once; try again", headers={"Retry-After": "1"}
    )


def too_large(most: int) -> RefusedError:
    """The answer to a body of more than so many bytes; as the rest is not read, the connection ends
    with it, which a client must be told."""
    return RefusedError(
        status=413,
        message=f"more than {most / 1024**2:.3g} MiB in one request",
        headers={"Connection": "close"},
    )
