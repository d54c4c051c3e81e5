"""Start a server in its own process, make real pictures to send, and record the machine's load."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import firstlight as fl
from firstlight.runs.record import environment

RESULTS = Path(__file__).resolve().parent.parent / "results"
HERE = Path(__file__).resolve().parent


@dataclass
class Served:
    """A running server."""

    port: int
    process: subprocess.Popen[str]

    def memory_mb(self) -> float:
        """Return the current resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmRSS:\s+(\d+) kB", text, flags=re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024

    def cpu_seconds(self) -> float:
        """Return the seconds used by all its processes and threads so far."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # a process that has just ended
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid:  # belongs to its group
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(command: Sequence[str]) -> Iterator[Served]:
    """Start a server, and yield it when it prints its address."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found is not None:
                yield Served(int(found[1]), process)
                break
        else:
            raise RuntimeError(f"no address came from {command}")
    finally:
        process.terminate()
        process.wait(60)
        with suppress(ProcessLookupError):  # LitServe's worker outlives it
            os.killpg(process.pid, signal.SIGKILL)


def firstlight_server(run: Path) -> list[str]:
    """Return the command that serves a run."""
    return [sys.executable, "-u", "-m", "firstlight", "serve", str(run), "--port", "0"]


def studio_server(folder: Path) -> list[str]:
    """Return the command that opens the studio in a working folder."""
    return [sys.executable, "-u", "-m", "firstlight", "studio", str(folder), "--port", "0"]


def pictures(count: int) -> tuple[npt.NDArray[np.uint8], list[bytes]]:
    """Return the first test images of MNIST, N×28×28×1, and each as a PNG file."""
    images_NHWC = fl.load("mnist").test.images_NHWC[:count]
    return images_NHWC, [png(image_HWC) for image_HWC in images_NHWC]


def png(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    """Return a grey image as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image_HWC[..., 0]).save(stream, "PNG")
    return stream.getvalue()


def request(path: str, content: bytes) -> bytes:
    """Return a complete POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def asking(path: str) -> bytes:
    """Return a complete GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def circumstances(command: str) -> dict[str, Any]:
    """Return facts about the machine and the command for a result file."""
    where = {k: v for k, v in environment("cpu", 1).items() if k != "command"}
    return {"command": command, "environment": where, "cores": os.cpu_count()}


def load() -> dict[str, float]:
    """Return the load average, and the share of the processors that other programs used during the
    last second, measured while none of our processes work."""
    before = _busy()
    time.sleep(1)
    after = _busy()
    share = (after[0] - before[0]) / max(1, after[1] - before[1])
    return {"load_1_min": os.getloadavg()[0], "processors_taken": round(share, 3)}


def _busy() -> tuple[int, int]:
    fields = [
        int(n) for n in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:9]
    ]
    return sum(fields) - fields[3] - fields[4], sum(fields)
