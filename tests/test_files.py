"""Whole files or none."""

import errno
from pathlib import Path

import pytest

from firstlight.files import write_whole


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
