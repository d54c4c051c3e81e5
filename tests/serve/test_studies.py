"""Long work that several requests ask for."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from firstlight.serve import studies
from firstlight.serve.limits import RefusedError
from firstlight.serve.studies import Progress, Studies, Working


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait only for a moment."""
    monkeypatch.setattr(studies, "PATIENCE", 0.01)


async def until_done(made: Studies, key: str, work: Callable[[Progress], Any]) -> Any:
    while isinstance(found := await made.result(key, work), Working):
        pass
    return found


def test_a_study_is_made_once_for_all_who_ask_and_tells_how_far_it_is(hasty: None) -> None:
    begun, release, calls = threading.Event(), threading.Event(), list[int]()

    def work(progress: Progress) -> str:
        calls.append(1)
        progress(3, 10)
        begun.set()
        assert release.wait(60)
        return "done"

    async def scene() -> None:
        made = Studies(threads=1)
        await made.result("a", work)
        await asyncio.to_thread(begun.wait, 60)
        assert await made.result("a", work) == Working(done=3, total=10)
        waits = await made.result("b", lambda _: "later")
        assert waits == Working(done=0, total=0)  # one at a time
        release.set()
        assert await until_done(made, "a", work) == "done"
        assert await until_done(made, "b", work) == "later"

    asyncio.run(scene())
    assert calls == [1]


def test_what_went_wrong_is_told_and_the_next_request_tries_again(hasty: None) -> None:
    def fails(progress: Progress) -> str:
        raise OSError("the disk is gone")

    async def scene() -> None:
        made = Studies(threads=1)
        with pytest.raises(OSError, match="the disk is gone"):
            await until_done(made, "a", fails)
        assert await until_done(made, "a", lambda _: "done") == "done"

    asyncio.run(scene())


def test_too_many_are_refused_and_old_results_are_made_again(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "WAITING", 1)
    monkeypatch.setattr(studies, "KEPT", 1)
    release, calls = threading.Event(), list[str]()

    def made_of(key: str) -> Callable[[Progress], str]:
        def work(progress: Progress) -> str:
            calls.append(key)
            return key

        return work

    async def scene() -> None:
        made = Studies(threads=1)
        await made.result("slow", lambda _: release.wait(60))
        with pytest.raises(RefusedError):
            await made.result("more", made_of("more"))
        release.set()
        await until_done(made, "slow", lambda _: None)
        for key in ("a", "b", "c", "b", "a"):
            assert await until_done(made, key, made_of(key)) == key

    asyncio.run(scene())
    assert calls == ["a", "b", "c", "a"]


def test_a_service_that_ends_ends_its_study(hasty: None) -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work(progress: Progress) -> None:
        begun.set()
        assert release.wait(60)
        try:
            progress(1, 2)
        finally:
            ended.set()
        pytest.fail("it went on")

    async def scene() -> None:
        made = Studies(threads=1)
        await made.result("a", work)
        await asyncio.to_thread(begun.wait, 60)
        made.close()
        release.set()
        with pytest.raises(studies._EndedError):
            await until_done(made, "a", work)

    asyncio.run(scene())
    assert ended.is_set()
