"""Limits per request, and the error for refused requests."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """All limits of the service."""

    body_bytes: int = 16 * 1024**2
    """Body of one request, both as sent and decompressed."""
    all_bodies_bytes: int = 256 * 1024**2
    """Bodies of all current requests; more are answered with 503."""
    decoding_bytes: int = 512 * 1024**2
    """Memory for decoding pictures; beyond it, pictures wait."""
    unsent_bytes: int = 128 * 1024**2
    """Answers that clients have not read; beyond it, the clients with the most are disconnected."""
    pixels: int = 24 * 1024**2
    """Width × height of one picture."""
    images: int = 64
    """Images in one request."""
    waiting: int = 256
    """Images in the queue; more are answered with 503."""
    connections: int = 512
    """Open connections. Beyond it, the one idle longest is closed, or else the new one gets 503."""
    idle_seconds: float = 1.0
    """Time after which a connection counts as idle: under load, requests stay unread for a
    while."""
    header_bytes: int = 32 * 1024
    """Headers of one request."""
    header_seconds: float = 10.0
    """Time for a request's headers to arrive."""
    body_seconds: float = 30.0
    """Time for a request's headers and body to arrive; then 408."""
    answer_seconds: float = 10.0
    """Time from a complete request to its answer; then 504."""
    stall_seconds: float = 30.0
    """Time for a client to read part of its answer, or to stop sending a refused body."""


class RefusedError(Exception):
    """An error as the answer; the message reveals nothing about the machine."""

    def __init__(self, *, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def busy() -> RefusedError:
    """Return the answer if there is no room left."""
    return RefusedError(
        status=503, message="too many requests at once; try again", headers={"Retry-After": "1"}
    )


def too_large(most: int) -> RefusedError:
    """Return the answer to a body of more than ``most`` bytes. The rest is not read, so the
    connection closes with the answer, which says so."""
    return RefusedError(
        status=413,
        message=f"more than {most / 1024**2:.3g} MiB in one request",
        headers={"Connection": "close"},
    )
