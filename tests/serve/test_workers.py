"""Several processes behind one port."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.kit import Command

import firstlight as fl

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's children")
WORKERS = 2


@contextmanager
def service(run: fl.Run, log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command, and yield it with its address."""
    command = [sys.executable, "-u", "-m", "firstlight", "serve", str(run.path), "--port", "0"]
    command += ["--workers", str(WORKERS)]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as started,
    ):
        try:
            assert started.stdout is not None
            for line in started.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield started, found[0]
                    break
            else:
                pytest.fail(log.read_text())
        finally:
            started.kill()


def workers_of(started: subprocess.Popen[str]) -> list[int]:
    text = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text()
    of = {int(one): Path(f"/proc/{one}/cmdline").read_text() for one in text.split()}
    return [one for one, words in of.items() if "spawn_main" in words]


def dies(number: int) -> bool:
    """Wait until a process ends."""
    handle = os.pidfd_open(number)
    try:
        return bool(select.select([handle], [], [], 60)[0])
    finally:
        os.close(handle)


def test_each_answers_counts_are_of_all_and_one_that_dies_is_replaced(
    digits_run: fl.Run, tmp_path: Path
) -> None:
    image_HWC = fl.load("digits").test.images_NHWC[0]
    body = {
        "inputs": [
            {
                "name": "image",
                "datatype": "UINT8",
                "shape": [1, *image_HWC.shape],
                "data": image_HWC.ravel().tolist(),
            }
        ]
    }
    expected = digits_run.predict(image_HWC[None])[0].best
    log = tmp_path / "log"

    def ask(address: str) -> None:  # over its own connection
        answer = httpx.post(f"{address}/v2/models/digits-1/infer", json=body, timeout=60)
        assert answer.json()["outputs"][1]["data"] == [expected]

    def counted(address: str) -> float:
        text = httpx.get(f"{address}/metrics", timeout=60).text
        (found,) = re.findall(r'^firstlight_images_total\{run="digits-1"\} (.+)$', text, re.M)
        return float(found)

    with service(digits_run, log) as (started, address):
        asked = 0
        both = workers_of(started)
        assert len(both) == WORKERS
        for other in both:  # while one is suspended, the other answers
            os.kill(other, signal.SIGSTOP)
            for _ in range(3):
                ask(address)
                asked += 1
            assert counted(address) == asked
            os.kill(other, signal.SIGCONT)

        os.kill(both[0], signal.SIGKILL)
        ask(address)
        with log.open() as errors:  # it reports the death before it starts another
            while not (told := errors.readline()):
                assert started.poll() is None
        assert told == f"process {both[0]} was killed by signal 9; starting another\n"
        assert counted(address) == asked + 1  # including the dead one's answers

        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
    assert log.read_text().endswith("stopped\n")
    assert not Path(f"/proc/{both[1]}").exists()


def test_they_end_with_the_process_that_started_them(digits_run: fl.Run, tmp_path: Path) -> None:
    with service(digits_run, tmp_path / "log") as (started, _):
        both = workers_of(started)
        started.kill()
        assert [dies(one) for one in both] == [True, True]


def test_a_damaged_run_is_told_once_and_ends_them_all(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(digits_run.path, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    alone = command("serve", damaged, "--port", "0")
    together = command("serve", damaged, "--port", "0", "--workers", "2")
    assert (together.code, together.out, together.err) == (alone.code, alone.out, alone.err)
    assert together.code == 3
