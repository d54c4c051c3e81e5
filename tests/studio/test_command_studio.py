"""``firstlight studio`` as a command: what it says, and what it refuses before it opens."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.kit import Command


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 2, "nowhere is not a folder"),
        (["--host", "0.0.0.0"], 2, "Give --token"),
        (["--allow-training"], 2, "need --token"),
        (["--token", "short"], 2, "at least 8"),
        (["--data-dir", "nowhere"], 3, "nowhere: no such folder"),
        (["--host", "no.such.host.invalid", "--token", "new"], 2, "is not an address of this"),
    ],
)
def test_what_cannot_be_opened_is_refused(
    command: Command, words: list[str], code: int, told: str
) -> None:
    refused = command("studio", *words)
    assert refused.code == code
    assert told in refused.err
    assert "page http" not in refused.out


def test_a_taken_port_is_refused(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = command("studio", "--port", str(taken.getsockname()[1]))
    assert refused.code == 2
    assert "another program may be using that port" in refused.err


def test_it_says_which_folder_it_writes_into_and_who_may_do_what(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "firstlight", "studio", str(tmp_path), "--port", "0"]
    command += ["--token", "for-the-others"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            folder, own, others = (started.stdout.readline() for _ in range(3))
            assert folder.split(maxsplit=2)[2].strip() == str(tmp_path.resolve())
            page = re.search(r"(http://127.0.0.1:\d+)/#token=(\S+)", own)
            assert page is not None
            assert others.endswith(f"{page[1]}/#token=for-the-others\n")
            assert "look, not train" in others
            for token, status in ((page[2], 404), ("for-the-others", 403), ("wrong-one", 401)):
                asked = httpx.post(
                    f"{page[1]}/api/studio/trainings",
                    json={"data": "no-such-set"},
                    headers={"Authorization": f"Bearer {token}"},
                )
                assert asked.status_code == status
        finally:
            started.terminate()
    assert list(tmp_path.iterdir()) == []  # looking writes nothing
