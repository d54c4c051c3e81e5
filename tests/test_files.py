"""Whole files or none."""

import errno
from pathlib import Path

import pytest

from firstlight import files
from firstlight.errors import UserError
from firstlight.files import write_asked, write_whole


def test_a_device_stays_a_device() -> None:
    null = Path("/dev/null")
    if not null.is_char_device():
        pytest.skip("this system has no /dev/null")
    with pytest.raises(OSError, match="no regular file") as caught:
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
    with pytest.raises(UserError, match="cannot be written: said by the system; choose") as caught:
        write_asked(tmp_path / "a.png", b"")
    assert caught.value.exit_code == code
