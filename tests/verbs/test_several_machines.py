"""Trainings on two machines, simulated by network namespaces that are joined by a cable."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.kit import Command

EPOCHS = 4
WORDS = (
    *("train", "digits", "--recipe=digits-tutorial", "--set=train.shards=8"),
    f"--epochs={EPOCHS}",
)
BEGIN = """
import socket
socket.sethostname("localhost")  # as where a machine's own name stands for 127.0.0.1
from firstlight.cli.main import main
from firstlight.training import signs
from firstlight.verbs import fit
signs.LOST, fit.LEAST_SECONDS = 3.0, 0.0  # a test has little time
main()
"""
CABLE = f"fl{os.getpid()}"
NAMES = (f"{CABLE}-0", f"{CABLE}-1")
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def machines() -> Iterator[None]:
    """Create two machines and a cable between them."""
    if sys.platform != "linux" or not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("network namespaces need Linux with iproute2 and util-linux")
    try:
        for name in NAMES:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces need root: {error.stderr.decode().strip()}")
    try:
        first, second = NAMES
        ends = ("netns", first, "type", "veth", "peer", "name", CABLE, "netns", second)
        ip("link", "add", CABLE, *ends)
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", CABLE)
            for device in ("lo", CABLE):
                ip("-n", name, "link", "set", device, "up")
        yield
    finally:
        for name in NAMES:
            ip("netns", "delete", name)


def started(out: Path, rank: int) -> subprocess.Popen[str]:
    """Start one of two processes, each on its own machine."""
    variables = {"RANK": str(rank), "WORLD_SIZE": "2"}
    variables |= {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29500"}
    there = ("ip", "netns", "exec", NAMES[rank], "unshare", "--uts", sys.executable, "-c", BEGIN)
    return subprocess.Popen(
        [*there, *WORDS, f"--out={out}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **variables},
    )


def test_two_machines_train_to_the_bits_of_one_process_also_after_their_cable_was_cut(
    machines: None, tmp_path: Path, command: Command
) -> None:
    out, alone = tmp_path / "run", tmp_path / "alone"
    second, first = (started(out, rank) for rank in (1, 0))
    assert first.stdout is not None
    told = ""
    for line in first.stdout:
        told += line
        if line.startswith("epoch 1/"):
            break
    ip("-n", NAMES[0], "link", "set", CABLE, "down")
    assert told.count(f"network interface {CABLE};") == 1
    for process, other in ((first, "process 1"), (second, "process 0")):
        _, err = process.communicate()
        assert process.returncode == 130, err
        assert err.count(f"firstlight: {other} (pid ") == 1, err

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two had
    try:
        assert command(*WORDS, f"--out={alone}").code == 0
    finally:
        torch.set_num_threads(threads)
    assert command("train", "--resume", out).code == 0
    assert len((out / "epochs.csv").read_text().splitlines()) == 1 + EPOCHS
    assert (out / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
