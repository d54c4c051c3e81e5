"""Heartbeats between processes: what is said of one that is lost."""

from typing import NoReturn

import pytest

from firstlight.errors import RunInterruptedError
from firstlight.training import signs


class Cut:
    """A key-value store that cannot be reached."""

    def _cut(self, *words: object) -> NoReturn:
        raise RuntimeError("connection reset by peer")

    set = add = check = _cut


@pytest.mark.parametrize(("rank", "lost"), [(1, "process 0 (pid 7 on a)"), (0, "the launcher")])
def test_a_process_cut_off_before_the_first_heartbeat_names_what_is_lost(
    rank: int, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signs, "_BEAT", 0.001)
    monkeypatch.setattr(signs, "LOST", 1.0)
    names = ["process 0 (pid 7 on a)", "process 1 (pid 8 on b)"]
    error = signs.Signs(Cut(), rank, names).lost()
    assert isinstance(error, RunInterruptedError)
    assert str(error).startswith(lost)
