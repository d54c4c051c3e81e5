"""Complete files or none."""

import errno
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firstlight import files
from firstlight.errors import UserError
from firstlight.files import clear_parts, write_asked, write_whole


def test_a_device_stays_a_device() -> None:
    null = Path("/dev/null")
    if not null.is_char_device():
        pytest.skip("this system has no /dev/null")
    with pytest.raises(OSError, match="not a regular file") as caught:
        write_whole(null, b"x")
    assert caught.value.errno == errno.EINVAL
    assert null.is_char_device()


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "one")
    write_whole(tmp_path / "a", b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "two"


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 3), (errno.EROFS, 3), (errno.EACCES, 2), (errno.ENOENT, 2)]
)
def test_a_file_that_was_asked_for_tells_a_full_disk_from_a_wrong_place(
    tmp_path: Path, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, "said by the system")

    monkeypatch.setattr(files, "write_whole", failing)
    with pytest.raises(UserError, match=r"cannot be written: said by the system\.") as caught:
        write_asked(tmp_path / "a.png", b"")
    assert caught.value.exit_code == code


WRITER = """
import os, sys
from pathlib import Path
from firstlight import files
replaced = files.put_in_place
def waiting(part, target):
    print(part.name, flush=True)
    input()
    replaced(part, target)
files.put_in_place = waiting
files.write_whole(Path(sys.argv[1]), "new")
"""


@contextmanager
def writing(path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield another process that is writing ``path``, and the name of its temporary file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no lock on what is being written")
def test_what_a_killed_process_left_goes_and_what_a_running_one_writes_stays(
    tmp_path: Path,
) -> None:
    target = tmp_path / "report.html"
    with writing(target) as (killed, process):
        process.kill()
        process.wait()
    with writing(target) as (alive, process):
        assert not (tmp_path / killed).exists()
        write_whole(target, "between")
        clear_parts(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([alive, "report.html"])
        process.communicate("go on\n")
        assert process.returncode == 0
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_only_parts_are_cleared_and_of_one_name_where_one_is_named(tmp_path: Path) -> None:
    theirs = [".a.part", "a.12.part", ".a.xyz.part", ".b.12.part", "a", ".a.12.part.bak"]
    for name in (*theirs, ".a.12.part", ".a.00ff00ff.part"):
        (tmp_path / name).write_text("")
    (tmp_path / ".a.34.part").mkdir()
    clear_parts(tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*theirs, ".a.34.part"])


def test_a_link_in_place_of_a_part_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").write_text("mine")
    (tmp_path / ".a.aa.part").symlink_to(tmp_path / "theirs")
    tokens = iter(["aa", "bb"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(tokens))
    write_whole(tmp_path / "a", "new")
    assert (tmp_path / "theirs").read_text() == "mine"
    assert (tmp_path / "a").read_text() == "new"


def test_a_new_file_has_the_rights_that_any_has(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
