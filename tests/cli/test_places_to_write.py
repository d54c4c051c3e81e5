"""A place that is not writable: one exit code per cause, for all commands."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.kit import Command

import firstlight as fl


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, 2), (errno.EROFS, 3), (errno.ENOSPC, 3)]
)
def test_a_wrong_place_gives_2_and_a_storage_that_takes_nothing_3(
    number: int, code: int, command: Command, digits_run: fl.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Path("there").absolute()
    there.mkdir()
    Path("pictures").mkdir()
    (Path("pictures") / "a.png").write_bytes(b"none")

    def refusing(call: Any) -> Any:
        def refused(path: Any, *more: Any, **named: Any) -> Any:
            if isinstance(path, str | Path) and Path(path).is_relative_to(there):
                raise OSError(number, os.strerror(number))
            return call(path, *more, **named)

        return refused

    for name in ("open", "mkdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    run = digits_run.path
    for words in (
        ("train", "digits", "--out", there),
        ("train", "digits", "--out", there / "run"),
        ("predict", run, "pictures", "--out", there),
        ("predict", run, "pictures/a.png", "--csv", there / "a.csv"),
        ("export", run, "--out", there / "it.onnx"),
        ("export", run, "--format", "triton", "--out", there / "models"),
        ("tune", "digits", "--trials", "1", "--out", there),
        ("bench", "digits", "--seeds", "1", "--out", there / "bench.json"),
    ):
        done = command(*words)
        assert done.code == code, (words, done.err)
        assert "cannot be written" in done.err, words
        assert not list(there.iterdir()), words
