"""``firstlight serve`` as a process: its output, when it stops, and what it refuses."""

import io
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command
from tests.serve.raw import post, raw

import firstlight as fl
from firstlight.serve.limits import Limits


@contextmanager
def process(run: fl.Run, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the command, and yield it with its port."""
    command = [sys.executable, "-u", "-m", "firstlight", "serve", str(run.path), "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *words], stdout=pipe, stderr=pipe, text=True) as started:
        try:
            assert started.stdout is not None
            for line in started.stdout:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                    yield started, int(found[1])
                    break
            else:
                pytest.fail("it did not start")
        finally:
            started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("warm")
def test_a_signal_stops_it_once_what_was_taken_is_answered_and_is_a_good_end(
    digits_run: fl.Run, number: signal.Signals
) -> None:
    """Eight clients send requests without pause. Every complete request is answered or was never
    accepted."""
    images = fl.load("digits").test.images_NHWC[:16]  # eight times as many fit into the queue
    expected = [p.best for p in digits_run.predict(images)]
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(images.shape),
        "data": images.ravel().tolist(),
    }
    whole = post("/v2/models/digits-1/infer", json.dumps({"inputs": [tensor]}).encode())
    good, bad = [0] * 8, list[str]()
    under_way = threading.Barrier(9, timeout=60)

    def ask(number: int, port: int) -> None:
        try:
            with raw(port) as client:
                while True:
                    client.send(whole)
                    answer = client.answer()
                    if answer is None:
                        return
                    if answer[0] != 200:
                        bad.append(f"{answer}")
                    elif json.loads(answer[2])["outputs"][1]["data"] != expected:
                        bad.append("a wrong answer")
                    good[number] += 1
                    if good[number] == 3:
                        under_way.wait()
        except ConnectionError:
            return  # sent after the service had stopped reading
        except AssertionError as error:
            bad.append(str(error))  # a truncated answer

    with process(digits_run) as (started, port):
        threads = [threading.Thread(target=ask, args=(n, port), daemon=True) for n in range(8)]
        for thread in threads:
            thread.start()
        under_way.wait()
        started.send_signal(number)
        assert started.wait(60) == 0
        for thread in threads:
            thread.join(60)
        assert started.stderr is not None
        assert started.stderr.read() == "stopped\n"
    assert bad == []
    assert min(good) >= 3


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_large_pictures_at_once_keep_to_the_memory_for_them_and_it_goes_back(
    digits_run: fl.Run,
) -> None:
    mib, limits = 1024**2, Limits()
    side = math.isqrt(limits.pixels)
    stream = io.BytesIO()
    Image.new("RGBA", (side, side), (0, 0, 0, 100)).save(stream, "PNG", compress_level=1)
    whole = post("/api/predict", stream.getvalue())

    with process(digits_run) as (started, port):

        def memory(name: str) -> int:
            lines = Path(f"/proc/{started.pid}/status").read_text().splitlines()
            return int(next(x for x in lines if x.startswith(name)).split()[1]) * 1024

        def ask(clients: int) -> list[int | None]:
            with ExitStack() as open_ones:
                asking = [open_ones.enter_context(raw(port)) for _ in range(clients)]
                for client in asking:
                    client.send(whole)
                return [client.status() for client in asking]

        ask(1)
        before = memory("VmRSS")
        Path(f"/proc/{started.pid}/clear_refs").write_text("5")
        statuses = ask(5)
        peak, after = memory("VmHWM"), memory("VmRSS")
    assert 200 in statuses
    assert set(statuses) <= {200, 504}
    assert peak - before < limits.decoding_bytes + 32 * mib
    assert after - before < 200 * mib


def test_other_machines_are_let_in_only_with_a_token_or_where_it_is_said(
    command: Command, digits_run: fl.Run
) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "somewhere.example"):
        refused = command("serve", digits_run.path, "--host", host)
        assert refused.code == 2
        assert "--token" in refused.err and "--no-auth" in refused.err
    assert command("serve", digits_run.path, "--token", "short").code == 2


def test_a_taken_port_and_a_damaged_run_are_told_before_anything_is_served(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = command("serve", digits_run.path, "--port", str(taken.getsockname()[1]))
    assert refused.code == 2
    assert "cannot listen on" in refused.err
    refused = command("serve", digits_run.path, "--data-dir", tmp_path / "nowhere", "--port", "0")
    assert refused.code == 3
    assert "nowhere: no such folder" in refused.err
    damaged = tmp_path / "damaged"
    shutil.copytree(digits_run.path, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refused = command("serve", damaged, "--port", "0")
    assert refused.code == 3
    assert "model.safetensors" in refused.err
    assert command("serve", tmp_path / "nothing").code in (2, 3)


def test_a_run_that_turns_out_damaged_says_nothing_of_where_it_lies(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    from tests.serve.running import running

    copied = tmp_path / "digits-1"
    shutil.copytree(digits_run.path, copied)
    summary, weights = copied / "summary.json", copied / "model.safetensors"
    kept = summary.read_bytes()
    summary.unlink()  # as if it were still training
    weights.write_bytes(b"nothing")
    with running([fl.open_run(copied)]) as served, served.client() as client:
        picture = np.zeros((8, 8, 1), dtype=np.uint8).tobytes()
        assert client.post("/api/predict", content=picture).status_code == 409
        assert client.get("/v2/health/ready").status_code == 503
        summary.write_bytes(kept)
        answer = client.post("/api/predict", content=picture)
        assert answer.status_code == 500
        assert str(tmp_path) not in answer.text
        assert answer.json()["error"] == "digits-1 cannot be read"
