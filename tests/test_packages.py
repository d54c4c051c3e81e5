"""The messages if a package cannot be imported; and that no package reports its use to anyone."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.errors import UserError
from firstlight.packages import imported

WORK = r"""
import json, re, subprocess, sys, urllib.request
from pathlib import Path
from PIL import Image
import firstlight as fl

picture = Path("digit.png")
Image.new("L", (8, 8), 255).save(picture)
run = fl.train("digits", epochs=1, out="run", quiet=True)
run.predict([picture])
run.export(out=Path("it.onnx"))
command = [sys.executable, "-m", "firstlight"]
subprocess.run([*command, "predict", "it.onnx", "digit.png"], check=True)
serving = [*command, "serve", "run", "it.onnx", "--port", "0"]
with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as service:
    try:
        lines = iter(service.stdout.readline, "")
        address = next(m[0] for m in (re.search(r"http://\S+/", line) for line in lines) if m)
        for name in ("run", "it"):
            body = urllib.request.Request(
                f"{address}api/predict?run={name}",
                picture.read_bytes(),
                {"Content-Type": "image/png"},
            )
            assert json.load(urllib.request.urlopen(body, timeout=60))["predictions"]
    finally:
        service.terminate()
"""
# In strace's lines: connections of a socket, and data sent.
ADDRESS = re.compile(
    r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)")'
)


def strangers(trace: str) -> set[str]:
    """Return addresses other than this machine's own, and all name servers."""
    found = [(port, v4 or v6) for port, v4, v6 in ADDRESS.findall(trace)]
    return {f"{at}:{port}" for port, at in found if port == "53" or at not in ("127.0.0.1", "::1")}


def traced(program: str, folder: Path) -> str:
    """Return what a program and its children connect and send to."""
    strace = shutil.which("strace")
    log = folder / "trace.txt"
    if strace is None or subprocess.run([strace, "-f", "-o", log, "true"]).returncode != 0:
        pytest.skip("no strace, or it may not look at processes here")
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    words: list[str | Path] = [strace, "-f", "--seccomp-bpf", "-qq", "-e", calls, "-o", log]
    done = subprocess.run(
        [*words, sys.executable, "-c", program],
        cwd=folder,
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return log.read_text()


def clean_environment(folder: Path) -> dict[str, str]:
    gone = ("ORT_DISABLE_TELEMETRY", "FIRSTLIGHT_DATA")
    kept = {key: value for key, value in os.environ.items() if key not in gone}
    return {**kept, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def test_a_look_up_and_a_connection_are_seen(tmp_path: Path) -> None:
    program = (
        "import socket\n"
        "try: socket.getaddrinfo('firstlight.invalid', 443)\n"
        "except OSError: pass\n"
        "there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "there.connect(('192.0.2.1', 9))\n"
        "there.connect(('127.0.0.1', 9))\n"
    )
    found = strangers(traced(program, tmp_path))
    assert "192.0.2.1:9" in found
    assert any(address.endswith(":53") for address in found)
    assert not any(address.endswith("127.0.0.1:9") for address in found)


def test_training_answers_exports_and_the_service_reach_no_other_machine(tmp_path: Path) -> None:
    assert strangers(traced(WORK, tmp_path)) == set()
    # onnxruntime stores its telemetry in the cache as soon as it is imported.
    kept = {path.name for path in (tmp_path / "cache").glob("*")}
    assert kept <= {"firstlight", "matplotlib", "fontconfig"}


def package(folder: Path, name: str, content: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(content)
    (folder / f"{name}-1.2.3.dist-info").mkdir()
    (folder / f"{name}-1.2.3.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("from os import nothing_of_this_name", "ImportError: cannot import name"),
        ("import no_such_module_of_its_own", "ModuleNotFoundError: No module named"),
        ("import broken_one.torch_2_11", "No module named 'broken_one.torch_2_11'"),
        ("raise RuntimeError('compiled for NumPy 1')", "RuntimeError: compiled for NumPy 1"),
    ],
)
def test_a_broken_package_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, says: str
) -> None:
    package(tmp_path, "broken_one", content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as told:
        imported("broken_one", "--format onnx", "broken_one another")
    assert "needs broken_one, which is installed 1.2.3 but cannot be imported" in str(told.value)
    assert says in str(told.value)
    assert str(told.value).endswith("pip install --upgrade broken_one another")


def test_a_missing_package_is_said_to_be_missing() -> None:
    with pytest.raises(UserError, match="it needs nothing_here, which is not installed: pip"):
        imported("nothing_here", "it")
