"""Work in threads: how many at once, how much memory, and what remains of requests that gave up."""

import asyncio
import gc
import threading
import weakref

import pytest
from tests.serve.raw import post, raw
from tests.serve.running import running

import firstlight as fl
from firstlight.serve.aside import Aside, Memory
from firstlight.serve.limits import Limits, RefusedError


def test_threads_together_take_no_more_memory_than_there_is() -> None:
    memory, lock, held, most = Memory(100), threading.Lock(), [0], [0]
    together = threading.Barrier(4)

    def take(count: int) -> None:
        together.wait(60)
        for _ in range(200):
            with memory.take(count):
                with lock:
                    held[0] += count
                    most[0] = max(most[0], held[0])
                with lock:
                    held[0] -= count

    threads = [threading.Thread(target=take, args=(n,)) for n in (60, 50, 30, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 60 <= most[0] <= 100
    assert memory._held == 0


def test_who_wants_more_than_there_is_has_it_alone() -> None:
    memory, inside, order = Memory(100), threading.Event(), list[str]()
    release = threading.Event()

    def large() -> None:
        with memory.take(1000):
            order.append("large")
            inside.set()
            assert release.wait(60)
            order.append("done")

    def small() -> None:
        with memory.take(1):
            order.append("small")

    first = threading.Thread(target=large)
    first.start()
    assert inside.wait(60)
    second = threading.Thread(target=small)
    second.start()
    while second.is_alive() and not memory._next.locked():  # until it waits, or failed to
        pass
    release.set()
    first.join(60)
    second.join(60)
    assert order == ["large", "done", "small"]


class Content:
    """The content of a request."""


def holding(aside: Aside) -> tuple["asyncio.Task[str]", "weakref.ref[Content]"]:
    """Return a request that waits for its work, and content that only this work holds."""
    content = Content()
    return asyncio.create_task(aside.do(lambda: str(content))), weakref.ref(content)


def test_who_gives_up_while_waiting_leaves_nothing_and_the_next_is_served() -> None:
    async def scene() -> None:
        aside, release, begun = Aside(threads=2, waiting=3), threading.Event(), threading.Barrier(3)

        def blocked() -> None:
            begun.wait(60)
            assert release.wait(60)

        at_work = [asyncio.create_task(aside.do(blocked)) for _ in range(2)]
        await asyncio.to_thread(begun.wait, 60)
        waits, gone = holding(aside)
        await asyncio.sleep(0)
        with pytest.raises(RefusedError):  # three are inside
            await aside.do(lambda: 1)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        del waits
        await asyncio.sleep(0)  # one round of the loop
        gc.collect()
        assert gone() is None
        release.set()
        await asyncio.gather(*at_work)
        assert await aside.do(lambda: 7) == 7
        aside.close()

    asyncio.run(scene())


def test_what_a_request_holds_whose_time_is_up_counts_until_its_work_ends(
    digits_run: fl.Run,
) -> None:
    limits = Limits(all_bodies_bytes=300_000, answer_seconds=0.3)
    with running([digits_run], limits=limits) as served:
        predictor = served.service.predictor(None)
        original, release = predictor.prepare, threading.Event()

        def waits(name: str, content: bytes) -> object:
            assert release.wait(60)
            return original(name, content)

        predictor.prepare = waits  # type: ignore[method-assign, assignment]
        whole = post("/api/predict", b"x" * 200_000)
        with raw(served.port) as first, raw(served.port) as second:
            first.send(whole)
            assert first.status() == 504
            second.send(whole)
            assert second.status() == 503
        predictor.prepare = original  # type: ignore[method-assign]
        release.set()
        served.service._threads.close()  # the work has ended
        with raw(served.port) as third:
            third.send(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert third.status() == 200  # one round of the loop later
            third.send(post("/nothing", b"x" * 200_000))
            assert third.status() == 405
        assert served.service.limits.all_bodies_bytes == 300_000
