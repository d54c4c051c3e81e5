"""A fork of a loaded process does what a process that ``subprocess`` starts does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks here"),
    pytest.mark.usefixtures("_each"),
]
PLAIN = subprocess.Popen


@pytest.fixture(params=["plain", "warm"])
def _each(request: pytest.FixtureRequest) -> None:
    """Run a test with the plain class and with ours."""
    if request.param == "warm":
        request.getfixturevalue("warm")
        assert subprocess.Popen is not PLAIN


def test_a_program_has_its_words_streams_folder_and_environment(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "print(sys.argv, os.getcwd(), dict(os.environ), __name__, input())\n"
        "print('an error', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", program, "a", "b"],
        input="said",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"A": "1", "LC_CTYPE": "C.UTF-8"},
    )
    given = {"A": "1", "LC_CTYPE": "C.UTF-8"}
    assert done.stdout == f"{['-c', 'a', 'b']} {tmp_path} {given} __main__ said\n"
    assert (done.returncode, done.stderr) == (0, "an error\n")


def test_a_file_and_a_module_are_run_with_what_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("import sys\nprint(__name__, sys.argv[1:])")
    (tmp_path / "it.py").write_text("import runpy\nrunpy.run_module('beside')")
    for words in (["it.py"], ["-m", "it"]):
        told = subprocess.check_output([sys.executable, *words, "a"], cwd=tmp_path, text=True)
        assert told == "beside ['a']\n"


@pytest.mark.parametrize(
    ("program", "code", "told"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('over')", 1, "over"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os; os.abort()", -signal.SIGABRT, ""),
        (
            "import atexit, os; atexit.register(print, 'last', file=__import__('sys').stderr)",
            0,
            "last",
        ),
    ],
)
def test_it_ends_as_a_process_does(program: str, code: int, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code
    assert "".join(done.stderr.splitlines()[-1:]) == told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_it_and_it_is_our_child(number: int) -> None:
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it\n"
        "print(os.getpid(), os.getppid(), flush=True)\n"
        "input()\n"
    )
    words = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [str(process.pid), str(os.getpid())]
        process.send_signal(number)
        assert process.wait(60) == -number
    assert not Path(f"/proc/{process.pid}").exists()


def opened() -> list[str]:
    """Return the numbers of this process's open files."""
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open_and_its_session_is_its_own(tmp_path: Path) -> None:
    before = opened()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.wait() == 0
        assert not log.closed
    assert (tmp_path / "log").read_text() == "True\n"
    assert opened() == before


def test_what_it_starts_itself_is_a_fork_too_with_its_own_files_locks_and_code(
    tmp_path: Path,
) -> None:
    inner = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from firstlight.locks import held, is_held\n"
        "with held(Path('lock')) as free, held(Path('another')) as other: print(free, other)\n"
        "sys.exit(os.getppid() % 7 + 1)\n"
    )
    outer = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from firstlight.locks import held, is_held\n"
        "with held(Path('lock')) as free:\n"
        f"    code = subprocess.run([sys.executable, '-c', {inner!r}]).returncode\n"
        "    print(free, code == os.getpid() % 7 + 1)\n"
        "print(is_held(Path('lock')))\n"
        "sys.exit(3)\n"
    )
    words = [sys.executable, "-c", outer]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "False True\nTrue True\nFalse\n", done.stderr
    assert (done.returncode, done.stderr) == (3, "")
