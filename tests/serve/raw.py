"""A client that sends raw bytes, and reads answers one by one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Raw:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._read = b""

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def no_more(self) -> None:
        """Close only the sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> tuple[int, dict[str, str], bytes] | None:
        """Return status, headers and body of the next answer; None at the end of the connection."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines[1:])}
        length = int(fields.get("content-length", "0"))
        while len(self._read) < length:
            piece = self.socket.recv(65536)
            assert piece, "the answer was cut short"
            self._read += piece
        body, self._read = self._read[:length], self._read[length:]
        return int(lines[0].split()[1]), fields, body

    def status(self) -> int | None:
        found = self.answer()
        return None if found is None else found[0]

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._read:
            piece = self.socket.recv(65536)
            if not piece:
                assert not self._read, "the answer was cut short"
                return None
            self._read += piece
        head, _, self._read = self._read.partition(mark)
        return head


@contextmanager
def raw(port: int) -> Iterator[Raw]:
    """Yield a connection, and close it at the end."""
    client = Raw(port)
    try:
        yield client
    finally:
        client.socket.close()


def post(path: str, content: bytes, *fields: str) -> bytes:
    """Return a request as bytes."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content
